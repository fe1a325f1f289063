"""Commits and segments as files: encode, name, check, decode.

In: rows, as Arrow tables or packed. Out: the bytes of commit files, Parquet segments; and back. Never: decides what to
commit, or returns a row of a file that does not match its checksum.

A commit is one file, so that a small commit costs one write and one sync:

    magic (8)  header length (4, little-endian)  header (JSON)  body (zstd frames)  checksum of all before (20)

The body holds the rows of all tables as Arrow IPC streams; a few rows of a table are packed instead (`packed_rows`).
Most of their bytes are hashes, and a call's hashes stand in several tables; in one frame, a column that another table
repeats costs nothing. zstd looks back a limited way. So the rows of a large commit are cut into slices: the first part
of each table, then the second part of each, and so on. Each slice is a frame, so that only one slice has to be in
memory uncompressed. (Commits of older versions are one frame.)

The header says how long the body is without compression, and where each table's parts lie in it, which segments and
indexes belong to the commit, which commits it replaces, and which executions its rows speak of.

Commits of the first layout have another magic. Their tables are one stream each, compressed by itself, or not at all.
"""

from __future__ import annotations

import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from rayflow.store import layout
from rayflow.store.folders.protocol import Folder
from rayflow.store.folders.verified_reads import intact_path, read_intact
from rayflow.store.write import schemas
from rayflow.store.write.folding import FOLDS, unfold
from rayflow.store.write.merged_rows import OrderedRows
from rayflow.store.write.packed_rows import MARK, PackedRows, unpacked
from rayflow.values.digests import DIGEST_BYTES, checksum, checksum_of_file

_MAGIC = b"RFCOMMT2"
_FIRST_MAGIC = b"RFCOMMT1"
_PREFIX = len(_MAGIC) + 4

_FRAME = pa.Codec("zstd", compression_level=3)
_SLICE_BYTES = 1024 * 1024
"""A frame of this level finds what was repeated within 2 MiB."""

SLICE_ROWS = 1_500
"""The rows of a table in a slice of a store's own commit: so many calls have less than 1 MiB."""

ROWS_PER_GROUP = 50_000
"""The rows of a row group of a segment; so many are put in order and encoded at a time."""

_COMPRESSION_LEVEL = 6


@dataclass(frozen=True, slots=True)
class Segment:
    """One Parquet file of a commit. size in bytes; checksum over the whole file, as hex.

    folded: the tables of which it has rows beside its own, each with the number of these rows.
    """

    table: str
    id: str
    rows: int
    size: int
    checksum: str
    folded: tuple[tuple[str, int], ...] = ()

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables of which it has rows."""
        return (self.table, *(name for name, _ in self.folded))

    def rows_of(self, table: str) -> int:
        """How many rows of a table it has."""
        return self.rows if table == self.table else dict(self.folded).get(table, 0)

    @property
    def path(self) -> str:
        """Where it is in the store."""
        return layout.segment_path(self.table, self.id)

    def matches(self, content: memoryview) -> bool:
        """Whether these bytes are the file's."""
        return content.nbytes == self.size and checksum_of_file(content).hex() == self.checksum


class Index(Segment):
    """One index of a commit: the rows of its segment of the same table, by their keys. (`key_index` has the format.)"""

    __slots__ = ()

    @property
    def path(self) -> str:
        """Where it is in the store."""
        return layout.index_path(self.table, self.id)


@dataclass(frozen=True, slots=True)
class Embedded:
    """The rows of a table inside a commit file. size: in bytes, as Arrow arrays, packed, or as a stream of the first
    layout.

    parts: offset and length of each part, in the body, or in the file from the end of the header (first layout).
    """

    rows: int
    size: int
    parts: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Commit:
    """The header of a commit.

    size: of the commit file in bytes; checksum: the one at its end. body: where the body begins; body_size: how long
    its content is, or None when that is not a frame (first layout).
    """

    id: str
    size: int
    checksum: bytes
    body: int
    body_size: int | None
    tables: dict[str, Embedded]
    segments: tuple[Segment, ...] = ()
    indexes: tuple[Index, ...] = ()
    replaces: tuple[str, ...] = ()
    executions: tuple[str, ...] = ()
    total_size: int = field(default=0)

    @property
    def path(self) -> str:
        """Where it is in the store."""
        return layout.commit_path(self.id)

    def matches(self, content: memoryview) -> bool:
        """Whether these bytes are the file of this commit."""
        return bytes(content[-DIGEST_BYTES:]) == self.checksum and is_commit(content)

    def files(self) -> tuple[Commit | Segment, ...]:
        """The commit file and the files of its segments and indexes."""
        return self, *self.segments, *self.indexes

    @property
    def writer(self) -> str:
        """The part of its id that names the writer."""
        return self.id[17:]

    def rows(self, table: str) -> int:
        """How many rows of a table it holds."""
        embedded = self.tables.get(table)
        inside = embedded.rows if embedded else 0
        return inside + sum(segment.rows_of(table) for segment in self.segments)


_SMALL_BYTES = 64 * 1024


def encode_commit(
    commit_id: str,
    slices: Iterable[Mapping[str, Any]],
    *,
    segments: tuple[Segment, ...] = (),
    indexes: tuple[Index, ...] = (),
    replaces: tuple[str, ...] = (),
    executions: tuple[str, ...] = (),
) -> tuple[Commit, list[Any]]:
    """The commit and the buffers that its file is made of.

    slices: the rows inside the file by the names of their tables, as Arrow tables or packed; each slice has some rows
    of some tables.
    """
    places, body_size, frames = _body(slices)
    header = json.dumps(
        {
            "body": body_size,
            "tables": {name: [place.rows, place.size, place.parts] for name, place in places.items()},
            "segments": [[s.table, s.id, s.rows, s.size, s.checksum, s.folded] for s in segments],
            "indexes": [[i.table, i.id, i.rows, i.size, i.checksum] for i in indexes],
            "replaces": layout.packed_ids(replaces),
            "executions": executions,
        },
        separators=(",", ":"),
    ).encode()
    buffers: list[Any] = [_MAGIC + len(header).to_bytes(4, "little") + header]
    buffers.extend(frames)
    size = sum(map(len, buffers)) + DIGEST_BYTES
    buffers.append(checksum(buffers))
    commit = Commit(
        id=commit_id,
        size=size,
        checksum=buffers[-1],
        body=len(buffers[0]),
        body_size=body_size,
        tables=places,
        segments=segments,
        indexes=indexes,
        replaces=replaces,
        executions=executions,
        total_size=size + sum(file.size for file in (*segments, *indexes)),
    )
    return commit, buffers


def sliced(tables: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Arrow tables as slices of a commit: of each table the first part, then of each the second part, and so on."""
    count = -(-sum(table.nbytes for table in tables.values()) // _SLICE_BYTES)
    for number in range(count):
        slices = {}
        for name, table in tables.items():
            first, end = (table.num_rows * each // count for each in (number, number + 1))
            if first < end:
                slices[name] = table.slice(first, end - first)
        yield slices


def _body(slices: Iterable[Mapping[str, Any]]) -> tuple[dict[str, Embedded], int, list[bytes]]:
    """The places of the tables in the body of a commit, the size of the body, and its compressed frames."""
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    parts: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    frames = []
    start = 0
    for tables in slices:
        sink = pa.BufferOutputStream()
        for name, table in tables.items():
            begin = sink.tell()
            if type(table) is PackedRows:
                sink.write(table.content)
                sizes[name] += len(table.content)
            else:
                with pa.ipc.new_stream(sink, table.schema) as writer:
                    writer.write_table(table)
                sizes[name] += _bytes_of(table)
            parts[name].append((start + begin, sink.tell() - begin))
            counts[name] += table.num_rows
        content = sink.getvalue()
        start += content.size
        # As bytes: the buffer that the compressor makes keeps the size that it had before.
        frames.append(_FRAME.compress(content).to_pybytes())
    return {name: Embedded(counts[name], sizes[name], tuple(parts[name])) for name in parts}, start, frames


def _bytes_of(table: Any) -> int:
    """Bytes of a table. To be exact costs a third of a small commit, so a small table counts with all its buffers."""
    whole: int = table.get_total_buffer_size()
    return whole if whole < _SMALL_BYTES else int(table.nbytes)


def is_commit(content: memoryview) -> bool:
    """Whether these bytes are a commit file that matches its own checksum."""
    if content.nbytes < _PREFIX + DIGEST_BYTES or bytes(content[: len(_MAGIC)]) not in (_MAGIC, _FIRST_MAGIC):
        return False
    return checksum_of_file(content[:-DIGEST_BYTES]) == bytes(content[-DIGEST_BYTES:])


def read_commit(folder: Folder, commit_id: str) -> Commit:
    """Read a commit's header. Raises BlobDamaged when the file is not what was written, or FileNotFoundError."""
    content = read_intact(folder, layout.commit_path(commit_id), is_commit)
    size = content.nbytes
    length = int.from_bytes(content[len(_MAGIC) : _PREFIX], "little")
    header = json.loads(bytes(content[_PREFIX : _PREFIX + length]))
    segments = tuple(_segment(*stated) for stated in header["segments"])
    if bytes(content[: len(_MAGIC)]) == _FIRST_MAGIC:
        tables = {name: Embedded(rows, size, ((at, size),)) for name, (at, size, rows) in header["tables"].items()}
    else:
        tables = {
            name: Embedded(rows, nbytes, tuple((at, length) for at, length in parts))
            for name, (rows, nbytes, parts) in header["tables"].items()
        }
    indexes = tuple(Index(*stated) for stated in header.get("indexes", ()))
    return Commit(
        id=commit_id,
        size=size,
        checksum=bytes(content[-DIGEST_BYTES:]),
        body=_PREFIX + length,
        body_size=header.get("body"),
        tables=tables,
        segments=segments,
        indexes=indexes,
        replaces=layout.unpacked_ids(header["replaces"]),
        executions=tuple(header["executions"]),
        total_size=size + sum(file.size for file in (*segments, *indexes)),
    )


def _segment(table: str, id: str, rows: int, size: int, checksum: str, folded: Sequence[Sequence[Any]] = ()) -> Segment:
    """A segment as a header states it. (That of the first layout has nothing folded.)"""
    return Segment(table, id, rows, size, checksum, tuple((name, count) for name, count in folded))


def embedded_tables(folder: Folder, commit: Commit, *names: str) -> Iterator[tuple[str, Any]]:
    """The rows inside a commit file, as Arrow tables by name: those of the named tables, or of all known ones.

    Raises BlobDamaged when the file is not what was written, or FileNotFoundError.
    """
    wanted = [name for name in names or schemas.layouts() if name in commit.tables]
    if not wanted:
        return
    content = pa.py_buffer(read_intact(folder, commit.path, commit.matches)[commit.body : -DIGEST_BYTES])
    body = content if commit.body_size is None else _FRAME.decompress(content, commit.body_size)
    for name in wanted:
        parts = [_rows_in(schemas.layouts()[name], body.slice(at, length)) for at, length in commit.tables[name].parts]
        yield name, pa.concat_tables(parts)


def _rows_in(how: schemas.TableLayout, part: Any) -> Any:
    """The rows of one part of a body, as an Arrow table."""
    content = memoryview(part)
    if content[: len(MARK)] == MARK:
        return unpacked(how, content)
    return schemas.fit(how, pa.ipc.open_stream(part).read_all())


def write_segment(folder: Folder, segment_id: str, rows: OrderedRows) -> Segment:
    """Write rows as a Parquet file, ordered and encoded as the table's layout says."""
    # Reading Parquet takes longer to import than reading commits; a cached run may never need it.
    import pyarrow.parquet as pq

    how, folded = rows.how, rows.folded
    dictionary_columns, encodings = list(how.dictionary_columns), dict(how.encodings)
    for name, _ in folded:
        fold, other = FOLDS[name], schemas.layouts()[name]
        dictionary_columns += [fold.folded(column) for column in other.dictionary_columns]
        encodings |= {fold.folded(column): text for column, text in other.encodings.items() if column != fold.key}
    sink = _Parts()
    writer: Any = None
    for group in rows.slices(ROWS_PER_GROUP):
        if writer is None:
            writer = pq.ParquetWriter(
                sink,
                group.schema,
                use_dictionary=dictionary_columns,
                column_encoding=encodings or None,
                compression="zstd",
                compression_level=_COMPRESSION_LEVEL,
                store_schema=False,
                write_page_index=False,
            )
        writer.write_table(group, row_group_size=ROWS_PER_GROUP)
    writer.close()
    size = sink.tell()
    written = Segment(how.name, segment_id, len(rows), size, checksum(sink.parts).hex(), folded)
    folder.write(written.path, sink.parts)
    return written


class _Parts(io.RawIOBase):
    """Keeps what is written to it as it comes, so that nothing is copied when there is more."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: Any) -> int:
        """Keep a copy of these bytes."""
        self.parts.append(bytes(data))
        self._size += len(self.parts[-1])
        return len(self.parts[-1])

    def tell(self) -> int:
        """How many bytes were written."""
        return self._size


def path_of(folder: Folder, segment: Segment) -> str | None:
    """The verified path of a segment's file on this machine; None when there is none.

    Raises BlobDamaged when the file is not what was written, or FileNotFoundError.
    """
    return intact_path(folder, segment.path, segment.matches)


def open_segment(folder: Folder, segment: Segment) -> Any:
    """A segment as a pyarrow ParquetFile. Raises BlobDamaged when it is not what was written, or FileNotFoundError."""
    import pyarrow.parquet as pq

    content = read_intact(folder, segment.path, segment.matches)
    return pq.ParquetFile(pa.BufferReader(pa.py_buffer(content)))


def read_segment(folder: Folder, segment: Segment, columns: list[str] | None = None) -> Any:
    """A segment's own rows (or some of their columns) as an Arrow table. Raises as `open_segment`."""
    found = open_segment(folder, segment).read(columns=columns)
    return found if columns else schemas.fit(schemas.layouts()[segment.table], found)


def present_rows(folder: Folder, segment: Segment, column: str) -> int:
    """How many rows of a segment have a value in this column, by the file's statistics. Raises as `open_segment`."""
    metadata = open_segment(folder, segment).metadata
    if column not in metadata.schema.names:
        return 0  # it is from an earlier version
    place = metadata.schema.names.index(column)
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    return sum(group.num_rows - group.column(place).statistics.null_count for group in groups)


def segment_tables(folder: Folder, segment: Segment, *names: str) -> Iterator[tuple[str, Any]]:
    """The rows of a segment, folded ones too, as Arrow tables by name: those of the named tables, or of all.

    Raises as `open_segment`.
    """
    found = open_segment(folder, segment).read()
    if not names or segment.table in names:
        yield segment.table, schemas.fit(schemas.layouts()[segment.table], found)
    for name, _ in segment.folded:
        if not names or name in names:
            yield name, unfold(FOLDS[name], found)
