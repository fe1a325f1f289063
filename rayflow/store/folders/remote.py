"""A store's folder on a server, with a mirror of its records on this machine.

In: a URL that fsspec knows. Out: bytes. Never: mirrors a file that may change.

Commits and segments never change. So each is fetched once, into the user's cache directory (`RAYFLOW_CACHE_DIR`, else
`XDG_CACHE_HOME`, else `~/.cache`). A file that the server no longer has is not listed, and so not read. The mirror may
be removed at any time. Blobs are not mirrored.
"""

from __future__ import annotations

import os
import posixpath
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rayflow.errors import StoreUnavailable
from rayflow.store import layout
from rayflow.store.folders.local import LocalFolder
from rayflow.values.digests import short_digest
from rayflow.values.files.content_cache import cache_directory
from rayflow.values.filesystems.filesystems import DirectoryEntry, filesystem
from rayflow.values.filesystems.remote import RemoteFileSystem

_MIRRORED = (f"{layout.COMMITS}/", f"{layout.SEGMENTS}/")


def mirror_root(url: str) -> str:
    """The directory with the mirror of a store."""
    return os.path.join(cache_directory(), "mirrors", short_digest("mirror", url.encode()).hex())


class RemoteFolder:
    """A directory anywhere that fsspec reaches."""

    remote = True

    def __init__(self, url: str, mirror: str | None = None) -> None:
        self.url = url.rstrip("/")
        self.verified: dict[str, int] = {}
        files, root = filesystem(self.url)
        assert isinstance(files, RemoteFileSystem)
        self._files = files
        self._root = root.rstrip("/")
        self.creates_atomically = self._files.creates_atomically
        # A folder in this process's memory must not share a mirror with a folder of the same name in another process.
        volatile = self.url.startswith("memory://")
        self._mirror = None if volatile and mirror is None else LocalFolder(mirror or mirror_root(self.url))

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def names(self, directory: str) -> list[str]:
        """Names of the files directly in a directory."""
        return [posixpath.basename(entry.path) for entry in self._files.ls(self._path(directory)) if not entry.is_dir]

    def sizes(self, directory: str) -> dict[str, int]:
        """Path and size of every file below a directory."""
        return {path: entry.size for path, entry in self._entries(directory)}

    def _entries(self, directory: str) -> Iterator[tuple[str, DirectoryEntry]]:
        waiting = [directory]
        while waiting:
            current = waiting.pop()
            for entry in self._files.ls(self._path(current)):
                inner = f"{current}/{posixpath.basename(entry.path)}"
                if entry.is_dir:
                    waiting.append(inner)
                else:
                    yield inner, entry

    def read(self, path: str) -> memoryview:
        """The content of a file, from the mirror when it is there."""
        mirror = self._mirror
        if mirror is None or not path.startswith(_MIRRORED):
            return memoryview(self._files.read_bytes(self._path(path)))
        try:
            return mirror.read(path)
        except (FileNotFoundError, StoreUnavailable):
            content = memoryview(self._files.read_bytes(self._path(path)))
        self._keep(mirror, path, [content])
        return content

    def write(self, path: str, parts: Sequence[Any]) -> None:
        """Write a file in one put."""
        self._files.write_parts(self._path(path), parts)
        if self._mirror is not None and path.startswith(_MIRRORED):
            self._keep(self._mirror, path, parts)

    def overwrite(self, path: str, parts: Sequence[Any]) -> None:
        """Write a file in one put. It is not mirrored."""
        self._files.write_parts(self._path(path), parts)

    def create(self, path: str, parts: Sequence[Any]) -> bool:
        """Write a file, unless it exists. If the server cannot refuse a second write, a check comes first."""
        is_ours = self._files.create_parts(self._path(path), parts)
        if is_ours and self._mirror is not None and path.startswith(_MIRRORED):
            self._keep(self._mirror, path, parts)
        return is_ours

    def _keep(self, mirror: LocalFolder, path: str, parts: Sequence[Any]) -> None:
        try:
            mirror.write(path, parts)
        except StoreUnavailable:
            # Without room for a mirror, files are fetched each time.
            self._mirror = None

    def size(self, path: str) -> int | None:
        """A file's size in bytes."""
        try:
            return self._files.stat(self._path(path)).size
        except FileNotFoundError:
            return None

    def remove(self, path: str) -> None:
        """Remove a file, and its mirror."""
        self._files.delete(self._path(path))
        if self._mirror is not None:
            self._mirror.remove(path)

    def local_path(self, path: str) -> str | None:
        """The mirrored file, fetched when it is not there yet; None when there is no mirror."""
        if self._mirror is None:
            return None
        if self._mirror.size(path) is None:
            self.read(path)
        return None if self._mirror is None else self._mirror.local_path(path)

    def local_root(self) -> str | None:
        """The directory of the mirror."""
        return None if self._mirror is None else self._mirror.local_root()

    def stamp(self, path: str) -> int | None:
        """The stamp of the mirrored file; None if the file has not been mirrored."""
        mirrored = self._mirror is not None and path.startswith(_MIRRORED)
        return self._mirror.stamp(path) if self._mirror is not None and mirrored else None

    def discard_copy(self, path: str) -> bool:
        """Drop the mirrored file, so that it is fetched again: it is damaged, or was fetched half-written."""
        if self._mirror is not None:
            self._mirror.remove(path)
        return True

    def set_aside(self, path: str, is_intact: Callable[[memoryview], bool]) -> bool:
        """Copy the file, then remove it. It was fetched twice already, so the network has not damaged it."""
        try:
            content = memoryview(self._files.read_bytes(self._path(path)))
            if is_intact(content):
                return False  # another process has written it again
            self._files.write_parts(self._path(layout.aside_path(path)), [content])
            self._files.delete(self._path(path))
        except (FileNotFoundError, StoreUnavailable):
            # Gone, or not ours to change: then the error says to remove it.
            return False
        return True

    def age_seconds(self, path: str) -> float | None:
        """How many seconds ago a file was written. The server's clock and ours may differ a little."""
        try:
            return _age(self._files.stat(self._path(path)))
        except FileNotFoundError:
            return None

    def ages(self, directory: str) -> dict[str, float]:
        """How long ago each file below a directory was written."""
        found = {path: _age(entry) for path, entry in self._entries(directory)}
        return {path: age for path, age in found.items() if age is not None}

    def renew(self, path: str) -> bool:
        """False: the time of an object can only be changed by writing it again."""
        return False


def _age(entry: DirectoryEntry) -> float | None:
    return time.time() - entry.modified_ns / 1e9 if entry.modified_ns else None
