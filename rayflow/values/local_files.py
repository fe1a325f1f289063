"""This machine's files, by the operating system alone.

In: paths. Out: bytes, listings. Never: fsspec. Writing is whole or not at all: beside the target, then moved.
"""

from __future__ import annotations

import errno
import glob as globbing
import io
import os
import shutil
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, cast

from rayflow.errors import StoreUnavailable
from rayflow.values.besides import beside_of, is_beside


@dataclass(frozen=True, slots=True)
class Entry:
    """What a listing says of one file or directory. size is in bytes; modified_ns in nanoseconds, 0 where unknown."""

    path: str
    size: int
    modified_ns: int
    is_dir: bool = False
    version: str | None = None


class Told:
    """While it lasts, refusals become an error that says what could not be done to which path; missing files stay
    such. A class, not a generator: a traceback then shows the user's frames and ours, which are left out, and no
    others."""

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
        """What the operating system said, and what to do."""
        said = str(getattr(error, "strerror", None) or error)
        return f"{said}. Free some space on {socket.gethostname()} and run again." if is_full(error) else said


def is_full(error: BaseException) -> bool:
    """Whether this says that a disk of this machine is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


class LocalFileSystem:
    """This machine's files, without fsspec."""

    is_local = True

    def join(self, *names: str) -> str:
        """One path of several pieces."""
        return os.path.join(*names)

    def open(self, path: str) -> BinaryIO:
        """A binary stream for reading."""
        with Told("read", path):
            return open(path, "rb")

    def read_bytes(self, path: str) -> bytes:
        """The whole file."""
        with Told("read", path), open(path, "rb", buffering=0) as file:
            return file.readall()

    def write_bytes(self, path: str, data: Any, *, fsync: bool = False, only_if_absent: bool = False) -> bool:
        """Write a file whole."""
        return self.write_parts(path, (data,), fsync=fsync, only_if_absent=only_if_absent)

    def write_parts(
        self, path: str, parts: Sequence[Any], *, fsync: bool = False, only_if_absent: bool = False
    ) -> bool:
        """Write beside the target, then move into place. The directory is made when it is missing."""
        if only_if_absent and os.path.exists(path):
            return False
        with Told("write", path):
            beside = beside_of(path)
            descriptor = _create(beside)
            try:
                try:
                    _write_all(descriptor, parts)
                    if fsync:
                        os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                written = _move(beside, path, only_if_absent)
            except BaseException:
                _remove(beside)
                raise
            if fsync and written:
                _sync_directory(os.path.dirname(path))
            return written

    def exists(self, path: str) -> bool:
        """Whether a file or directory is there."""
        return os.path.exists(path)

    def stat(self, path: str) -> Entry:
        """Size and modification of one file."""
        with Told("look at", path):
            found = os.stat(path)
        return Entry(path, found.st_size, found.st_mtime_ns, os.path.isdir(path))

    def ls(self, path: str) -> list[Entry]:
        """What is directly in a directory, sorted by path."""
        entries: list[Entry] = []
        try:
            with Told("list", path), os.scandir(path) as found:
                for each in found:
                    try:
                        info = each.stat()
                    except FileNotFoundError:
                        continue  # removed since it was listed
                    entries.append(Entry(each.path, info.st_size, info.st_mtime_ns, each.is_dir()))
        except FileNotFoundError:
            return []
        entries.sort(key=path_of_entry)
        return entries

    def delete(self, path: str) -> None:
        """Remove a file."""
        with Told("delete", path):
            _remove(path)

    def makedirs(self, path: str) -> None:
        """Make a directory and those above it."""
        with Told("make the directory", path):
            os.makedirs(path, exist_ok=True)

    def open_as(self, path: str, mode: str, *, encoding: str | None = None, newline: str | None = None) -> IO[Any]:
        """A stream in any mode of `open`; to write, the directory is made when it is missing."""
        if mode[:1] == "r":
            return open(path, mode, encoding=encoding, newline=newline)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if "+" in mode:
            return open(path, mode, encoding=encoding, newline=newline)
        binary: Any = io.BufferedWriter(_Written(path, mode.replace("t", "")))
        if "b" in mode:
            return cast(IO[Any], binary)
        text: Any = io.TextIOWrapper(binary, encoding=encoding, newline=newline)
        text.mode = mode
        return cast(IO[Any], text)

    def delete_tree(self, path: str) -> None:
        """Remove a directory with all that is in it."""
        with Told("delete", path):
            try:
                shutil.rmtree(path)
            except FileNotFoundError:
                return

    def find(self, path: str) -> list[Entry] | None:
        """All files in a directory, at any depth, sorted by path; None when there is no such directory."""
        if not os.path.isdir(path):
            return None
        found: list[Entry] = []
        waiting = [path]
        while waiting:
            for entry in self.ls(waiting.pop()):
                if is_beside(entry.path):
                    continue
                if not entry.is_dir:
                    found.append(entry)
                elif not os.path.islink(entry.path):
                    waiting.append(entry.path)
        found.sort(key=path_of_entry)
        return found

    def glob(self, pattern: str) -> list[Entry]:
        """The files that match a pattern, sorted by path."""
        found: list[Entry] = []
        for path in sorted(globbing.iglob(pattern, recursive=True)):
            try:
                entry = self.stat(path)
            except FileNotFoundError:
                continue  # removed since it was listed
            if not entry.is_dir and not is_beside(path):
                found.append(entry)
        return found

    def get_file(self, path: str, local: str) -> None:
        """Copy a file."""
        self.put_file(path, local)

    def put_file(self, local: str, path: str) -> None:
        """Copy a file beside the target, then move it into place; its mode comes along."""
        with Told("write", path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            beside = beside_of(path)
            try:
                shutil.copyfile(local, beside)
                shutil.copymode(local, beside)
                os.replace(beside, path)
            except BaseException:
                _remove(beside)
                raise


    def lacks(self, path: str) -> str | None:
        """Folders are made when they are needed."""
        return None


class _Written(io.FileIO):
    """A file that is written, whose refusals name it; the operating system does not name what it is writing to."""

    def write(self, data: Any) -> int:
        with Told("write", str(self.name)):
            return super().write(data)


def _create(path: str) -> int:
    """A new file, open for writing; its directory is made when it is missing."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, flags, 0o666)


_MOST_PARTS = 512
"""Buffers given to one writev call; systems allow 1024."""


def _write_all(descriptor: int, parts: Iterable[Any]) -> None:
    waiting = [memoryview(part).cast("B") for part in parts if memoryview(part).nbytes]
    position = 0
    while position < len(waiting):
        written = os.writev(descriptor, waiting[position : position + _MOST_PARTS])
        while position < len(waiting) and written >= len(waiting[position]):
            written -= len(waiting[position])
            position += 1
        if written:
            waiting[position] = waiting[position][written:]


def _move(beside: str, path: str, only_if_absent: bool) -> bool:
    if not only_if_absent:
        os.replace(beside, path)
        return True
    try:
        os.link(beside, path)  # fails when the target is there, unlike a rename
    except FileExistsError:
        _remove(beside)
        return False
    except OSError:  # a file system without hard links: the last writer wins, with the same content
        os.replace(beside, path)
        return True
    _remove(beside)
    return True


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def path_of_entry(entry: Entry) -> str:
    """The path, for sorting."""
    return entry.path
