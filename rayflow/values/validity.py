"""Are recorded files still as they were? Asked of many at a time.

In: recorded states. Out: for each, whether it is the state now. Never: says what follows from that.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from rayflow.errors import RayflowError
from rayflow.values import states
from rayflow.values.filesystems import local_path
from rayflow.values.witnesses import OF_FILE, register_validator, tell


def still_as_recorded(recorded: Sequence[tuple[Any, ...]], store: Any = None) -> list[bool]:
    """Whether each of these states is the state now. What cannot be told counts as changed, with a warning."""
    stat = os.stat
    holding: list[bool] = []
    far: list[int] = []
    troubles: dict[str, str] = {}
    for state in recorded:
        how, path, size, version = state
        if how == "stat":
            local = path if path[:1] == "/" else local_path(path)
            if local is None:
                far.append(len(holding))
                holding.append(False)
                continue
            try:
                found = stat(local)
            except (FileNotFoundError, NotADirectoryError):
                holding.append(size is None)
                continue
            except OSError as error:
                troubles[f"{type(error).__name__}: {error}"] = path
                holding.append(False)
                continue
            holding.append(found.st_mtime_ns == version and found.st_size == size)
            continue
        try:
            holding.append(states.current(how, path) == state)
        except (RayflowError, OSError) as error:
            troubles[f"{type(error).__name__}: {error}"] = path
            holding.append(False)
    if far:
        now = states.current_of_many((recorded[index][0], recorded[index][1]) for index in far)
        for index in far:
            state = recorded[index]
            answer = now[state[0], state[1]]
            holding[index] = answer == state
            if isinstance(answer, Exception):
                troubles[str(answer)] = state[1]
    for text, path in list(troubles.items())[:3]:
        tell(f"Whether {path} is as it was cannot be told ({text}); what made it runs again.")
    return holding


register_validator(OF_FILE, still_as_recorded)
