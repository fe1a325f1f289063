"""Walks over folders of this machine: their content at any depth, and the paths that match a pattern.

In: a folder, and for patterns a pattern relative to it. Out: entries, and paths. Never: takes a part of the folder's
own path as a pattern; follows a loop of links.

The walk follows every link to a folder, except a link to a folder that contains the link, since following it would
never end; a warning names it. A broken link is an entry, too, because a listing shows its name.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import translate
from glob import has_magic
from typing import Any

from rayflow.values.display.user_warnings import warn_user
from rayflow.values.filesystems.atomic_writes import is_beside
from rayflow.values.filesystems.directory_entry import DirectoryEntry, path_of_entry

_ANY_DEPTH = "**"


@dataclass(frozen=True, slots=True)
class _WalkedFolder:
    """A folder on a walk.

    path: the path by which the walk came here. real: the path without links. before: the real paths of the folders
    whose links led here.
    """

    path: str
    real: str
    before: tuple[str, ...] = ()

    def below(self, entry: os.DirEntry[str]) -> _WalkedFolder | None:
        """A subfolder, as a next step of the walk; None for a link to a folder that contains the link."""
        if not entry.is_symlink():
            return _WalkedFolder(entry.path, _joined(self.real, entry.name), self.before)
        target = os.path.realpath(entry.path)
        around = (*self.before, self.real)
        if any(each == target or each.startswith(_joined(target, "")) for each in around):
            _warn_of_loop(entry.path, target)
            return None
        return _WalkedFolder(entry.path, target, around)


def _joined(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}"


def _start(path: str) -> _WalkedFolder:
    return _WalkedFolder(path, os.path.realpath(path))


@functools.cache
def _warn_of_loop(link: str, target: str) -> None:
    """Warn once in a process."""
    warn_user(
        f"{link} is a link to {target}, a folder that it lies in. The link is left out, since following it would never "
        "end."
    )


def says_missing(error: OSError) -> bool:
    """Whether an error says that a path does not exist, which includes links that form a loop."""
    return isinstance(error, FileNotFoundError | NotADirectoryError) or error.errno == errno.ELOOP


def _found(entry: os.DirEntry[str]) -> os.stat_result | None:
    """The stat of an entry's target, through links; None if there is none."""
    try:
        return entry.stat()
    except OSError as error:
        if says_missing(error):
            return None
        raise


def _is_folder(entry: os.DirEntry[str]) -> bool:
    if not entry.is_symlink():
        return entry.is_dir()
    info = _found(entry)
    return info is not None and stat.S_ISDIR(info.st_mode)


# --- folders ----------------------------------------------------------------------------------------------------------


def all_in(folder: str) -> list[DirectoryEntry]:
    """All files at any depth, empty folders and broken links, sorted by path."""
    found: list[DirectoryEntry] = []
    waiting = [_start(folder)]
    while waiting:
        here = waiting.pop()
        is_empty = True
        for entry in _listed(here.path):
            if is_beside(entry.name):
                continue
            if _is_folder(entry):
                below = here.below(entry)
                if below is not None:
                    waiting.append(below)
                    is_empty = False
            elif (leaf := _leaf(entry)) is not None:
                found.append(leaf)
                is_empty = False
        if is_empty and here.path != folder:
            found.append(DirectoryEntry(here.path, 0, 0, is_dir=True))
    found.sort(key=path_of_entry)
    return found


def directly_in(folder: str) -> list[DirectoryEntry]:
    """The entries of a folder, without those of its subfolders, sorted by path; none if the folder is missing."""
    found = [leaf for entry in _listed(folder) if (leaf := _leaf(entry)) is not None]
    found.sort(key=path_of_entry)
    return found


def _listed(path: str) -> list[os.DirEntry[str]]:
    """The entries of a folder; none if it was removed meanwhile."""
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _leaf(entry: os.DirEntry[str]) -> DirectoryEntry | None:
    """The entry for a listing; None if it was removed meanwhile."""
    info = _found(entry)
    if info is not None:
        return DirectoryEntry(entry.path, info.st_size, info.st_mtime_ns, stat.S_ISDIR(info.st_mode))
    try:
        return DirectoryEntry(entry.path, 0, 0, version=os.readlink(entry.path), leads_nowhere=True)
    except OSError:  # it is not a link, or was removed
        return None


# --- patterns ---------------------------------------------------------------------------------------------------------


def matching(root: str, pattern: str) -> list[str]:
    """The files below a folder whose paths match a pattern (`*`, `?`, `[...]`, `**` for any depth), sorted.

    A name that begins with a dot matches only a pattern that does, too, as in a shell. A folder that may not be listed
    counts as empty.
    """
    parts: list[str] = []
    for part in pattern.split("/"):
        if part and part != "." and not (part == _ANY_DEPTH and parts[-1:] == [_ANY_DEPTH]):
            parts.append(part)
    found: set[str] = set()
    if parts:
        _match(root, parts, found)
    return sorted(found)


def _match(folder: str, parts: list[str], found: set[str]) -> None:
    part, rest = parts[0], parts[1:]
    if part == _ANY_DEPTH:
        for place in _below(folder):
            _match(place, rest or ["*"], found)
        return
    if not has_magic(part):
        path = _joined(folder, part)
        if rest and os.path.isdir(path):
            _match(path, rest, found)
        elif not rest and os.path.exists(path) and not os.path.isdir(path):
            found.add(path)
        return
    fits = _name_pattern(part)
    for entry in _readable(folder):
        if not fits(entry.name) or (entry.name[0] == "." and part[0] != "."):
            continue
        if _is_folder(entry):
            if rest:
                _match(entry.path, rest, found)
        elif not rest and _found(entry) is not None and not is_beside(entry.name):
            found.add(entry.path)


@functools.lru_cache(maxsize=1000)
def _name_pattern(part: str) -> Any:
    return re.compile(translate(part)).match


def _below(folder: str) -> Iterator[str]:
    """A folder, and the folders in it at any depth, without those whose names begin with a dot."""
    waiting = [_start(folder)]
    while waiting:
        here = waiting.pop()
        yield here.path
        for entry in _readable(here.path):
            if entry.name[0] != "." and _is_folder(entry):
                below = here.below(entry)
                if below is not None:
                    waiting.append(below)


def _readable(path: str) -> list[os.DirEntry[str]]:
    try:
        return _listed(path)
    except PermissionError:
        return []
