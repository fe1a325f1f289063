"""The file system of this machine.

In: paths. Out: bytes, listings; written files that are whole or absent. Never: imports fsspec.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import socket
from collections.abc import Iterable, Sequence
from typing import IO, Any, BinaryIO, cast

from rayflow.errors import StoreUnavailable
from rayflow.values.filesystems.atomic_writes import replacing
from rayflow.values.filesystems.directory_entry import DirectoryEntry
from rayflow.values.filesystems.directory_walk import all_in, directly_in, matching
from rayflow.values.filesystems.fsync import make_directories, note_written


class AsStoreUnavailable:
    """A context manager that raises an OSError of its block as StoreUnavailable, with the action and the path.

    FileNotFoundError stays itself. This is a class and not a generator, because contextlib's frames would be shown in
    tracebacks.
    """

    refusals: type[Exception] = OSError

    def __init__(self, action: str, path: str) -> None:
        self.action = action
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, self.refusals) and not isinstance(error, FileNotFoundError | StoreUnavailable):
            raise StoreUnavailable(f"Cannot {self.action} {self.path}: {self.reason(error)}") from error

    def reason(self, error: Exception) -> str:
        """The message of the operating system, and what to do."""
        said = str(getattr(error, "strerror", None) or error)
        return f"{said}. Free some space on {socket.gethostname()} and run again." if is_full(error) else said


def is_full(error: BaseException) -> bool:
    """Whether an error says that a disk of this machine is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


class LocalFileSystem:
    """This machine's files, without fsspec."""

    is_local = True

    def join(self, *names: str) -> str:
        """One path from several pieces."""
        return os.path.join(*names)

    def open(self, path: str) -> BinaryIO:
        """A binary stream for reading."""
        with AsStoreUnavailable("read", path):
            return open(path, "rb")

    def read_bytes(self, path: str) -> bytes:
        """The whole file."""
        with AsStoreUnavailable("read", path), open(path, "rb", buffering=0) as file:
            return file.readall()

    def write_bytes(self, path: str, data: Any) -> None:
        """Write a file."""
        self.write_parts(path, (data,))

    def write_parts(self, path: str, parts: Sequence[Any]) -> None:
        """Write buffers to a temporary file, then move it to the path. A missing directory is made."""
        with AsStoreUnavailable("write", path), replacing(path) as beside:
            _write_all(beside, parts)

    def exists(self, path: str) -> bool:
        """Whether a file or directory exists."""
        return os.path.exists(path)

    def stat(self, path: str) -> DirectoryEntry:
        """Size and modification of one file."""
        with AsStoreUnavailable("look at", path):
            found = os.stat(path)
        return DirectoryEntry(path, found.st_size, found.st_mtime_ns, os.path.isdir(path))

    def ls(self, path: str) -> list[DirectoryEntry]:
        """The entries of a directory, without those of its subdirectories, sorted by path."""
        with AsStoreUnavailable("list", path):
            return directly_in(path)

    def delete(self, path: str) -> None:
        """Remove a file."""
        with AsStoreUnavailable("delete", path):
            _remove(path)

    def makedirs(self, path: str) -> None:
        """Make a directory and those above it."""
        with AsStoreUnavailable("make the directory", path):
            make_directories(path)

    def open_as(
        self,
        path: str,
        mode: str,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        """A stream in any mode of `open`; for writing, a missing directory is made."""
        if mode[:1] != "r":
            make_directories(os.path.dirname(path))
        if mode[:1] == "r" and "+" not in mode:
            return open(path, mode, encoding=encoding, errors=errors, newline=newline)
        buffered: Any = io.BufferedRandom if "+" in mode else io.BufferedWriter
        binary: Any = buffered(_WrittenFile(path, mode.replace("t", "")))
        if "b" in mode:
            return cast(IO[Any], binary)
        text: Any = io.TextIOWrapper(binary, encoding=encoding, errors=errors, newline=newline)
        text.mode = mode
        return cast(IO[Any], text)

    def delete_tree(self, path: str) -> None:
        """Remove a directory with all its content."""
        with AsStoreUnavailable("delete", path):
            if os.path.islink(path):
                _remove(path)  # only the link: its target may be used elsewhere
                return
            try:
                shutil.rmtree(path)
            except FileNotFoundError:
                return

    def delete_empty(self, path: str) -> bool:
        """Remove a directory if it is empty; returns whether it does not exist now."""
        with AsStoreUnavailable("delete", path):
            try:
                os.rmdir(path)
            except FileNotFoundError:
                return True
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                return False
            return True

    def find(self, path: str) -> list[DirectoryEntry] | None:
        """The content of a directory at any depth (see directory_walk.py); None when there is no such directory."""
        if not os.path.isdir(path):
            return None
        with AsStoreUnavailable("list", path):
            return all_in(path)

    def glob(self, pattern: str, root: str = "/") -> list[DirectoryEntry]:
        """The files that match a pattern, sorted by path. root: the directory that the pattern is relative to."""
        found: list[DirectoryEntry] = []
        with AsStoreUnavailable("list", root):
            for path in matching(root, pattern):
                try:
                    found.append(self.stat(path))
                except FileNotFoundError:
                    continue  # removed since it was listed
        return found

    def get_file(self, path: str, local: str) -> None:
        """Copy a file."""
        self.put_file(path, local)

    def put_file(self, local: str, path: str) -> None:
        """Copy a file to a temporary file, then move it to the path; a new file gets the mode of the source."""
        with AsStoreUnavailable("write", path), replacing(path) as beside:
            shutil.copyfile(local, beside)
            if not os.path.exists(path):
                shutil.copymode(local, beside)

    def lacks(self, path: str) -> str | None:
        """Nothing: missing directories are made."""
        return None


class _WrittenFile(io.FileIO):
    """A file for writing whose errors name it: those of the operating system do not."""

    def __init__(self, path: str, mode: str) -> None:
        super().__init__(path, mode)
        note_written(os.path.realpath(path))

    def write(self, data: Any) -> int:
        with AsStoreUnavailable("write", str(self.name)):
            return super().write(data)

    def close(self) -> None:
        if not self.closed:
            note_written(os.path.realpath(str(self.name)))
        super().close()


_MOST_PARTS = 512
"""The most buffers in one writev call; systems allow 1024."""


def _write_all(path: str, parts: Iterable[Any]) -> None:
    waiting = [memoryview(part).cast("B") for part in parts if memoryview(part).nbytes]
    position = 0
    with open(path, "wb", buffering=0) as file:
        while position < len(waiting):
            written = os.writev(file.fileno(), waiting[position : position + _MOST_PARTS])
            while position < len(waiting) and written >= len(waiting[position]):
                written -= len(waiting[position])
                position += 1
            if written:
                waiting[position] = waiting[position][written:]


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
