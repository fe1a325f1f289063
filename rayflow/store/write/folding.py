"""Rows of other tables that lie in the files of calls, beside the call that they belong to.

In: the tables of a large commit. Out: calls with further columns, and the rows that stay in tables of their own; and
back. Never: reads or writes a file.

Most calls have one argument and were made by one call. The hash of the call would stand in three files, and hashes are
most of what a store keeps. So a call's row in a file of calls has columns for one row of each table in `FOLDS`. All
further rows, such as those of a second argument, stay where they would be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy
import pyarrow as pa

from rayflow.store.write import schemas

HOST = "calls"
"""The table whose files have the further columns."""

HOST_KEY = "call_hash"


@dataclass(frozen=True, slots=True)
class Fold:
    """A table whose rows are folded. key: its column with the hash of the call; present: one that is never null."""

    table: str
    key: str
    present: str

    @property
    def columns(self) -> tuple[schemas.Column, ...]:
        """The columns that the file of calls has for this table."""
        return tuple(column for column in schemas.layouts()[self.table].columns if column.name != self.key)

    def folded(self, column: str) -> str:
        """The name of a column in the file of calls."""
        return f"{self.table}.{column}"


FOLDS: dict[str, Fold] = {
    fold.table: fold
    for fold in (Fold("call_children", "child_call_hash", "call_hash"), Fold("arguments", "call_hash", "name"))
}
"""By the folded table. Null in its column `present` says that a call has no folded row of it."""


def fold(fold: Fold, calls: Any, rows: Any) -> tuple[Any, Any, int]:
    """Calls, each with the first of its rows of another table; the other rows; and how many were folded.

    calls: each of them once.
    """
    import pyarrow.compute as pc

    found = pc.index_in(rows.column(fold.key), value_set=calls.column(HOST_KEY).combine_chunks())
    places = found.fill_null(-1).combine_chunks().to_numpy()
    known = numpy.flatnonzero(places >= 0)
    _, firsts = numpy.unique(places[known], return_index=True)
    chosen = known[firsts]
    row_of = numpy.zeros(calls.num_rows, numpy.int64)
    has_row = numpy.zeros(calls.num_rows, numpy.bool_)
    row_of[places[chosen]] = chosen
    has_row[places[chosen]] = True
    taken = _integers(row_of, has_row)
    for column in fold.columns:
        calls = calls.append_column(fold.folded(column.name), rows.column(column.name).take(taken))
    stays = numpy.ones(rows.num_rows, numpy.bool_)
    stays[chosen] = False
    return calls, rows.take(_integers(numpy.flatnonzero(stays))), len(chosen)


def _integers(numbers: Any, are_valid: Any = None) -> Any:
    validity = None if are_valid is None else pa.py_buffer(numpy.packbits(are_valid, bitorder="little"))
    return pa.Array.from_buffers(pa.int64(), len(numbers), [validity, pa.py_buffer(numbers)])


def unfold(fold: Fold, calls: Any) -> Any:
    """The rows of another table that a file of calls has."""
    held = calls.filter(calls.column(fold.folded(fold.present)).is_valid())
    how = schemas.layouts()[fold.table]
    names = [HOST_KEY if column.name == fold.key else fold.folded(column.name) for column in how.columns]
    return pa.Table.from_arrays([held.column(name) for name in names], schema=how.schema)
