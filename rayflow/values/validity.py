"""Are recorded files still as they were? Asked of many at a time.

In: recorded states. Out: for each, whether it is the state now. Never: says what follows from that.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from rayflow.values import states
from rayflow.values.filesystems import local_path
from rayflow.values.witnesses import OF_FILE, register_validator


def still_as_recorded(recorded: Sequence[tuple[Any, ...]], store: Any = None) -> list[bool]:
    """Whether each of these states is the state now."""
    stat = os.stat
    holding: list[bool] = []
    for state in recorded:
        how, path, size, version = state
        local = local_path(path) if how == "stat" else None
        if local is None:
            holding.append(states.current(how, path) == state)
            continue
        try:
            found = stat(local)
        except (FileNotFoundError, NotADirectoryError):
            holding.append(size is None)
            continue
        holding.append(found.st_mtime_ns == version and found.st_size == size)
    return holding


register_validator(OF_FILE, still_as_recorded)
