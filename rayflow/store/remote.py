"""A store's folder far away, with a mirror of its records near by.

In: a URL that fsspec knows. Out: bytes. Never: keeps a mirrored file that may have changed.

Commits and segments never change, so each is fetched once and kept under the user's cache directory
(`RAYFLOW_CACHE_DIR`, else `XDG_CACHE_HOME`, else `~/.cache`); what is gone from the far side is never listed and so
never read. The mirror may be removed at any time. Blobs are not mirrored.
"""

from __future__ import annotations

import os
import posixpath
import time
from collections.abc import Iterator, Sequence
from typing import Any

from rayflow.errors import StoreUnavailable
from rayflow.store import layout
from rayflow.store.folders import LocalFolder
from rayflow.values.contents import cache_directory
from rayflow.values.digests import short_digest
from rayflow.values.filesystems import Entry, filesystem

_MIRRORED = (f"{layout.COMMITS}/", f"{layout.SEGMENTS}/")


def mirror_root(url: str) -> str:
    """Where the mirror of a store is."""
    return os.path.join(cache_directory(), "mirrors", short_digest("mirror", url.encode()).hex())


class RemoteFolder:
    """A directory anywhere that fsspec reaches."""

    remote = True

    def __init__(self, url: str, mirror: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._files, root = filesystem(self.url)
        self._root = root.rstrip("/")
        # What lives in this process's memory must not be mixed up with what another process kept under the same name.
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

    def _entries(self, directory: str) -> Iterator[tuple[str, Entry]]:
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

    def discard_copy(self, path: str) -> None:
        """Fetch this file again next time: what was fetched is damaged, perhaps because it was still being written."""
        if self._mirror is not None:
            self._mirror.remove(path)

    def age_seconds(self, path: str) -> float | None:
        """How long ago a file was written, by the far side's clock and ours (which may differ by a little)."""
        try:
            return _age(self._files.stat(self._path(path)))
        except FileNotFoundError:
            return None

    def ages(self, directory: str) -> dict[str, float]:
        """How long ago each file below a directory was written."""
        found = {path: _age(entry) for path, entry in self._entries(directory)}
        return {path: age for path, age in found.items() if age is not None}

    def renew(self, path: str) -> bool:
        """Objects have no time of their own: they are written again."""
        return False


def _age(entry: Entry) -> float | None:
    return time.time() - entry.modified_ns / 1e9 if entry.modified_ns else None
