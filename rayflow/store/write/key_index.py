"""Indexes: the reductions of a segment once more, in the order of their keys, so that a file can be searched.

In: the rows of a segment. Out: the file of its index; from such a file, the rows. Never: looks anything up.

Parquet must be decoded before it can be searched. An index is an Arrow file that is not compressed. It is mapped into
memory, and a look-up touches only the pages of the keys and of the rows that it finds. A commit names its indexes
beside its segments, and is whole without them: a segment whose index is missing or damaged is read instead. So the
stores of older versions need none, and a full compaction writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from rayflow.store.folders.protocol import Folder
from rayflow.store.folders.verified_reads import read_intact
from rayflow.store.write.segments import Index
from rayflow.values.digests import DIGEST_BYTES, checksum

INDEXED = "reductions"
"""The table that has indexes."""

KEY = "eval_hash"

_REPEATED = 4
"""A column that repeats each of its values at least this often is written as codes."""

_CODES = (pa.int8(), pa.int16(), pa.int32())


def write_index(folder: Folder, index_id: str, rows: Any) -> Index | None:
    """Write the index of these rows; None when their keys are not hashes, so that they have no fixed length."""
    parts = ordered(rows)
    if not parts:
        return None
    content = encode(parts)
    written = Index(INDEXED, index_id, rows.num_rows, content.nbytes, checksum([content]).hex())
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


def ordered(rows: Any) -> list[Any]:
    """The rows of an index as record batches; none when the keys have no fixed length.

    The keys are in order. A column of nulls is left out, and values that repeat are codes.
    """
    import pyarrow.compute

    pc: Any = pyarrow.compute
    if not _are_digests(rows.column(KEY), pc):
        return []
    rows = rows.take(pc.sort_indices(rows, sort_keys=[(KEY, "ascending")]))
    columns = {name: _compact(name, rows.column(name), pc) for name in rows.column_names}
    table = pa.table({name: column for name, column in columns.items() if column is not None})
    found: list[Any] = table.combine_chunks().to_batches()
    return found


def _compact(name: str, column: Any, pc: Any) -> Any:
    if name == KEY:
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
