"""Files at any URL; the only place that imports fsspec.

In: a path or URL. Out: a file system with a dozen operations, and the path on it. Never: knows what the files mean.

Local paths (plain, or `file://`) are served by the operating system alone, and fsspec is not imported for them. Writing
is whole or not at all: locally beside the target and then moved, remotely in one put.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from rayflow.errors import BadConfig, StoreUnavailable

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+(::|://)")


@dataclass(frozen=True, slots=True)
class Entry:
    """What a listing says of one file or directory. size is in bytes; modified_ns in nanoseconds, 0 where unknown."""

    path: str
    size: int
    modified_ns: int
    is_dir: bool = False
    version: str | None = None


class FileSystem(Protocol):
    """What the store needs of a file system. Missing files raise FileNotFoundError, other trouble StoreUnavailable."""

    is_local: bool

    def join(self, *names: str) -> str:
        """One path of several pieces."""
        ...

    def open(self, path: str) -> BinaryIO:
        """A binary stream for reading."""
        ...

    def read_bytes(self, path: str) -> bytes:
        """The whole file."""
        ...

    def write_bytes(self, path: str, data: Any, *, fsync: bool = False, only_if_absent: bool = False) -> bool:
        """Write a file whole; see `write_parts`."""
        ...

    def write_parts(
        self, path: str, parts: Sequence[Any], *, fsync: bool = False, only_if_absent: bool = False
    ) -> bool:
        """Write buffers one after the other as one file, which appears whole or not at all.

        only_if_absent: leave a file that is there alone. fsync: do not return before it is on the disk.
        True if it was written.
        """
        ...

    def exists(self, path: str) -> bool:
        """Whether a file or directory is there."""
        ...

    def stat(self, path: str) -> Entry:
        """Size and modification of one file."""
        ...

    def ls(self, path: str) -> list[Entry]:
        """What is directly in a directory, sorted by path; nothing when the directory is missing."""
        ...

    def delete(self, path: str) -> None:
        """Remove a file; nothing happens when it is missing."""
        ...

    def makedirs(self, path: str) -> None:
        """Make a directory and those above it, where directories exist."""
        ...


def is_url(text: str) -> bool:
    """Whether a text names a scheme (`s3://...`), and is not just a local path."""
    return _SCHEME.match(text) is not None


def filesystem(url: str | os.PathLike[str]) -> tuple[FileSystem, str]:
    """The file system that a path or URL is on, and the path there.

    Raises BadConfig for a scheme that nothing serves.
    """
    text = os.fspath(url)
    if text.startswith("file://"):
        return LOCAL, unquote(urlsplit(text).path)
    if not is_url(text):
        return LOCAL, os.path.abspath(os.path.expanduser(text))
    import fsspec

    try:
        remote, path = fsspec.core.url_to_fs(text)
    except (ValueError, ImportError) as error:
        raise BadConfig(f"No file system serves {text!r}: {error}") from error
    return RemoteFileSystem(remote), path


# --- local ------------------------------------------------------------------------------------------------------------


@contextmanager
def _told(action: str, path: str) -> Iterator[None]:
    """Turn the operating system's refusals into an error that says what could not be done; missing files stay such."""
    try:
        yield
    except (FileNotFoundError, StoreUnavailable):
        raise
    except OSError as error:
        raise StoreUnavailable(f"Cannot {action} {path}: {error.strerror or error}") from error


class LocalFileSystem:
    """This machine's files, without fsspec."""

    is_local = True

    def join(self, *names: str) -> str:
        """One path of several pieces."""
        return os.path.join(*names)

    def open(self, path: str) -> BinaryIO:
        """A binary stream for reading."""
        with _told("read", path):
            return open(path, "rb")

    def read_bytes(self, path: str) -> bytes:
        """The whole file."""
        with _told("read", path), open(path, "rb", buffering=0) as file:
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
        with _told("write", path):
            beside = f"{path}.{secrets.token_hex(6)}.tmp"
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
        with _told("look at", path):
            found = os.stat(path)
        return Entry(path, found.st_size, found.st_mtime_ns, os.path.isdir(path))

    def ls(self, path: str) -> list[Entry]:
        """What is directly in a directory, sorted by path."""
        entries: list[Entry] = []
        try:
            with _told("list", path), os.scandir(path) as found:
                for each in found:
                    try:
                        info = each.stat()
                    except FileNotFoundError:
                        continue  # removed since it was listed
                    entries.append(Entry(each.path, info.st_size, info.st_mtime_ns, each.is_dir()))
        except FileNotFoundError:
            return []
        entries.sort(key=_path_of)
        return entries

    def delete(self, path: str) -> None:
        """Remove a file."""
        with _told("delete", path):
            _remove(path)

    def makedirs(self, path: str) -> None:
        """Make a directory and those above it."""
        with _told("make the directory", path):
            os.makedirs(path, exist_ok=True)


LOCAL = LocalFileSystem()


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


def _path_of(entry: Entry) -> str:
    return entry.path


# --- remote -----------------------------------------------------------------------------------------------------------


@contextmanager
def _told_remotely(action: str, path: str) -> Iterator[None]:
    """As `_told`, for whatever the client library of a remote raises."""
    try:
        yield
    except (FileNotFoundError, StoreUnavailable):
        raise
    except Exception as error:
        raise StoreUnavailable(f"Cannot {action} {path}: {type(error).__name__}: {error}") from error


class RemoteFileSystem:
    """Anything that fsspec can open."""

    is_local = False

    def __init__(self, remote: Any) -> None:
        self.remote = remote

    def join(self, *names: str) -> str:
        """One path of several pieces."""
        return "/".join(name.rstrip("/") for name in names)

    def open(self, path: str) -> BinaryIO:
        """A binary stream for reading."""
        with _told_remotely("read", self._url(path)):
            stream: BinaryIO = self.remote.open(path, "rb")
            return stream

    def read_bytes(self, path: str) -> bytes:
        """The whole file."""
        with _told_remotely("read", self._url(path)):
            return bytes(self.remote.cat_file(path))

    def write_bytes(self, path: str, data: Any, *, fsync: bool = False, only_if_absent: bool = False) -> bool:
        """Write a file in one put."""
        return self.write_parts(path, (data,), fsync=fsync, only_if_absent=only_if_absent)

    def write_parts(
        self, path: str, parts: Sequence[Any], *, fsync: bool = False, only_if_absent: bool = False
    ) -> bool:
        """Write a file in one put, after which it is durable whatever `fsync` says.

        Between asking and putting another writer may come first; files with equal names have equal content here.
        """
        if only_if_absent and self.exists(path):
            return False
        try:
            with _told_remotely("write", self._url(path)):
                data = bytes(parts[0]) if len(parts) == 1 else b"".join(parts)
                parent = path.rpartition("/")[0]
                if parent and self._has_directories():
                    self.remote.makedirs(parent, exist_ok=True)
                self.remote.pipe_file(path, data)
        except FileNotFoundError as error:  # nothing can be written there: a bucket that does not exist
            raise StoreUnavailable(f"Cannot write {self._url(path)}: {error}") from error
        return True

    def _url(self, path: str) -> str:
        return str(self.remote.unstrip_protocol(path))

    def _has_directories(self) -> bool:
        protocol = self.remote.protocol
        names = (protocol,) if isinstance(protocol, str) else tuple(protocol)
        return not {"s3", "s3a", "gs", "gcs", "http", "https"} & set(names)

    def exists(self, path: str) -> bool:
        """Whether a file or directory is there, asked afresh."""
        with _told_remotely("look at", self._url(path)):
            self.remote.invalidate_cache()
            return bool(self.remote.exists(path))

    def stat(self, path: str) -> Entry:
        """Size and modification of one file, asked afresh."""
        with _told_remotely("look at", self._url(path)):
            self.remote.invalidate_cache()
            return _entry(self.remote.info(path))

    def ls(self, path: str) -> list[Entry]:
        """What is directly in a directory, asked afresh, sorted by path."""
        try:
            with _told_remotely("list", self._url(path)):
                self.remote.invalidate_cache()
                entries = [_entry(info) for info in self.remote.ls(path, detail=True)]
        except FileNotFoundError:
            return []
        return sorted((entry for entry in entries if entry.path != path.rstrip("/")), key=_path_of)

    def delete(self, path: str) -> None:
        """Remove a file."""
        with _told_remotely("delete", self._url(path)):
            try:
                self.remote.rm_file(path)
            except FileNotFoundError:
                return

    def makedirs(self, path: str) -> None:
        """Make a directory, where the remote has directories."""
        if self._has_directories():
            with _told_remotely("make the directory", self._url(path)):
                self.remote.makedirs(path, exist_ok=True)


def _entry(info: dict[str, Any]) -> Entry:
    modified = info.get("LastModified") or info.get("mtime") or info.get("updated") or info.get("created")
    nanoseconds = 0
    if isinstance(modified, int | float):
        nanoseconds = int(modified * 1_000_000_000)
    elif modified is not None and hasattr(modified, "timestamp"):
        nanoseconds = int(modified.timestamp() * 1_000_000_000)
    version = info.get("ETag") or info.get("etag") or info.get("generation") or info.get("md5Hash")
    return Entry(
        path=info["name"].rstrip("/"),
        size=int(info.get("size") or 0),
        modified_ns=nanoseconds,
        is_dir=info.get("type") == "directory",
        version=None if version is None else str(version).strip('"'),
    )
