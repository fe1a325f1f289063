"""Arrow schemas, made from the row classes in `rayflow.records`, and how each table is laid out on disk.

In: row classes. Out: schemas, and per table the order and encodings of its Parquet files. Never: reads or writes a
file.

Hashes are variable-length binary: with the delta-length encoding their equal lengths cost nothing on disk. Durations
are 32-bit floats, times are timestamps in microseconds without a zone (always UTC).
"""

from __future__ import annotations

import typing
from dataclasses import dataclass
from functools import cache
from types import NoneType
from typing import Annotated, Any

import pyarrow as pa

from rayflow.errors import Bug
from rayflow.record_columns import Columns, Same
from rayflow.records import TABLES, Table
from rayflow.store.write.arrow_columns import repeated, to_array

_PLAIN_TYPES: dict[type, Any] = {
    str: pa.string(),
    bytes: pa.binary(),
    int: pa.int64(),
    float: pa.float32(),
    bool: pa.bool_(),
}

_SORTED_BY: dict[str, tuple[str, ...]] = {
    "reductions": ("task_hash", "eval_hash"),
    "jobs": ("queued_at", "ordinal"),
    "executions": ("execution_id",),
    "call_children": ("call_hash", "position"),
    "arguments": ("call_hash", "name"),
    "task_sets": ("task_set",),
    "logs": ("job_id", "attempt"),
    "definitions": ("task_hash", "name"),
}
"""How the rows of a Parquet file are ordered; a table that is not here is ordered by its key."""

_FEW_VALUES: frozenset[str] = frozenset(
    {
        "task_hash",
        "task_set",
        "task_name",
        "label",
        "execution_id",
        "parent_job_id",
        "kind",
        "missed",
        "known_by",
        "how",
        "status",
        "node",
        "pid",
        "error",
        "story",
        "traceback",
        "name",
        "type",
        "format",
        "entity",
        "key",
        "stream",
        "ended",
        "attempt",
        "attempts",
        "peak_memory_bytes",
        "term_blob",
        "waited_on",
        "requested",
        "environment",
    }
)
"""Columns that repeat their values: encoded with a dictionary."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, its documentation, and whether its bytes are a hash."""

    name: str
    documentation: str
    is_hash: bool
    type: Any


@dataclass(frozen=True, slots=True)
class TableLayout:
    """How one table is written and read."""

    table: Table
    columns: tuple[Column, ...]
    schema: Any
    sorted_by: tuple[str, ...]
    dictionary_columns: tuple[str, ...]
    encodings: dict[str, str]

    @property
    def name(self) -> str:
        """The table's name."""
        return self.table.name


def _column(name: str, hint: Any) -> Column:
    """A column from its annotation: `Annotated[type, (mark,) documentation]`, the type perhaps `| None`."""
    marks: list[str] = []
    documentation = ""
    if typing.get_origin(hint) is Annotated:
        marks.extend(hint.__metadata__[:-1])
        documentation = hint.__metadata__[-1]
        hint = hint.__origin__
    for part in typing.get_args(hint) or (hint,):
        if part is NoneType:
            continue
        if typing.get_origin(part) is Annotated:
            marks.extend(part.__metadata__)
            hint = part.__origin__
        else:
            hint = part
    arrow_type = pa.timestamp("us") if "time" in marks else _PLAIN_TYPES[hint]
    return Column(name, documentation, "hash" in marks, arrow_type)


@cache
def layouts() -> dict[str, TableLayout]:
    """The layout of every table, by name, in the order of `TABLES`."""
    found = {}
    for table in TABLES:
        hints = typing.get_type_hints(table.row, include_extras=True)
        columns = tuple(_column(name, hint) for name, hint in hints.items() if name in table.row.__annotations__)
        dictionary = tuple(column.name for column in columns if column.name in _FEW_VALUES)
        encodings = {}
        for column in columns:
            if column.name in dictionary:
                continue
            if column.type in (pa.binary(), pa.string()):
                encodings[column.name] = "DELTA_LENGTH_BYTE_ARRAY"
            elif column.type in (pa.int64(), pa.timestamp("us")):
                encodings[column.name] = "DELTA_BINARY_PACKED"
            elif column.type == pa.float32():
                encodings[column.name] = "BYTE_STREAM_SPLIT"
        found[table.name] = TableLayout(
            table=table,
            columns=columns,
            schema=pa.schema([(column.name, column.type) for column in columns]),
            sorted_by=_SORTED_BY.get(table.name, table.key),
            dictionary_columns=dictionary,
            encodings=encodings,
        )
    return found


def to_arrow(layout: TableLayout, rows: Columns) -> Any:
    """The rows as an Arrow table. Raises Bug when a row does not fit the schema."""
    arrays = []
    for column, values in zip(layout.columns, rows.columns, strict=True):
        try:
            if type(values) is Same:
                arrays.append(repeated(values.value, rows.length, column.type))
            elif len(values) == rows.length:
                arrays.append(to_array(values, column.type))
            else:
                raise ValueError(f"{len(values)} values for {rows.length} rows")
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise Bug(f"A row does not fit its table: column {layout.name}.{column.name}: {error}") from error
    return pa.Table.from_arrays(arrays, schema=layout.schema)


def fits(layout: TableLayout, row: Any) -> bool:
    """Whether a row can be written to its table."""
    try:
        to_arrow(layout, Columns.of_rows([row]))
    except Bug:
        return False
    return True


def fit(layout: TableLayout, found: Any) -> Any:
    """A table with the columns of this version: missing ones are null, unknown ones are dropped."""
    if found.schema.equals(layout.schema):
        return found
    arrays = []
    for column in layout.columns:
        if column.name in found.column_names:
            arrays.append(found.column(column.name).cast(column.type))
        else:
            arrays.append(pa.nulls(found.num_rows, column.type))
    return pa.Table.from_arrays(arrays, schema=layout.schema)
