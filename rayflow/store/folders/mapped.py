"""Files mapped into memory, however many.

In: an open file. Out: its content, uncopied and read-only, as long as it is referred to. Never: lets the maps take the
file descriptors that the rest of the process needs.
"""

from __future__ import annotations

import mmap
import weakref
from typing import IO

import pyarrow as pa

MOST_DESCRIPTORS = 256
"""Maps take at most this many at a time."""

_maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
"""Python's own maps that are alive: each holds a descriptor. (They let pages go once they are read, see `digests`.)"""


def mapped(file: IO[bytes], size: int) -> memoryview:
    """The content of a file of this size, which is not empty."""
    if len(_maps) < _most():
        made = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        _maps.add(made)
        return memoryview(made)
    # Arrow's map closes the file, and lasts as long as its buffer.
    with pa.memory_map(file.name) as source:
        return memoryview(source.read_buffer(size))


def _most() -> int:
    try:
        import resource
    except ImportError:  # Windows, whose maps need no descriptors
        return MOST_DESCRIPTORS
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_DESCRIPTORS if limit == resource.RLIM_INFINITY else min(MOST_DESCRIPTORS, limit // 4)
