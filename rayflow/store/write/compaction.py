"""Merges small commits into large ones, and sweeps away the files that were replaced.

In: the valid commits. Out: one commit in place of many, its rows in key order, one row a key. Never: drops a row that a
view would show.

A compaction first writes its segments, then its commit, which names the commits that it replaces. It also names those
that these have replaced, while they are still listed: so a file that is swept away never makes an older commit visible
again. The name of a segment is the id of its commit: a segment whose commit is not listed belongs to none. Replaced
files stay for `GRACE_SECONDS`, so that readers finish with the files that they have listed. `catalog` has the rules
for readers.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from rayflow.errors import BlobDamaged, StoreUnavailable
from rayflow.pasting import command
from rayflow.store import layout
from rayflow.store.folders.protocol import Folder
from rayflow.store.folders.verified_reads import read_intact
from rayflow.store.write import schemas
from rayflow.store.write.catalog import Catalog, Problem, Replaced, StoreSnapshot
from rayflow.store.write.folding import FOLDS, HOST
from rayflow.store.write.key_index import INDEXED, count_of, write_index
from rayflow.store.write.merged_rows import GatheredRows, OrderedRows
from rayflow.store.write.segments import (
    Commit,
    Index,
    Segment,
    embedded_tables,
    encode_commit,
    present_rows,
    read_commit,
    segment_tables,
    sliced,
    write_segment,
)

GRACE_SECONDS = 3600
"""How long replaced files stay."""

BEACON_SECONDS = 30 * 24 * 3600
"""How long a beacon stays that nobody removes. The job that looks for it may wait for its turn for days."""

_SEGMENT_ROWS = 2_000
_SEGMENT_BYTES = 256 * 1024
"""Tables with fewer rows and bytes than this stay inside the commit file: one file costs less than seventeen."""

INDEXED_ROWS = 20_000
"""From so many rows on that an index would have, a segment gets one. Fewer are sorted in memory in some milliseconds,
and an index takes 45 bytes a row."""

_FEW_COMMITS = 8
_TIER_LENGTH = 16
_TIER_BASE_BYTES = 16 * 1024
_GROUP_BYTES = 128 * 1024 * 1024
"""How much one merge takes in at most."""

PASS_BYTES = 32 * 1024 * 1024
"""A merge reads the commits once for each table that has more rows than fit into this, and once for all others."""

_OWN_SMALL_BYTES = 1024 * 1024
_OWN_TOTAL_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class CompactionResult:
    """merged: the number of commits that were merged; written: of those in their place; swept: of removed old files."""

    merged: int
    written: int
    swept: int
    bytes_before: int
    bytes_after: int


class _PartGone(Exception):
    """A part of a commit cannot be read any more, while commits are merged."""

    def __init__(self, commit: Commit) -> None:
        super().__init__(commit.id)
        self.commit = commit


class Compactor:
    """Merges and sweeps for one store.

    lock: held by the thread that uses the catalog. `merge_own` may be called without it; it reads and writes the files
    of a merge without it.
    """

    def __init__(self, folder: Folder, catalog: Catalog, ids: layout.IdMaker, lock: threading.RLock) -> None:
        self._folder = folder
        self._catalog = catalog
        self._ids = ids
        self._lock = lock

    # --- what to merge ---------------------------------------------------------------------------------------------

    def compact(self, execution_id: str | None = None) -> CompactionResult:
        """Merge the commits of one execution, or all; then any size of which there are many; then sweep."""
        merged = written = before = after = 0
        for group in itertools.chain(self._chosen(execution_id), self._crowded()):
            commit = self._merge(group)
            if commit is not None:
                taken = [each for each in group if each.id in commit.replaces]
                merged += len(taken)
                written += 1
                before += sum(each.total_size for each in taken)
                after += commit.total_size
        return CompactionResult(merged, written, self.sweep(), before, after)

    def merge_own(self, writer: str) -> tuple[Commit, list[Commit]] | None:
        """Merge the small commits of a writer that goes on writing; short enough to do between two commits. Returns the
        new commit, and those that it replaces."""
        with self._lock:
            own = [
                commit
                for commit in self._catalog.snapshot.commits
                if commit.writer == writer and commit.total_size < _OWN_SMALL_BYTES
            ]
        if len(own) <= _FEW_COMMITS or sum(commit.total_size for commit in own) >= _OWN_TOTAL_BYTES:
            return None
        try:
            merged = self._merge(own)
        except StoreUnavailable:
            # The commit itself is done. The next one will report the fault of the disk.
            return None
        return None if merged is None else (merged, [each for each in own if each.id in merged.replaces])

    def _chosen(self, execution_id: str | None) -> list[list[Commit]]:
        commits = self._catalog.snapshot.commits
        if execution_id is None:
            groups = _groups(commits)
            return [g for g in groups if len(g) > 1 or _has_large_tables(g) or any(map(self._lacks_index, g))]
        own = [commit for commit in commits if execution_id in commit.executions]
        own = [commit for commit in own if not commit.segments or commit.total_size < _OWN_TOTAL_BYTES]
        return [group for group in _groups(own) if len(group) > _FEW_COMMITS or _has_large_tables(group)]

    def _lacks_index(self, commit: Commit) -> bool:
        """Whether a segment of a commit is to have an index, and has none that can be read."""
        if self._folder.local_root() is None:
            return False
        readable = {index.table for index in commit.indexes if not self._catalog.is_broken(index.path)}
        return any(each.table not in readable and self._is_indexed(commit, each) for each in commit.segments)

    def _is_indexed(self, commit: Commit, segment: Segment) -> bool:
        """Whether a segment is to have an index."""
        how = INDEXED.get(segment.table)
        if how is None or segment.rows < INDEXED_ROWS:
            return False
        if how.only is None:
            return True
        count = 0
        if not self._catalog.is_broken(segment.path):
            with self._catalog.reading(commit, segment.path):
                count = present_rows(self._folder, segment, how.only)
        return count >= INDEXED_ROWS

    def _crowded(self) -> Iterable[list[Commit]]:
        """Groups of many commits of about one size.

        A merge makes a commit of the next size, so a row is rewritten only a few times.
        """
        while True:
            tiers: dict[int, list[Commit]] = {}
            for commit in self._catalog.snapshot.commits:
                tier = 0
                while commit.total_size > _TIER_BASE_BYTES << (4 * tier):
                    tier += 1
                tiers.setdefault(tier, []).append(commit)
            full = [tier for tier, commits in tiers.items() if len(commits) >= _TIER_LENGTH]
            if not full:
                return
            seen = self._catalog.snapshot
            yield next(iter(_groups(tiers[min(full)])))
            if self._catalog.snapshot is seen:
                return

    # --- merging ---------------------------------------------------------------------------------------------------

    def _merge(self, commits: Sequence[Commit]) -> Commit | None:
        """One commit in place of these. Those with a part that cannot be read are left as they are."""
        taken = [commit for commit in commits if self._is_readable(commit)]
        while taken:
            replaces = {commit.id for commit in taken}
            with self._lock:
                merged_id = self._ids.make(after=max(replaces))
                for commit in taken:
                    replaces.update(older for older in commit.replaces if older in self._catalog.names)
            try:
                merged = write_commit(
                    self._folder,
                    merged_id,
                    self._tables(taken),
                    replaces=replaces,
                    executions={execution for commit in taken for execution in commit.executions},
                )
            except _PartGone as gone:
                # What was written belongs to no commit, and is swept.
                taken.remove(gone.commit)
                continue
            with self._lock:
                self._catalog.add(merged)
            return merged
        return None

    def _is_readable(self, commit: Commit) -> bool:
        """Whether a commit has only known tables, and all its rows can be read; a file with a fault is reported."""
        names = {*commit.tables, *(name for each in commit.segments for name in each.tables)}
        if not schemas.layouts().keys() >= names:
            return False  # it is of a newer rayflow
        files: tuple[Commit | Segment, ...] = (commit, *commit.segments)
        try:
            for each in files:
                with self._reading(commit, each.path):
                    read_intact(self._folder, each.path, each.matches)
        except Replaced:
            return False
        return not any(self._catalog.is_broken(each.path) for each in files)

    @contextmanager
    def _reading(self, commit: Commit, path: str) -> Iterator[None]:
        """`Catalog.reading` for a thread that does not hold the lock."""
        try:
            yield
        except Exception:
            with self._lock, self._catalog.reading(commit, path):
                raise

    def _tables(self, commits: Sequence[Commit]) -> Iterator[dict[str, Any]]:
        """All rows of these commits, as Arrow tables by name: few large tables at a time, each of them whole.

        Raises _PartGone when a part cannot be read.
        """
        for names in _passes(commits):
            gathered = {name: GatheredRows(schemas.layouts()[name]) for name in names}
            for commit in commits:
                for name, table in self._parts(commit, names):
                    gathered[name].add(table)
            yield {name: gathered.pop(name).taken() for name in names}

    def _parts(self, commit: Commit, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """The rows of these tables in a commit. Raises _PartGone when a part cannot be read, which is reported."""
        whole = False
        try:
            with self._reading(commit, commit.path):
                yield from embedded_tables(self._folder, commit, *names)
                whole = True
            for segment in commit.segments:
                wanted = [name for name in segment.tables if name in names]
                if wanted and whole:
                    whole = False
                    with self._reading(commit, segment.path):
                        yield from segment_tables(self._folder, segment, *wanted)
                        whole = True
        except Replaced:
            whole = False
        if not whole:
            raise _PartGone(commit)

    # --- sweeping --------------------------------------------------------------------------------------------------

    def sweep(self, now_us: int | None = None) -> int:
        """Remove files that were replaced, or left by a crash, before the grace period. Returns how many files."""
        paths = self.sweepable(now_us)
        self.remove(paths)
        return len(paths)

    def sweepable(self, now_us: int | None = None, *, thorough: bool = False) -> list[str]:
        """The files to sweep, in this order. thorough: also look for leftovers of crashes, even if that is slow."""
        before = (time.time_ns() // 1000 if now_us is None else now_us) - GRACE_SECONDS * 1_000_000
        listed = self._catalog.names
        gone: set[str] = set()
        for commit in self._catalog.snapshot.commits:
            replaced = [older for older in commit.replaces if older in listed]
            if replaced and self._is_old(commit.path, commit.id, before) and not self._damage(commit):
                gone.update(replaced)
        gone -= self._ends_of_series(gone)
        found = []
        is_listed = gone or thorough or self._may_have_orphans(before)
        for path in self._folder.sizes(layout.SEGMENTS) if is_listed else ():
            owner = _owner(path)
            is_orphan = owner not in listed and layout.is_id(owner)
            if owner in gone or (is_orphan and self._is_old(path, owner, before)):
                found.append(path)
        # Oldest first: what a commit replaced is gone before the commit that hides it.
        found.extend(layout.commit_path(commit_id) for commit_id in sorted(gone))
        for name in self._folder.names(layout.TEMPORARY):
            path = f"{layout.TEMPORARY}/{name}"
            age = self._folder.age_seconds(path)
            if age is not None and age > (BEACON_SECONDS if name.startswith(layout.BEACON) else GRACE_SECONDS):
                found.append(path)
        return found

    def _ends_of_series(self, gone: Set[str]) -> set[str]:
        """The commits among these that have to stay, since their names are the ends of series: the last one of a holder
        whose series may go on, which tells where it ends, and a fence, which keeps it from going on."""
        found = set()
        for series in {series for name in gone if (series := layout.series_of(name)) is not None}:
            last = max(name for name in self._catalog.names if layout.series_of(name) == series)
            if last in gone and (self._folder.size(layout.heartbeat_path(series)) is not None or self._is_fence(last)):
                found.add(last)
        return found

    def _is_fence(self, commit_id: str) -> bool:
        try:
            commit = read_commit(self._folder, commit_id)
        except (BlobDamaged, FileNotFoundError):
            return True  # it may be one
        return not commit.tables and not commit.segments

    def _is_old(self, path: str, commit_id: str, before: int) -> bool:
        """Whether a file was written before this moment, by its id, and by its age if that is known. The clock that
        made the id may have been wrong: behind, or ahead if the id is in the future."""
        now = time.time_ns() // 1000
        made = layout.id_time(commit_id)
        if made >= before and made <= now:
            return False
        age = self._folder.age_seconds(path)
        return made < before if age is None else now - age * 1_000_000 < before

    def remove(self, paths: Sequence[str]) -> None:
        """Remove files that a sweep may remove."""
        for path in paths:
            self._folder.remove(path)
        self._catalog.forget({path.rpartition("/")[2] for path in paths if path.startswith(f"{layout.COMMITS}/")})

    def _may_have_orphans(self, before: int) -> bool:
        """Whether it is worth listing all segments (which is slow far away) when nothing was replaced."""
        return not self._folder.remote and any(
            layout.id_time(commit.id) < before for commit in self._catalog.snapshot.commits
        )

    # --- checking --------------------------------------------------------------------------------------------------

    def problems(self, snapshot: StoreSnapshot) -> list[Problem]:
        """Commits, segments and temporary files that are damaged, missing or not named by anything. Reads them all."""
        self._folder.verified.clear()
        found = {problem.path: problem for problem in snapshot.problems}
        for commit in snapshot.commits:
            found.update({problem.path: problem for problem in self._damage(commit)})
        listed = self._catalog.names
        for path, size in self._folder.sizes(layout.SEGMENTS).items():
            if _owner(path) not in listed and path not in found:
                text = "no commit names it: a compaction was interrupted, or is going on; swept an hour later"
                found[path] = Problem(path, "orphaned", text, size)
        for directory in (layout.COMMITS, layout.TEMPORARY):
            for name in self._folder.names(directory):
                path = f"{directory}/{name}"
                if directory == layout.TEMPORARY and name.startswith(layout.BEACON):
                    continue
                if directory == layout.TEMPORARY or not layout.is_id(name):
                    text = "a file that was being written when its process ended, or is being written now"
                    if name.startswith(layout.DAMAGED):
                        text = "it was found damaged and moved aside: it may be removed, and is swept an hour later"
                    found[path] = Problem(path, "orphaned", text, self._folder.size(path))
        return [found[path] for path in sorted(found)]

    def drop_copies(self, snapshot: StoreSnapshot) -> None:
        """Drop the local copies of all files of records, so that the files themselves are read next."""
        for commit in snapshot.commits:
            for each in commit.files():
                self._folder.discard_copy(each.path)

    def _remedy(self, file: Commit | Segment) -> str:
        """What to do about a damaged or missing file, if that is known."""
        if not isinstance(file, Index):
            return ""
        return f"; nothing is lost: `{command('store', 'compact', store=self._folder.url)}` makes this index again"

    def _damage(self, commit: Commit) -> list[Problem]:
        found = []
        for each in commit.files():
            try:
                read_intact(self._folder, each.path, each.matches)
            except BlobDamaged:
                text = f"it does not match its checksum{self._remedy(each)}"
                found.append(Problem(each.path, "damaged", text, each.size))
            except FileNotFoundError:
                if self._catalog.was_replaced(commit):
                    return []
                found.append(Problem(each.path, "missing", f"commit {commit.id} names it{self._remedy(each)}"))
        return found


def _owner(path: str) -> str:
    """The commit that a segment or an index belongs to."""
    return path.rsplit("/", 1)[-1].partition(".")[0]


def _groups(commits: Sequence[Commit]) -> list[list[Commit]]:
    """The commits in groups that are merged together, each as large as a merge may be."""
    groups: list[list[Commit]] = []
    size = 0
    for commit in commits:
        if not groups or size + commit.total_size > _GROUP_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(commit)
        size += commit.total_size
    return groups


def _has_large_tables(commits: Sequence[Commit]) -> bool:
    """Whether a commit file still contains tables that are large enough for a segment."""
    return any(
        place.rows >= _SEGMENT_ROWS or place.size >= _SEGMENT_BYTES
        for commit in commits
        for place in commit.tables.values()
    )


def _passes(commits: Sequence[Commit]) -> list[list[str]]:
    """The tables of these commits, by the passes in which a merge takes them in: large ones alone, all others together.

    The tables that are folded into one file go together.
    """
    sizes: Counter[str] = Counter()
    for commit in commits:
        for name, place in commit.tables.items():
            sizes[name] += place.size
        for segment in commit.segments:
            for name in segment.tables:
                # About: a file is compressed, and its tables share it.
                sizes[name] += segment.size
    hosted = [HOST, *FOLDS]
    single = [[name] for name in schemas.layouts() if name in sizes and name not in hosted]
    groups = [*single, [name for name in schemas.layouts() if name in sizes and name in hosted]]
    large = [group for group in groups if sum(sizes[name] for name in group) > PASS_BYTES]
    small = [name for group in groups if group not in large for name in group]
    return [*([small] if small else ()), *large]


def write_commit(
    folder: Folder,
    commit_id: str,
    tables: Iterable[Mapping[str, Any]],
    *,
    replaces: Iterable[str] = (),
    executions: Iterable[str] = (),
) -> Commit:
    """Write one commit of many rows, large tables as segments with their indexes, the commit itself last.

    tables: rows by table, of several with one key the last one is written; each table in one of the mappings, and calls
    together with what is folded into them. Only one mapping is in memory at a time.
    """
    embedded: dict[str, Any] = {}
    segments: list[Segment] = []
    indexes: list[Index] = []
    for some in tables:
        small = _write_large(folder, commit_id, some, segments, indexes)
        embedded.update(small)
        del some, small
        pa.default_memory_pool().release_unused()
    order = list(schemas.layouts())
    commit, parts = encode_commit(
        commit_id,
        sliced({name: embedded[name] for name in order if name in embedded}),
        segments=tuple(sorted(segments, key=lambda each: order.index(each.table))),
        indexes=tuple(sorted(indexes, key=lambda each: list(INDEXED).index(each.table))),
        replaces=tuple(sorted(replaces)),
        executions=tuple(sorted(executions)),
    )
    folder.write(commit.path, parts)
    return commit


def _write_large(
    folder: Folder, commit_id: str, tables: Mapping[str, Any], segments: list[Segment], indexes: list[Index]
) -> dict[str, Any]:
    """Write the large ones of these tables, and note their files. Returns the others, in key order."""
    distinct = {name: OrderedRows(schemas.layouts()[name], rows) for name, rows in tables.items()}
    large = {name for name, rows in distinct.items() if _is_large(rows)}
    if HOST in large:
        for name in [name for name in FOLDS if name in large]:
            distinct[HOST].fold(FOLDS[name], distinct[name])
    embedded: dict[str, Any] = {}
    for name in list(distinct):
        rows = distinct.pop(name)
        if name not in large or not _is_large(rows):
            embedded[name] = rows.table()
            continue
        segments.append(write_segment(folder, commit_id, rows))
        how = INDEXED.get(name)
        # Only what is a file on this machine is looked up in the file.
        if how is not None and folder.local_root() is not None and count_of(rows, how) >= INDEXED_ROWS:
            index = write_index(folder, commit_id, rows, how)
            indexes.extend([] if index is None else [index])
    return embedded


def _is_large(rows: OrderedRows) -> bool:
    """Whether these rows of one table get a segment."""
    return len(rows) >= _SEGMENT_ROWS or bool(rows.table().nbytes >= _SEGMENT_BYTES)
