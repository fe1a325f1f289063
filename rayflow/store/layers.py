"""A folder with a layer of memory over it: what is written stays in this process, what lies below is only read.

In: a folder. Out: the same files, and those that were written here. Never: writes to the folder below.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rayflow.store.folders import Folder


class LayeredFolder:
    """Reads through to another folder, and writes to memory."""

    def __init__(self, below: Folder) -> None:
        self.url = below.url
        self.remote = False
        self._below = below
        self._files: dict[str, bytes] = {}
        self._removed: set[str] = set()

    def names(self, directory: str) -> list[str]:
        """Names of the files directly in a directory, of both layers."""
        prefix = f"{directory}/" if directory else ""
        found = {name for name in self._below.names(directory) if prefix + name not in self._removed}
        inner = (path[len(prefix) :] for path in self._files if path.startswith(prefix))
        return [*found.union(name for name in inner if "/" not in name)]

    def sizes(self, directory: str) -> dict[str, int]:
        """Path and size of every file below a directory, of both layers."""
        found = {path: size for path, size in self._below.sizes(directory).items() if path not in self._removed}
        own = {path: len(content) for path, content in self._files.items() if path.startswith(f"{directory}/")}
        return {**found, **own}

    def read(self, path: str) -> memoryview:
        """The content of a file."""
        if path in self._files:
            return memoryview(self._files[path])
        if path in self._removed:
            raise FileNotFoundError(f"{self.url}/{path}")
        return self._below.read(path)

    def write(self, path: str, parts: Sequence[Any]) -> None:
        """Keep a file in this layer."""
        self._files[path] = b"".join(parts)
        self._removed.discard(path)

    def size(self, path: str) -> int | None:
        """A file's size in bytes."""
        if path in self._files:
            return len(self._files[path])
        return None if path in self._removed else self._below.size(path)

    def remove(self, path: str) -> None:
        """Hide a file."""
        self._files.pop(path, None)
        self._removed.add(path)

    def local_path(self, path: str) -> str | None:
        """A path on this machine; None for what is in this layer."""
        return None if path in self._files or path in self._removed else self._below.local_path(path)

    def discard_copy(self, path: str) -> None:
        """Copies are those of the folder below."""

    def age_seconds(self, path: str) -> float | None:
        """How old a file is, where that is known."""
        return None if path in self._files else self._below.age_seconds(path)

    def ages(self, directory: str) -> dict[str, float]:
        """How old the files of the folder below are."""
        found = self._below.ages(directory)
        return {path: age for path, age in found.items() if path not in self._files and path not in self._removed}

    def renew(self, path: str) -> bool:
        """Only what is in this layer is looked after here."""
        return path in self._files
