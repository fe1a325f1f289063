"""Reads a store's files, and compares them with their checksums.

In: a folder, a path, a function that compares. Out: the file's bytes, verified in this process. Never: knows what they
mean.

A file is verified when this process first reads it. A local file is verified again once its stamp has changed; a file
without a stamp is verified each time that it is read. A damaged copy of a file that is kept elsewhere is fetched anew.
"""

from __future__ import annotations

from collections.abc import Callable

from rayflow.errors import BlobDamaged
from rayflow.store.folders.protocol import Folder

IsIntact = Callable[[memoryview], bool]
"""Says whether these bytes are the ones that were written."""

_REMEMBERED = 100_000
"""This many verified files are remembered. Then all are dropped, and verified again when they are read."""


def read_intact(folder: Folder, path: str, is_intact: IsIntact) -> memoryview:
    """The content of a file, large local ones mapped. Raises BlobDamaged, or FileNotFoundError when it is not there."""
    stamp = folder.stamp(path)
    content = folder.read(path)
    if stamp is not None and folder.verified.get(path) == stamp:
        return content
    if not is_intact(content):
        if not folder.discard_copy(path):
            raise _damaged(folder, path)
        stamp, content = None, folder.read(path)
        if not is_intact(content):
            folder.discard_copy(path)
            raise _damaged(folder, path)
    if stamp is not None:
        if len(folder.verified) >= _REMEMBERED:
            folder.verified.clear()
        folder.verified[path] = stamp
    return content


def intact_path(folder: Folder, path: str, is_intact: IsIntact) -> str | None:
    """A path on this machine from which others may read the file; None when there is none. Raises as `read_intact`."""
    where = folder.local_path(path)
    if where is not None:
        stamp = folder.stamp(path)
        if stamp is None or folder.verified.get(path) != stamp:
            read_intact(folder, path, is_intact)
    return where


def seems_intact(folder: Folder, path: str, is_intact: IsIntact) -> bool:
    """Whether a file exists and is undamaged. (On a server, if a check needs a download: whether it exists.)"""
    if folder.stamp(path) is None:
        return folder.size(path) is not None
    try:
        read_intact(folder, path, is_intact)
    except (FileNotFoundError, BlobDamaged):
        return False
    return True


def _damaged(folder: Folder, path: str) -> BlobDamaged:
    return BlobDamaged(f"{folder.url}/{path} does not match its checksum")
