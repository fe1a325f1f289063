"""Commits and segments as files: encode, name, check, decode.

In: rows, as Arrow tables. Out: the bytes of commit files, Parquet segments; and back. Never: decides what to commit.

A commit is one file, so that a small commit costs one write and one sync:

    magic (8)  header length (4, little-endian)  header (JSON)  tables (Arrow IPC streams)  checksum of all before (20)

The header says where each table's rows lie (offset from the end of the header, length, number of rows), which segments
belong to the commit, which commits it replaces, and which executions its rows speak of.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from rayflow.errors import BlobDamaged
from rayflow.store import layout, schemas
from rayflow.store.folders import Folder
from rayflow.values.digests import DIGEST_BYTES, checksum

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


@dataclass(frozen=True, slots=True)
class Embedded:
    """Where a table's rows lie inside a commit file. offset counts from the end of the header."""

    offset: int
    length: int
    rows: int


@dataclass(frozen=True, slots=True)
class Commit:
    """What a commit's header says. size: of the commit file in bytes."""

    id: str
    size: int
    body: int
    tables: dict[str, Embedded]
    segments: tuple[Segment, ...] = ()
    replaces: tuple[str, ...] = ()
    executions: tuple[str, ...] = ()
    total_size: int = field(default=0)

    @property
    def path(self) -> str:
        """Where it is in the store."""
        return layout.commit_path(self.id)

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
            "replaces": replaces,
            "executions": executions,
        },
        separators=(",", ":"),
    ).encode()
    buffers: list[Any] = [_MAGIC + len(header).to_bytes(4, "little") + header, *parts]
    buffers.append(checksum(buffers))
    size = len(buffers[0]) + offset + DIGEST_BYTES
    commit = Commit(
        commit_id,
        size,
        len(buffers[0]),
        places,
        segments,
        replaces,
        executions,
        size + sum(segment.size for segment in segments),
    )
    return commit, buffers


def decode_commit(commit_id: str, content: memoryview) -> Commit:
    """Read a commit's header. Raises BlobDamaged when the file is not what was written."""
    size = content.nbytes
    if size < _PREFIX + DIGEST_BYTES or bytes(content[: len(_MAGIC)]) != _MAGIC:
        raise BlobDamaged(f"commit {commit_id} is cut short or is not a commit")
    if checksum([content[:-DIGEST_BYTES]]) != bytes(content[-DIGEST_BYTES:]):
        raise BlobDamaged(f"commit {commit_id} does not match its checksum")
    length = int.from_bytes(content[len(_MAGIC) : _PREFIX], "little")
    header = json.loads(bytes(content[_PREFIX : _PREFIX + length]))
    segments = tuple(Segment(*stated) for stated in header["segments"])
    return Commit(
        commit_id,
        size,
        _PREFIX + length,
        {name: Embedded(*place) for name, place in header["tables"].items()},
        segments,
        tuple(header["replaces"]),
        tuple(header["executions"]),
        size + sum(segment.size for segment in segments),
    )


def embedded_table(commit: Commit, content: memoryview, table: str) -> Any:
    """The rows of a table that lie inside a commit file, as an Arrow table."""
    place = commit.tables[table]
    start = commit.body + place.offset
    with pa.ipc.open_stream(pa.py_buffer(content[start : start + place.length])) as reader:
        found = reader.read_all()
    return schemas.fit(schemas.layouts()[table], found)


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


def checksum_of(folder: Folder, segment: Segment) -> str:
    """The checksum of a segment's file as it is now, as hex. Raises FileNotFoundError."""
    return checksum([folder.read(segment.path)]).hex()


def open_segment(folder: Folder, segment: Segment) -> Any:
    """A segment as a pyarrow ParquetFile."""
    import pyarrow.parquet as pq

    where = folder.local_path(segment.path)
    return pq.ParquetFile(where if where is not None else pa.BufferReader(pa.py_buffer(folder.read(segment.path))))


def read_segment(folder: Folder, segment: Segment, columns: list[str] | None = None) -> Any:
    """A segment's rows (or some of its columns) as an Arrow table."""
    found = open_segment(folder, segment).read(columns=columns)
    return found if columns else schemas.fit(schemas.layouts()[segment.table], found)
