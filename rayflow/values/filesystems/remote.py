"""File systems at URLs, through fsspec.

In: a file system of fsspec, and paths on it. Out: bytes, listings; files that are written in one put, and so are whole
or absent. Never: caches a listing.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from glob import has_magic
from typing import IO, Any, BinaryIO, cast

from rayflow.errors import StoreUnavailable
from rayflow.values.filesystems.atomic_writes import OTHERS_SECONDS
from rayflow.values.filesystems.directory_entry import DirectoryEntry, path_of_entry
from rayflow.values.filesystems.local import AsStoreUnavailable, is_full
from rayflow.values.filesystems.remote_errors import (
    RemoteAsStoreUnavailable,
    behind,
    bucket_of,
    no_bucket_text,
    waiting_for,
)
from rayflow.values.filesystems.remote_streams import remote_stream
from rayflow.values.process.parallel import at_once

LISTED_FROM = 200
"""For at least this many files in one folder, the folder is listed: one answer describes a thousand files."""

IN_PARTS_FROM_BYTES = 50_000_000
"""Files of at least this size may be sent in parts."""

ASKED_AT_ONCE = 64
"""How many questions are sent to one remote at a time."""


class _WriteAsStoreUnavailable(RemoteAsStoreUnavailable):
    """For writing: FileNotFoundError means that the bucket is missing, and is raised as StoreUnavailable, too."""

    def __init__(self, files: RemoteFileSystem, path: str) -> None:
        super().__init__("write", files.url_of(path))
        self.files = files
        self.place = path

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, FileNotFoundError):
            self.ended()
            lacking = self.files.lacks(self.place)
            reason = no_bucket_text(lacking) if lacking else self.reason(error)
            raise StoreUnavailable(f"Cannot write {self.path}: {reason}") from error
        super().__exit__(kind, error, trace)


class RemoteFileSystem:
    """A file system that fsspec can open."""

    is_local = False

    def __init__(self, remote: Any) -> None:
        self.remote = remote

    def join(self, *names: str) -> str:
        """One path from several pieces."""
        return "/".join(name.rstrip("/") for name in names)

    def open(self, path: str) -> BinaryIO:
        """A binary stream for reading."""
        return cast(BinaryIO, self.open_as(path, "rb"))

    def read_bytes(self, path: str) -> bytes:
        """The whole file."""
        with RemoteAsStoreUnavailable("read", self.url_of(path)):
            return bytes(self.remote.cat_file(path))

    def write_bytes(self, path: str, data: Any) -> None:
        """Write a file in one put."""
        self.write_parts(path, (data,))

    def write_parts(self, path: str, parts: Sequence[Any]) -> None:
        """Write buffers as one file, in one put; then it is durable."""
        with _WriteAsStoreUnavailable(self, path):
            data = bytes(parts[0]) if len(parts) == 1 else b"".join(parts)
            self._make_parent(path)
            self.remote.pipe_file(path, data)
        self._written(path, len(data))

    @property
    def creates_atomically(self) -> bool:
        """Whether `create_parts` looks and writes in one step: for others fsspec looks first, and then writes."""
        return bool({"s3", "s3a", "gs", "gcs", "memory"} & self._protocols())

    def create_parts(self, path: str, parts: Sequence[Any]) -> bool:
        """Write a file in one put, unless there is one already; whether it was written."""
        data = b"".join(parts)
        with _WriteAsStoreUnavailable(self, path):
            self._make_parent(path)
            try:
                self.remote.pipe_file(path, data, mode="create")
            except OSError as error:
                if isinstance(error, FileExistsError) or _is_refused(error):
                    return False
                raise
        self._written(path, len(data))
        return True

    def url_of(self, path: str) -> str:
        """The URL of a path."""
        return str(self.remote.unstrip_protocol(path))

    def lacks(self, path: str) -> str | None:
        """The URL of the bucket of a path, if that bucket is known not to exist."""
        bucket = bucket_of(self.url_of(path))
        if bucket is None:
            return None
        try:
            with waiting_for("look at", bucket):
                self.remote.info(bucket)
        except FileNotFoundError:
            return bucket
        except Exception:  # the remote does not say
            return None
        return None

    def _needs_bucket(self, path: str) -> None:
        """Called when nothing was found. Raises StoreUnavailable if the bucket does not exist."""
        lacking = self.lacks(path)
        if lacking is not None:
            raise StoreUnavailable(f"Cannot list {self.url_of(path)}: {no_bucket_text(lacking)}")

    def _protocols(self) -> set[str]:
        protocol = self.remote.protocol
        return {protocol} if isinstance(protocol, str) else set(protocol)

    def _has_directories(self) -> bool:
        return not {"s3", "s3a", "gs", "gcs", "http", "https"} & self._protocols()

    def exists(self, path: str) -> bool:
        """Whether a file or directory exists now."""
        with RemoteAsStoreUnavailable("look at", self.url_of(path)):
            self.remote.invalidate_cache()
            if not {"http", "https"} & self._protocols():
                return bool(self.remote.exists(path))
            try:  # fsspec.exists() is also False for web servers that refuse or do not answer
                self.remote.info(path)
            except FileNotFoundError as error:
                if behind(self.url_of(path), error) is not None:
                    raise
                return False
            return True

    def stat(self, path: str) -> DirectoryEntry:
        """The entry of one file now: its size and modification."""
        with RemoteAsStoreUnavailable("look at", self.url_of(path)):
            self.remote.invalidate_cache()
            return _entry(self.remote.info(path))

    def stat_many(self, paths: Sequence[str]) -> list[DirectoryEntry | Exception]:
        """The entry of each path now, or its error (FileNotFoundError, StoreUnavailable). Many are asked at a time."""
        self.remote.invalidate_cache()
        found: dict[str, DirectoryEntry | Exception] = {}
        by_folder: dict[str, list[str]] = {}
        for path in paths:
            by_folder.setdefault(path.rpartition("/")[0], []).append(path)
        for folder, members in by_folder.items():
            if len(members) >= LISTED_FROM:
                found.update(self._listed(folder, members))
        single = [path for path in dict.fromkeys(paths) if path not in found]
        found.update(zip(single, self._asked(single), strict=True))
        return [found[path] for path in paths]

    def _listed(self, folder: str, paths: Sequence[str]) -> dict[str, DirectoryEntry | Exception]:
        """The entries of these paths in a listing of their folder, if they have versions there; others are left out."""
        try:
            with RemoteAsStoreUnavailable("list", self.url_of(folder)):
                entries = [_entry(info) for info in self.remote.ls(folder, detail=True)]
        except (FileNotFoundError, StoreUnavailable):
            return {}
        known = {entry.path: entry for entry in entries if entry.version is not None}
        return {path: known[path] for path in paths if path in known}

    def _asked(self, paths: Sequence[str]) -> list[DirectoryEntry | Exception]:
        if not paths:
            return []
        infos: list[Any]
        with waiting_for(f"look at {len(paths)} files, such as", self.url_of(paths[0])):
            if getattr(self.remote, "async_impl", False) and not self.remote.asynchronous:
                import asyncio  # slow to import

                infos = asyncio.run_coroutine_threadsafe(self._infos(paths), self.remote.loop).result()
            else:
                infos = at_once([partial(self._info, path) for path in paths], most=ASKED_AT_ONCE)
        return [self._entry_or_error(path, info) for path, info in zip(paths, infos, strict=True)]

    async def _infos(self, paths: Sequence[str]) -> list[Any]:
        import asyncio

        gate = asyncio.Semaphore(ASKED_AT_ONCE)

        async def ask(path: str) -> Any:
            async with gate:
                try:
                    return await self.remote._info(path)
                except Exception as error:  # it is the answer for this path only
                    return error

        return await asyncio.gather(*map(ask, paths))

    def _info(self, path: str) -> Any:
        try:
            return self.remote.info(path)
        except Exception as error:  # likewise
            return error

    def _entry_or_error(self, path: str, info: Any) -> DirectoryEntry | Exception:
        try:
            with RemoteAsStoreUnavailable("look at", self.url_of(path)):
                if isinstance(info, Exception):
                    raise info
                return _entry(info)
        except (FileNotFoundError, StoreUnavailable) as error:
            return error

    def ls(self, path: str) -> list[DirectoryEntry]:
        """The entries of a directory now, without those of its subdirectories, sorted by path."""
        try:
            with RemoteAsStoreUnavailable("list", self.url_of(path)):
                self.remote.invalidate_cache()
                entries = [_entry(info) for info in self.remote.ls(path, detail=True)]
        except FileNotFoundError:
            return []
        return sorted((entry for entry in entries if entry.path != path.rstrip("/")), key=path_of_entry)

    def delete(self, path: str) -> None:
        """Remove a file."""
        with RemoteAsStoreUnavailable("delete", self.url_of(path)):
            try:
                self.remote.rm_file(path)
            except FileNotFoundError:
                return

    def makedirs(self, path: str) -> None:
        """Make a directory, where the remote has directories."""
        if self._has_directories():
            with RemoteAsStoreUnavailable("make the directory", self.url_of(path)):
                self.remote.makedirs(path, exist_ok=True)

    def open_as(
        self,
        path: str,
        mode: str,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        """A stream in any mode of `open`; a written file appears when the stream is closed."""
        guard: Callable[[], AsStoreUnavailable]
        if mode[:1] == "r":
            guard = partial(RemoteAsStoreUnavailable, "read", self.url_of(path))
        else:
            guard = partial(_WriteAsStoreUnavailable, self, path)
        with guard():
            self.remote.invalidate_cache()
            if mode[:1] != "r":
                self._make_parent(path)
            inner = self.remote.open(path, mode.replace("b", "").replace("t", "") + "b")
        return remote_stream(inner, mode, guard, partial(self._written, path), encoding, errors, newline)

    def delete_tree(self, path: str) -> None:
        """Remove a directory with all its content."""
        with RemoteAsStoreUnavailable("delete", self.url_of(path)):
            try:
                self.remote.invalidate_cache()
                if has_magic(path):  # fsspec would take such a name as a pattern, and remove all that matches
                    self._delete_each(path)
                else:
                    self.remote.rm(path, recursive=True)
            except FileNotFoundError:
                return

    def delete_empty(self, path: str) -> bool:
        """Remove a directory if it is empty; returns whether it does not exist now. Object stores have none."""
        if self.ls(path):
            return False
        if self._has_directories():
            with RemoteAsStoreUnavailable("delete", self.url_of(path)):
                try:
                    self.remote.rmdir(path)
                except FileNotFoundError:
                    return True
        return True

    def _delete_each(self, path: str) -> None:
        found = self.remote.find(path, withdirs=self._has_directories(), detail=True)
        for inner in sorted(found, reverse=True):
            if found[inner].get("type") != "directory":
                self.remote.rm_file(inner)
            elif self._has_directories():
                self.remote.rmdir(inner)
        if self._has_directories() and self.remote.isdir(path):
            self.remote.rmdir(path)

    def find(self, path: str) -> list[DirectoryEntry] | None:
        """The content of a directory at any depth, sorted by path; None when there is no such directory.

        Object stores have no directories, and so no empty ones.
        """
        with RemoteAsStoreUnavailable("list", self.url_of(path)):
            self.remote.invalidate_cache()
            try:
                listed = self.remote.find(path, withdirs=self._has_directories(), detail=True).values()
                entries = [_entry(info) for info in listed if info]
                found = [entry for entry in entries if entry.path != path.rstrip("/")]  # for a file, itself
            except FileNotFoundError as error:
                if behind(self.url_of(path), error) is not None:
                    raise
                found = []
            if not found:
                self._needs_bucket(path)
                if not self.remote.isdir(path):
                    return None
        parents = {entry.path.rpartition("/")[0] for entry in found}
        return sorted((each for each in found if not each.is_dir or each.path not in parents), key=path_of_entry)

    def glob(self, pattern: str) -> list[DirectoryEntry]:
        """The files that match a pattern, sorted by path."""
        with RemoteAsStoreUnavailable("list", self.url_of(pattern)):
            self.remote.invalidate_cache()
            try:
                found = [_entry(info) for info in self.remote.glob(pattern, detail=True).values()]
            except FileNotFoundError:
                found = []
            if not found:
                self._needs_bucket(pattern)
        return sorted((entry for entry in found if not entry.is_dir), key=path_of_entry)

    def get_file(self, path: str, local: str) -> None:
        """Copy a file to this machine."""
        with RemoteAsStoreUnavailable("read", self.url_of(path)):
            try:
                self.remote.get_file(path, local)
            except OSError as error:
                if not is_full(error):
                    raise
                with AsStoreUnavailable("write to", os.path.dirname(local)):
                    raise

    def put_file(self, local: str, path: str) -> None:
        """Copy a file of this machine in one put."""
        size = os.stat(local).st_size  # before the guard: this error is not one of the remote
        with _WriteAsStoreUnavailable(self, path):
            self._make_parent(path)
            self.remote.put_file(local, path)
        self._written(path, size)

    def _written(self, path: str, size: int) -> None:
        """After a file was written, remove the parts that killed processes have sent of it.

        S3 keeps such parts, and charges for them, until they are removed (Google removes them after a week).
        """
        if size < IN_PARTS_FROM_BYTES or not self.url_of(path).startswith(("s3://", "s3a://")):
            return
        # The file is written even if this process may not remove the parts.
        with waiting_for("look for left parts of", self.url_of(path)), contextlib.suppress(Exception):
            bucket, key, _ = self.remote.split_path(path)
            found = self.remote.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=key)
            for upload in found.get("Uploads", ()):
                if upload["Key"] == key and time.time() - upload["Initiated"].timestamp() > OTHERS_SECONDS:
                    self.remote.abort_mpu(bucket, key, upload["UploadId"])

    def _make_parent(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        if parent and self._has_directories():
            self.remote.makedirs(parent, exist_ok=True)


def _is_refused(error: OSError) -> bool:
    """Whether S3 refused to write over a file. (Older versions of s3fs have no error of its own for that.)"""
    response = getattr(error.__cause__, "response", None) or {}
    return response.get("Error", {}).get("Code") in ("PreconditionFailed", "412")


_VERSIONS = ("ETag", "etag", "generation", "md5Hash", "checksum", "Content-MD5", "Digest", "Last-Modified")
"""Fields of a remote's answer that differ between states of a file, the best first."""


def _entry(info: dict[str, Any]) -> DirectoryEntry:
    modified = info.get("LastModified") or info.get("mtime") or info.get("updated") or info.get("created")
    nanoseconds = 0
    if isinstance(modified, int | float):
        nanoseconds = int(modified * 1_000_000_000)
    elif modified is not None and hasattr(modified, "timestamp"):
        nanoseconds = int(modified.timestamp() * 1_000_000_000)
    version = next((info[name] for name in _VERSIONS if info.get(name)), None)
    return DirectoryEntry(
        path=info["name"].rstrip("/"),
        size=int(info.get("size") or 0),
        modified_ns=nanoseconds,
        is_dir=info.get("type") == "directory",
        version=None if version is None else str(version).strip('"'),
    )
