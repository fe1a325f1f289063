"""Indexes: rows of a segment once more, in the order of their keys, so that a file can be searched.

In: the rows of a segment. Out: the file of its index; from such a file, the rows. Never: looks anything up.

Parquet must be decoded before it can be searched. An index is an Arrow file that is not compressed. It is mapped into
memory, and a look-up touches only the pages of the keys and of the rows that it finds. A commit names its indexes
beside its segments, and is whole without them: a segment whose index is missing or damaged is read instead. So the
stores of older versions need none, and a full compaction writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from rayflow.records import CallRow, ReductionRow, TaskSetRow
from rayflow.store.folders.protocol import Folder
from rayflow.store.folders.verified_reads import read_intact
from rayflow.store.write.merged_rows import OrderedRows, plain
from rayflow.store.write.segments import Index
from rayflow.values.digests import DIGEST_BYTES, checksum


class Keyed(NamedTuple):
    """A table whose rows are found by a key.

    row: the class of its rows. key: a column of hashes. at: the column with the time of a row. only: the rows without a
    value in this column are left out. columns: the columns of a row that is found; all others of it are None.
    """

    table: str
    row: type
    key: str
    columns: tuple[str, ...]
    at: str | None = None
    only: str | None = None


REDUCTIONS = Keyed("reductions", ReductionRow, "eval_hash", ReductionRow._fields, at="at")
TOLD_VALUES = Keyed(
    "calls",
    CallRow,
    "eval_hash",
    ("call_hash", "task_hash", "eval_hash", "task_set", "term", "term_blob", "at", "since"),
    at="at",
    only="at",
)
"""The calls that tell their final value."""
TASK_SETS = Keyed("task_sets", TaskSetRow, "task_set", TaskSetRow._fields)

INDEXED = {each.table: each for each in (REDUCTIONS, TOLD_VALUES, TASK_SETS)}
"""The tables that have indexes."""

_REPEATED = 4
"""A column that repeats each of its values at least this often is written as codes."""

_CODES = (pa.int8(), pa.int16(), pa.int32())


def write_index(folder: Folder, index_id: str, rows: OrderedRows, how: Keyed = REDUCTIONS) -> Index | None:
    """Write the index of these rows; None when their keys are not hashes, so that they have no fixed length."""
    places = rows.places
    if how.only is not None:
        places = places.filter(rows.column(how.only).is_valid().combine_chunks())
    parts = _in_key_order(lambda name: plain(rows.how, name, rows.rows.column(name).take(places)), how)
    if not parts:
        return None
    content = encode(parts)
    written = Index(how.table, index_id, len(places), content.nbytes, checksum([content]).hex())
    folder.write(written.path, [content])
    return written


def read_index(folder: Folder, index: Index) -> list[Any]:
    """The rows of an index, as record batches in the order of the keys, mapped where the file is on this machine.

    Raises BlobDamaged when the file is not what was written, or FileNotFoundError.
    """
    return decode(read_intact(folder, index.path, index.matches))


def encode(parts: Sequence[Any]) -> memoryview:
    """The content of an index."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, parts[0].schema) as writer:
        for part in parts:
            writer.write_batch(part)
    return memoryview(sink.getvalue())


def decode(content: memoryview) -> list[Any]:
    """The record batches of an index, which refer to these bytes."""
    with pa.ipc.open_file(pa.py_buffer(content)) as reader:
        return [reader.get_batch(number) for number in range(reader.num_record_batches)]


def count_of(rows: OrderedRows, how: Keyed) -> int:
    """How many of these rows are found by their keys."""
    return len(rows) if how.only is None else len(rows) - rows.column(how.only).null_count


def chosen(rows: Any, how: Keyed) -> Any:
    """The columns and rows that are found by their keys."""
    rows = rows.select(how.columns)
    absent = 0 if how.only is None else rows.column(how.only).null_count
    if not absent:
        return rows
    if absent == rows.num_rows:
        return rows.slice(0, 0)
    import pyarrow.compute

    pc: Any = pyarrow.compute
    return rows.filter(pc.is_valid(rows.column(how.only)))


def ordered(rows: Any, how: Keyed = REDUCTIONS) -> list[Any]:
    """The rows of an index as record batches; none when the keys have no fixed length.

    The keys are in order. A column of nulls is left out, and values that repeat are codes.
    """
    return _in_key_order(chosen(rows, how).column, how)


def _in_key_order(column_of: Callable[[str], Any], how: Keyed) -> list[Any]:
    """As `ordered`, from the columns, each of which is asked for when its turn has come."""
    import pyarrow.compute

    pc: Any = pyarrow.compute
    keys = column_of(how.key)
    if not _are_digests(keys, pc):
        return []
    order = pc.sort_indices(keys)
    columns = {}
    for name in how.columns:
        is_key = name == how.key
        column = _compact((keys if is_key else column_of(name)).take(order), is_key, pc)
        if column is not None:
            columns[name] = column
    found: list[Any] = pa.table(columns).combine_chunks().to_batches()
    return found


def _compact(column: Any, is_key: bool, pc: Any) -> Any:
    if is_key:
        return column.cast(pa.binary(DIGEST_BYTES))
    if column.null_count == len(column):
        return None
    if not any(is_a(column.type) for is_a in (pa.types.is_binary, pa.types.is_string, pa.types.is_fixed_size_binary)):
        return column
    coded = column.dictionary_encode().combine_chunks()
    coded = coded.chunk(0) if isinstance(coded, pa.ChunkedArray) else coded
    if len(coded.dictionary) * _REPEATED <= len(column):
        narrow = next(each for each in _CODES if len(coded.dictionary) <= 1 << (each.bit_width - 1))
        return pa.DictionaryArray.from_arrays(coded.indices.cast(narrow), coded.dictionary)
    if column.type == pa.binary() and _are_digests(column, pc):
        return column.cast(pa.binary(DIGEST_BYTES))
    return column


def _are_digests(column: Any, pc: Any) -> bool:
    """Whether all values have the length of a hash. (To compare with a number of Python, pyarrow imports pandas: in the
    scheduler, between two of its turns.)"""
    return set(pc.min_max(pc.binary_length(column)).as_py().values()) <= {DIGEST_BYTES, None}
