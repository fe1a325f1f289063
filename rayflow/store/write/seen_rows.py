"""The content-addressed rows that a process has appended already, so that each is recorded once.

In: rows, as they are appended. Out: those that are new. Never: reads the store; what others wrote is not known here.
"""

from __future__ import annotations

from typing import Any

from rayflow.record_columns import Columns, Same
from rayflow.records import (
    CallChildRow,
    CallRow,
    DefinitionRow,
    FileRow,
    ListingRow,
    Row,
    TaskRow,
    TaskSetRow,
    ValuePartRow,
    ValueRow,
)

REMEMBERED_KEYS = 200_000
"""How many keys of content-addressed rows a table remembers, to leave out rows that it has appended already."""

_MANY_PARTS = 1_000
"""Of at least so many numbered parts of one thing, only the first and the last one are remembered."""

KEY_LENGTHS: dict[type, int] = {
    CallRow: 1,
    CallChildRow: 2,
    TaskSetRow: 2,
    ValueRow: 1,
    ValuePartRow: 2,
    FileRow: 1,
    ListingRow: 1,
    TaskRow: 1,
    DefinitionRow: 2,
}
"""Content-addressed tables whose key is the first columns of the row, and how many those are."""


class SeenRows:
    """The keys of the content-addressed rows that were appended, some hundred thousand of each table."""

    def __init__(self) -> None:
        self._keys: dict[type, set[Any]] = {row: set() for row in KEY_LENGTHS}

    def clear(self) -> None:
        """Forget all keys: rows that were appended are not recorded."""
        for keys in self._keys.values():
            keys.clear()

    def is_new(self, row: Row) -> bool:
        """Whether a row of such a table was not appended before; from now on it was."""
        row_type = type(row)
        length = KEY_LENGTHS[row_type]
        key = row[0] if length == 1 else row[:length]
        seen = self._keys[row_type]
        if key in seen and not (row_type is CallRow and row.at is not None):  # type: ignore[union-attr]
            return False
        if len(seen) >= REMEMBERED_KEYS:
            seen.clear()
        seen.add(key)
        return True

    def unseen(self, columns: Columns) -> Columns:
        """The rows of a content-addressed table, each of them once, that were not appended before."""
        length = KEY_LENGTHS[columns.row]
        if length == 2 and columns.length >= _MANY_PARTS:
            whole, numbers = columns.columns[:2]
            if type(whole) is Same and type(numbers) is range:
                return self._unseen_parts(columns, whole.value, numbers)
        fields: tuple[str, ...] = columns.row._fields  # type: ignore[attr-defined]  # all rows are named tuples
        parts = [columns.column(name) for name in fields[:length]]
        keys = parts[0] if length == 1 else list(zip(*parts, strict=True))
        fresh = set(keys)
        seen = self._keys[columns.row]
        if len(fresh) < columns.length or not fresh.isdisjoint(seen):
            fresh -= seen
            place_of = {key: place for place, key in enumerate(keys) if key in fresh}
            columns = columns.chosen(list(place_of.values()))
        if len(seen) + len(fresh) > REMEMBERED_KEYS:
            seen.clear()
        if len(fresh) <= REMEMBERED_KEYS:
            seen |= fresh
        return columns

    def _unseen_parts(self, columns: Columns, whole: bytes, numbers: range) -> Columns:
        """`unseen` for the numbered parts of one thing, such as the calls below a call. They always come together, so
        that the first and the last one stand for all: there may be a million."""
        seen = self._keys[columns.row]
        ends = {(whole, numbers[0]), (whole, numbers[-1])}
        if ends <= seen:
            return columns.chosen(())
        if len(seen) >= REMEMBERED_KEYS:
            seen.clear()
        seen |= ends
        return columns
