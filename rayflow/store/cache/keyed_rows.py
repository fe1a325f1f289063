"""Rows that are found by their keys, without an object for each row.

In: a record batch, in memory or mapped; keys. Out: the rows of these keys. Never: reads a file, or touches the rows of
other keys.

The keys stand in order, 20 bytes each, and are found by bisection. In a batch that comes from an index the rows stand
in the same order. Otherwise there is a position for each key, and the rows stay where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy
import pyarrow as pa

from rayflow.store.write.key_index import REDUCTIONS, Keyed
from rayflow.values.digests import DIGEST_BYTES

_KEYS = numpy.dtype(f"S{DIGEST_BYTES}")

_Reader: TypeAlias = Callable[[Any], Any]
"""Gives the values of one column in the rows at these positions."""


_FILTERED_FROM = 256
"""Of at least this many keys, those that a batch cannot have are sorted out first."""

_HEAD_BITS = 32


class Wanted:
    """Keys that are asked for, in order. places: of each, among those that were given. heads, seconds: the first and
    the second 32 bits of each."""

    __slots__ = ("heads", "places", "seconds", "sorted")

    def __init__(self, keys: Sequence[bytes]) -> None:
        given = numpy.array(keys, _KEYS)
        self.places = numpy.argsort(given, kind="stable")
        self.sorted = given[self.places]
        self.heads, self.seconds = _heads(self.sorted), _heads(self.sorted, 1)


class KeyedRows:
    """The rows of one batch. commits: the ids of the commits that they are from. how: their table."""

    __slots__ = ("_filter", "_how", "_keys", "_order", "_readers", "batch", "commits", "latest")

    def __init__(
        self, batch: Any, commits: frozenset[str], how: Keyed = REDUCTIONS, *, is_ordered: bool = False
    ) -> None:
        self.batch = batch
        self.commits = commits
        self._how = how
        keys = _keys_of(batch.column(how.key))
        self._order = None if is_ordered else numpy.argsort(keys, kind="stable")
        self._keys = keys if self._order is None else keys[self._order]
        self._filter: _Filter | None = None
        self._readers = {name: _reader(batch, name) for name in how.row._fields}  # type: ignore[attr-defined]
        self.latest = -1 if how.at is None else int(_numbers(batch.column(how.at), numpy.int64).max())
        """The latest time of a row; -1 if rows have none."""

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, wanted: Wanted) -> tuple[list[int], list[Any]]:
        """The rows of these keys, and for each the place of its key among those that were given."""
        keys, asked, places = self._keys, wanted.sorted, wanted.places
        if len(asked) >= _FILTERED_FROM:
            if self._filter is None:
                self._filter = _Filter(keys)
            possible = self._filter.possible(wanted)
            asked, places = asked[possible], places[possible]
        first = numpy.searchsorted(keys, asked)
        hits = numpy.flatnonzero(keys[numpy.minimum(first, len(keys) - 1)] == asked)
        if not len(hits):
            return [], []
        first, asked = first[hits], asked[hits]
        if (keys[numpy.minimum(first + 1, len(keys) - 1)] == asked)[first + 1 < len(keys)].any():
            count = numpy.searchsorted(keys, asked, "right") - first
            hits = numpy.repeat(hits, count)
            within = numpy.arange(len(hits)) - numpy.repeat(numpy.cumsum(count) - count, count)
            first = numpy.repeat(first, count) + within
        return places[hits].tolist(), self._rows(first if self._order is None else self._order[first])

    def of_tasks(self, tasks: frozenset[bytes]) -> list[Any]:
        """The rows of these tasks."""
        everything = numpy.arange(len(self))
        hashes = self._readers["task_hash"](everything)
        return self._rows(everything[[task_hash in tasks for task_hash in hashes]])

    def _rows(self, at: Any) -> list[Any]:
        return list(map(self._how.row, *(read(at) for read in self._readers.values())))


class _Filter:
    """Which keys a batch may have: a table of 16 to 32 bits for each key, of which each key sets two, by its first and
    its second 32 bits.

    A key that the batch does not have is possible once in sixty-four times or more seldom. (To search one takes as long
    as to sort out hundreds, since the search reads pages all over the file.)
    """

    __slots__ = ("_bits", "_shift")

    def __init__(self, keys: Any) -> None:
        width = min(_HEAD_BITS, max(3, len(keys).bit_length() + 4))
        self._shift = _HEAD_BITS - width
        flags = numpy.zeros(1 << width, numpy.bool_)
        for part in (0, 1):
            flags[_heads(keys, part) >> self._shift] = True
        self._bits = numpy.packbits(flags, bitorder="little")

    def possible(self, wanted: Wanted) -> Any:
        """The places of the keys that the batch may have."""
        found = numpy.flatnonzero(self._has(wanted.heads))
        return found[numpy.flatnonzero(self._has(wanted.seconds[found]))]

    def _has(self, heads: Any) -> Any:
        short = heads >> self._shift
        return (self._bits[short >> 3] >> (short & 7).astype(numpy.uint8)) & 1


def _heads(keys: Any, part: int = 0) -> Any:
    """The first 32 bits of each key, as a number; or those of a later part of it."""
    if not len(keys):
        return numpy.zeros(0, numpy.uint32)
    return numpy.ndarray(len(keys), ">u4", keys, 4 * part, (DIGEST_BYTES,)).astype(numpy.uint32)


def _keys_of(column: Any) -> Any:
    """The keys as they stand in a column."""
    if column.type == pa.binary(DIGEST_BYTES):
        return numpy.frombuffer(column.buffers()[1], _KEYS, len(column), column.offset * DIGEST_BYTES)
    starts, data = _offsets(column), column.buffers()[2]
    if data is not None and (numpy.diff(starts) == DIGEST_BYTES).all():
        return numpy.frombuffer(data, _KEYS, len(column), int(starts[0]))
    return numpy.array(column.to_pylist(), _KEYS)


def _reader(batch: Any, name: str) -> _Reader:
    """Reads one column. (Arrow's functions for that take long to import, and make an object for each value.)"""
    if name not in batch.schema.names:
        return _constant(None)
    column = batch.column(name)
    if column.null_count == len(column):
        return _constant(None)
    read = _reader_of_type(column)
    if not column.null_count:
        return read
    bits = numpy.frombuffer(column.buffers()[0], numpy.uint8)
    offset = column.offset

    def with_nulls(at: Any) -> list[Any]:
        at_bits = at + offset
        present = ((bits[at_bits >> 3] >> (at_bits & 7)) & 1).astype(bool)
        values = iter(read(at[present]))
        return [next(values) if is_there else None for is_there in present.tolist()]

    return with_nulls


def _constant(value: Any) -> _Reader:
    return lambda at: [value] * len(at)


def _reader_of_type(column: Any) -> _Reader:
    kind = column.type
    if pa.types.is_dictionary(kind):
        values = column.dictionary.to_pylist()
        if len(values) == 1:
            return _constant(values[0])
        codes = _numbers(column.indices, kind.index_type.to_pandas_dtype())
        return lambda at: list(map(values.__getitem__, codes[at].tolist()))
    if pa.types.is_fixed_size_binary(kind):
        return _reader_of_width(column.buffers()[1], column.offset * kind.byte_width, kind.byte_width, len(column))
    if kind in (pa.binary(), pa.string()):
        starts, data = _offsets(column), column.buffers()[2]
        width = int(starts[1] - starts[0])
        if width and (numpy.diff(starts) == width).all():
            read = _reader_of_width(data, int(starts[0]), width, len(column))
        else:
            read = _reader_of_pieces(starts, memoryview(data or b""))
        return read if kind == pa.binary() else lambda at: _texts(read(at))
    numbers = _numbers(column, numpy.float32 if kind == pa.float32() else numpy.int64)
    return lambda at: numbers[at].tolist()


def _reader_of_width(data: Any, start: int, width: int, count: int) -> _Reader:
    """Reads values that all have this many bytes."""
    values = numpy.frombuffer(data, f"V{width}", count, start)
    return lambda at: values[at].tolist()


def _reader_of_pieces(starts: Any, data: memoryview) -> _Reader:
    def read(at: Any) -> list[bytes]:
        ends = zip(starts[at].tolist(), starts[at + 1].tolist(), strict=True)
        return [bytes(data[start:end]) for start, end in ends]

    return read


def _texts(pieces: list[bytes]) -> list[str]:
    """These bytes as text: each text once, since few differ."""
    texts = {piece: piece.decode() for piece in set(pieces)}
    return list(map(texts.__getitem__, pieces))


def _numbers(column: Any, kind: Any) -> Any:
    size = numpy.dtype(kind).itemsize
    return numpy.frombuffer(column.buffers()[1], kind, len(column), column.offset * size)


def _offsets(column: Any) -> Any:
    return numpy.frombuffer(column.buffers()[1], numpy.int32, len(column) + 1, column.offset * 4)
