"""Every path of a store and the version of its layout.

In: ids and digests. Out: paths inside the store's folder. Never: opens a file.

    format                       this layout's version, as JSON
    commits/<id>                 what one commit added: small tables whole, large ones by the names of their segments
    segments/<table>/<id>.parquet
    segments/<table>_by_key/<id>.arrow
                                 the index of a segment; it can be made again
    blobs/<2 hex>/<hex>          bytes by content
    live/<execution>             what an execution says of itself while it lives
    lease/<name>/<epoch>         who may commit for the store's service, or for an execution
    lease/<series>               shows that the holder of a lease is alive; written again every few seconds
    tmp/                         files being written; nothing reads them
    tmp/beacon-<name>            tells other machines that they reach the same store

Ids sort by time: 16 hex digits of microseconds, then 10 of the writer. All but `live/`, `lease/<series>` and `tmp/` is
immutable once it is there.

The commits of a process that holds a lease are a series: each is named by the time at which the series began, plus its
number, as microseconds. So the name of the next commit follows from the last one, and only one process can create it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable

from rayflow.errors import VersionMismatch

LAYOUT_VERSION = 3
"""1: the tables in a commit are compressed one by one. 2: all of them in one frame (see write/segments). 3: a few rows
of a table are packed there (see write/packed_rows)."""

FORMAT = "format"
COMMITS = "commits"
SEGMENTS = "segments"
BLOBS = "blobs"
LIVE = "live"
LEASES = "lease"
TEMPORARY = "tmp"
IGNORE = ".gitignore"

DAMAGED = "damaged-"
"""The beginning of the names of damaged files, which are moved into `tmp/`."""

BEACON = "beacon-"
"""The beginning of the names of beacons, in `tmp/`."""

OWN_NAMES = frozenset({FORMAT, COMMITS, SEGMENTS, BLOBS, LIVE, LEASES, TEMPORARY, IGNORE})

_ID_LENGTH = 16 + 1 + 10

_SERIES_MARK = "l"
"""The first letter of a writer whose commits form a series; other writers are hexadecimal."""


def commit_path(commit_id: str) -> str:
    """The path of a commit."""
    return f"{COMMITS}/{commit_id}"


def segment_path(table: str, segment_id: str) -> str:
    """The path of a segment of a table."""
    return f"{SEGMENTS}/{table}/{segment_id}.parquet"


def index_path(table: str, index_id: str) -> str:
    """The path of the index of a segment of a table."""
    return f"{SEGMENTS}/{table}_by_key/{index_id}.arrow"


def blob_path(digest: bytes) -> str:
    """The path of a blob."""
    name = digest.hex()
    return f"{BLOBS}/{name[:2]}/{name}"


def live_path(execution_id: str) -> str:
    """The path of what an execution says of itself while it lives."""
    return f"{LIVE}/{execution_id}"


def lease_directory(name: str) -> str:
    """The directory with the records of a lease."""
    return f"{LEASES}/{name}"


def lease_path(name: str, epoch: int) -> str:
    """The path of the record of who holds a lease in an epoch."""
    return f"{LEASES}/{name}/{epoch:010d}"


def heartbeat_path(series: str) -> str:
    """The path of the file that shows that the writer of a series is alive."""
    return f"{LEASES}/{series}"


def aside_path(path: str) -> str:
    """The path to which a damaged file is moved."""
    return f"{TEMPORARY}/{DAMAGED}{path.rpartition('/')[2]}"


def beacon_path(name: str) -> str:
    """The path of a beacon."""
    return f"{TEMPORARY}/{BEACON}{name}"


def is_id(name: str) -> bool:
    """Whether a file's name is an id of this layout (anything else in the folder is not ours)."""
    return len(name) == _ID_LENGTH and name[16] == "-" and name.replace("-", "", 1).isalnum()


def id_time(name: str) -> int:
    """The time at which an id was made, in microseconds since the epoch."""
    return int(name[:16], 16)


def new_series() -> str:
    """The writer's part of the ids of a new series."""
    return _SERIES_MARK + os.urandom(5).hex()[1:]


def id_in_series(series: str, began_us: int, number: int) -> str:
    """The id of a commit of a series. began_us: the time at which the series began. number: of the commit, from 0."""
    return f"{began_us + number:016x}-{series}"


def series_of(name: str) -> str | None:
    """The series that an id belongs to; None for the id of a writer without a lease."""
    writer = name[17:]
    return writer if writer.startswith(_SERIES_MARK) else None


def packed_ids(ids: Iterable[str]) -> list[str]:
    """Ids, in a list that is short where they follow one another in a series: there the first stands for all, with a
    + and the number of those behind it."""
    runs: list[tuple[str, int]] = []
    for name in sorted(ids, key=lambda each: (each[17:], each)):
        if runs and series_of(name):
            first, more = runs[-1]
            if name == id_in_series(first[17:], id_time(first), more + 1):
                runs[-1] = first, more + 1
                continue
        runs.append((name, 0))
    return [f"{first}+{more}" if more else first for first, more in runs]


def unpacked_ids(packed: Iterable[str]) -> tuple[str, ...]:
    """The ids of such a list, sorted."""
    found = []
    for each in packed:
        first, _, more = each.partition("+")
        found.append(first)
        found.extend(id_in_series(first[17:], id_time(first), number) for number in range(1, int(more or 0) + 1))
    return tuple(sorted(found))


def format_text() -> bytes:
    """Content of the `format` file."""
    return json.dumps({"format": "rayflow store", "version": LAYOUT_VERSION}).encode() + b"\n"


def check_format(content: bytes, url: str) -> int:
    """The version of a store's layout. Raises VersionMismatch unless this version of rayflow can read the store."""
    try:
        stated = json.loads(content)
        version = int(stated["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise VersionMismatch(
            f"{url}/{FORMAT} is not a description of a rayflow store: {bytes(content[:60])!r}\n"
            "If the folder is a store whose format file was damaged, restore that file: "
            f"it holds {format_text().decode().strip()}"
        ) from error
    if version > LAYOUT_VERSION:
        raise VersionMismatch(
            f"The store {url} has layout version {version}; this rayflow reads up to {LAYOUT_VERSION}. "
            "Upgrade rayflow, or use another store."
        )
    return version


class IdMaker:
    """Makes ids that sort by time, differ between writers, and never go back within one writer."""

    __slots__ = ("_last", "_process", "writer")

    def __init__(self) -> None:
        self._process = -1
        self._last = 0
        self.writer = ""
        self._renew()

    def _renew(self) -> None:
        self._process = os.getpid()
        self.writer = os.urandom(5).hex()

    def make(self, after: str = "") -> str:
        """A new id, later than every one made before and than `after`."""
        if os.getpid() != self._process:
            self._renew()
        floor = max(self._last, id_time(after) if after else 0)
        self._last = max(floor + 1, time.time_ns() // 1000)
        return f"{self._last:016x}-{self.writer}"
