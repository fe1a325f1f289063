"""Files at URLs, as a file system of fsspec's reaches them.

In: a file system of fsspec's, and paths on it. Out: bytes, listings. Never: keeps what was listed; a file is written in
one put, so that it appears whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, BinaryIO

from rayflow.errors import StoreUnavailable
from rayflow.values.local_files import Entry, path_of_entry


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
        with self._writing(path):
            data = bytes(parts[0]) if len(parts) == 1 else b"".join(parts)
            self._make_parent(path)
            self.remote.pipe_file(path, data)
        return True

    @contextmanager
    def _writing(self, path: str) -> Iterator[None]:
        try:
            with _told_remotely("write", self._url(path)):
                yield
        except FileNotFoundError as error:  # nothing can be written there: a bucket that does not exist
            raise StoreUnavailable(f"Cannot write {self._url(path)}: {error}") from error

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
        return sorted((entry for entry in entries if entry.path != path.rstrip("/")), key=path_of_entry)

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

    def open_as(self, path: str, mode: str, *, encoding: str | None = None, newline: str | None = None) -> IO[Any]:
        """A stream in any mode of `open`; what is written appears when it is closed."""
        with _told_remotely("open", self._url(path)):
            self.remote.invalidate_cache()
            if mode[:1] != "r":
                self._make_parent(path)
            stream: IO[Any] = self.remote.open(path, mode, encoding=encoding, newline=newline)
            return stream

    def delete_tree(self, path: str) -> None:
        """Remove a directory with all that is in it."""
        with _told_remotely("delete", self._url(path)):
            try:
                self.remote.invalidate_cache()
                self.remote.rm(path, recursive=True)
            except FileNotFoundError:
                return

    def find(self, path: str) -> list[Entry] | None:
        """All files in a directory, at any depth, sorted by path; None when there is no such directory."""
        with _told_remotely("list", self._url(path)):
            self.remote.invalidate_cache()
            found = [_entry(info) for info in self.remote.find(path, detail=True).values()]
            if not found and not self.remote.isdir(path):
                return None
        return sorted(found, key=path_of_entry)

    def glob(self, pattern: str) -> list[Entry]:
        """The files that match a pattern, sorted by path."""
        with _told_remotely("list", self._url(pattern)):
            self.remote.invalidate_cache()
            found = [_entry(info) for info in self.remote.glob(pattern, detail=True).values()]
        return sorted((entry for entry in found if not entry.is_dir), key=path_of_entry)

    def get_file(self, path: str, local: str) -> None:
        """Copy a file to this machine."""
        with _told_remotely("read", self._url(path)):
            self.remote.get_file(path, local)

    def put_file(self, local: str, path: str) -> None:
        """Copy a file of this machine in one put."""
        with self._writing(path):
            self._make_parent(path)
            self.remote.put_file(local, path)

    def _make_parent(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        if parent and self._has_directories():
            self.remote.makedirs(parent, exist_ok=True)


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
