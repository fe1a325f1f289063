"""How a file is now: the state by which it is known.

In: a path and how its file is known (see files.py). Out: its state, plain data. Never: remembers a state; asks each
time.
"""

from __future__ import annotations

import os
import socket
from typing import Any, TypeAlias

from rayflow.errors import UserError
from rayflow.values import contents
from rayflow.values.digests import digest
from rayflow.values.filesystems import LOCAL, Entry, local_path, located

State: TypeAlias = tuple[str, str, int | None, int | str | None]
"""How it is known, its path, its size in bytes (of many files: their number; None when there is nothing), and its
version: modification time in nanoseconds, etag or generation, or a digest; None where the place tells none."""

_usual = "stat"


def use_content(wanted: bool) -> None:
    """Whether a plain File of this process is known by its content instead of its modification time."""
    global _usual
    _usual = "content" if wanted else "stat"


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
    return entry.size, version_of(entry)


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
        return f"There is no file {path}."
    host = socket.gethostname()
    where = "" if path == local else f" (looked for at {local})"
    if not was_there:
        return f"There is no file {path} on {host}{where}."
    return (
        f"The file {path} is not on {host}{where}, though it was there when it was passed to this call. Was it removed "
        "since? Or has this machine no share of that disk: then keep the file in a folder that all machines reach, or "
        'at a URL (s3://bucket/...), and where a program needs a local one, stage it: file.stage("name").'
    )
