"""Commits and segments as files: encode, name, check, decode.

In: rows, as Arrow tables. Out: the bytes of commit files, Parquet segments; and back. Never: decides what to commit, or
returns a row of a file that does not match its checksum.

A commit is one file, so that a small commit costs one write and one sync:

    magic (8)  header length (4, little-endian)  header (JSON)  tables (Arrow IPC streams)  checksum of all before (20)

The header says where each table's rows lie (offset from the end of the header, length, number of rows), which segments
and indexes belong to the commit, which commits it replaces, and which executions its rows speak of.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from rayflow.store import layout
from rayflow.store.folders.protocol import Folder
from rayflow.store.folders.verified_reads import intact_path, read_intact
from rayflow.store.write import schemas
from rayflow.values.digests import DIGEST_BYTES, checksum, checksum_of_file

_MAGIC = b"RFCOMMT1"
_PREFIX = len(_MAGIC) + 4

_ROWS_PER_GROUP = 50_000
_COMPRESSION_LEVEL = 6
_COMPRESSED_FROM_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class Segment:
    """One Parquet file of a commit. size in bytes; checksum over the whole file, as hex."""

    table: str
    id: str
    rows: int
    size: int
    checksum: str

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
    """The place of a table's rows inside a commit file. offset counts from the end of the header."""

    offset: int
    length: int
    rows: int


@dataclass(frozen=True, slots=True)
class Commit:
    """The header of a commit. size: of the commit file in bytes; checksum: the one at its end."""

    id: str
    size: int
    checksum: bytes
    body: int
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
        return bytes(content[-DIGEST_BYTES:]) == self.checksum and _is_commit(content)

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
        return inside + sum(segment.rows for segment in self.segments if segment.table == table)


def encode_commit(
    commit_id: str,
    tables: dict[str, Any],
    *,
    segments: tuple[Segment, ...] = (),
    indexes: tuple[Index, ...] = (),
    replaces: tuple[str, ...] = (),
    executions: tuple[str, ...] = (),
) -> tuple[Commit, list[Any]]:
    """The commit and the buffers that its file is made of."""
    parts: list[Any] = []
    places: dict[str, Embedded] = {}
    offset = 0
    for name, table in tables.items():
        if table.num_rows:
            encoded = _to_ipc(table)
            places[name] = Embedded(offset, len(encoded), table.num_rows)
            parts.append(encoded)
            offset += len(encoded)
    header = json.dumps(
        {
            "tables": {name: [place.offset, place.length, place.rows] for name, place in places.items()},
            "segments": [[s.table, s.id, s.rows, s.size, s.checksum] for s in segments],
            "indexes": [[i.table, i.id, i.rows, i.size, i.checksum] for i in indexes],
            "replaces": replaces,
            "executions": executions,
        },
        separators=(",", ":"),
    ).encode()
    buffers: list[Any] = [_MAGIC + len(header).to_bytes(4, "little") + header, *parts]
    buffers.append(checksum(buffers))
    size = len(buffers[0]) + offset + DIGEST_BYTES
    commit = Commit(
        id=commit_id,
        size=size,
        checksum=buffers[-1],
        body=len(buffers[0]),
        tables=places,
        segments=segments,
        indexes=indexes,
        replaces=replaces,
        executions=executions,
        total_size=size + sum(segment.size for segment in segments),
    )
    return commit, buffers


def _is_commit(content: memoryview) -> bool:
    """Whether these bytes are a commit file that matches its own checksum."""
    if content.nbytes < _PREFIX + DIGEST_BYTES or bytes(content[: len(_MAGIC)]) != _MAGIC:
        return False
    return checksum_of_file(content[:-DIGEST_BYTES]) == bytes(content[-DIGEST_BYTES:])


def read_commit(folder: Folder, commit_id: str) -> Commit:
    """Read a commit's header. Raises BlobDamaged when the file is not what was written, or FileNotFoundError."""
    content = read_intact(folder, layout.commit_path(commit_id), _is_commit)
    size = content.nbytes
    length = int.from_bytes(content[len(_MAGIC) : _PREFIX], "little")
    header = json.loads(bytes(content[_PREFIX : _PREFIX + length]))
    segments = tuple(Segment(*stated) for stated in header["segments"])
    return Commit(
        id=commit_id,
        size=size,
        checksum=bytes(content[-DIGEST_BYTES:]),
        body=_PREFIX + length,
        tables={name: Embedded(*place) for name, place in header["tables"].items()},
        segments=segments,
        indexes=tuple(Index(*stated) for stated in header.get("indexes", ())),
        replaces=tuple(header["replaces"]),
        executions=tuple(header["executions"]),
        total_size=size + sum(segment.size for segment in segments),
    )


def embedded_tables(folder: Folder, commit: Commit, *names: str) -> Iterator[tuple[str, Any]]:
    """The rows inside a commit file, as Arrow tables by name: those of the named tables, or of all known ones.

    Raises BlobDamaged when the file is not what was written, or FileNotFoundError.
    """
    wanted = [name for name in names or schemas.layouts() if name in commit.tables]
    if not wanted:
        return
    content = read_intact(folder, commit.path, commit.matches)
    for name in wanted:
        place = commit.tables[name]
        start = commit.body + place.offset
        with pa.ipc.open_stream(pa.py_buffer(content[start : start + place.length])) as reader:
            found = reader.read_all()
        yield name, schemas.fit(schemas.layouts()[name], found)


def _to_ipc(table: Any) -> Any:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd" if table.nbytes > _COMPRESSED_FROM_BYTES else None)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return memoryview(sink.getvalue())


def write_segment(folder: Folder, segment_id: str, table: str, rows: Any) -> Segment:
    """Write rows as a Parquet file, ordered and encoded as the table's layout says."""
    # Reading Parquet takes longer to import than reading commits; a cached run may never need it.
    import pyarrow.parquet as pq

    how = schemas.layouts()[table]
    sink = io.BytesIO()
    write_table: Any = pq.write_table
    write_table(
        rows.sort_by([(column, "ascending") for column in how.sorted_by]),
        sink,
        row_group_size=_ROWS_PER_GROUP,
        use_dictionary=list(how.dictionary_columns),
        column_encoding=how.encodings or None,
        compression="zstd",
        compression_level=_COMPRESSION_LEVEL,
        store_schema=False,
        write_page_index=False,
    )
    content = sink.getbuffer()
    written = Segment(table, segment_id, rows.num_rows, content.nbytes, checksum([content]).hex())
    folder.write(written.path, [content])
    return written


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
    """A segment's rows (or some of its columns) as an Arrow table. Raises as `open_segment`."""
    found = open_segment(folder, segment).read(columns=columns)
    return found if columns else schemas.fit(schemas.layouts()[segment.table], found)
