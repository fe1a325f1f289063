"""Gives memory that this process does not use any more back to the system.

In: nothing. Out: less memory. Never: frees what is in use.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from functools import cache
from typing import Any


def give_back() -> None:
    """Free objects that refer to each other only, and return free pages.

    It takes about 0.1 s for each gigabyte, so it is for moments when something large has ended.
    """
    gc.collect()
    give_back_pages()


def give_back_pages() -> None:
    """Return the free pages of the C library's heap to the system. Only glibc keeps pages that can be returned on
    request."""
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], Any] | None:
    """glibc's `malloc_trim`; None where the C library has no such function."""
    try:
        found: Callable[[int], Any] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    except (OSError, TypeError):  # no C library can be opened this way, as on Windows
        return None
    return found
