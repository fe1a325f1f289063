"""The folder that a store lives in: on this machine, or anywhere else that fsspec reaches.

In: paths inside the folder, and bytes. Out: bytes. Never: knows what the files mean.

A `Folder` promises little, so that object stores can be folders: a file appears whole or not at all, and is durable
when `write` returns; files are never changed, except by `overwrite`. A missing file raises FileNotFoundError, every
other trouble StoreUnavailable.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from rayflow.errors import StoreUnavailable
from rayflow.store import layout

_ADVICE = {
    errno.ENOSPC: "The disk is full: free some space and run again; what was recorded before counts.",
    errno.EDQUOT: "The disk quota is used up: free some space and run again; what was recorded before counts.",
    errno.EROFS: "The file system is read-only: choose another store, or open this one read-only.",
    errno.EACCES: "Permission denied: check who owns the folder, or choose another store.",
    errno.EPERM: "Permission denied: check who owns the folder, or choose another store.",
}


def unavailable(where: str, error: BaseException) -> StoreUnavailable:
    """The error for people: the path, what the system said, and what to do."""
    number = getattr(error, "errno", None)
    advice = _ADVICE.get(number or 0, "Check that the store's place exists and can be reached.")
    return StoreUnavailable(f"The store cannot use {where}: {error}\n{advice}")


class Folder(Protocol):
    """The operations that a store needs of its folder."""

    url: str
    remote: bool
    creates_atomically: bool
    """Whether `create` returns True to only one of several callers that create the same file at the same time."""

    verified: dict[str, int]
    """The stamps of the files that this process has verified, by path: see `intact`."""

    def names(self, directory: str) -> list[str]:
        """Names of the files directly in a directory, in no order; none when there is no such directory."""
        ...

    def sizes(self, directory: str) -> dict[str, int]:
        """Path and size in bytes of every file below a directory."""
        ...

    def read(self, path: str) -> memoryview:
        """The content of a file; large local files are mapped, not read."""
        ...

    def write(self, path: str, parts: Sequence[Any]) -> None:
        """Write a file from these buffers, whole or not at all. The file is durable on return."""
        ...

    def overwrite(self, path: str, parts: Sequence[Any]) -> None:
        """Write a file that is written again and again: whole or not at all, but perhaps lost with the machine."""
        ...

    def create(self, path: str, parts: Sequence[Any]) -> bool:
        """Write a file as `write` does, unless it exists already. Returns whether the file was written.

        If `creates_atomically` is false, two callers at the same time may both get True. A remote store may write the
        file and lose the answer. Then `create` returns False, though the file has exactly these bytes.
        """
        ...

    def size(self, path: str) -> int | None:
        """A file's size in bytes, or None when it is not there."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file, if it exists."""
        ...

    def local_path(self, path: str) -> str | None:
        """A path on this machine with the file's content, or None when it exists in memory only."""
        ...

    def local_root(self) -> str | None:
        """The directory of this machine that contains all local paths; None if there are no local paths."""
        ...

    def stamp(self, path: str) -> int | None:
        """A number that changes when a file on this machine changes; None if only reading the file shows a change."""
        ...

    def discard_copy(self, path: str) -> bool:
        """Drop the local copy of a damaged file. Returns whether it may help to read the file again."""
        ...

    def set_aside(self, path: str, is_intact: Callable[[memoryview], bool]) -> bool:
        """Move a damaged file to where nothing reads it; False if that is impossible, or if the file is whole now."""
        ...

    def age_seconds(self, path: str) -> float | None:
        """How many seconds ago a file was written; None if that is not known, or if the file does not exist."""
        ...

    def ages(self, directory: str) -> dict[str, float]:
        """How many seconds ago each file below a directory was written. Files of unknown age are left out."""
        ...

    def renew(self, path: str) -> bool:
        """Set the time of a file to now; False if that needs the file to be written again."""
        ...


def refuses_second_create(folder: Folder) -> bool:
    """Whether `create` succeeds for one caller only. The function tries that with a file in `tmp/`.

    It is also False if the folder cannot create files in this way at all. Raises StoreUnavailable if it cannot be
    written in any way.
    """
    if not folder.creates_atomically:
        return False
    probe = f"{layout.TEMPORARY}/create-{os.urandom(8).hex()}"
    try:
        try:
            is_refused = folder.create(probe, [b"1"]) and not folder.create(probe, [b"2"])
            return is_refused and bytes(folder.read(probe)) == b"1"
        except StoreUnavailable:
            folder.write(probe, [b"1"])  # raises it again, unless `create` alone is impossible
            return False
    finally:
        folder.remove(probe)
