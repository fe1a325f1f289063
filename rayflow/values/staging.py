"""Copies of files between any two places.

In: paths and URLs. Out: the same content elsewhere, whole or not at all. Never: values, scratch directories.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rayflow.errors import FileMissing
from rayflow.values.besides import beside_of
from rayflow.values.filesystems import LOCAL, located

AT_ONCE = 16
"""How many files are copied at a time."""


def at_once(work: Iterable[Callable[[], Any]]) -> list[Any]:
    """Do all of these, several at a time; what each gave, in order. The first error is raised when all have ended."""
    waiting = list(work)
    if len(waiting) < 2:
        return [each() for each in waiting]
    with ThreadPoolExecutor(min(AT_ONCE, len(waiting)), thread_name_prefix="rayflow-copy") as pool:
        futures = [pool.submit(each) for each in waiting]
    for future in futures:
        error = future.exception()
        if error is not None:
            raise error.with_traceback(None)  # where in a thread it was raised tells nobody anything
    return [future.result() for future in futures]


def copy_file(source: str, target: str) -> None:
    """Copy a file, which appears whole or not at all. Raises FileNotFoundError when there is none."""
    (from_fs, from_path), (to_fs, to_path) = located(source), located(target)
    if from_fs.is_local:
        to_fs.put_file(from_path, to_path)
    elif to_fs.is_local:
        fetch(source, to_path)
    else:
        with tempfile.NamedTemporaryFile(prefix="rayflow-copy-") as between:
            from_fs.get_file(from_path, between.name)
            to_fs.put_file(between.name, to_path)


def fetch(source: str, path: str) -> None:
    """Copy a file to a path on this machine, where it appears whole or not at all."""
    fs, remote = located(source)
    if fs.is_local:
        LOCAL.put_file(remote, path)
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    beside = beside_of(path)
    try:
        fs.get_file(remote, beside)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        raise


def copy_tree(source: str, target: str) -> int:
    """Copy all files of a directory, each whole or not at all; gives how many they are.

    Raises FileMissing when there is no such directory.
    """
    names = names_in(source)
    to_fs, to_path = located(target)
    to_fs.makedirs(to_path)
    at_once([_copy_of(f"{source.rstrip('/')}/{name}", f"{target.rstrip('/')}/{name}") for name in names])
    return len(names)


def names_in(directory: str) -> Sequence[str]:
    """The names of all files in a directory, at any depth, relative to it. Raises FileMissing when it is none."""
    fs, path = located(directory)
    found = fs.find(path)
    if found is None:
        raise FileMissing(f"There is no directory {directory}.")
    start = len(path.rstrip("/")) + 1
    return [entry.path[start:] for entry in found]


def _copy_of(source: str, target: str) -> Callable[[], None]:
    return lambda: copy_file(source, target)


def remove_tree(path: str) -> None:
    """Remove a directory of this machine, whatever is in it."""
    shutil.rmtree(path, ignore_errors=True)
