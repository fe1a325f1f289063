"""Brings written files to the disk, so that they survive a loss of power.

In: paths, as they are written. Out: nothing. Never: decides when to sync: the worker does, at the end of a body.

A file is on the disk when its content is, its name in its directory, and the names of the directories that were made
for it.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterable
from functools import partial

from rayflow.errors import StoreUnavailable
from rayflow.values.process.parallel import at_once


class WrittenPaths:
    """Collects the paths that this process writes during a `with` block, in any thread; `sync` brings them to disk."""

    def __init__(self) -> None:
        self._written: dict[str, None] = {}
        self._folders: dict[str, None] = {}
        self._changing = threading.Lock()
        self._syncing = threading.Lock()

    def __enter__(self) -> WrittenPaths:
        _open.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _open.remove(self)

    def __bool__(self) -> bool:
        return bool(self._folders)

    def note(self, path: str, folder: str) -> None:
        """Add a file or directory that was written, and its folder."""
        with self._changing:
            self._written[path] = None
            self._folders[folder] = None

    def note_folder(self, folder: str) -> None:
        """Add a folder in which names have changed."""
        with self._changing:
            self._folders[folder] = None

    def sync(self) -> None:
        """Bring all these paths that still exist to the disk.

        Raises StoreUnavailable; then the next call tries again. The next call also syncs what is written meanwhile.
        """
        with self._syncing:
            with self._changing:
                written, self._written = self._written, {}
                folders, self._folders = self._folders, {}
            try:
                self._sync(written, folders)
            except BaseException:
                with self._changing:
                    self._written = {**written, **self._written}
                    self._folders = {**folders, **self._folders}
                raise

    def _sync(self, written: Iterable[str], folders: Iterable[str]) -> None:
        files: list[str] = []
        below: list[str] = []
        for path in written:
            if not os.path.isdir(path):
                files.append(path)
                continue
            for folder, _, names in os.walk(path):
                below.append(folder)
                files.extend(os.path.join(folder, name) for name in names)
        for paths in (files, [*below, *folders]):
            at_once([partial(_sync_if_there, path) for path in paths])


_open: list[WrittenPaths] = []


def note_written(path: str) -> None:
    """Report that a file, or a directory with its content, was written to this path."""
    for noted in list(_open):
        noted.note(path, os.path.dirname(path))


def make_directories(path: str) -> list[str]:
    """Make a directory and those above it; returns the directories that have a new name in them."""
    changed: list[str] = []
    above = path
    while not os.path.isdir(above) and os.path.dirname(above) != above:
        above = os.path.dirname(above)
        changed.append(above)
    os.makedirs(path, exist_ok=True)
    for folder in changed:
        for noted in list(_open):
            noted.note_folder(folder)
    return changed


def sync(path: str) -> None:
    """Bring a file, or the names in a directory, to the disk. Raises OSError."""
    flags = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)  # do not block if the file has become a pipe
    try:
        descriptor = os.open(path, os.O_RDONLY | flags)
    except PermissionError:
        if os.path.isdir(path):  # a directory that may not be listed cannot be synced
            return
        descriptor = os.open(path, os.O_WRONLY | flags)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # the file system has nothing to sync
            raise
    finally:
        os.close(descriptor)


def _sync_if_there(path: str) -> None:
    try:
        sync(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise StoreUnavailable(f"Cannot write {path} to the disk: {error.strerror or error}") from error
