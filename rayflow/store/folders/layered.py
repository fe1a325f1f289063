"""A folder with a layer of memory over it. Written files stay in this process; the folder below is only read.

In: a folder. Out: its files, and the files that were written here. Never: writes to the folder below.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from rayflow.store.folders.protocol import Folder


class LayeredFolder:
    """Reads through to another folder, and writes to memory."""

    creates_atomically = True
    """True among the users of this layer."""

    def __init__(self, below: Folder) -> None:
        self.url = below.url
        self.remote = False
        self.verified = below.verified
        self._below = below
        self._files: dict[str, bytes] = {}
        self._removed: set[str] = set()
        self._creating = threading.Lock()

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

    def overwrite(self, path: str, parts: Sequence[Any]) -> None:
        """Keep a file in this layer."""
        self.write(path, parts)

    def create(self, path: str, parts: Sequence[Any]) -> bool:
        """Keep a file in this layer, unless one of the layers has it already."""
        with self._creating:
            if self.size(path) is not None:
                return False
            self.write(path, parts)
            return True

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
        """The local path of a file of the folder below; None for a file of this layer."""
        return None if path in self._files or path in self._removed else self._below.local_path(path)

    def local_root(self) -> str | None:
        """The local root of the folder below."""
        return self._below.local_root()

    def stamp(self, path: str) -> int | None:
        """The stamp of a file of the folder below; None for a file of this layer."""
        return None if path in self._files or path in self._removed else self._below.stamp(path)

    def discard_copy(self, path: str) -> bool:
        """Drop the copy of a file of the folder below. This layer has no copies."""
        return path not in self._files and self._below.discard_copy(path)

    def set_aside(self, path: str, is_intact: Callable[[memoryview], bool]) -> bool:
        """False: the folder below is only read."""
        return False

    def age_seconds(self, path: str) -> float | None:
        """How many seconds ago a file was written; None if that is not known."""
        return None if path in self._files else self._below.age_seconds(path)

    def ages(self, directory: str) -> dict[str, float]:
        """The ages in seconds of the files of the folder below."""
        found = self._below.ages(directory)
        return {path: age for path, age in found.items() if path not in self._files and path not in self._removed}

    def renew(self, path: str) -> bool:
        """Whether the file is in this layer: those below are only read."""
        return path in self._files
