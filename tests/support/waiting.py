"""Waits until something is so."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def until(
    is_so: Callable[[], Any], seconds: float = 60, pause_seconds: float = 0.05, *, what: str = "waited in vain"
) -> Any:
    """What this gives when it gives something. Fails after so many seconds. what: the text of that failure."""
    end = time.monotonic() + seconds
    while not (found := is_so()):
        assert time.monotonic() < end, what
        time.sleep(pause_seconds)
    return found
