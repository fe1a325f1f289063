"""A folder in memory: for runs that keep nothing, and for tests.

In: names and bytes. Out: bytes. Never: touches a disk.

Only the folder of such a store differs, so all rules of a store on disk are valid for it too.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from typing import Any

from rayflow.store.folders.pathless import PathlessFolder

_NUMBERS = itertools.count(1)


class MemoryFolder(PathlessFolder):
    """Files in a dictionary."""

    creates_atomically = True

    def __init__(self) -> None:
        self.url = f":memory:{next(_NUMBERS)}"
        self.verified: dict[str, int] = {}
        self._files: dict[str, bytes] = {}
        self._creating = threading.Lock()

    def names(self, directory: str) -> list[str]:
        """Names of the files directly in a directory."""
        prefix = f"{directory}/" if directory else ""
        inner = (path[len(prefix) :] for path in self._files.copy() if path.startswith(prefix))
        return [name for name in inner if "/" not in name]

    def sizes(self, directory: str) -> dict[str, int]:
        """Path and size of every file below a directory."""
        prefix = f"{directory}/"
        return {path: len(content) for path, content in self._files.copy().items() if path.startswith(prefix)}

    def read(self, path: str) -> memoryview:
        """The content of a file."""
        try:
            return memoryview(self._files[path])
        except KeyError:
            raise FileNotFoundError(f"{self.url}/{path}") from None

    def write(self, path: str, parts: Sequence[Any]) -> None:
        """Keep a file."""
        self._files[path] = b"".join(parts)

    def overwrite(self, path: str, parts: Sequence[Any]) -> None:
        """Keep a file."""
        self.write(path, parts)

    def create(self, path: str, parts: Sequence[Any]) -> bool:
        """Keep a file, unless a file of this path exists."""
        with self._creating:
            if path in self._files:
                return False
            self.write(path, parts)
            return True

    def size(self, path: str) -> int | None:
        """A file's size in bytes."""
        content = self._files.get(path)
        return None if content is None else len(content)

    def remove(self, path: str) -> None:
        """Remove a file."""
        self._files.pop(path, None)
