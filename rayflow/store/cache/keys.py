"""The rows of one table that are on disk, by their keys.

In: the commits of a catalog; keys. Out: the rows of these keys. Never: knows the rows that wait for a commit, or those
that were forgotten.

A segment with an index is looked up in its index, which is mapped: only a filter, of two to four bytes a key, is in
memory. All other rows are in memory, as they are on disk: the tables inside commits, and the segments without a
readable index. They are joined into few batches. If there are more than `MEMORY_ROWS` of them, they are written as an
index to a temporary file without a name, and looked up there. A batch is dropped when all its commits were replaced.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from rayflow.store.cache.keyed_rows import KeyedRows, Wanted
from rayflow.store.folders.protocol import Folder
from rayflow.store.write import schemas
from rayflow.store.write.catalog import Catalog
from rayflow.store.write.key_index import REDUCTIONS, Keyed, chosen, decode, encode, ordered, read_index
from rayflow.store.write.segments import Commit, Segment, embedded_tables, present_rows, read_segment

MEMORY_ROWS = 200_000
"""At most this many rows are held in memory: about 40 MB of plain rows."""


class Keys:
    """The rows of one table of a store that are on disk. Nothing is read until the first question."""

    def __init__(
        self, folder: Folder, catalog: Catalog, memory_rows: int = MEMORY_ROWS, how: Keyed = REDUCTIONS
    ) -> None:
        self._how = how
        self._folder = folder
        self._catalog = catalog
        self._limit = memory_rows
        self._files: list[KeyedRows] = []
        """The rows of indexes and of temporary files."""
        self._held: list[KeyedRows] = []
        """The rows in memory, the largest batch first."""
        self._stamps: dict[str, tuple[str, int | None]] = {}
        """By the path of an index, its commit, and its stamp when it was mapped."""
        self._read: set[str] = set()
        self._commits: tuple[Commit, ...] = ()
        """The commits of the last snapshot that was read whole."""
        self._passed_over: set[str] = set()
        self.latest = -1
        """The latest time of a row that was read."""

    @property
    def in_memory(self) -> int:
        """How many rows are held in memory."""
        return sum(map(len, self._held))

    @property
    def batches(self) -> int:
        """How many batches a look-up searches."""
        return len(self._files) + len(self._held)

    # --- questions -------------------------------------------------------------------------------------------------

    def find(self, keys: Sequence[bytes]) -> Iterator[tuple[list[int], list[Any]]]:
        """Rows of these keys, and for each the place of its key. A row comes twice if two commits have it."""
        if keys and (self._files or self._held):
            wanted = Wanted(keys)
            for rows in (*self._files, *self._held):
                yield rows.find(wanted)

    def known(self, key: bytes) -> list[Any]:
        """The rows of one key."""
        return [row for _, rows in self.find([key]) for row in rows]

    def of_tasks(self, tasks: frozenset[bytes]) -> Iterator[Any]:
        """The rows of these tasks."""
        for rows in (*self._files, *self._held):
            yield from rows.of_tasks(tasks)

    # --- reading ---------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Read the commits that are new in the catalog's snapshot. Raises Replaced, and can then be asked again."""
        self._drop_changed()
        while self._commits is not self._catalog.snapshot.commits:
            snapshot = self._catalog.snapshot
            valid = {commit.id for commit in snapshot.commits}
            self._drop(valid)
            self._passed_over &= valid
            self._read_new(snapshot.commits)
            if self._catalog.snapshot is snapshot:
                self._commits = snapshot.commits
            else:
                # A file could not be read. If it had replaced others, they are shown again.
                self._catalog.refresh()

    def pass_over(self, commit_id: str) -> None:
        """Do not read a commit: whoever asks has its rows."""
        self._passed_over.add(commit_id)

    def pass_over_nothing(self) -> None:
        """Read all commits at the next refresh."""
        self._passed_over.clear()
        self._commits = ()

    @property
    def passes_over(self) -> bool:
        """Whether the snapshot has a commit that is passed over."""
        return bool(self._passed_over)

    def _read_new(self, commits: Sequence[Commit]) -> None:
        waiting: list[Any] = []
        ids: list[str] = []
        try:
            for commit in commits:
                if commit.id in self._read or commit.id in self._passed_over:
                    continue
                files, tables = self._parts(commit) if commit.rows(self._how.table) else ([], [])
                self._files.extend(files)
                self._read.add(commit.id)
                waiting.extend(tables)
                ids.append(commit.id)
                if sum(table.num_rows for table in waiting) > self._limit:
                    self._hold(waiting, ids)
                    waiting, ids = [], []
        finally:
            self._hold(waiting, ids)
            self.latest = max((rows.latest for rows in (*self._files, *self._held)), default=-1)

    def _parts(self, commit: Commit) -> tuple[list[KeyedRows], list[Any]]:
        """The rows of a commit: those in files, and tables of all others. What cannot be read is reported."""
        files: list[KeyedRows] = []
        tables: list[Any] = []
        catalog, how = self._catalog, self._how
        if how.table in commit.tables:
            with catalog.reading(commit, commit.path):
                embedded = embedded_tables(self._folder, commit, how.table)
                tables.extend(chosen(table, how) for _, table in embedded)
        for index in commit.indexes:
            if index.table == how.table and not catalog.is_broken(index.path):
                with catalog.reading(commit, index.path):
                    self._stamps[index.path] = commit.id, self._folder.stamp(index.path)
                    batches = read_index(self._folder, index)
                    files.extend(self._keyed(batch, frozenset([commit.id])) for batch in batches)
        for segment in commit.segments:
            if segment.table == how.table and not files and not catalog.is_broken(segment.path):
                with catalog.reading(commit, segment.path):
                    tables.extend(self._chosen_of(segment))
        return files, tables

    def _chosen_of(self, segment: Segment) -> list[Any]:
        """The rows of a segment without an index, as tables. None if it has no such rows: then it is not read."""
        how = self._how
        if how.only is not None and not present_rows(self._folder, segment, how.only):
            return []
        found = read_segment(self._folder, segment, list(how.columns))
        return [chosen(schemas.fit(schemas.layouts()[how.table], found), how)]

    def _keyed(self, batch: Any, commits: frozenset[str]) -> KeyedRows:
        """The rows of an index."""
        return KeyedRows(batch, commits, self._how, is_ordered=True)

    def _hold(self, tables: list[Any], ids: Sequence[str]) -> None:
        """Hold the rows of these tables, together with those that are held and are not many more."""
        commits = frozenset(ids)
        count = sum(table.num_rows for table in tables)
        if not count:
            return
        is_full = count + self.in_memory > self._limit
        while self._held and (is_full or len(self._held[-1]) <= 2 * count):
            rows = self._held.pop()
            tables = [pa.Table.from_batches([rows.batch]), *tables]
            commits |= rows.commits
            count += len(rows)
        joined = pa.concat_tables(tables)
        batches = self._spilled(joined) if is_full else []
        if batches:
            self._files.extend(self._keyed(batch, commits) for batch in batches)
        else:
            # In one piece, so that nothing refers to the content of the commits' files.
            batches = joined.combine_chunks().to_batches()
            self._held.extend(KeyedRows(batch, commits, self._how) for batch in batches)

    def _spilled(self, table: Any) -> list[Any]:
        """The rows in a temporary file; none if they cannot have an index, or if there is no room for the file."""
        parts = ordered(table, self._how)
        if not parts:
            return []
        try:
            with tempfile.TemporaryFile() as file:
                file.write(encode(parts))
                file.flush()
                return decode(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
        except OSError:
            # A look-up must not fail for that: the rows stay in memory.
            return []

    def _drop_changed(self) -> None:
        """Drop the rows of indexes that have changed since they were verified, so that they are read again."""
        stamps = self._stamps.items()
        changed = {commit for path, (commit, stamp) in stamps if self._folder.stamp(path) != stamp}
        if changed:
            self._drop(self._read - changed)
            self._commits = ()

    def _drop(self, valid: set[str]) -> None:
        """Drop the rows of commits that are not valid any more."""
        self._read &= valid
        self._stamps = {path: known for path, known in self._stamps.items() if known[0] in valid}
        self._files = [rows for rows in self._files if not rows.commits.isdisjoint(valid)]
        self._held = [rows for rows in self._held if not rows.commits.isdisjoint(valid)]


def as_integers(column: Any) -> Any:
    """Timestamps as microseconds, without a copy (and without importing Arrow's compute functions)."""
    return pa.chunked_array([chunk.view(pa.int64()) for chunk in column.chunks], pa.int64())
