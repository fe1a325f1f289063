"""Rows and blobs that are perhaps never written.

In: what a loop writes. Out: the same, in the store, when `keep` is called. Never: writes anything before that.

The fast path tries to answer a run from the cache alone. It writes into a draft: when something has to run after all,
the draft is dropped, and the store shows no trace of the attempt.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, Protocol, overload

from rayflow.record_columns import Columns, Same
from rayflow.records import ArgumentRow, JobRow, Row, ValueRow
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


_PACKED: dict[type, tuple[str, ...]] = {ArgumentRow: ("value_hash",), ValueRow: ("inline", "preview")}
"""Columns whose values nobody else has. (The evaluator has the others, too, while it runs: packed, they would be there
twice.)"""

_PACKED_FROM = 256
"""A column with fewer values stays as it is."""


class _PackedColumn(Sequence[Any]):
    """A column of texts or bytes, none of them None, in one piece: a small object takes 50 bytes more than what is in
    it. Values are made anew when they are read."""

    __slots__ = ("_data", "_ends", "_is_text")

    def __init__(self, values: Sequence[Any]) -> None:
        self._is_text = type(values[0]) is str
        if self._is_text:
            values = [value.encode("utf-8", "surrogatepass") for value in values]
        self._data = b"".join(values)
        self._ends = array("Q" if len(self._data) >= 1 << 32 else "I", accumulate(map(len, values), initial=0))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, place: int) -> Any: ...

    @overload
    def __getitem__(self, place: slice) -> list[Any]: ...

    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(place)
        return self._value(self._ends[place], self._ends[place + 1])

    def __iter__(self) -> Iterator[Any]:
        for start, end in pairwise(self._ends):
            yield self._value(start, end)

    def _value(self, start: int, end: int) -> Any:
        piece = self._data[start:end]
        return piece.decode("utf-8", "surrogatepass") if self._is_text else piece


def _packed(columns: Columns) -> Columns:
    """The same columns, in less memory."""
    names = _PACKED.get(columns.row, ())
    if not names or columns.length < _PACKED_FROM:
        return columns
    fields: tuple[str, ...] = columns.row._fields  # type: ignore[attr-defined]  # all rows are named tuples
    changed = list(columns.columns)
    for name in names:
        place = fields.index(name)
        values = changed[place]
        if type(values) is not Same and None not in values:
            changed[place] = _PackedColumn(values)
    return Columns(columns.row, columns.length, tuple(changed))


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
        self._columns.extend(map(_packed, columns))

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
