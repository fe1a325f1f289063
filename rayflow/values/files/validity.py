"""Whether recorded files are unchanged: many are asked at a time.

In: recorded states of files. Out: for each, whether the file still has this state. Never: decides what runs again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from rayflow.errors import RayflowError
from rayflow.values.files import file_states
from rayflow.values.filesystems.directory_walk import says_missing
from rayflow.values.filesystems.filesystems import local_path
from rayflow.values.witnesses import OF_FILE, Witness, warn_of_check


def still_as_recorded(recorded: Sequence[tuple[Any, ...]], store: Any = None) -> list[bool]:
    """Whether each file still has its recorded state. The validator of OF_FILE.

    A file that cannot be asked counts as changed, with a warning.
    """
    stat = os.stat
    valid: list[bool] = []
    far: list[int] = []
    troubles: dict[str, str] = {}
    for state in recorded:
        how, path, size, version = state
        if how == "stat":
            local = path if path[:1] == "/" else local_path(path)
            if local is None:
                far.append(len(valid))
                valid.append(False)
                continue
            try:
                found = stat(local)
            except OSError as error:
                if says_missing(error):
                    valid.append(size is None)
                    continue
                troubles[f"{type(error).__name__}: {error}"] = path
                valid.append(False)
                continue
            valid.append(found.st_mtime_ns == version and found.st_size == size)
            continue
        if how in file_states.OUTDATED:
            valid.append(False)
            continue
        try:
            valid.append(file_states.current(how, path) == state)
        except (RayflowError, OSError) as error:
            troubles[f"{type(error).__name__}: {error}"] = path
            valid.append(False)
    if far:
        now = file_states.current_of_many((recorded[index][0], recorded[index][1]) for index in far)
        for index in far:
            state = recorded[index]
            answer = now[state[0], state[1]]
            valid[index] = answer == state
            if isinstance(answer, Exception):
                troubles[str(answer)] = state[1]
    for text, path in list(troubles.items())[:3]:
        warn_of_check(f"rayflow cannot tell whether {path} has changed ({text}), so the task that made it runs again.")
    return valid


def states_now(witnesses: Iterable[Witness]) -> dict[Witness, tuple[Any, ...]]:
    """The present state, without its path, of each file in these witnesses; without files that cannot be asked."""
    files = dict.fromkeys(each for each in witnesses if each[0] == OF_FILE and each[1][0] not in file_states.OUTDATED)
    if not files:
        return {}
    far = [(payload[0], payload[1]) for _, payload in files if payload[0] == "stat" and local_path(payload[1]) is None]
    answers: dict[tuple[str, str], Any] = file_states.current_of_many(far) if far else {}
    found: dict[Witness, tuple[Any, ...]] = {}
    for witness in files:
        how, path, _, _ = witness[1]
        if (how, path) not in answers:  # one file may have been recorded in many states
            try:
                answers[how, path] = file_states.current(how, path)
            except (RayflowError, OSError) as error:
                answers[how, path] = error
        state = answers[how, path]
        if not isinstance(state, Exception):  # the check has warned about it already
            found[witness] = (state[0], *state[2:])
    return found
