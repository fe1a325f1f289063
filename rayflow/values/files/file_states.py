"""The present states of files, which identify them.

In: a path, and how its file is identified (see files.py). Out: its state, plain data. Never: caches a state.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import stat
import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias

from rayflow.errors import RayflowError, UserError
from rayflow.values.digests import digest
from rayflow.values.display.user_warnings import warn_user
from rayflow.values.files import content_cache, listings
from rayflow.values.filesystems.directory_entry import DirectoryEntry
from rayflow.values.filesystems.directory_walk import says_missing
from rayflow.values.filesystems.filesystems import LOCAL, FileSystem, local_path, local_pattern, located, use_base
from rayflow.values.process.parallel import at_once

State: TypeAlias = tuple[str, str, int | None, int | str | None]
"""How the file is identified, its path, its size in bytes (for many files their number; None if there is nothing), and
its version: modification time in nanoseconds, etag or generation, or a digest; None if the remote has no version."""

_SizeAndVersion: TypeAlias = tuple[int | None, int | str | None]
"""The size of a file in a directory, and its version or the digest of its content."""

_usual = "stat"


def use_project(directory: str | None, files: str) -> None:
    """Set the project's directory, for relative paths, and how plain Files, Dirs and FileSets are identified.

    files: "stat" or "content".
    """
    global _usual
    use_base(directory)
    _usual = files


def usual() -> str:
    """How a plain File is identified."""
    return _usual


def usual_of_many(how: str) -> str:
    """How a plain Dir ("tree") or FileSet ("glob") is identified."""
    return f"content {how}" if _usual == "content" else how


def is_there(state: State) -> bool:
    """Whether the file existed."""
    return state[2] is not None


def current(how: str, path: str) -> State:
    """The present state. Raises StoreUnavailable if the file cannot be asked."""
    if how == "stat":
        local = local_path(path)
        if local is not None:
            try:
                found = os.stat(local)
            except OSError as error:
                if says_missing(error):
                    return how, path, None, None
                raise
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


def _of_remote(path: str, entry: DirectoryEntry) -> tuple[int, int | str | None]:
    version = version_of(entry)
    if version is None:
        _warn_of_sizes(path.partition("://")[0])
    return entry.size, version


@functools.cache
def _warn_of_sizes(scheme: str) -> None:
    """Warn once for each scheme."""
    warn_user(
        f"{scheme}:// tells neither versions nor modification times of its files: they are known by path and size "
        "alone, and a change that keeps the size is not seen. ContentFile(path) reads them."
    )


def current_of_many(wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], State | Exception]:
    """The present states of files at URLs, or the error of asking, by how and path. Many files are asked at a time.

    wanted: how and path of each; how is "stat".
    """
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
    """Ask for the states of these URLs once, at the start of the block; inside it, this thread uses these answers."""
    _here.known = current_of_many(("stat", path) for path in paths)
    try:
        yield
    finally:
        _here.known = {}


def version_of(entry: DirectoryEntry) -> int | str | None:
    """The version of a file; None if the remote has no version."""
    return entry.version if entry.version is not None else entry.modified_ns or None


def _of_content(how: str, path: str) -> tuple[int | None, int | str | None]:
    return _content_at(*located(path))


def _content_at(fs: FileSystem, place: str) -> tuple[int | None, str | None]:
    try:
        if not fs.is_local:
            return content_cache.read_digest(fs.open(place))
        size, found = content_cache.content_of(place)
        # An executable file differs from a plain file of the same content: a script can run only the former.
        is_program = os.stat(place).st_mode & stat.S_IXUSR
    except OSError as error:
        if says_missing(error):
            return None, None
        raise
    return size, digest("program", bytes.fromhex(found)).hex() if is_program else found


def _of_contents(how: str, path: str) -> tuple[int | None, int | str | None]:
    """The state by contents. Names are relative to the directory, so equal directories have one digest anywhere."""
    fs, place = located(path)
    if how == "content tree":
        found = fs.find(place)
        if found is None:
            return None, None
        start = len(place.rstrip("/")) + 1
        members = [(entry.path[start:], entry) for entry in found]
    else:
        members = matches(path)
    entries = [entry for _, entry in members]
    names = [name for name, _ in members]
    return _of_many(entries, names, _contents_of(fs, members), of_content=True)


def _contents_of(fs: FileSystem, members: Sequence[tuple[str, DirectoryEntry]]) -> list[_SizeAndVersion]:
    """For each member, what identifies its content: size and digest of a file, the target of a broken link."""
    digests = iter(at_once([partial(_content_at, fs, entry.path) for _, entry in members if entry.is_file]))
    return [next(digests) if entry.is_file else (entry.size, entry.version) for _, entry in members]


def _of_existence(how: str, path: str) -> tuple[int | None, int | str | None]:
    fs, place = located(path)
    return (0, None) if fs.exists(place) else (None, None)


def _of_tree(how: str, path: str) -> tuple[int | None, int | str | None]:
    fs, place = located(path)
    found = fs.find(place)
    if found is None:
        return None, None
    return _of_many(found, _relative(found, path, place), _versions_of(found, how == "tree"))


def _of_matches(how: str, path: str) -> tuple[int | None, int | str | None]:
    found = matches(path)
    entries = [entry for _, entry in found]
    return _of_many(entries, [name for name, _ in found], _versions_of(entries, how == "glob"))


def _versions_of(entries: Sequence[DirectoryEntry], with_states: bool) -> list[_SizeAndVersion] | None:
    return [(entry.size, version_of(entry)) for entry in entries] if with_states else None


def _of_many(
    entries: Sequence[DirectoryEntry],
    names: Sequence[str],
    versions: Sequence[_SizeAndVersion] | None,
    *,
    of_content: bool = False,
) -> tuple[int, str]:
    """The number of files, and a digest of all names, or of all names, sizes and versions."""
    parts: list[bytes] = []
    listed: list[tuple[str, int | None, int | str | None]] = []
    for position, (name, entry) in enumerate(zip(names, entries, strict=True)):
        parts.append((f"{name}/" if entry.is_dir else name).encode("utf-8", "surrogatepass"))
        size, version = (None, None) if versions is None else versions[position]
        if versions is not None:
            parts.append(f"{size}:{version}".encode("utf-8", "surrogatepass"))
        listed.append((name, size, f"{listings.CONTENT}{version}" if of_content else version))
    found = digest("members", *parts).hex()
    listings.remember(found, listed)
    return sum(entry.is_file for entry in entries), found


def _relative(entries: Sequence[DirectoryEntry], path: str, place: str) -> list[str]:
    start = len(place.rstrip("/")) + 1
    return [f"{path.rstrip('/')}/{entry.path[start:]}" for entry in entries]


def members(path: str) -> list[str]:
    """The paths of the files in a directory, in order, as the user writes them."""
    fs, place = located(path)
    return _relative([entry for entry in fs.find(place) or [] if entry.is_file], path, place)


def matches(pattern: str) -> list[tuple[str, DirectoryEntry]]:
    """The files that match a pattern, in order: each path as the user writes it, and its entry."""
    local = local_pattern(pattern)
    if local is not None:
        start = len(local.root.rstrip("/")) + 1 if local.is_relative else 0
        return [(entry.path[start:], entry) for entry in LOCAL.glob(local.pattern, local.root)]
    fs, place = located(pattern)
    protocol = pattern.partition("://")[0]
    return [(f"{protocol}://{entry.path.lstrip('/')}", entry) for entry in fs.glob(place)]


_READERS: dict[str, Any] = {
    "stat": _of_entry,
    "content": _of_content,
    "exists": _of_existence,
    "tree": _of_tree,
    "tree names": _of_tree,
    "glob": _of_matches,
    "glob names": _of_matches,
    "content tree": _of_contents,
    "content glob": _of_contents,
}

BY_CONTENT = frozenset({"content", "content tree"})
"""The ways to identify files by which the version is a digest of the content, without the path."""

OUTDATED = frozenset({"dir", "names"})
"""Ways of earlier versions to identify directories, without linked and empty folders. Such a state is never valid."""


def missing_text(path: str, was_there: bool) -> str:
    """The message about a file that does not exist."""
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
