"""Rows of other tables that lie in the files of calls, beside the call that they belong to.

In: a file of calls, as an Arrow table. Out: the rows of the other tables in it. Never: reads or writes a file.
`merged_rows` folds.

Most calls have one argument and were made by one call. The hash of the call would stand in three files, and hashes are
most of what a store keeps. So a call's row in a file of calls has columns for one row of each table in `FOLDS`. All
further rows, such as those of a second argument, stay where they would be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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


def unfold(fold: Fold, calls: Any) -> Any:
    """The rows of another table that a file of calls has."""
    held = calls.filter(calls.column(fold.folded(fold.present)).is_valid())
    how = schemas.layouts()[fold.table]
    names = [HOST_KEY if column.name == fold.key else fold.folded(column.name) for column in how.columns]
    return pa.Table.from_arrays([held.column(name) for name in names], schema=how.schema)
