"""Files at URLs, as a file system of fsspec's reaches them.

In: a file system of fsspec's, and paths on it. Out: bytes, listings. Never: keeps what was listed; a file is written in
one put, so that it appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from functools import partial
from typing import IO, Any, BinaryIO, cast

from rayflow.errors import StoreUnavailable
from rayflow.values.besides import OTHERS_SECONDS
from rayflow.values.local_files import Entry, Told, is_full, path_of_entry
from rayflow.values.refusals import ToldRemotely, behind, bucket_of, no_bucket_text
from rayflow.values.remote_streams import remote_stream
from rayflow.values.witnesses import tell

LISTED_FROM = 200
"""Of so many files in one folder a listing is asked for, which tells of a thousand in one answer."""

IN_PARTS_FROM_BYTES = 50_000_000
"""Files from this size on may be sent in parts."""

SLOW_SECONDS = 10.0
"""After so long without an answer somebody is told what is waited for."""

ASKED_AT_ONCE = 64
"""How many questions to one remote are on their way at a time."""


class _Writing(ToldRemotely):
    """What is missing when something is written is the place: a bucket that does not exist."""

    def __init__(self, files: RemoteFileSystem, path: str) -> None:
        super().__init__("write", files.url_of(path))
        self.files = files
        self.place = path

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, FileNotFoundError):
            lacking = self.files.lacks(self.place)
            reason = no_bucket_text(lacking) if lacking else self.reason(error)
            raise StoreUnavailable(f"Cannot write {self.path}: {reason}") from error
        super().__exit__(kind, error, trace)


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
        return cast(BinaryIO, self.open_as(path, "rb"))

    def read_bytes(self, path: str) -> bytes:
        """The whole file."""
        with ToldRemotely("read", self.url_of(path)):
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
        with _Writing(self, path):
            data = bytes(parts[0]) if len(parts) == 1 else b"".join(parts)
            self._make_parent(path)
            self.remote.pipe_file(path, data)
        self._written(path, len(data))
        return True

    def url_of(self, path: str) -> str:
        """The URL of a path."""
        return str(self.remote.unstrip_protocol(path))

    def lacks(self, path: str) -> str | None:
        """The bucket of a path where that is known not to be there."""
        bucket = bucket_of(self.url_of(path))
        if bucket is None:
            return None
        try:
            self.remote.info(bucket)
        except FileNotFoundError:
            return bucket
        except Exception:  # it does not tell: then nothing is known
            return None
        return None

    def _needs_bucket(self, path: str) -> None:
        """Nothing was found. Raises StoreUnavailable where there is no bucket that could hold anything."""
        lacking = self.lacks(path)
        if lacking is not None:
            raise StoreUnavailable(f"Cannot list {self.url_of(path)}: {no_bucket_text(lacking)}")

    def _protocols(self) -> set[str]:
        protocol = self.remote.protocol
        return {protocol} if isinstance(protocol, str) else set(protocol)

    def _has_directories(self) -> bool:
        return not {"s3", "s3a", "gs", "gcs", "http", "https"} & self._protocols()

    def exists(self, path: str) -> bool:
        """Whether a file or directory is there, asked afresh."""
        with ToldRemotely("look at", self.url_of(path)):
            self.remote.invalidate_cache()
            if not {"http", "https"} & self._protocols():
                return bool(self.remote.exists(path))
            try:  # of a web server that refuses, or does not answer, fsspec would say that nothing is there
                self.remote.info(path)
            except FileNotFoundError as error:
                if behind(self.url_of(path), error) is not None:
                    raise
                return False
            return True

    def stat(self, path: str) -> Entry:
        """Size and modification of one file, asked afresh."""
        with ToldRemotely("look at", self.url_of(path)):
            self.remote.invalidate_cache()
            return _entry(self.remote.info(path))

    def stat_many(self, paths: Sequence[str]) -> list[Entry | Exception]:
        """What is there of each of these paths, asked afresh and at the same time; of those that cannot be told, the
        error (FileNotFoundError, StoreUnavailable)."""
        self.remote.invalidate_cache()
        found: dict[str, Entry | Exception] = {}
        by_folder: dict[str, list[str]] = {}
        for path in paths:
            by_folder.setdefault(path.rpartition("/")[0], []).append(path)
        for folder, members in by_folder.items():
            if len(members) >= LISTED_FROM:
                found.update(self._listed(folder, members))
        single = [path for path in dict.fromkeys(paths) if path not in found]
        found.update(zip(single, self._asked(single), strict=True))
        return [found[path] for path in paths]

    def _listed(self, folder: str, paths: Sequence[str]) -> dict[str, Entry | Exception]:
        """What a listing of the folder says of these; nothing of files that it tells less of than asking each."""
        try:
            with ToldRemotely("list", self.url_of(folder)):
                entries = [_entry(info) for info in self.remote.ls(folder, detail=True)]
        except (FileNotFoundError, StoreUnavailable):
            return {}
        known = {entry.path: entry for entry in entries if entry.version is not None}
        return {path: known[path] for path in paths if path in known}

    def _asked(self, paths: Sequence[str]) -> list[Entry | Exception]:
        if not paths:
            return []
        infos: list[Any]
        if getattr(self.remote, "async_impl", False) and not self.remote.asynchronous:
            import asyncio
            from concurrent.futures import wait

            asked = asyncio.run_coroutine_threadsafe(self._infos(paths), self.remote.loop)
            if wait([asked], SLOW_SECONDS).not_done:  # client libraries try for minutes, and say nothing
                tell(
                    f"There is no answer since {SLOW_SECONDS:g} s about {self.url_of(paths[0])}"
                    f"{f' and {len(paths) - 1} more' if len(paths) > 1 else ''}; still waiting for it."
                )
            infos = asked.result()
        else:
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(min(ASKED_AT_ONCE, len(paths)), thread_name_prefix="rayflow-stat") as pool:
                infos = list(pool.map(self._info, paths))
        return [self._told_of(path, info) for path, info in zip(paths, infos, strict=True)]

    async def _infos(self, paths: Sequence[str]) -> list[Any]:
        import asyncio

        gate = asyncio.Semaphore(ASKED_AT_ONCE)

        async def ask(path: str) -> Any:
            async with gate:
                try:
                    return await self.remote._info(path)
                except Exception as error:  # this path's answer, and no other's
                    return error

        return await asyncio.gather(*map(ask, paths))

    def _info(self, path: str) -> Any:
        try:
            return self.remote.info(path)
        except Exception as error:  # likewise
            return error

    def _told_of(self, path: str, info: Any) -> Entry | Exception:
        try:
            with ToldRemotely("look at", self.url_of(path)):
                if isinstance(info, Exception):
                    raise info
                return _entry(info)
        except (FileNotFoundError, StoreUnavailable) as error:
            return error

    def ls(self, path: str) -> list[Entry]:
        """What is directly in a directory, asked afresh, sorted by path."""
        try:
            with ToldRemotely("list", self.url_of(path)):
                self.remote.invalidate_cache()
                entries = [_entry(info) for info in self.remote.ls(path, detail=True)]
        except FileNotFoundError:
            return []
        return sorted((entry for entry in entries if entry.path != path.rstrip("/")), key=path_of_entry)

    def delete(self, path: str) -> None:
        """Remove a file."""
        with ToldRemotely("delete", self.url_of(path)):
            try:
                self.remote.rm_file(path)
            except FileNotFoundError:
                return

    def makedirs(self, path: str) -> None:
        """Make a directory, where the remote has directories."""
        if self._has_directories():
            with ToldRemotely("make the directory", self.url_of(path)):
                self.remote.makedirs(path, exist_ok=True)

    def open_as(self, path: str, mode: str, *, encoding: str | None = None, newline: str | None = None) -> IO[Any]:
        """A stream in any mode of `open`; what is written appears when it is closed."""
        told = partial(ToldRemotely, "read", self.url_of(path)) if mode[:1] == "r" else partial(_Writing, self, path)
        with told():
            self.remote.invalidate_cache()
            if mode[:1] != "r":
                self._make_parent(path)
            inner = self.remote.open(path, mode.replace("b", "").replace("t", "") + "b")
        return remote_stream(inner, mode, told, partial(self._written, path), encoding, newline)

    def delete_tree(self, path: str) -> None:
        """Remove a directory with all that is in it."""
        with ToldRemotely("delete", self.url_of(path)):
            try:
                self.remote.invalidate_cache()
                self.remote.rm(path, recursive=True)
            except FileNotFoundError:
                return

    def find(self, path: str) -> list[Entry] | None:
        """All files in a directory, at any depth, sorted by path; None when there is no such directory."""
        with ToldRemotely("list", self.url_of(path)):
            self.remote.invalidate_cache()
            try:
                listed = [_entry(info) for info in self.remote.find(path, detail=True).values() if info]
                found = [entry for entry in listed if entry.path != path.rstrip("/")]  # so fsspec tells of a file
            except FileNotFoundError as error:
                if behind(self.url_of(path), error) is not None:
                    raise
                found = []
            if not found:
                self._needs_bucket(path)
                if not self.remote.isdir(path):
                    return None
        return sorted(found, key=path_of_entry)

    def glob(self, pattern: str) -> list[Entry]:
        """The files that match a pattern, sorted by path."""
        with ToldRemotely("list", self.url_of(pattern)):
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
        with ToldRemotely("read", self.url_of(path)):
            try:
                self.remote.get_file(path, local)
            except OSError as error:
                if not is_full(error):
                    raise
                with Told("write to", os.path.dirname(local)):
                    raise

    def put_file(self, local: str, path: str) -> None:
        """Copy a file of this machine in one put."""
        size = os.stat(local).st_size  # that this is missing is no trouble of the remote
        with _Writing(self, path):
            self._make_parent(path)
            self.remote.put_file(local, path)
        self._written(path, size)

    def _written(self, path: str, size: int) -> None:
        """A file was written. Parts of it that were sent by who was then killed are seen nowhere, and are paid for:
        S3 keeps them until they are taken back (Google's forgets them after a week)."""
        if size < IN_PARTS_FROM_BYTES or not self.url_of(path).startswith(("s3://", "s3a://")):
            return
        with contextlib.suppress(Exception):  # who may not do that has written the file all the same
            bucket, key, _ = self.remote.split_path(path)
            found = self.remote.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=key)
            for upload in found.get("Uploads", ()):
                if upload["Key"] == key and time.time() - upload["Initiated"].timestamp() > OTHERS_SECONDS:
                    self.remote.abort_mpu(bucket, key, upload["UploadId"])

    def _make_parent(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        if parent and self._has_directories():
            self.remote.makedirs(parent, exist_ok=True)


_VERSIONS = ("ETag", "etag", "generation", "md5Hash", "checksum", "Content-MD5", "Digest", "Last-Modified")
"""What of a remote's answer tells one state of a file from another, the best first."""


def _entry(info: dict[str, Any]) -> Entry:
    modified = info.get("LastModified") or info.get("mtime") or info.get("updated") or info.get("created")
    nanoseconds = 0
    if isinstance(modified, int | float):
        nanoseconds = int(modified * 1_000_000_000)
    elif modified is not None and hasattr(modified, "timestamp"):
        nanoseconds = int(modified.timestamp() * 1_000_000_000)
    version = next((info[name] for name in _VERSIONS if info.get(name)), None)
    return Entry(
        path=info["name"].rstrip("/"),
        size=int(info.get("size") or 0),
        modified_ns=nanoseconds,
        is_dir=info.get("type") == "directory",
        version=None if version is None else str(version).strip('"'),
    )
