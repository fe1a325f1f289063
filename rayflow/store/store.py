"""The store: blobs, records and reductions of one folder.

In: rows and bytes. Out: rows, bytes, answers. Never: evaluates, knows the language, or changes a file that it has
written.

Theory of operation. `append` collects rows in memory. `commit` makes them one file, written whole: from then on they
are durable and every reader sees them. Blobs are durable as soon as they are put, so they are there before the record
that names them. When a commit fails, nothing of it is visible, the rows stay, and the next commit tries again with all
of them. Content-addressed rows that this process has appended before are left out at once. Rows that two processes
have written are left out by compactions, and until then by the views.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from rayflow.errors import BlobDamaged, Bug, LeaseLost, StoreUnavailable
from rayflow.record_columns import Columns, Same
from rayflow.records import (
    TABLES,
    ExecutionRow,
    ForgottenRow,
    HandleRow,
    JobRow,
    PlaceRow,
    ReductionRow,
    Row,
    StreamItemRow,
)
from rayflow.store import layout
from rayflow.store.blobs import Blobs
from rayflow.store.cache.handle_states import HandleStates
from rayflow.store.cache.keys import MEMORY_ROWS
from rayflow.store.cache.reductions import Reductions
from rayflow.store.folders.layered import LayeredFolder
from rayflow.store.folders.protocol import Folder
from rayflow.store.lease import Lease
from rayflow.store.live.live_files import LiveFiles
from rayflow.store.small_commits import SmallCommits
from rayflow.store.write import schemas
from rayflow.store.write.catalog import Catalog, Problem, StoreSnapshot
from rayflow.store.write.compaction import CompactionResult, Compactor
from rayflow.store.write.packed_rows import packed
from rayflow.store.write.seen_rows import KEY_LENGTHS, SeenRows
from rayflow.store.write.segments import SLICE_ROWS, Commit, encode_commit
from rayflow.values.process.parallel import at_once
from rayflow.values.refs import Encoded

if TYPE_CHECKING:
    from rayflow.store.history.history import History
    from rayflow.store.history.run_records import RunRecords

LOCAL_COMMIT_SECONDS = 0.2
"""How long rows wait for a commit, at the most, in a store on this machine."""

REMOTE_COMMIT_SECONDS = 5.0
"""How long rows wait for a commit, at the most, in a store on a network. There each commit may cost money."""

COMMIT_JOBS = 5_000
"""The number of waiting job rows at which a commit is made."""

_TIDY_EVERY = 64
"""The number of commits after which a writer merges its own small ones."""

_COME_LATER = frozenset({ReductionRow, HandleRow})
"""Rows that must be later than all recorded ones: so the recorded ones are read before."""


class _Attempt(NamedTuple):
    """A commit of which it is not known whether it was written, with its rows. waiting: the rows and columns that
    waited then (kept, so that no others get their Python ids); None if those are all that wait now."""

    commit: Commit
    rows: dict[type, list[Columns]]
    waiting: list[Any] | None = None


class Store:
    """One store. Any thread may use it; any number of processes may have the same folder open."""

    def __init__(self, folder: Folder, *, read_only: bool = False, memory_rows: int = MEMORY_ROWS) -> None:
        self.url = folder.url
        self.read_only = read_only
        self._folder = folder
        self._lock = threading.RLock()
        self._ids = layout.IdMaker()
        self._blobs = Blobs(folder, read_only=read_only)
        self._catalog = Catalog(folder)
        self._reductions = Reductions(folder, self._catalog, self._fetch_term, memory_rows)
        self._handles = HandleStates(folder, self._catalog)
        self._compactor = Compactor(folder, self._catalog, self._ids, self._lock)
        self._buffers: dict[type, list[Any]] = {table.row: [] for table in TABLES}
        self._columns: dict[type, list[Columns]] = {table.row: [] for table in TABLES}
        self._seen = SeenRows()
        self._first_append_us: int | None = None
        self._is_due = False
        self._between = threading.Lock()
        """Held by `commit_beside`, so that no thread begins to append what belongs together."""
        self._appending: set[int] = set()
        """The threads that append what belongs together."""
        self._kept_error: Exception | None = None
        """The error of a `commit_beside`, for the next commit."""
        self._lease: Lease | None = None
        self._small: SmallCommits | None = None
        self._unanswered: list[_Attempt] = []
        self._commits = 0
        self._opened = False

    @property
    def folder(self) -> Folder:
        """The folder with its files: for code that handles stores as files."""
        return self._folder

    @property
    def live(self) -> LiveFiles:
        """What living executions say of themselves, and requests to cancel them."""
        return LiveFiles(self._folder)

    # --- blobs -----------------------------------------------------------------------------------------------------

    def put_blob(self, digest: bytes, encoded: Encoded) -> None:
        """Write an encoded value under its digest, unless it is there: whole or not at all, durable on return."""
        self._writable()
        self._blobs.put(digest, encoded)

    def get_blob(self, digest: bytes) -> Encoded:
        """The encoded value of this digest, large ones mapped uncopied. Raises BlobMissing or BlobDamaged."""
        return self._blobs.get(digest)

    def has_blob(self, digest: bytes) -> bool:
        """Whether there is a blob of this digest; one that is found to be damaged is named in a warning."""
        try:
            return self._blobs.has(digest)
        except BlobDamaged:
            self._catalog.warn(Problem(layout.blob_path(digest), "damaged", "it does not match its checksum"))
            return False

    def have_blobs(self, digests: Sequence[bytes]) -> dict[bytes, bool]:
        """`has_blob` of each of these; side by side where each question is a trip to a server."""
        if not self._folder.remote:
            return {digest: self.has_blob(digest) for digest in digests}
        return dict(zip(digests, at_once(partial(self.has_blob, digest) for digest in digests), strict=True))

    def _fetch_term(self, digest: bytes) -> bytes:
        encoded = self._blobs.get(digest)
        return b"".join((encoded.header, *encoded.buffers))

    # --- records ---------------------------------------------------------------------------------------------------

    def append(self, rows: Iterable[Row], columns: Iterable[Columns] = (), *, at_once: bool = False) -> None:
        """Collect rows for the next commit. Cheap; nothing is written.

        columns: further rows, as columns. at_once: these rows must not wait: a commit is due from now on.
        """
        now_us = time.time_ns() // 1000
        with self._lock:
            buffers = self._buffers
            for row in rows:
                row_type = type(row)
                if row_type in KEY_LENGTHS:
                    if not self._seen.is_new(row):
                        continue
                elif not self._opened and row_type in _COME_LATER:
                    self.refresh()
                if row_type is ReductionRow:
                    row = self._reductions.add(row, now_us)  # type: ignore[arg-type]  # `is` does not narrow
                elif row_type is ForgottenRow:
                    self._reductions.add_forgotten(row)  # type: ignore[arg-type]  # nor here
                elif row_type is HandleRow:
                    row = self._handles.made(row, now_us)  # type: ignore[arg-type]  # nor here
                buffers[row_type].append(row)
            for each in columns:
                self._append_columns(each, now_us)
            if at_once:
                self._is_due = self.pending() > 0

    def _append_columns(self, columns: Columns, now_us: int) -> None:
        row_type = columns.row
        if row_type is ReductionRow and columns.length:
            if not self._opened:
                self.refresh()
            columns = self._reductions.add_columns(columns, now_us)
        elif row_type in KEY_LENGTHS:
            columns = self._seen.unseen(columns)
        elif row_type is HandleRow or row_type is ForgottenRow:
            self.append(columns.rows())
            return
        if columns.length:
            self._columns[row_type].append(columns)

    def pending(self) -> int:
        """How many rows wait for the next commit."""
        return sum(map(self._waiting, self._buffers))

    def _waiting(self, row_type: type) -> int:
        return len(self._buffers[row_type]) + sum([each.length for each in self._columns[row_type]])

    def due(self, now_us: int) -> bool:
        """Whether a commit is due: a row waits that must not, or 5,000 job rows, or any since 200 ms (remote: 5 s).

        now_us: the caller's clock, in microseconds. The first call that finds a row waiting starts the interval.
        """
        if self._is_due or self._waiting(JobRow) >= COMMIT_JOBS:
            return True
        if not any(self._buffers.values()) and not any(self._columns.values()):
            return False
        if self._first_append_us is None:
            self._first_append_us = now_us
        seconds = REMOTE_COMMIT_SECONDS if self._folder.remote else LOCAL_COMMIT_SECONDS
        return now_us - self._first_append_us >= seconds * 1_000_000

    def commit(self) -> None:
        """Make everything appended durable and visible, at once. Nothing happens when nothing was appended.

        Raises StoreUnavailable when the store cannot be written; the rows then stay for the next commit. Raises
        LeaseLost when another process has taken over (see `commit_by`); then no commit will succeed. Raises Bug
        when rows do not fit their table: those are dropped, so that the next commit can keep all others. Raises the
        error that an earlier `commit_beside` has kept.
        """
        with self._lock:
            kept, self._kept_error = self._kept_error, None
            if kept is not None:
                raise kept
            self._commit_waiting()

    def _commit_waiting(self) -> None:
        with self._lock:
            while rows := self._all_waiting():
                self._writable()
                if self._lease is None:
                    commit_id = self._ids.make(after=self._catalog.latest)
                    commit, encoded = encode_commit(commit_id, self._slices(rows), executions=_executions(rows))
                    self._folder.write(commit.path, encoded)
                    self._drop_waiting()
                else:
                    commit = self._create_next(self._lease, rows)
                self._catalog.add(commit)
                self._reductions.committed(commit, is_small=self._lease is not None)
                self._commits += 1
                if self._lease is None and self._commits % _TIDY_EVERY == 0:
                    self._compactor.merge_own(self._ids.writer)

    def _all_waiting(self) -> dict[type, list[Columns]]:
        waiting: dict[type, list[Columns]] = {}
        for row_type, rows in self._buffers.items():
            parts = [*([Columns.of_rows(rows)] if rows else ()), *self._columns[row_type]]
            if parts:
                waiting[row_type] = parts
        return waiting

    def _drop_waiting(self, written: frozenset[int] | None = None) -> None:
        """Drop the rows and columns that were written, by their Python ids; or all."""
        for buffers in (self._buffers, self._columns):
            for waiting in buffers.values():
                if waiting:
                    waiting[:] = () if written is None else [each for each in waiting if id(each) not in written]
        self._first_append_us = None
        self._is_due = False

    # --- with a lease ----------------------------------------------------------------------------------------------

    def commit_by(self, lease: Lease, *, tidies: bool = True) -> None:
        """Commit only by this lease from now on, until `close`. A commit raises LeaseLost when another process has
        taken over; then nothing of it is visible, nor of any later one.

        tidies: merge small commits every second in a thread, and remove their files two minutes later. Otherwise
        `tidy` has to be called.
        """
        with self._lock:
            if self._lease is not None:
                raise Bug(f"The store {self.url} commits by a lease already.")
            self._lease = lease
            self._small = SmallCommits(self._folder, self._catalog, self._ids, self._compactor, self._lock)
            if tidies:
                self._small.start()

    def tidy(self, now: float) -> None:
        """Merge the small commits of a lease, and remove the files that were replaced two minutes before. now: seconds
        of any clock that goes on. Other threads may commit meanwhile."""
        if self._small is not None:
            self._small.tidy(now)

    def check_lease(self) -> None:
        """Raise LeaseLost if this store commits by a lease that another process has taken over. Raises as
        `Lease.check`."""
        if self._lease is not None:
            self._lease.check()

    def _create_next(self, lease: Lease, rows: dict[type, list[Columns]]) -> Commit:
        """Write rows as the next commit of a lease. Returns the commit that is there now: it may be an earlier attempt,
        whose answer was lost."""
        commit, encoded = encode_commit(lease.next_id(), self._slices(rows), executions=_executions(rows))
        attempts = {each.commit.checksum: each for each in (*self._unanswered, _Attempt(commit, rows))}
        try:
            found = lease.create(commit, encoded, attempts)
        except StoreUnavailable:
            buffers = [*self._buffers.values(), *self._columns.values()]
            self._unanswered.append(_Attempt(commit, rows, [each for waiting in buffers for each in waiting]))
            raise
        self._unanswered.clear()
        made = attempts[found]
        self._drop_waiting(None if made.waiting is None else frozenset(map(id, made.waiting)))
        if self._small is not None:
            self._small.add(made.commit, made.rows)
        return made.commit

    @property
    def lease(self) -> Lease | None:
        """The lease by which it commits, if there is one: a process has one chain of commits in a store."""
        return self._lease

    @contextmanager
    def together(self) -> Iterator[None]:
        """While this lasts, `commit_beside` does nothing: what this thread appends belongs together."""
        thread = threading.get_ident()
        with self._between:
            self._appending.add(thread)
        try:
            yield
        finally:
            self._appending.discard(thread)

    def commit_beside(self) -> None:
        """Commit, in a thread that appends nothing itself. Nothing happens while another one is in `together`.

        Raises StoreUnavailable, as `commit`. Any other error is kept, and the next `commit` raises it: that is in a
        thread which answers for the rows.
        """
        with self._between:
            if self._appending:
                return
            try:
                self._commit_waiting()
            except StoreUnavailable:
                raise
            except Exception as error:
                self._kept_error = self._kept_error or error

    def _slices(self, waiting: dict[type, list[Columns]]) -> Iterator[dict[str, Any]]:
        """The waiting rows as slices of a commit: by the names of their tables, packed if they are few, else as Arrow
        tables. Raises Bug as `commit`."""
        lengths = {row_type: sum([part.length for part in parts]) for row_type, parts in waiting.items()}
        sizes = {row_type: -(-length // SLICE_ROWS) for row_type, length in lengths.items()}
        groups = {row_type: Columns.grouped(parts, SLICE_ROWS) for row_type, parts in waiting.items()}
        count = max(sizes.values())
        for number in range(count):
            tables = {}
            for table in TABLES:
                # A table with fewer groups than others has them in step with the others.
                size = sizes.get(table.row, 0)
                if size * (number + 1) // count > size * number // count:
                    layout_of = schemas.layouts()[table.name]
                    rows = next(groups[table.row])
                    try:
                        tables[table.name] = packed(layout_of, rows) or schemas.to_arrow(layout_of, rows)
                    except Bug:
                        self._drop_misfits(layout_of)
                        raise
            yield tables

    def _drop_misfits(self, layout_of: schemas.TableLayout) -> None:
        """Drop the waiting rows of a table that do not fit it; all of them, when each fits but not all together."""
        row_type = layout_of.table.row
        columns = self._columns[row_type]
        rows = [*self._buffers[row_type], *(row for each in columns for row in each.rows())]
        fitting = [row for row in rows if schemas.fits(layout_of, row)]
        self._buffers[row_type][:] = fitting if len(fitting) < len(rows) else ()
        columns.clear()

    def keep(self, rows: Sequence[Row], columns: Sequence[Columns] = ()) -> None:
        """Append rows and commit; when that fails, none of them wait for the next commit. Raises as `commit`.

        columns: further rows, as columns.
        """
        with self._lock:
            buffers = [*self._buffers.values(), *self._columns.values()]
            lengths = list(map(len, buffers))
            try:
                self.append(rows, columns)
                self.commit()
            except (StoreUnavailable, LeaseLost):
                for waiting, length in zip(buffers, lengths, strict=True):
                    del waiting[length:]
                self._seen.clear()
                raise

    @property
    def commits(self) -> int:
        """How many commits this object has made."""
        return self._commits

    def _writable(self) -> None:
        if self.read_only:
            raise StoreUnavailable(f"The store {self.url} was opened read-only: nothing can be written to it.")

    # --- the cache -------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Take in the new commits of other writers."""
        with self._lock:
            self._opened = True
            self._catalog.refresh()
            self._reductions.refresh()

    def look_up(self, questions: Sequence[tuple[bytes, bytes]]) -> list[list[ReductionRow]]:
        """The recorded reductions for each (eval_hash, task_hash), newest first, without the forgotten ones.

        Terms that are blobs are filled in. A reduction whose term is missing or damaged is left out. Rows that were
        appended to this object count at once; commits of other writers count from the last `refresh` on.
        """
        with self._lock:
            if not self._opened:
                self.refresh()
            return self._reductions.look_up(questions)

    def told_values(self, questions: Sequence[tuple[bytes, bytes]]) -> list[list[ReductionRow]]:
        """The final values that call nodes tell for each (eval_hash, task_hash), as reductions, newest first.

        Only nodes count that are committed, and whose value depends on nothing below but the tasks and files. The rest
        is as in `look_up`.
        """
        with self._lock:
            if not self._opened:
                self.refresh()
            return self._reductions.told_values(questions)

    def is_current_state(self, state: bytes) -> bool:
        """Whether a state of a handle is valid, by the records as of the last `refresh`."""
        with self._lock:
            if not self._opened:
                self.refresh()
            return self._handles.is_valid(state)

    def forget(
        self, *, at: int, eval_hash: bytes | None = None, task_hash: bytes | None = None, task_name: str | None = None
    ) -> int:
        """Let reductions answer no more calls: those of a call, of one version of a task, of all versions of a task,
        or of the calls with a label, such as a script's name.

        Reductions whose time is in the future, because a clock runs ahead, are forgotten, too. at: now, in
        microseconds. Returns how many reductions were forgotten.
        """
        if sum(given is not None for given in (eval_hash, task_hash, task_name)) != 1:
            raise ValueError("forget takes one of eval_hash, task_hash and task_name")
        with self._lock:
            self._writable()
            self.commit()
            self.refresh()
            calls = [eval_hash] if eval_hash is not None else []
            tasks = [task_hash] if task_hash is not None else []
            if task_name is not None:
                tasks = self.history().task_hashes(task_name)
                calls = [] if tasks else self.history().calls_labelled(task_name)
            keys = [*calls, *tasks]
            times = self._reductions.times_of(eval_hash=None, task_hashes=tasks) if tasks else []
            for call in calls:
                times = [*times, *self._reductions.times_of(eval_hash=call, task_hashes=[])]
            # Call nodes do not say which calls are below them: each older one answers nothing any more.
            latest = max(at, self._reductions.last_told(), *times)
            named = task_name if tasks else None
            self.append(ForgottenRow(key, named, latest) for key in keys)
            self.commit()
            return len(times)

    # --- housekeeping ----------------------------------------------------------------------------------------------

    def compact(self, execution_id: str | None = None) -> CompactionResult:
        """Merge small commits into few large ones: the commits of one execution when it ends, or all.

        Replaced files stay for an hour, so that no reader loses a file that it has open.
        """
        with self._lock:
            self._writable()
            self.commit()
            self.refresh()
            result = self._compactor.compact(execution_id)
            self._reductions.refresh()
            return result

    def sweep(self, *, dry_run: bool = False) -> dict[str, int]:
        """Remove files that were replaced, or left half-written, over an hour ago. Returns their sizes in bytes."""
        with self._lock:
            self.refresh()
            paths = self._compactor.sweepable(thorough=True)
            sizes = {path: self._folder.size(path) or 0 for path in paths}
            if not dry_run:
                self._writable()
                self._compactor.remove(paths)
            return sizes

    def record_problems(self) -> list[Problem]:
        """Every file of records that is damaged, missing or left over. Reads all of these files, and no blob."""
        with self._lock:
            return self._compactor.problems(self.snapshot())

    def check(self) -> list[Problem]:
        """Every file that is damaged, missing or not named by anything. Reads the whole store."""
        with self._lock:
            snapshot = self.snapshot()
            self._compactor.drop_copies(snapshot)
            history = self.history()
            named = history.named_blobs()
            history.close()
            return [*self._compactor.problems(snapshot), *self._blobs.problems(named)]

    def dangling(self) -> list[Problem]:
        """Things that rows name and that are not recorded. (No record names a commit: a lost one shows here.)"""
        history = self.history()
        rows = history.dangling()
        history.close()
        return [
            Problem(layout.COMMITS, "missing", f"{row['what']}: {row['many']:,}, such as {row['one']}") for row in rows
        ]

    def snapshot(self) -> StoreSnapshot:
        """The commits that are valid now."""
        with self._lock:
            self.refresh()
            return self._catalog.snapshot

    def done_jobs(self, execution_id: str) -> frozenset[bytes]:
        """The ids of an execution's jobs that are done: computed or cached, not shared."""
        history = self.history()
        try:
            return history.done_jobs(execution_id)
        finally:
            history.close()

    def open_jobs(self, execution_id: str) -> list[JobRow]:
        """The opening rows of an execution's jobs that have no closing row, those appended here included."""
        self.commit()
        history = self.history()
        try:
            return history.open_jobs(execution_id)
        finally:
            history.close()

    def history(self) -> History:
        """The history: questions about the committed records."""
        # DuckDB is imported only for questions. Look-ups do not need it.
        from rayflow.store.history.history import History

        return History(self._folder)

    def run_records(self) -> RunRecords:
        """What is recorded of durable runs: what a service, and an execution that is taken up again, begin with."""
        from rayflow.store.history.run_records import RunRecords

        return RunRecords(self._folder)

    def layered(self) -> Store:
        """A store that shows the commits of this store. It writes only to memory, and does not change this store."""
        return Store(LayeredFolder(self._folder))

    def close(self) -> None:
        """Commit the rows that wait. The object must not be used afterwards."""
        try:
            if not self.read_only:
                self.commit()
        finally:
            if self._small is not None:
                self._small.end()


def _executions(waiting: dict[type, list[Columns]]) -> tuple[str, ...]:
    """The ids of the executions in these rows."""
    found: set[str] = set()
    for row_type in (ExecutionRow, JobRow, ReductionRow, PlaceRow, StreamItemRow):
        for part in waiting.get(row_type, ()):
            given = part.given("execution_id")
            found.update((given.value,) if type(given) is Same else given)
    return tuple(sorted(found))
