"""Rows and blobs that are perhaps never written.

In: what a loop writes. Out: the same, in the store, when `keep` is called. Never: writes anything before that.

The fast path tries to answer a run from the cache alone. It writes into a draft: when something has to run after all,
the draft is dropped, and the store shows no trace of the attempt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from rayflow.records import Columns, JobRow, Row
from rayflow.store.store import Store
from rayflow.values.refs import Encoded


class RowSink(Protocol):
    """Where a loop writes: a Store, or a Draft."""

    def append(self, rows: Iterable[Row], columns: Iterable[Columns] = ()) -> None:
        """Collect rows, and rows as columns, for the next commit."""

    def put_blob(self, digest: bytes, encoded: Encoded) -> None:
        """Write an encoded value under its digest."""

    def pending(self) -> int:
        """How many rows a commit would write now."""

    def due(self, now_us: int) -> bool:
        """Whether rows have waited for a commit long enough. now_us: the time on the caller's clock."""

    def commit(self) -> None:
        """Write the rows that wait."""

    def open_jobs(self, execution_id: str) -> list[JobRow]:
        """The opening rows of an execution's jobs that have no closing row."""


class Draft:
    """Collects what a loop writes; `keep` writes it to the store, all at once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: list[Row] = []
        self._columns: list[Columns] = []
        self._blobs: dict[bytes, Encoded] = {}

    def append(self, rows: Iterable[Row], columns: Iterable[Columns] = ()) -> None:
        """Collect rows, and rows as columns."""
        self._rows.extend(rows)
        self._columns.extend(columns)

    def put_blob(self, digest: bytes, encoded: Encoded) -> None:
        """Collect an encoded value."""
        self._blobs[digest] = encoded

    def pending(self) -> int:
        """None: the rows wait for `keep`, not for a commit."""
        return 0

    def due(self, now_us: int) -> bool:
        """Never: the rows wait for `keep`."""
        return False

    def commit(self) -> None:
        """Nothing: the rows wait for `keep`."""

    def open_jobs(self, execution_id: str) -> list[JobRow]:
        """The opening rows of an execution's jobs that have a closing row neither in the store nor here."""
        rows = [*self._rows, *(row for each in self._columns if each.row is JobRow for row in each.rows())]
        closed = {row.job_id for row in rows if isinstance(row, JobRow) and row.finished_at is not None}
        return [row for row in self._store.open_jobs(execution_id) if row.job_id not in closed]

    def keep(self, more: Sequence[Row] = ()) -> None:
        """Write everything that was collected, and these rows, in one commit.

        Raises StoreUnavailable when the store cannot be written: then none of the rows wait for a later commit.
        """
        for digest, encoded in self._blobs.items():
            self._store.put_blob(digest, encoded)
        self._store.keep([*self._rows, *more], self._columns)
