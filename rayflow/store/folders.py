"""The folder that a store lives in: on this machine, or anywhere else that fsspec reaches.

In: paths inside the folder, and bytes. Out: bytes. Never: knows what the files mean.

A `Folder` promises little, so that object stores can keep it: a file that is written appears whole or not at all and is
durable when `write` returns; files are never changed. A missing file raises FileNotFoundError, every other trouble
StoreUnavailable.
"""

from __future__ import annotations

import errno
import mmap
import os
import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from rayflow.errors import StoreUnavailable
from rayflow.store import layout

_MAP_FROM_BYTES = 256 * 1024
"""Files from this size on are mapped instead of read (a mapping costs a file descriptor while it lives)."""

_ADVICE = {
    errno.ENOSPC: "The disk is full: free some space and run again; what was recorded before counts.",
    errno.EDQUOT: "The disk quota is used up: free some space and run again; what was recorded before counts.",
    errno.EROFS: "The file system is read-only: choose another store, or open this one read-only.",
    errno.EACCES: "Permission denied: check who owns the folder, or choose another store.",
    errno.EPERM: "Permission denied: check who owns the folder, or choose another store.",
}


def unavailable(where: str, error: BaseException) -> StoreUnavailable:
    """The error for people: the path, what the system said, and what to do."""
    number = getattr(error, "errno", None)
    advice = _ADVICE.get(number or 0, "Check that the store's place exists and can be reached.")
    return StoreUnavailable(f"The store cannot use {where}: {error}\n{advice}")


class Folder(Protocol):
    """What a store needs of its place."""

    url: str
    remote: bool

    def names(self, directory: str) -> list[str]:
        """Names of the files directly in a directory, in no order; none when there is no such directory."""
        ...

    def sizes(self, directory: str) -> dict[str, int]:
        """Path and size in bytes of every file below a directory."""
        ...

    def read(self, path: str) -> memoryview:
        """The content of a file; large local files are mapped, not read."""
        ...

    def write(self, path: str, parts: Sequence[Any]) -> None:
        """Write a file made of these buffers: whole or not at all, durable on return."""
        ...

    def size(self, path: str) -> int | None:
        """A file's size in bytes, or None when it is not there."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file; that it is not there is fine."""
        ...

    def local_path(self, path: str) -> str | None:
        """A path on this machine with the file's content, or None when it exists in memory only."""
        ...

    def discard_copy(self, path: str) -> None:
        """A file turned out to be damaged: do not read it from a copy that is kept near by."""
        ...

    def age_seconds(self, path: str) -> float | None:
        """How long ago a file was written, or None when that is not known, or the file is not there."""
        ...

    def ages(self, directory: str) -> dict[str, float]:
        """How many seconds ago each file below a directory was written, where that is known."""
        ...

    def renew(self, path: str) -> bool:
        """Let a file count as written now; False where only writing it again can do that."""
        ...


class LocalFolder:
    """A directory of this machine."""

    remote = False

    def __init__(self, root: str) -> None:
        self.root = root
        self.url = root
        self._made: set[str] = set()
        self._count = 0

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
                return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))
        except FileNotFoundError:
            raise
        except OSError as error:
            raise unavailable(where, error) from error

    def write(self, path: str, parts: Sequence[Any]) -> None:
        """Write beside, sync, rename, sync the directory."""
        target = self._path(path)
        self._count += 1
        beside = self._path(f"{layout.TEMPORARY}/{os.getpid():x}-{id(self):x}-{time.time_ns():x}-{self._count}")
        try:
            self._make_directory(layout.TEMPORARY)
            self._make_directory(os.path.dirname(path))
            try:
                self._write_durably(beside, parts)
                os.rename(beside, target)
            except BaseException:
                self._discard(beside)
                raise
            self._sync_directory(os.path.dirname(target))
        except OSError as error:
            # A directory that somebody removed under us is made again by the next attempt.
            self._made.clear()
            raise unavailable(target, error) from error

    def _write_durably(self, path: str, parts: Iterable[Any]) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            for part in parts:
                view = memoryview(part).cast("B")
                while view.nbytes:
                    view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _discard(self, path: str) -> None:
        try:
            os.unlink(path)
        except OSError:
            # Nothing reads it; the next compaction sweeps it away.
            return

    def _make_directory(self, directory: str) -> None:
        if directory in self._made:
            return
        where = self._path(directory)
        if not os.path.isdir(where):
            os.makedirs(where, exist_ok=True)
            self._sync_directory(os.path.dirname(where))
        self._made.add(directory)

    def _sync_directory(self, where: str) -> None:
        descriptor = os.open(where, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

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

    def discard_copy(self, path: str) -> None:
        """There are no copies."""

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
        """Set its time."""
        try:
            os.utime(self._path(path))
        except OSError:
            # Gone, or somebody else's.
            return False
        return True
