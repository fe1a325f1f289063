"""Tries a store's place from one machine: whether it can be read and written there, and how fast.

In: a place, and the beacon that another machine has left there. Out: a `StoreTrial`. Never: makes a store, or leaves a
file behind.
"""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from rayflow.errors import NotFound
from rayflow.store import layout
from rayflow.store.beacons import sees_beacon
from rayflow.store.folders.protocol import Folder
from rayflow.store.open import folder_at
from rayflow.values.filesystems.filesystems import is_url

SMALL_FILES = 5
"""The number of small files that are written and read, one after the other."""

SMALL_BYTES = 1_000
LARGE_BYTES = 8 << 20
"""The sizes of the small files and of the large one."""


class StoreTrial(NamedTuple):
    """How a store's place does from one machine.

    write_seconds, read_seconds: for a small file, the median. write_rate, read_rate: bytes a second for a large one.
    filesystem: the type of the file system, such as nfs4 or tmpfs; None for a URL, or where that is not known.
    """

    write_seconds: float
    read_seconds: float
    write_rate: float
    read_rate: float
    filesystem: str | None


def try_store(url: str, beacon: str) -> StoreTrial:
    """Read and write in the store. Raises NotFound where this machine reaches no store there, or another one than that
    with the beacon; StoreUnavailable where it cannot be used."""
    folder = folder_at(url)
    if folder.size(layout.FORMAT) is None:
        where = "" if is_url(url) else ", so the folder is not on a shared disk"
        raise NotFound(f"there is no store at {url} on this machine{where}")
    if not sees_beacon(url, beacon):
        raise NotFound(f"{url} is another folder on this machine: what one machine writes, the other does not see")
    names = [f"{layout.TEMPORARY}/doctor-{os.urandom(8).hex()}" for _ in range(SMALL_FILES + 1)]
    try:
        writes = [_timed_write(folder, name, SMALL_BYTES) for name in names[1:]]
        large = _timed_write(folder, names[0], LARGE_BYTES)
        reads = [_timed_read(folder, name, SMALL_BYTES) for name in names[1:]]
        large_read = _timed_read(folder, names[0], LARGE_BYTES)
    finally:
        for name in names:
            folder.remove(name)
    root = folder.local_root()
    return StoreTrial(
        write_seconds=sorted(writes)[SMALL_FILES // 2],
        read_seconds=sorted(reads)[SMALL_FILES // 2],
        write_rate=LARGE_BYTES / large,
        read_rate=LARGE_BYTES / large_read,
        filesystem=filesystem_of(root) if root is not None and not folder.remote else None,
    )


def _timed_write(folder: Folder, name: str, size: int) -> float:
    content = os.urandom(size)
    began = time.perf_counter()
    folder.write(name, [content])
    return max(time.perf_counter() - began, 1e-9)


def _timed_read(folder: Folder, name: str, size: int) -> float:
    began = time.perf_counter()
    count = len(bytes(folder.read(name)))
    assert count == size, f"{name} has {count} bytes after {size} were written"
    return max(time.perf_counter() - began, 1e-9)


def filesystem_of(path: str, mounts: str = "/proc/mounts") -> str | None:
    """The type of the file system that a path is on; None where the system does not tell."""
    try:
        with open(mounts) as file:
            places = [(fields[1], fields[2]) for line in file if len(fields := line.split()) > 2]
    except OSError:  # no Linux
        return None
    real = os.path.realpath(path)
    above = [(len(place), kind) for place, kind in places if os.path.join(real, "").startswith(os.path.join(place, ""))]
    return max(above)[1] if above else None
