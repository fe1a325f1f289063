"""The cache: the reductions of calls, by the hash of task and arguments.

In: questions (eval_hash, task_hash), many at once. Out: the recorded reductions, newest first. Never: decides whether a
reduction may be used.

The first question about a task loads all its reductions into memory, and later ones are dictionary look-ups. A task
with a very long history is asked about in batches instead: its reductions stay on disk, ordered by eval_hash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

import pyarrow as pa

from rayflow.errors import BlobDamaged, BlobMissing
from rayflow.records import Columns, ForgottenRow, ReductionRow
from rayflow.store import layout
from rayflow.store.folders.protocol import Folder
from rayflow.store.write.arrow_columns import to_array
from rayflow.store.write.catalog import Catalog, Problem, Replaced
from rayflow.store.write.schemas import fit, layouts
from rayflow.store.write.segments import Commit, Segment, embedded_tables, open_segment, read_segment

LOADED_ROWS = 200_000
"""Tasks with more reductions than this are not loaded whole."""

_TABLE = "reductions"
_COLUMNS = ReductionRow._fields

_CLOCKS_DIFFER_US = 1_000_000
"""Clocks that differ by no more are as good as equal."""

_TIMES = (_COLUMNS.index("at"), _COLUMNS.index("since"))

_Rows: TypeAlias = dict[bytes, list[ReductionRow]]
_Keys: TypeAlias = frozenset[bytes]
_Read = TypeVar("_Read")


class Reductions:
    """The reductions of one store. The reductions of a task are loaded at the first question about it."""

    def __init__(
        self,
        folder: Folder,
        catalog: Catalog,
        fetch_term: Callable[[bytes], bytes],
        loaded_rows: int = LOADED_ROWS,
    ) -> None:
        self._folder = folder
        self._catalog = catalog
        self._fetch_term = fetch_term
        self._limit = loaded_rows
        self._loaded: dict[bytes, _Rows] = {}
        self._counts: dict[bytes, int] = {}
        self._large: set[bytes] = set()
        self._uncommitted: list[ReductionRow] = []
        self._recent: dict[bytes, list[ReductionRow]] = {}
        """Uncommitted rows of tasks that are not loaded."""
        self._forgotten: dict[bytes, int] = {}
        self._seen: set[str] = set()

    # --- what this process writes ----------------------------------------------------------------------------------

    def add(self, row: ReductionRow, now_us: int) -> ReductionRow:
        """Take in a reduction that was appended here and is not committed yet; returns the row to record.

        Its time is made later than that of all known reductions of the call, and of their forgetting. These are in the
        future when another machine's clock runs ahead: then `since` says when this one was really computed.
        """
        known = self._latest_known(row, now_us)
        if known >= row.at:
            row = row._replace(at=known + 1, since=row.at if row.since is None else row.since)
        self._uncommitted.append(row)
        if row.task_hash in self._loaded:
            self._insert(row)
        else:
            self._recent.setdefault(row.task_hash, []).append(row)
        return row

    def add_columns(self, columns: Columns, now_us: int) -> Columns:
        """Take in reductions as columns, as `add` does; returns those to record."""
        return Columns.of_rows([self.add(row, now_us) for row in columns.rows()])  # type: ignore[arg-type]

    def _latest_known(self, row: ReductionRow, now_us: int) -> int:
        """The latest time of the rows that this row must be later than, if that is in the future; else -1."""
        forgotten = max(self._forgotten.get(row.eval_hash, -1), self._forgotten.get(row.task_hash, -1))
        held = self._loaded.get(row.task_hash, {}).get(row.eval_hash)
        latest = self._catalog.latest
        recorded = max(layout.id_time(latest) if latest else -1, held[0].at if held else -1)
        # Clocks that differ by a little tell earlier from later well enough.
        return max(forgotten if forgotten > now_us else -1, recorded if recorded > now_us + _CLOCKS_DIFFER_US else -1)

    def add_forgotten(self, row: ForgottenRow) -> None:
        """Take in that reductions of a key were forgotten."""
        if row.at > self._forgotten.get(row.key, -1):
            self._forgotten[row.key] = row.at

    def committed(self, commit: Commit) -> None:
        """Take in that all added rows are on disk now, in this commit."""
        self._seen.add(commit.id)
        self._uncommitted.clear()
        self._recent.clear()

    # --- what others wrote -----------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Take in the commits that are new in the catalog's snapshot."""
        self._anew(self._take_in_new)

    def _take_in_new(self) -> None:
        for commit in self._catalog.verified({"forgotten"}).commits:
            if commit.id in self._seen:
                continue
            # A compaction of known commits brings nothing new.
            if not (commit.replaces and self._seen.issuperset(commit.replaces)):
                self._take_in(commit)
            self._seen.add(commit.id)

    @staticmethod
    def _anew(read: Callable[[], _Read]) -> _Read:
        """Read, and read again when a part of the snapshot was replaced and is gone."""
        while True:
            try:
                return read()
            except Replaced:
                continue

    def _take_in(self, commit: Commit) -> None:
        for table in self._embedded(commit, "forgotten"):
            self._take_in_forgotten(table)
        for segment in commit.segments:
            if segment.table == "forgotten":
                found = self._guarded(commit, segment, lambda segment: read_segment(self._folder, segment))
                if found is not None:
                    self._take_in_forgotten(found)
        if self._loaded and commit.rows(_TABLE):
            for rows in self._rows(commit, frozenset(self._loaded)):
                for row in rows:
                    self._insert(row)

    def _take_in_forgotten(self, table: Any) -> None:
        for key, at in zip(table.column("key").to_pylist(), _as_integers(table.column("at")).to_pylist(), strict=True):
            if at > self._forgotten.get(key, -1):
                self._forgotten[key] = at

    def _insert(self, row: ReductionRow) -> None:
        """Add to a loaded task. A task that gets too many rows is not loaded any more."""
        task_hash = row.task_hash
        loaded = self._loaded.get(task_hash)
        if loaded is not None and _collect(loaded, row):
            self._counts[task_hash] += 1
            if self._counts[task_hash] > self._limit:
                del self._loaded[task_hash]
                self._large.add(task_hash)
                self._recent[task_hash] = [row for row in self._uncommitted if row.task_hash == task_hash]

    # --- questions -------------------------------------------------------------------------------------------------

    def look_up(self, questions: Sequence[tuple[bytes, bytes]]) -> list[list[ReductionRow]]:
        """The reductions of each (eval_hash, task_hash), newest first."""
        loaded = self._loaded
        new = {task_hash for _, task_hash in questions if task_hash not in loaded and task_hash not in self._large}
        if new:
            self._anew(lambda: self._load(new))
        far: dict[bytes, set[bytes]] = {}
        if self._large:
            for eval_hash, task_hash in questions:
                if task_hash in self._large:
                    far.setdefault(task_hash, set()).add(eval_hash)
        fetched = self._anew(lambda: {task_hash: self._fetch(task_hash, wanted) for task_hash, wanted in far.items()})
        answers: list[list[ReductionRow]] = []
        nothing: _Rows = {}
        for eval_hash, task_hash in questions:
            rows = loaded.get(task_hash)
            if rows is None:
                rows = fetched.get(task_hash, nothing)
            held = rows.get(eval_hash)
            answers.append(self._usable(held) if held else [])
        return answers

    def _usable(self, rows: list[ReductionRow]) -> list[ReductionRow]:
        usable = []
        for row in rows:
            if self._forgotten and self._is_forgotten(row):
                continue
            if row.term is None and row.term_blob is not None:
                blob = row.term_blob
                try:
                    row = row._replace(term=self._fetch_term(blob))
                except (BlobMissing, BlobDamaged) as error:
                    # A reduction whose term is gone is a miss: the call is computed again.
                    name = layout.blob_path(blob)
                    kind = "missing" if isinstance(error, BlobMissing) else "damaged"
                    self._catalog.warn(Problem(name, kind, "a cached term"))
                    continue
            usable.append(row)
        return usable

    def _is_forgotten(self, row: ReductionRow) -> bool:
        forgotten = self._forgotten
        return row.at <= forgotten.get(row.eval_hash, -1) or row.at <= forgotten.get(row.task_hash, -1)

    def _load(self, tasks: set[bytes]) -> None:
        """Load the whole history of these tasks, or note that it is too long for that."""
        total = sum(commit.rows(_TABLE) for commit in self._catalog.verified({_TABLE}).commits)
        if total > self._limit:
            counts = self._count_tasks(tasks)
            self._large.update(task_hash for task_hash in tasks if counts[task_hash] > self._limit)
        fits = tasks - self._large
        loaded = self._loaded
        for task_hash in fits:
            loaded[task_hash] = {}
        for rows in self._scan(frozenset(fits)):
            for row in rows:
                _collect(loaded[row.task_hash], row)
        for task_hash in fits:
            for row in self._recent.pop(task_hash, ()):
                _collect(loaded[task_hash], row)
            self._counts[task_hash] = sum(map(len, loaded[task_hash].values()))

    def _count_tasks(self, tasks: set[bytes]) -> dict[bytes, int]:
        """How many reductions each of these tasks has on disk."""
        counts = dict.fromkeys(tasks, 0)
        for commit in self._catalog.snapshot.commits:
            for column in self._columns(commit, "task_hash"):
                for group in column.value_counts().to_pylist():
                    if group["values"] in counts:
                        counts[group["values"]] += group["counts"]
        return counts

    def _fetch(self, task_hash: bytes, wanted: set[bytes]) -> _Rows:
        """Answers for a task that is too long to load."""
        found: _Rows = {}
        for rows in self._scan(frozenset((task_hash,)), frozenset(wanted)):
            for row in rows:
                _collect(found, row)
        for row in self._recent.get(task_hash, ()):
            if row.eval_hash in wanted:
                _collect(found, row)
        return found

    def times_of(self, *, eval_hash: bytes | None, task_hashes: Sequence[bytes]) -> list[int]:
        """The times of the reductions of this eval_hash, or of these tasks, that are not forgotten."""
        tasks = frozenset(task_hashes)
        keys = None if eval_hash is None else frozenset((eval_hash,))

        def read() -> list[int]:
            recent = [row for rows in self._recent.values() for row in rows]
            recent = [row for row in recent if (row.task_hash in tasks if keys is None else row.eval_hash in keys)]
            seen = {}
            for rows in (*self._scan(tasks if keys is None else None, keys), recent):
                for row in rows:
                    if not self._is_forgotten(row):
                        seen[row.eval_hash, row.kind, row.execution_id, row.at] = row.at
            return list(seen.values())

        return self._anew(read)

    # --- reading ---------------------------------------------------------------------------------------------------

    def _scan(self, tasks: _Keys | None, keys: _Keys | None = None) -> Iterator[list[ReductionRow]]:
        """All reductions on disk of these tasks and with these eval_hashes."""
        for commit in self._catalog.verified({_TABLE}).commits:
            if commit.rows(_TABLE):
                yield from self._rows(commit, tasks, keys)

    def _rows(self, commit: Commit, tasks: _Keys | None, keys: _Keys | None = None) -> Iterator[list[ReductionRow]]:
        """A commit's reductions. Unreadable parts are reported and left out."""
        for table in self._embedded(commit, _TABLE):
            yield [
                row
                for row in to_rows(table)
                if (tasks is None or row.task_hash in tasks) and (keys is None or row.eval_hash in keys)
            ]
        for segment in commit.segments:
            if segment.table == _TABLE:
                found = self._guarded(commit, segment, lambda segment: _read_groups(self._folder, segment, tasks, keys))
                if found is not None:
                    yield to_rows(found)

    def _columns(self, commit: Commit, name: str) -> Iterator[Any]:
        for table in self._embedded(commit, _TABLE):
            yield table.column(name)
        for segment in commit.segments:
            if segment.table == _TABLE:
                found = self._guarded(commit, segment, lambda segment: read_segment(self._folder, segment, [name]))
                if found is not None:
                    yield found.column(0)

    def _embedded(self, commit: Commit, name: str) -> list[Any]:
        with self._catalog.reading(commit, commit.path):
            return [table for _, table in embedded_tables(self._folder, commit, name)]
        return []

    def _guarded(self, commit: Commit, segment: Segment, read: Callable[[Segment], Any]) -> Any:
        if self._catalog.is_broken(segment.path):
            return None
        with self._catalog.reading(commit, segment.path):
            return read(segment)
        return None


def _read_groups(folder: Folder, segment: Segment, tasks: _Keys | None, keys: _Keys | None) -> Any:
    """The rows wanted of a segment: row groups that cannot hold the tasks or the eval_hashes are not read."""
    import pyarrow.compute as pc

    file = open_segment(folder, segment)
    groups = list(range(file.num_row_groups))
    if tasks is not None:
        place = file.schema_arrow.get_field_index("task_hash")
        groups = [group for group in groups if _may_hold(file.metadata.row_group(group).column(place), tasks)]
    wanted = None if keys is None else to_array(list(keys), pa.binary())
    if wanted is not None:
        columns = ((group, file.read_row_group(group, columns=["eval_hash"]).column(0)) for group in groups)
        groups = [group for group, column in columns if pc.any(pc.is_in(column, wanted)).as_py()]
    if not groups:
        return None
    table = fit(layouts()[_TABLE], file.read_row_groups(groups))
    if tasks is not None:
        table = table.filter(pc.is_in(table.column("task_hash"), to_array(list(tasks), pa.binary())))
    return table if wanted is None else table.filter(pc.is_in(table.column("eval_hash"), wanted))


def _may_hold(column: Any, tasks: _Keys) -> bool:
    statistics = column.statistics
    if statistics is None or not statistics.has_min_max:
        return True
    return any(statistics.min <= task_hash <= statistics.max for task_hash in tasks)


def to_rows(table: Any) -> list[ReductionRow]:
    """Reductions from an Arrow table."""
    columns = [table.column(name) for name in _COLUMNS]
    for place in _TIMES:
        columns[place] = _as_integers(columns[place])
    return list(map(ReductionRow._make, zip(*(column.to_pylist() for column in columns), strict=True)))


def _as_integers(column: Any) -> Any:
    """Timestamps as microseconds, without a copy (and without importing Arrow's compute functions)."""
    return pa.chunked_array([chunk.view(pa.int64()) for chunk in column.chunks], pa.int64())


def _same(one: ReductionRow, other: ReductionRow) -> bool:
    return one.at == other.at and one.kind == other.kind and one.execution_id == other.execution_id


def _age(row: ReductionRow) -> int:
    return -row.at


def _collect(found: _Rows, row: ReductionRow) -> bool:
    """Add a row to the rows of its key, newest first. Returns False if the row is there already."""
    held = found.get(row.eval_hash)
    if held is None:
        found[row.eval_hash] = [row]
    elif any(_same(row, other) for other in held):
        return False
    else:
        held.append(row)
        held.sort(key=_age)
    return True
