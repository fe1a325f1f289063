"""The store: blobs, records and reductions of one folder.

In: rows and bytes. Out: rows, bytes, answers. Never: evaluates, knows the language, or changes a file that it has
written.

Theory of operation. `append` collects rows in memory. `commit` makes them one file, written whole: from then on they
are durable and every reader sees them. Blobs are durable as soon as they are put, so they are there before the record
that names them. When a commit fails, nothing of it is visible, the rows stay, and the next commit tries again with
all of them. Content-addressed rows that this process has appended before are left out at once; what several processes
wrote twice is left out by compactions, and until then by the views.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rayflow.errors import Bug, StoreUnavailable
from rayflow.records import (
    TABLES,
    CallChildRow,
    CallRow,
    DefinitionRow,
    ExecutionRow,
    FileRow,
    ForgottenRow,
    HandleRow,
    JobRow,
    ReductionRow,
    Row,
    TaskRow,
    TaskSetRow,
    ValuePartRow,
    ValueRow,
)
from rayflow.store import layout, schemas
from rayflow.store.blobs import Blobs
from rayflow.store.catalog import Catalog, Problem, Snapshot
from rayflow.store.compaction import CompactionResult, Compactor
from rayflow.store.folders import Folder
from rayflow.store.handles import HandleStates
from rayflow.store.layers import LayeredFolder
from rayflow.store.reductions import LOADED_ROWS, Reductions
from rayflow.store.segments import encode_commit
from rayflow.values.refs import Encoded

if TYPE_CHECKING:
    from rayflow.store.history import History

LOCAL_COMMIT_SECONDS = 0.2
"""How long rows wait for a commit, at the most, in a store on this machine."""

REMOTE_COMMIT_SECONDS = 5.0
"""The same for a store that is reached over a network, where each commit is a request that may be paid for."""

COMMIT_JOBS = 5_000
"""So many job rows are committed at once, however young they are."""

_KEPT_KEYS = 200_000
"""How many keys of content-addressed rows a table remembers, to leave out what it has appended already."""

_TIDY_EVERY = 64
"""After this many commits a writer merges its own small ones."""

_KEY_LENGTHS: dict[type, int] = {
    CallRow: 1,
    CallChildRow: 2,
    TaskSetRow: 2,
    ValueRow: 1,
    ValuePartRow: 2,
    FileRow: 1,
    TaskRow: 1,
    DefinitionRow: 2,
}
"""Content-addressed tables whose key is the first columns of the row, and how many those are."""


class Store:
    """One store. Any thread may use it; any number of processes may have the same folder open."""

    def __init__(self, folder: Folder, *, read_only: bool = False, loaded_rows: int = LOADED_ROWS) -> None:
        self.url = folder.url
        self.read_only = read_only
        self._folder = folder
        self._lock = threading.RLock()
        self._ids = layout.IdMaker()
        self._blobs = Blobs(folder)
        self._catalog = Catalog(folder)
        self._reductions = Reductions(folder, self._catalog, self._fetch_term, loaded_rows)
        self._handles = HandleStates(folder, self._catalog)
        self._compactor = Compactor(folder, self._catalog, self._ids)
        self._buffers: dict[type, list[Any]] = {table.row: [] for table in TABLES}
        self._seen: dict[type, set[Any]] = {row: set() for row in _KEY_LENGTHS}
        self._first_append_us: int | None = None
        self._commits = 0
        self._opened = False

    @property
    def folder(self) -> Folder:
        """Where its files are: for what handles stores as files."""
        return self._folder

    # --- blobs -----------------------------------------------------------------------------------------------------

    def put_blob(self, digest: bytes, encoded: Encoded) -> None:
        """Keep an encoded value under its digest: put if absent, whole or not at all, durable on return."""
        self._writable()
        self._blobs.put(digest, encoded)

    def get_blob(self, digest: bytes) -> Encoded:
        """The encoded value of this digest, large ones mapped uncopied. Raises BlobMissing or BlobDamaged."""
        return self._blobs.get(digest)

    def has_blob(self, digest: bytes) -> bool:
        """Whether there is a blob of this digest."""
        return self._blobs.has(digest)

    def _fetch_term(self, digest: bytes) -> bytes:
        encoded = self._blobs.get(digest)
        return b"".join((encoded.header, *encoded.buffers))

    # --- records ---------------------------------------------------------------------------------------------------

    def append(self, rows: Iterable[Row]) -> None:
        """Collect rows for the next commit. Cheap; nothing is written."""
        with self._lock:
            buffers = self._buffers
            for row in rows:
                kind = type(row)
                length = _KEY_LENGTHS.get(kind)
                if length is not None:
                    key = row[0] if length == 1 else row[:length]
                    seen = self._seen[kind]
                    if key in seen:
                        continue
                    if len(seen) >= _KEPT_KEYS:
                        seen.clear()
                    seen.add(key)
                elif kind is ReductionRow:
                    self._reductions.add(row)  # type: ignore[arg-type]  # `kind is` does not narrow
                elif kind is ForgottenRow:
                    self._reductions.add_forgotten(row)  # type: ignore[arg-type]  # nor here
                elif kind is HandleRow:
                    self._handles.add(row)  # type: ignore[arg-type]  # nor here
                buffers[kind].append(row)

    def pending(self) -> int:
        """How many rows wait for the next commit."""
        return sum(map(len, self._buffers.values()))

    def due(self, now_us: int) -> bool:
        """Whether a commit is due: 5,000 job rows wait, or any row since 200 ms (5 s for a remote store).

        now_us: the caller's clock, in microseconds. The first call that finds a row waiting starts the interval.
        """
        if len(self._buffers[JobRow]) >= COMMIT_JOBS:
            return True
        if not any(self._buffers.values()):
            return False
        if self._first_append_us is None:
            self._first_append_us = now_us
        seconds = REMOTE_COMMIT_SECONDS if self._folder.remote else LOCAL_COMMIT_SECONDS
        return now_us - self._first_append_us >= seconds * 1_000_000

    def commit(self) -> None:
        """Make everything appended durable and visible, at once. Nothing happens when nothing was appended.

        Raises StoreUnavailable when the store cannot be written; the rows then stay for the next commit. Raises Bug
        when rows do not fit their table: those are dropped, so that the next commit can keep all others.
        """
        with self._lock:
            waiting = {row: rows for row, rows in self._buffers.items() if rows}
            if not waiting:
                return
            self._writable()
            tables = {}
            for table in TABLES:
                if table.row in waiting:
                    layout_of = schemas.layouts()[table.name]
                    try:
                        tables[table.name] = schemas.to_arrow(layout_of, waiting[table.row])
                    except Bug:
                        fitting = [row for row in waiting[table.row] if schemas.fits(layout_of, row)]
                        # All of them fit one by one when they are too large for one file together.
                        waiting[table.row][:] = fitting if len(fitting) < len(waiting[table.row]) else ()
                        raise
            commit, parts = encode_commit(self._ids.make(), tables, executions=self._executions(waiting))
            self._folder.write(commit.path, parts)
            for rows in waiting.values():
                rows.clear()
            self._first_append_us = None
            self._catalog.add(commit)
            self._reductions.committed(commit)
            self._commits += 1
            if self._commits % _TIDY_EVERY == 0:
                self._compactor.merge_own(self._ids.writer)

    def keep(self, rows: Sequence[Row]) -> None:
        """Append rows and commit; when that fails, none of them wait for the next commit. Raises StoreUnavailable."""
        with self._lock:
            self.append(rows)
            try:
                self.commit()
            except StoreUnavailable:
                given = set(map(id, rows))
                for waiting in self._buffers.values():
                    waiting[:] = [row for row in waiting if id(row) not in given]
                for seen in self._seen.values():
                    seen.clear()
                raise

    @staticmethod
    def _executions(waiting: dict[type, list[Any]]) -> tuple[str, ...]:
        """The executions that these rows speak of."""
        found = {row.execution_id for row in waiting.get(ExecutionRow, ())}
        found.update([row.execution_id for row in waiting.get(JobRow, ())])
        found.update([row.execution_id for row in waiting.get(ReductionRow, ())])
        return tuple(sorted(found))

    def _writable(self) -> None:
        if self.read_only:
            raise StoreUnavailable(f"The store {self.url} was opened read-only: nothing can be written to it.")

    # --- the cache -------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """See what other writers have committed since."""
        with self._lock:
            self._opened = True
            self._catalog.refresh()
            self._reductions.refresh()

    def look_up(self, questions: Sequence[tuple[bytes, bytes]]) -> list[list[ReductionRow]]:
        """For each (eval_hash, task_hash): the reductions recorded, newest first, without those that were forgotten.

        Terms that are blobs are filled in; a reduction whose term is missing or damaged is left out. Rows appended to
        this object count before they are committed. What other writers committed is seen as of the last `refresh`.
        """
        with self._lock:
            if not self._opened:
                self.refresh()
            return self._reductions.look_up(questions)

    def is_current_state(self, state: bytes) -> bool:
        """Whether a state of a handle counts, as far as is known since the last `refresh`."""
        with self._lock:
            if not self._opened:
                self.refresh()
            return self._handles.is_current(state)

    def forget(
        self, *, at: int, eval_hash: bytes | None = None, task_hash: bytes | None = None, task_name: str | None = None
    ) -> int:
        """Let reductions count no more: those of a call, of one version of a task, or of all of a task's versions.

        at: reductions that are not younger than this are forgotten, in microseconds. Returns how many there were.
        """
        if sum(given is not None for given in (eval_hash, task_hash, task_name)) != 1:
            raise ValueError("forget takes one of eval_hash, task_hash and task_name")
        with self._lock:
            self._writable()
            self.commit()
            self.refresh()
            if eval_hash is not None:
                keys = [eval_hash]
            elif task_hash is not None:
                keys = [task_hash]
            else:
                keys = self.history().task_hashes(str(task_name))
            tasks = [] if eval_hash is not None else keys
            count = self._reductions.count(eval_hash=eval_hash, task_hashes=tasks, at=at)
            self.append(ForgottenRow(key, task_name, at) for key in keys)
            self.commit()
            return count

    # --- housekeeping ----------------------------------------------------------------------------------------------

    def compact(self, execution_id: str | None = None) -> CompactionResult:
        """Merge small commits into few large ones: those of one execution when it ends, or all.

        Files that are replaced stay for an hour, so that no reader loses what it has open.
        """
        with self._lock:
            self._writable()
            self.commit()
            self.refresh()
            result = self._compactor.compact(execution_id)
            self._reductions.refresh()
            return result

    def sweep(self, *, dry_run: bool = False) -> dict[str, int]:
        """Remove what was replaced, or left half-written, more than an hour ago: the files and their sizes in bytes."""
        with self._lock:
            self.refresh()
            paths = self._compactor.sweepable(thorough=True)
            sizes = {path: self._folder.size(path) or 0 for path in paths}
            if not dry_run:
                self._writable()
                self._compactor.remove(paths)
            return sizes

    def record_problems(self) -> list[Problem]:
        """Every file of records that is damaged, missing or left over. Reads all of them, and no blob."""
        with self._lock:
            return self._compactor.problems(self.snapshot())

    def check(self) -> list[Problem]:
        """Every file that is damaged, missing or not named by anything. Reads the whole store."""
        with self._lock:
            snapshot = self.snapshot()
            history = self.history()
            named = history.named_blobs()
            history.close()
            return [*self._compactor.problems(snapshot), *self._blobs.problems(named)]

    def dangling(self) -> list[Problem]:
        """What rows name and is not recorded. Nothing names a commit file: that one is gone shows here, if at all."""
        history = self.history()
        rows = history.dangling()
        history.close()
        return [
            Problem(layout.COMMITS, "missing", f"{row['what']}: {row['many']:,}, such as {row['one']}") for row in rows
        ]

    def snapshot(self) -> Snapshot:
        """The commits that count now."""
        with self._lock:
            self.refresh()
            return self._catalog.snapshot

    def open_jobs(self, execution_id: str) -> list[JobRow]:
        """The opening rows of the jobs of an execution that nobody has closed, those appended here included."""
        self.commit()
        history = self.history()
        try:
            return history.open_jobs(execution_id)
        finally:
            history.close()

    def history(self) -> History:
        """Questions over what is committed."""
        # DuckDB is imported only where somebody asks: look-ups do without.
        from rayflow.store.history import History

        return History(self._folder)

    def layered(self) -> Store:
        """This store as it is committed, with a layer of memory over it: what is written to that one stays there."""
        return Store(LayeredFolder(self._folder))

    def close(self) -> None:
        """Commit what waits. The object must not be used afterwards."""
        if not self.read_only:
            self.commit()
