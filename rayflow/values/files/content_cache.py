"""A cache of digests of file contents, so that an unchanged file is not read again.

In: a local path. Out: size and digest. Never: uses a cached digest if the file's size, times or inode have changed;
caches the digest of a file that was written just before it was read.

The cache describes the disks of this machine. So it is in the user's cache directory (`RAYFLOW_CACHE_DIR`, else
`XDG_CACHE_HOME`, else `~/.cache`), and not in the store, which machines share. It may be removed at any time.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from rayflow.values.digests import hash_stream

if TYPE_CHECKING:  # most runs have no file whose content counts
    import sqlite3

MOST_REMEMBERED = 500_000
"""The most files in the cache: for more, the oldest are removed."""

_SETTLED_NS = 50_000_000
"""A digest is cached only if the last write was so long ago: two writes at one tick of the clock have equal times."""

_lock = threading.Lock()
_opened: dict[str, sqlite3.Connection] = {}


def cache_directory() -> str:
    """The directory of this user's caches."""
    chosen = os.environ.get("RAYFLOW_CACHE_DIR")
    if chosen is None:
        chosen = f"{os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'}/rayflow"
    return os.path.abspath(chosen)


def content_of(path: str) -> tuple[int, str]:
    """Size in bytes and digest (hex) of a local file. Raises FileNotFoundError, or OSError if it cannot be read."""
    found = os.stat(path)
    mark = f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"
    known = _recall(path, mark)
    if known is not None:
        return found.st_size, known
    started = time.time_ns()
    with open(path, "rb", buffering=0) as stream:
        size, digest = hash_stream(stream)
        after = os.fstat(stream.fileno())
    unchanged = (after.st_size, after.st_mtime_ns, after.st_ino) == (found.st_size, found.st_mtime_ns, found.st_ino)
    if unchanged and max(after.st_mtime_ns, after.st_ctime_ns) < started - _SETTLED_NS:
        _remember(path, mark, digest)
    return size, digest


def read_digest(stream: BinaryIO) -> tuple[int, str]:
    """Size in bytes and digest (hex) of a stream, which is closed then."""
    with stream:
        return hash_stream(stream)


def _recall(path: str, mark: str) -> str | None:
    import sqlite3

    with _lock:
        try:
            found = _connection().execute("SELECT digest FROM contents WHERE path = ? AND mark = ?", (path, mark))
            row = found.fetchone()
        except (sqlite3.Error, OSError):
            return None  # without the cache, the file is read once more
    return row[0] if row else None


def _remember(path: str, mark: str, digest: str) -> None:
    import sqlite3

    with _lock:
        try:
            cache = _connection()
            cache.execute("INSERT OR REPLACE INTO contents(path, mark, digest) VALUES (?, ?, ?)", (path, mark, digest))
            last = cache.execute("SELECT max(rowid) FROM contents").fetchone()[0]
            if last % 1000 == 0:
                cache.execute("DELETE FROM contents WHERE rowid <= ?", (last - MOST_REMEMBERED,))
        except (sqlite3.Error, OSError):
            return  # likewise


def _connection() -> sqlite3.Connection:
    """The connection to the cache, opened once in a process. Raises sqlite3.Error or OSError if it cannot be opened."""
    import sqlite3

    place = os.path.join(cache_directory(), "contents.sqlite")
    key = f"{os.getpid()}:{place}"
    known = _opened.get(key)
    if known is None:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        known = sqlite3.connect(place, timeout=1.0, isolation_level=None, check_same_thread=False)
        known.execute("PRAGMA journal_mode = WAL")
        known.execute("PRAGMA synchronous = OFF")
        known.execute("CREATE TABLE IF NOT EXISTS contents(path TEXT PRIMARY KEY, mark TEXT, digest TEXT)")
        _opened[key] = known
    return known
