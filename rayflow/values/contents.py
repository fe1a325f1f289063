"""Digests of the contents of files, remembered so that an unchanged file is not read again.

In: a local path. Out: size and digest. Never: trusts a memory whose file has changed in size, in its times or in its
place on the disk, or whose file was written a moment before it was read.

What is remembered is about this machine's disks, so it lies in the user's cache directory (`RAYFLOW_CACHE_DIR`, else
`XDG_CACHE_HOME`, else `~/.cache`), not in the store, which machines share. It may be removed at any time.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import BinaryIO

from rayflow.values.digests import hash_stream

MOST_REMEMBERED = 500_000
"""Files that are remembered; beyond, the oldest are forgotten."""

_SETTLED_NS = 50_000_000
"""A file written later than so long before it was read may be written again within one tick of the disk's clock."""

_lock = threading.Lock()
_opened: dict[str, sqlite3.Connection] = {}


def cache_directory() -> str:
    """Where this user's caches are."""
    chosen = os.environ.get("RAYFLOW_CACHE_DIR")
    if chosen is None:
        chosen = f"{os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'}/rayflow"
    return os.path.abspath(chosen)


def content_of(path: str) -> tuple[int, str]:
    """Size in bytes and digest (hex) of a local file. Raises FileNotFoundError, or OSError where it cannot be read."""
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
    """Size in bytes and digest (hex) of what a stream gives; it is closed."""
    with stream:
        return hash_stream(stream)


def _recall(path: str, mark: str) -> str | None:
    with _lock:
        try:
            row = _memory().execute("SELECT digest FROM contents WHERE path = ? AND mark = ?", (path, mark)).fetchone()
        except (sqlite3.Error, OSError):
            return None  # a memory that cannot be read costs one reading of the file
    return row[0] if row else None


def _remember(path: str, mark: str, digest: str) -> None:
    with _lock:
        try:
            memory = _memory()
            memory.execute("INSERT OR REPLACE INTO contents(path, mark, digest) VALUES (?, ?, ?)", (path, mark, digest))
            last = memory.execute("SELECT max(rowid) FROM contents").fetchone()[0]
            if last % 1000 == 0:
                memory.execute("DELETE FROM contents WHERE rowid <= ?", (last - MOST_REMEMBERED,))
        except (sqlite3.Error, OSError):
            return  # likewise


def _memory() -> sqlite3.Connection:
    """The memory of this process and user, opened once. Raises sqlite3.Error or OSError when there is none."""
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
