"""How a file is now: the state by which it is known.

In: a path and how its file is known (see files.py). Out: its state, plain data. Never: remembers a state; asks each
time.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import threading
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from rayflow.errors import RayflowError, UserError
from rayflow.values import contents
from rayflow.values.digests import digest
from rayflow.values.filesystems import LOCAL, Entry, local_path, located, use_base

State: TypeAlias = tuple[str, str, int | None, int | str | None]
"""How it is known, its path, its size in bytes (of many files: their number; None when there is nothing), and its
version: modification time in nanoseconds, etag or generation, or a digest; None where the place tells none."""

_usual = "stat"


def use_project(directory: str | None, files: str) -> None:
    """What the Files of this process go by: relative paths are relative to this directory; a plain File is known by
    "stat" or by "content"."""
    global _usual
    use_base(directory)
    _usual = files


def usual() -> str:
    """How a plain File is known."""
    return _usual


def is_there(state: State) -> bool:
    """Whether there was something."""
    return state[2] is not None


def current(how: str, path: str) -> State:
    """The state now. Raises StoreUnavailable when it cannot be told."""
    if how == "stat":
        local = local_path(path)
        if local is not None:
            try:
                found = os.stat(local)
            except (FileNotFoundError, NotADirectoryError):
                return how, path, None, None
            return how, path, found.st_size, found.st_mtime_ns
        known = getattr(_here, "known", None)
        answer: State | Exception | None = known.get((how, path)) if known else None
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            return answer
    reader = _READERS.get(how)
    if reader is None:
        raise UserError(f"This version of rayflow does not know files by {how!r}: {path}.")
    size, version = reader(how, path)
    return how, path, size, version


def _of_entry(how: str, path: str) -> tuple[int | None, int | str | None]:
    fs, place = located(path)
    try:
        entry = fs.stat(place)
    except FileNotFoundError:
        return None, None
    return _of_remote(path, entry)


def _of_remote(path: str, entry: Entry) -> tuple[int, int | str | None]:
    version = version_of(entry)
    if version is None:
        _warn_of_sizes(path.partition("://")[0])
    return entry.size, version


@functools.cache
def _warn_of_sizes(scheme: str) -> None:
    """Once for each kind of place."""
    warnings.warn(
        f"{scheme}:// tells neither versions nor modification times of its files: they are known by path and size "
        "alone, and a change that keeps the size is not seen. ContentFile(path) reads them.",
        stacklevel=2,
    )


def current_of_many(wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], State | Exception]:
    """The states now of files at URLs, known by "stat", asked at the same time: by how and path. Of those that cannot
    be told, the error."""
    by_place: dict[int, tuple[Any, list[tuple[tuple[str, str], str]]]] = {}
    found: dict[tuple[str, str], State | Exception] = {}
    for key in wanted:
        try:
            fs, place = located(key[1])
        except RayflowError as error:
            found[key] = error
            continue
        remote = getattr(fs, "remote", fs)
        by_place.setdefault(id(remote), (fs, []))[1].append((key, place))
    for fs, members in by_place.values():
        entries = fs.stat_many([place for _, place in members])
        for ((how, path), _), entry in zip(members, entries, strict=True):
            if isinstance(entry, FileNotFoundError):
                found[how, path] = how, path, None, None
            elif isinstance(entry, Exception):
                found[how, path] = entry
            else:
                found[how, path] = (how, path, *_of_remote(path, entry))
    return found


# --- many at a time, while values are packed --------------------------------------------------------------------------

_here = threading.local()


@contextlib.contextmanager
def asked_together(paths: Iterable[str]) -> Iterator[None]:
    """While this lasts, what was found of these URLs at its start counts as their state in this thread."""
    _here.known = current_of_many(("stat", path) for path in paths)
    try:
        yield
    finally:
        _here.known = {}


def version_of(entry: Entry) -> int | str | None:
    """What tells one state of a file from another, besides its size."""
    return entry.version if entry.version is not None else entry.modified_ns or None


def _of_content(how: str, path: str) -> tuple[int | None, int | str | None]:
    fs, place = located(path)
    try:
        return contents.content_of(place) if fs.is_local else contents.read_digest(fs.open(place))
    except FileNotFoundError:
        return None, None


def _of_existence(how: str, path: str) -> tuple[int | None, int | str | None]:
    fs, place = located(path)
    return (0, None) if fs.exists(place) else (None, None)


def _of_members(how: str, path: str) -> tuple[int | None, int | str | None]:
    if how in ("dir", "names"):
        fs, place = located(path)
        if fs.find(place) is None:
            return None, None
    found = members(how, path)
    with_states = how in ("dir", "glob")
    parts: list[bytes] = []
    for name, entry in found:
        parts.append(name.encode("utf-8", "surrogatepass"))
        if with_states:
            parts.append(f"{entry.size}:{version_of(entry)}".encode())
    return len(found), digest("members", *parts).hex()


def members(how: str, path: str) -> list[tuple[str, Entry]]:
    """The files in a directory or of a pattern, in order: each path as the user would write it, and what is there."""
    fs, place = located(path)
    if how in ("dir", "names"):
        found = fs.find(place) or []
        start = len(place.rstrip("/")) + 1
        return [(f"{path.rstrip('/')}/{entry.path[start:]}", entry) for entry in found]
    found = fs.glob(place)
    if fs is not LOCAL:
        protocol = path.partition("://")[0]
        return [(f"{protocol}://{entry.path.lstrip('/')}", entry) for entry in found]
    start = len(place) - len(path) if place.endswith(path) else 0
    return [(entry.path[start:], entry) for entry in found]


_READERS: dict[str, Any] = {
    "stat": _of_entry,
    "content": _of_content,
    "exists": _of_existence,
    "dir": _of_members,
    "glob": _of_members,
    "names": _of_members,
    "glob names": _of_members,
}


def missing_text(path: str, was_there: bool) -> str:
    """What to say of a file that is not there."""
    local = local_path(path)
    if local is None:
        fs, place = located(path)
        bucket = fs.lacks(place)
        return f"There is no file {path}{': there is no bucket ' + bucket if bucket else ''}."
    host = socket.gethostname()
    where = "" if path == local else f" (looked for at {local})"
    if not was_there:
        return f"There is no file {path} on {host}{where}."
    return (
        f"The file {path} is not on {host}{where}, though it was there when it was passed to this call. Was it removed "
        "since? Or has this machine no share of that disk: then keep the file in a folder that all machines reach, or "
        'at a URL (s3://bucket/...), and where a program needs a local one, stage it: file.stage("name").'
    )
