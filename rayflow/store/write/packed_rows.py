"""A few rows of a table as bytes: what a small commit has in place of an Arrow stream.

In: a few rows, as columns. Out: their bytes; from these, the Arrow table that the rows would have made. Never: takes a
value that an Arrow array of its column would refuse.

A service commits one or two rows of several tables at a time. An Arrow table of one row costs a schema, and an array
for each column, with or without a value: many times what the values cost. So a few rows are written like this:

    mark (4)  length of the text (4, little-endian)  text (JSON)  all values of bytes  zeros to a multiple of 8

The text is a list: how many rows; the values of each column, by its name; the lengths of the values of each column of
bytes. A column without any value is left out.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from types import NoneType
from typing import Any, NamedTuple

import pyarrow as pa

from rayflow.record_columns import Columns, Same
from rayflow.store.write import schemas

MARK = b"ROWS"
"""How such bytes begin. (An Arrow stream begins with 0xFFFFFFFF.)"""

MOST_ROWS = 24
"""More rows of one table are smaller, and cheaper, as Arrow arrays."""

_PREFIX = len(MARK) + 4
_ALIGNED = 8
_NOTHING = Same(None)
_LEAST, _MOST = -(2**63), 2**63 - 1

_CLASSES: dict[Any, frozenset[type]] = {
    pa.string(): frozenset({str}),
    pa.binary(): frozenset({bytes}),
    pa.int64(): frozenset({int}),
    pa.timestamp("us"): frozenset({int}),
    pa.float32(): frozenset({float, int}),
    pa.bool_(): frozenset({bool}),
}
"""The classes of the values of a column, by its type. Rows with others are left to Arrow: it takes or refuses them."""

_NO_VALUE = (None,)
"""What most columns of one row have."""

_HALF = b"\\ud"
"""Begins half of a character in JSON. Two stray halves that meet would be read as one character."""

_encode = json.JSONEncoder(separators=(",", ":")).encode


class PackedRows(NamedTuple):
    """Rows of one table as bytes. num_rows: how many."""

    num_rows: int
    content: bytes


@functools.cache
def _usual(table: str) -> list[tuple[str, frozenset[type]]]:
    """The columns of a table, with the classes of their values."""
    return [(column.name, _CLASSES[column.type]) for column in schemas.layouts()[table].columns]


def packed(layout: schemas.TableLayout, rows: Columns) -> PackedRows | None:
    """These rows as bytes. None if they are too many, or if a value is of a class that is not usual there."""
    if rows.length > MOST_ROWS:
        return None
    plain: dict[str, Sequence[Any]] = {}
    lengths: dict[str, Sequence[int | None]] = {}
    data: list[bytes] = []
    for (name, usual), given in zip(_usual(layout.name), rows.columns, strict=True):
        values: Sequence[Any] = [given.value] * rows.length if type(given) is Same else given
        if values == _NO_VALUE:
            continue
        classes = set(map(type, values))
        has_none = NoneType in classes
        if has_none:
            classes.discard(NoneType)
            if not classes:
                continue
        if not classes <= usual or len(values) != rows.length:
            return None
        if bytes in classes:
            present = [value for value in values if value is not None] if has_none else values
            data.extend(present)
            lengths[name] = [None if value is None else len(value) for value in values]
            continue
        if int in classes and not all(value is None or _LEAST <= value <= _MOST for value in values):
            return None
        plain[name] = list(values) if type(values) is range else values
    text = _encode([rows.length, plain, lengths]).encode()
    if _HALF in text:
        return None
    whole = b"".join((MARK, len(text).to_bytes(4, "little"), text, *data))
    return PackedRows(rows.length, whole + bytes(-len(whole) % _ALIGNED))


def unpacked(layout: schemas.TableLayout, content: memoryview) -> Any:
    """The rows behind such bytes, as an Arrow table with the columns of this version."""
    start = _PREFIX + int.from_bytes(content[len(MARK) : _PREFIX], "little")
    length, plain, lengths = json.loads(bytes(content[_PREFIX:start]))
    columns: dict[str, Sequence[Any]] = dict(plain)
    for name, sizes in lengths.items():
        values: list[bytes | None] = []
        for size in sizes:
            end = start + (size or 0)
            values.append(None if size is None else bytes(content[start:end]))
            start = end
        columns[name] = values
    whole = tuple([columns.get(column.name, _NOTHING) for column in layout.columns])
    return schemas.to_arrow(layout, Columns(layout.table.row, length, whole))
