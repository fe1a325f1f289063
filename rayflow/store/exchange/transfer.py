"""Copies records from one store to another that lacks them.

In: two stores, and ids of executions (by default all). Out: the numbers of copied things. Never: changes the source,
or removes anything.

Rows are compared by their keys. So it does not matter how either side has merged its files, and a second copy copies
nothing. Missing rows are copied in batches: first the blobs that the rows name, then the rows, as a commit of their
own. So a reader of the destination never sees a row without the things that it names, other writers may go on at both
ends, and a copy that was killed is continued by the next one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from rayflow.errors import BlobDamaged, BlobMissing, StoreUnavailable
from rayflow.pasting import command
from rayflow.store import layout
from rayflow.store.blobs import RENEWED_AFTER_SECONDS
from rayflow.store.exchange import selecting
from rayflow.store.exchange.references import named_in
from rayflow.store.folders.protocol import Folder
from rayflow.store.folders.verified_reads import read_intact, seems_intact
from rayflow.store.history.history import History
from rayflow.store.store import Store
from rayflow.store.write import schemas
from rayflow.store.write.arrow_columns import to_array
from rayflow.store.write.compaction import write_commit
from rayflow.store.write.merged_rows import one_row_a_key
from rayflow.store.write.segments import embedded_tables, segment_tables
from rayflow.values.encoding.encoding import verify

_BATCH_BYTES = 64 * 1024 * 1024
"""Rows of about this many bytes in memory become one commit."""

_AT_ONCE = 8
"""How many blobs are copied at the same time, when one side is far away."""

_LARGE_BYTES = 32 * 1024 * 1024
"""Blobs from this size on are copied one at a time: each is in memory as a whole."""

_LISTED_FROM = 200
"""The number of blobs from which the destination is listed, and not asked about each blob."""

CopyProgress = Callable[[int, int, int], None]
"""Gets the number of blobs copied, the number to copy, and bytes copied, while blobs of a batch are copied."""


@dataclass(slots=True)
class Transferred:
    """The numbers of things that were copied, or would be.

    executions: those whose rows the destination lacked. rows: by table. blobs, blob_bytes: the copied blobs and their
    size. present: blobs that rows name, and that the destination had already. missing: blobs that are missing or
    damaged in the source: their values are computed again when they are needed. commits: those that were written.
    """

    executions: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    blobs: int = 0
    blob_bytes: int = 0
    present: int = 0
    missing: int = 0
    commits: int = 0


def transfer(
    source: Store,
    destination: Store | None,
    executions: Sequence[str] | None = None,
    *,
    dry_run: bool = False,
    report: CopyProgress | None = None,
) -> Transferred:
    """Copy the rows and blobs that the destination lacks: those of some executions, or those of the whole store.

    destination: None for one that does not exist yet, in a dry run. dry_run: count only. Raises StoreUnavailable when
    one side cannot be reached (rows and blobs copied until then stay) or the source is damaged.
    """
    done = Transferred()
    lacking = _MissingRows(destination)
    copier = _Copier(source, destination, done, dry_run, report)
    ids = layout.IdMaker()
    for batch in _selected(source, executions) if executions is not None else _all(source):
        rows = {name: found for name, table in batch.items() if (found := lacking.of(name, table)).num_rows}
        if not rows:
            continue
        copier.copy(named_in(rows, term_reader(source)))
        for name, table in rows.items():
            done.rows[name] = done.rows.get(name, 0) + table.num_rows
        done.commits += 1
        done.executions += rows["executions"].num_rows if "executions" in rows else 0
        if not dry_run and destination is not None:
            write_commit(destination.folder, ids.make(), [rows], executions=_executions(rows))
    lacking.close()
    return done


def term_reader(store: Store) -> Callable[[bytes], bytes | None]:
    """Reads packed terms that are blobs."""

    def fetch(digest: bytes) -> bytes | None:
        try:
            encoded = store.get_blob(digest)
        except (BlobMissing, BlobDamaged):
            # It is not copied. A value that needs it is computed again.
            return None
        return b"".join((encoded.header, *encoded.buffers))

    return fetch


# --- rows -------------------------------------------------------------------------------------------------------------


def _selected(source: Store, executions: Sequence[str]) -> Iterator[dict[str, Any]]:
    history = source.history()
    try:
        yield selecting.rows_of(history, executions)
    finally:
        history.close()


def _all(source: Store) -> Iterator[dict[str, Any]]:
    """All rows, oldest commits first. The rows that a commit names are in it, or in an earlier one."""
    gathered: dict[str, list[Any]] = {}
    size = 0
    for commit in source.snapshot().commits:
        for name, rows in rows_in(source.folder, commit):
            gathered.setdefault(name, []).append(rows)
            size += rows.nbytes
        if size >= _BATCH_BYTES:
            yield _joined(gathered)
            gathered, size = {}, 0
    if gathered:
        yield _joined(gathered)


def rows_in(folder: Folder, commit: Any) -> Iterator[tuple[str, Any]]:
    """The rows of a commit, by table. Raises StoreUnavailable when a part of it is missing or damaged."""
    known = schemas.layouts()
    try:
        yield from embedded_tables(folder, commit)
        for segment in commit.segments:
            if segment.table in known:
                yield from segment_tables(folder, segment)
    except (FileNotFoundError, BlobDamaged, pa.ArrowException) as error:
        raise StoreUnavailable(
            f"{error}\nA part of the store {folder.url} is missing or damaged "
            f"(`{command('store', 'check', store=folder.url)}` says which), or was merged while it "
            "was read: then try again."
        ) from error


def _joined(gathered: Mapping[str, list[Any]]) -> dict[str, Any]:
    return {name: pa.concat_tables(gathered[name]) for name in schemas.layouts() if name in gathered}


def _executions(rows: Mapping[str, Any]) -> set[str]:
    """The ids of the executions in these rows."""
    found: set[str] = set()
    for name in ("executions", "jobs", "reductions"):
        if name in rows:
            found.update(rows[name].column("execution_id").unique().to_pylist())
    return found


class _MissingRows:
    """Finds the rows that a store lacks, as of the begin of the copy."""

    def __init__(self, store: Store | None) -> None:
        self._history: History | None = None
        if store is not None and store.snapshot().commits:
            self._history = store.history()

    def of(self, name: str, rows: Any) -> Any:
        """The rows among these that the store lacks, one a key."""
        how = schemas.layouts()[name]
        rows = one_row_a_key(how, rows).combine_chunks()
        if self._history is None or not rows.num_rows:
            return rows
        key, order = how.table.key, how.table.order
        numbers = to_array(range(rows.num_rows), pa.int64())
        asked = rows.select([*key, *order]).append_column("asked at", numbers)
        same = [f'asked."{column}" IS NOT DISTINCT FROM there."{column}"' for column in key]
        if order:
            # If a job has a closing row there, its opening row is not needed.
            same.append(_not_earlier(order, how))
        connection = self._history.refresh()
        connection.register("asked", asked)
        query = f'SELECT "asked at" FROM asked SEMI JOIN raw."{name}" AS there ON ({" AND ".join(same)})'
        held = {number for (number,) in self._history.answer(query).fetchall()}
        connection.unregister("asked")
        if not held:
            return rows
        return rows.take(to_array([number for number in range(rows.num_rows) if number not in held], pa.int64()))

    def close(self) -> None:
        if self._history is not None:
            self._history.close()


def _not_earlier(order: Sequence[str], how: schemas.TableLayout) -> str:
    lowest = {pa.timestamp("us"): "TIMESTAMP '-infinity'", pa.int64(): "-1"}
    kinds = {column.name: column.type for column in how.columns}
    there, asked = (
        ", ".join(f'coalesce({side}."{column}", {lowest[kinds[column]]})' for column in order)
        for side in ("there", "asked")
    )
    return f"row({there}) >= row({asked})"


# --- blobs ------------------------------------------------------------------------------------------------------------


class _Copier:
    """Copies blobs that the destination lacks."""

    def __init__(
        self, source: Store, destination: Store | None, done: Transferred, dry_run: bool, report: CopyProgress | None
    ) -> None:
        self._source = source.folder
        self._destination = destination.folder if destination is not None else None
        self._done = done
        self._dry_run = dry_run
        self._report = report
        self._sizes: dict[str, int] | None = None
        self._seen: set[bytes] = set()

    def copy(self, digests: set[bytes]) -> None:
        """Copy these blobs, except those that are there whole."""
        wanted = [layout.blob_path(digest) for digest in sorted(digests - self._seen)]
        self._seen |= digests
        here = _sizes_of(self._source, wanted)
        there = _sizes_of(self._destination, wanted) if self._destination is not None else {}
        self._done.missing += len(wanted) - len(here)
        present = [path for path in here if there.get(path) == here[path] and self._is_whole_there(path)]
        self._done.present += len(present)
        lacking = sorted(here.keys() - set(present))
        if self._dry_run or self._destination is None:
            self._done.blobs += len(lacking)
            self._done.blob_bytes += sum(here[path] for path in lacking)
            return
        for path in present:
            age = self._destination.age_seconds(path)
            # No row there may name it yet: it must not be removed as garbage before the commit is there.
            if age is not None and age >= RENEWED_AFTER_SECONDS and not self._destination.renew(path):
                lacking.append(path)
        self._copy_all(lacking, here)

    def _is_whole_there(self, path: str) -> bool:
        return self._destination is not None and seems_intact(self._destination, path, verify)

    def _copy_all(self, paths: Sequence[str], sizes: Mapping[str, int]) -> None:
        small = [path for path in paths if sizes[path] < _LARGE_BYTES]
        large = [path for path in paths if sizes[path] >= _LARGE_BYTES]
        before = self._done.blobs, self._done.blob_bytes
        for size in itertools.chain(self._several(small), map(self._copy_one, large)):
            if size is None:
                self._done.missing += 1
                continue
            self._done.blobs += 1
            self._done.blob_bytes += size
            if self._report is not None:
                self._report(self._done.blobs - before[0], len(paths), self._done.blob_bytes - before[1])

    def _several(self, paths: Sequence[str]) -> Iterator[int | None]:
        assert self._destination is not None
        if len(paths) < 2 or not (self._source.remote or self._destination.remote):
            yield from map(self._copy_one, paths)
            return
        pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="rayflow-copy")
        try:
            yield from pool.map(self._copy_one, paths)
        finally:
            pool.shutdown(cancel_futures=True)

    def _copy_one(self, path: str) -> int | None:
        """Copy one blob; its size in bytes, or None when the source has it no more, or damaged."""
        assert self._destination is not None
        try:
            content = read_intact(self._source, path, verify)
        except (FileNotFoundError, BlobDamaged):
            return None
        self._destination.write(path, [content])
        return content.nbytes


def _sizes_of(folder: Folder, paths: Sequence[str]) -> dict[str, int]:
    """The sizes of those files that exist."""
    if len(paths) >= _LISTED_FROM:
        listed = folder.sizes(layout.BLOBS)
        return {path: listed[path] for path in paths if path in listed}
    asked = {path: folder.size(path) for path in paths}
    return {path: size for path, size in asked.items() if size is not None}
