"""The whole store in memory: for runs that keep nothing, and for tests.

In: what any store takes. Out: what any store gives. Never: touches a disk.

Only the folder differs, so that all rules of a store on disk hold here too.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from rayflow.store import layout
from rayflow.store.base import Store

_NUMBERS = itertools.count(1)


class MemoryFolder:
    """Files in a dictionary."""

    remote = False

    def __init__(self) -> None:
        self.url = f":memory:{next(_NUMBERS)}"
        self._files: dict[str, bytes] = {}

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

    def size(self, path: str) -> int | None:
        """A file's size in bytes."""
        content = self._files.get(path)
        return None if content is None else len(content)

    def remove(self, path: str) -> None:
        """Remove a file."""
        self._files.pop(path, None)

    def local_path(self, path: str) -> str | None:
        """None: there is no file."""
        return None

    def discard_copy(self, path: str) -> None:
        """There are no copies."""

    def age_seconds(self, path: str) -> float | None:
        """Not known."""
        return None

    def ages(self, directory: str) -> dict[str, float]:
        """Not known."""
        return {}

    def renew(self, path: str) -> bool:
        """Nothing asks how old it is."""
        return True


class MemoryStore(Store):
    """A store that ends with this object."""

    def __init__(self, folder: MemoryFolder | None = None) -> None:
        if folder is None:
            folder = MemoryFolder()
            folder.write(layout.FORMAT, [layout.format_text()])
        self._files = folder
        super().__init__(folder)

    def opened_again(self) -> MemoryStore:
        """The store as another process finds it: with what was committed, and nothing else."""
        return MemoryStore(self._files)
