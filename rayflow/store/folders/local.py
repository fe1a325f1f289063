"""A store's folder on this machine.

In: paths inside the folder, and bytes. Out: bytes; large files are mapped. Never: knows what the files mean.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from rayflow.errors import StoreUnavailable
from rayflow.store import layout
from rayflow.store.folders.mapped import mapped
from rayflow.store.folders.protocol import unavailable
from rayflow.values.filesystems.atomic_writes import move_durably, write_new, write_new_unsynced
from rayflow.values.filesystems.fsync import sync

_MAP_FROM_BYTES = 256 * 1024
"""Files from this size on are mapped instead of read."""


class LocalFolder:
    """A directory of this machine."""

    remote = False
    creates_atomically = True

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)
        self.url = self.root
        self.verified: dict[str, int] = {}
        self._made: set[str] = set()
        self._count = 0
        self._is_on_disk: bool | None = None

    def _path(self, path: str) -> str:
        return f"{self.root}/{path}"

    def names(self, directory: str) -> list[str]:
        """Names of the files directly in a directory."""
        try:
            return os.listdir(self._path(directory))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise unavailable(self._path(directory), error) from error

    def sizes(self, directory: str) -> dict[str, int]:
        """Path and size of every file below a directory."""
        found: dict[str, int] = {}
        waiting = [directory]
        while waiting:
            current = waiting.pop()
            try:
                with os.scandir(self._path(current)) as entries:
                    for entry in entries:
                        inner = f"{current}/{entry.name}"
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(inner)
                        else:
                            with suppress(FileNotFoundError):  # removed since it was listed
                                found[inner] = entry.stat().st_size
            except FileNotFoundError:
                continue
            except OSError as error:
                raise unavailable(self._path(current), error) from error
        return found

    def read(self, path: str) -> memoryview:
        """The content of a file."""
        where = self._path(path)
        try:
            with open(where, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size < _MAP_FROM_BYTES:
                    return memoryview(file.read())
                return mapped(file, size)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise unavailable(where, error) from error

    def write(self, path: str, parts: Sequence[Any]) -> None:
        """Write a temporary file, sync it, rename it, and sync the directory."""
        self._put(path, parts, _rename)

    def overwrite(self, path: str, parts: Sequence[Any]) -> None:
        """Write a temporary file and rename it. Nothing is synced: the file counts only while this machine is up."""
        self._put(path, parts, _replace, write_new_unsynced)

    def create(self, path: str, parts: Sequence[Any]) -> bool:
        """Write a temporary file, and give it its name by a hard link, which fails if the file exists.

        On a disk of this machine that keeps a journal, one sync after the link brings content and name to the disk:
        half the time of two. Until then other processes may see a file that is lost if the machine fails, and if it
        fails within these milliseconds, an empty file of this name may be left.
        """
        if self.size(path) is not None:
            return False
        if self._has_journal():
            return self._put(path, parts, _link_and_sync, write_new_unsynced)
        return self._put(path, parts, _link_synced)

    def _has_journal(self) -> bool:
        """Whether the store is on a disk of this machine. File systems on a network or over others have no device."""
        if self._is_on_disk is None:
            try:
                self._make_directory("")
                self._is_on_disk = os.major(os.stat(self.root).st_dev) != 0
            except OSError as error:
                raise unavailable(self.root, error) from error
        return self._is_on_disk

    def _put(
        self,
        path: str,
        parts: Sequence[Any],
        publish: Callable[[str, str], bool],
        write: Callable[[str, Sequence[Any]], None] = write_new,
    ) -> bool:
        """Let `write` make a temporary file, and `publish` give it its name. Returns the result of `publish`."""
        target = self._path(path)
        self._count += 1
        beside = self._path(f"{layout.TEMPORARY}/{os.getpid():x}-{id(self):x}-{time.time_ns():x}-{self._count}")
        try:
            self._make_directory(layout.TEMPORARY)
            self._make_directory(os.path.dirname(path))
            try:
                write(beside, parts)
                is_published = publish(beside, target)
            except BaseException:
                self._discard(beside)
                raise
        except OSError as error:
            # Perhaps another program has removed a directory. The next attempt makes it again.
            self._made.clear()
            raise unavailable(target, error) from error
        return is_published

    def _discard(self, path: str) -> None:
        try:
            os.unlink(path)
        except OSError:
            # Nothing reads it; the next compaction sweeps it away.
            return

    def _make_directory(self, directory: str) -> None:
        """Make a directory of the store, and the directories above it, and sync their names to the disk.

        Each one is synced once, even if it exists already: the process that made it may have ended before its sync.
        """
        if directory in self._made:
            return
        changed: list[str] = []
        if directory:
            self._make_directory(os.path.dirname(directory))
            where = self._path(directory)
            changed.append(os.path.dirname(where))
        else:
            where = above = self.root
            while not os.path.isdir(above):
                above = os.path.dirname(above)
                changed.append(above)
        os.makedirs(where, exist_ok=True)
        for each in changed:
            sync(each)
        self._made.add(directory)

    def size(self, path: str) -> int | None:
        """A file's size in bytes."""
        try:
            return os.stat(self._path(path)).st_size
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise unavailable(self._path(path), error) from error

    def remove(self, path: str) -> None:
        """Remove a file."""
        try:
            os.unlink(self._path(path))
        except FileNotFoundError:
            return
        except OSError as error:
            raise unavailable(self._path(path), error) from error

    def local_path(self, path: str) -> str | None:
        """The file itself."""
        return self._path(path)

    def local_root(self) -> str | None:
        """The directory itself."""
        return self.root

    def stamp(self, path: str) -> int | None:
        """A hash of the size, the times and the inode. The system sets the time of a change; a writer cannot."""
        try:
            found = os.stat(self._path(path))
        except OSError:
            return None
        return hash((found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino))

    def discard_copy(self, path: str) -> bool:
        """False: there are no copies."""
        return False

    def set_aside(self, path: str, is_intact: Callable[[memoryview], bool]) -> bool:
        """Rename the file. A compaction removes it an hour later."""
        try:
            stamp = self.stamp(path)
            if is_intact(self.read(path)):
                return False  # another process has written it again
            self._make_directory(layout.TEMPORARY)
            aside = self._path(layout.aside_path(path))
            if self.stamp(path) != stamp:
                return False
            os.rename(self._path(path), aside)
            os.utime(aside)
        except (OSError, StoreUnavailable):
            # The file is gone, or belongs to another user.
            return False
        return True

    def age_seconds(self, path: str) -> float | None:
        """How long ago a file was written."""
        try:
            return time.time() - os.stat(self._path(path)).st_mtime
        except OSError:
            return None

    def ages(self, directory: str) -> dict[str, float]:
        """How long ago each file below a directory was written."""
        found = {path: self.age_seconds(path) for path in self.sizes(directory)}
        return {path: age for path, age in found.items() if age is not None}

    def renew(self, path: str) -> bool:
        """Set the time of the file to now."""
        try:
            os.utime(self._path(path))
        except OSError:
            # The file is gone, or belongs to another user.
            return False
        return True


def _rename(beside: str, target: str) -> bool:
    move_durably(beside, target)
    return True


def _replace(beside: str, target: str) -> bool:
    os.rename(beside, target)
    return True


_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})


def _link(beside: str, target: str) -> bool:
    """Give a file another name, unless there is a file of this name. Returns whether the name is the file's."""
    try:
        os.link(beside, target)
        return True
    except FileExistsError:
        # A disk on the network may have made the link, and then lost the answer.
        return os.path.samefile(beside, target)
    except OSError as error:
        if error.errno in _NO_LINKS:
            raise StoreUnavailable(
                f"The store cannot create {target} unless it is there: the file system has no hard links ({error})."
            ) from error
        raise


def _link_synced(beside: str, target: str) -> bool:
    """Publish a file that is on the disk."""
    is_ours = _link(beside, target)
    os.unlink(beside)
    sync(os.path.dirname(target))
    return is_ours


def _link_and_sync(beside: str, target: str) -> bool:
    """Publish a file, and bring it to the disk with its name."""
    is_ours = _link(beside, target)
    if is_ours:
        try:
            sync(target)
        except OSError:
            os.unlink(target)
            raise
    os.unlink(beside)
    return is_ours
