"""The cache: the reductions of calls, by the hash of task and arguments.

In: questions (eval_hash, task_hash), many at once. Out: the recorded reductions, newest first. Never: decides whether a
reduction may be used.

A look-up costs as much as the keys that are asked for, however long the history is. `Keys` finds the rows that are on
disk. The rows that wait for a commit are found in dictionaries: a row by its key, and the rows of columns by their
places, since most of them are never asked for. Those of small commits stay there until the commits are merged.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from rayflow.errors import BlobDamaged, BlobMissing
from rayflow.record_columns import Columns, Same
from rayflow.records import ForgottenRow, ReductionRow
from rayflow.store import layout
from rayflow.store.cache.keys import MEMORY_ROWS, Keys, as_integers
from rayflow.store.cache.told_values import ToldValues
from rayflow.store.folders.protocol import Folder
from rayflow.store.write.catalog import Catalog, Problem, Replaced
from rayflow.store.write.segments import Commit, embedded_tables, read_segment

_CLOCKS_DIFFER_US = 1_000_000
"""Clocks that differ by no more are as good as equal."""

MOST_HELD = 2_000
"""The most rows of small commits that are held. With more they are read from the commits that have replaced these."""

_KIND, _AT = ReductionRow._fields.index("kind"), ReductionRow._fields.index("at")

_Read = TypeVar("_Read")


class Reductions:
    """The reductions of one store. Those on disk are read at the first question."""

    def __init__(
        self,
        folder: Folder,
        catalog: Catalog,
        fetch_term: Callable[[bytes], bytes],
        memory_rows: int = MEMORY_ROWS,
    ) -> None:
        self._folder = folder
        self._catalog = catalog
        self._fetch_term = fetch_term
        self._keys = Keys(folder, catalog, memory_rows)
        self._told = ToldValues(folder, catalog, memory_rows)
        self._waiting = _Waiting()
        self._held = _Waiting()
        """Rows of this object's own small commits. They are not read back from the files."""
        self._forgotten: dict[bytes, int] = {}
        self._last_forgotten = -1
        """The latest time in `_forgotten`."""
        self._latest, self._latest_at = "", -1
        """The latest commit, and its time."""
        self._seen: set[str] = set()

    # --- what this process writes ----------------------------------------------------------------------------------

    def add(self, row: ReductionRow, now_us: int) -> ReductionRow:
        """Take in a reduction that was appended here and is not committed yet; returns the row to record.

        Its time is made later than that of all known reductions of the call, and of their forgetting. These are in the
        future when another machine's clock runs ahead: then `since` says when this one was really computed.
        """
        if self._last_known(now_us) >= 0:
            known = self._latest_known(row, now_us)
            if known >= row.at:
                row = row._replace(at=known + 1, since=row.at if row.since is None else row.since)
        self._waiting.add(row)
        return row

    def add_columns(self, columns: Columns, now_us: int) -> Columns:
        """Take in reductions as `add` does. Returns the columns to record: these, unless a clock runs ahead."""
        if self._last_known(now_us) >= 0:
            rows = [self.add(row, now_us) for row in columns.rows()]  # type: ignore[arg-type]  # they are reductions
            return Columns(ReductionRow, len(rows), tuple(zip(*rows, strict=True)))
        self._waiting.add_columns(columns)
        return columns

    def _last_known(self, now_us: int) -> int:
        """The latest time of any row that is known, if that is in the future; else -1."""
        recorded = max(self._committed_at(), self._keys.latest, self._held.latest, self._waiting.latest)
        return max(self._ahead(self._last_forgotten, now_us), self._ahead(recorded, now_us + _CLOCKS_DIFFER_US))

    def _latest_known(self, row: ReductionRow, now_us: int) -> int:
        """The latest time of the rows that this row must be later than, if that is in the future; else -1."""
        forgotten = max(self._forgotten.get(row.eval_hash, -1), self._forgotten.get(row.task_hash, -1))
        recorded, latest = self._committed_at(), now_us + _CLOCKS_DIFFER_US
        if self._keys.latest > latest:
            recorded = max([recorded, *(each.at for each in self._keys.known(row.eval_hash))])
        for own in (self._held, self._waiting):
            if own.latest > latest:
                recorded = max([recorded, *(each.at for each in own.of(row.eval_hash))])
        # Clocks that differ by a little tell earlier from later well enough.
        return max(self._ahead(forgotten, now_us), self._ahead(recorded, now_us + _CLOCKS_DIFFER_US))

    def _committed_at(self) -> int:
        """The time of the latest commit."""
        latest = self._catalog.latest
        if latest != self._latest:
            self._latest, self._latest_at = latest, layout.id_time(latest) if latest else -1
        return self._latest_at

    @staticmethod
    def _ahead(time_us: int, now_us: int) -> int:
        return time_us if time_us > now_us else -1

    def add_forgotten(self, row: ForgottenRow) -> None:
        """Take in that reductions of a key were forgotten."""
        self._forget(row.key, row.at)

    def _forget(self, key: bytes, at: int) -> None:
        self._forgotten[key] = max(at, self._forgotten.get(key, -1))
        self._last_forgotten = max(at, self._last_forgotten)

    def committed(self, commit: Commit, *, is_small: bool = False) -> None:
        """Take in that all added rows are on disk now, in this commit.

        is_small: many such commits are made in a second, and become one soon.
        """
        self._seen.add(commit.id)
        waiting, self._waiting = self._waiting, _Waiting()
        if is_small and waiting:
            self._held.take(waiting)
            self._keys.pass_over(commit.id)
            if len(self._held) > MOST_HELD:
                self._held = _Waiting()
                self._keys.pass_over_nothing()

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
        tables: list[Any] = []
        with self._catalog.reading(commit, commit.path):
            tables.extend(table for _, table in embedded_tables(self._folder, commit, "forgotten"))
        for segment in commit.segments:
            if segment.table == "forgotten" and not self._catalog.is_broken(segment.path):
                with self._catalog.reading(commit, segment.path):
                    tables.append(read_segment(self._folder, segment))
        for table in tables:
            times = as_integers(table.column("at")).to_pylist()
            for key, at in zip(table.column("key").to_pylist(), times, strict=True):
                self._forget(key, at)

    # --- questions -------------------------------------------------------------------------------------------------

    def look_up(self, questions: Sequence[tuple[bytes, bytes]]) -> list[list[ReductionRow]]:
        """The reductions of each (eval_hash, task_hash), newest first. Many questions together cost less than alone."""
        self._refresh_keys()
        keys = [eval_hash for eval_hash, _ in questions]
        answers: list[list[ReductionRow]] = [[] for _ in keys]
        for places, rows in self._keys.find(keys):
            for place, row in zip(places, rows, strict=True):
                answers[place].append(row)
        for own in (self._held, self._waiting):
            if own:
                for answer, key in zip(answers, keys, strict=True):
                    answer.extend(own.of(key))
        for place, answer in enumerate(answers):
            if answer:
                task_hash, row = questions[place][1], answer[0]
                # Most answers are one row that needs nothing.
                if len(answer) > 1 or row.term is None or row.task_hash != task_hash or self._forgotten:
                    answers[place] = self._usable(answer, task_hash)
        return answers

    def _refresh_keys(self) -> None:
        self._anew(self._keys.refresh)
        if self._held and not self._keys.passes_over:
            self._held = _Waiting()  # other commits have replaced the small ones, and were read

    def _usable(self, rows: list[ReductionRow], task_hash: bytes) -> list[ReductionRow]:
        if len(rows) > 1:
            # Racing compactions leave a row twice.
            rows = list({(row.at, row.kind, row.execution_id): row for row in rows}.values())
            rows.sort(key=_age)
        usable = []
        for row in rows:
            if row.task_hash != task_hash or (self._forgotten and self._is_forgotten(row)):
                continue
            if row.term is None and row.term_blob is not None:
                filled = self._filled(row, row.term_blob)
                if filled is None:
                    continue
                row = filled
            usable.append(row)
        return usable

    def _filled(self, row: ReductionRow, blob: bytes) -> ReductionRow | None:
        """The reduction with its term. None if its blob cannot be read: then it is a miss, and the call is computed."""
        try:
            return row._replace(term=self._fetch_term(blob))
        except (BlobMissing, BlobDamaged) as error:
            kind = "missing" if isinstance(error, BlobMissing) else "damaged"
            self._catalog.warn(Problem(layout.blob_path(blob), kind, "a cached term"))
            return None

    def told_values(self, questions: Sequence[tuple[bytes, bytes]]) -> list[list[ReductionRow]]:
        """The final values that committed call nodes tell for each (eval_hash, task_hash), newest first."""
        answers = self._anew(lambda: self._told.look_up(questions, self._last_forgotten))
        for answer in answers:
            answer[:] = self._usable(answer, answer[0].task_hash) if answer else ()
        return answers

    def last_told(self) -> int:
        """The latest time of the values that committed call nodes tell; -1 if there are none."""
        self._anew(self._told.refresh)
        return self._told.latest

    def _is_forgotten(self, row: ReductionRow) -> bool:
        forgotten = self._forgotten
        return row.at <= forgotten.get(row.eval_hash, -1) or row.at <= forgotten.get(row.task_hash, -1)

    def times_of(self, *, eval_hash: bytes | None, task_hashes: Sequence[bytes]) -> list[int]:
        """The times of the reductions of this eval_hash, or of these tasks, that are not forgotten."""
        self._refresh_keys()
        tasks = frozenset(task_hashes)
        own = self._held, self._waiting
        rows: Iterable[ReductionRow]
        if eval_hash is None:
            mine = (row for each in own for row in each.rows() if row.task_hash in tasks)
            rows = [*self._keys.of_tasks(tasks), *mine]
        else:
            rows = [*self._keys.known(eval_hash), *(row for each in own for row in each.of(eval_hash))]
        seen = {
            (row.eval_hash, row.kind, row.execution_id, row.at): row.at for row in rows if not self._is_forgotten(row)
        }
        return list(seen.values())


class _Waiting:
    """Rows that this object has made, by their keys: those that wait for a commit, or are held after it."""

    def __init__(self) -> None:
        self._rows: dict[bytes, list[ReductionRow]] = {}
        self._columns: list[Columns] = []
        self._starts: list[int] = []
        """The place of the first row of each of `_columns`."""
        self._next = 0
        self._places: dict[str, dict[bytes, int]] = {}
        """By kind and key, the place of a row of `_columns`."""
        self.latest = -1
        """The latest time of a row."""

    def __bool__(self) -> bool:
        return bool(self._rows or self._columns)

    def __len__(self) -> int:
        """How many keys and columns of rows there are."""
        return len(self._rows) + self._next

    def take(self, others: _Waiting) -> None:
        """Hold the rows of others, too."""
        for rows in others._rows.values():
            for row in rows:
                self.add(row)
        for columns in others._columns:
            self.add_columns(columns)

    def add(self, row: ReductionRow) -> None:
        """Hold a row."""
        self._rows.setdefault(row.eval_hash, []).append(row)
        self.latest = max(self.latest, row.at)

    def add_columns(self, columns: Columns) -> None:
        """Hold the rows of columns as they are, if each has a place of its own."""
        kind, at = columns.columns[_KIND], columns.columns[_AT]
        if isinstance(kind, Same) and columns.length:
            held = self._places.setdefault(kind.value, {})
            new = dict(zip(columns.column("eval_hash"), range(self._next, self._next + columns.length), strict=True))
            if len(new) == columns.length and held.keys().isdisjoint(new):
                held.update(new)
                self._columns.append(columns)
                self._starts.append(self._next)
                self._next += columns.length
                self.latest = max(self.latest, at.value if isinstance(at, Same) else max(at))
                return
        for row in columns.rows():
            self.add(row)  # type: ignore[arg-type]  # they are reductions

    def of(self, key: bytes) -> list[ReductionRow]:
        """The rows of a key."""
        found = self._rows.get(key, [])
        for places in self._places.values():
            place = places.get(key)
            if place is not None:
                number = bisect_right(self._starts, place) - 1
                found = [*found, _row(self._columns[number], place - self._starts[number])]
        return found

    def rows(self) -> list[ReductionRow]:
        """All rows."""
        rows = [row for held in self._rows.values() for row in held]
        for columns in self._columns:
            rows.extend(columns.rows())  # type: ignore[arg-type]  # they are reductions
        return rows


def _row(columns: Columns, at: int) -> ReductionRow:
    return ReductionRow(*(each.value if isinstance(each, Same) else each[at] for each in columns.columns))


def _age(row: ReductionRow) -> int:
    return -row.at
