"""The small commits of a process with a lease: merged every second, and removed two minutes later.

In: each commit, with the rows in it. Out: one commit in place of many. Never: reads what this process has just written,
or holds up a commit meanwhile.

A service may commit hundreds of times a second, and every reader opens each file. So the rows of the last second are
written once more, in one commit that replaces theirs. These merged commits are merged in turn, as those of any writer
(`Compactor.merge_own`). The replaced files stay for `GRACE_SECONDS`, for readers that have listed them; what a process
leaves behind when it dies is swept like everything else that was replaced.

The file of the last commit of the series is not removed: its name tells a successor where the series ends.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence

from rayflow.errors import BlobDamaged, StoreUnavailable
from rayflow.record_columns import Columns
from rayflow.store import layout
from rayflow.store.folders.protocol import Folder
from rayflow.store.folders.verified_reads import read_intact
from rayflow.store.write import schemas
from rayflow.store.write.catalog import Catalog
from rayflow.store.write.compaction import Compactor, write_commit
from rayflow.store.write.segments import Commit

TIDY_SECONDS = 1.0
"""How often small commits are merged."""

GRACE_SECONDS = 120.0
"""How long their files stay."""

_SMALL_BYTES = 256 * 1024
"""Larger commits are left to compactions."""

_FEWEST = 4
"""Fewer commits are not merged yet."""


class SmallCommits:
    """The commits of one series since they were last merged, and the replaced files that will be removed.

    lock: held by the thread that uses the catalog; no method may be called with it but `add`.
    """

    def __init__(
        self, folder: Folder, catalog: Catalog, ids: layout.IdMaker, compactor: Compactor, lock: threading.RLock
    ) -> None:
        self._folder = folder
        self._catalog = catalog
        self._ids = ids
        self._compactor = compactor
        self._lock = lock
        self._recent: list[tuple[Commit, Mapping[type, Sequence[Columns]]]] = []
        self._latest = ""
        self._replaced: deque[tuple[float, Commit, list[Commit]]] = deque()
        """When, by which commit, and what was replaced."""
        self._working = threading.Lock()
        self._ends = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, commit: Commit, rows: Mapping[type, Sequence[Columns]]) -> None:
        """Take in a commit that was just written. Nobody changes the rows afterwards."""
        self._latest = commit.id
        if commit.size < _SMALL_BYTES:
            self._recent.append((commit, rows))

    def start(self) -> None:
        """Tidy every second in a thread, until `end`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._tidy_for_ever, name="rayflow-tidy", daemon=True)
            self._thread.start()

    def end(self) -> None:
        """End the thread."""
        self._ends.set()
        if self._thread is not None:
            self._thread.join()

    def _tidy_for_ever(self) -> None:
        while not self._ends.wait(TIDY_SECONDS):
            self.tidy(time.monotonic())

    def tidy(self, now: float) -> None:
        """Merge what is small, and remove what was replaced long enough before. now: seconds of some clock.

        When the store does not answer, everything stays for the next time: commits report that themselves.
        """
        with self._working:
            try:
                self._merge_recent(now)
                merged = self._compactor.merge_own(self._ids.writer)
                if merged is not None:
                    self._replaced.append((now, *merged))
                self._remove_replaced(now - GRACE_SECONDS)
            except StoreUnavailable:
                return

    def _merge_recent(self, now: float) -> None:
        with self._lock:
            if len(self._recent) < _FEWEST:
                return
            # Another process may have merged some of them. Then its commit replaces those.
            valid = {commit.id for commit in self._catalog.snapshot.commits}
            taken = [(commit, rows) for commit, rows in self._recent if commit.id in valid]
            self._recent = []
            if not taken:
                return
            merged_id = self._ids.make(after=taken[-1][0].id)
        try:
            gathered: dict[type, list[Columns]] = {}
            for _, rows in taken:
                for row_type, parts in rows.items():
                    gathered.setdefault(row_type, []).extend(parts)
            tables = {
                name: schemas.to_arrow(how, Columns.joined(gathered[how.table.row]))
                for name, how in schemas.layouts().items()
                if how.table.row in gathered
            }
            merged = write_commit(
                self._folder,
                merged_id,
                [tables],
                replaces=[commit.id for commit, _ in taken],
                executions={each for commit, _ in taken for each in commit.executions},
            )
        except StoreUnavailable:
            with self._lock:
                self._recent = [*taken, *self._recent]
            raise
        with self._lock:
            self._catalog.add(merged)
        self._replaced.append((now, merged, [commit for commit, _ in taken]))

    def _remove_replaced(self, before: float) -> None:
        while self._replaced and self._replaced[0][0] <= before:
            at, merged, replaced = self._replaced.popleft()
            try:
                read_intact(self._folder, merged.path, merged.matches)
            except (BlobDamaged, FileNotFoundError):
                continue  # it is reported where it is read; what it has replaced is shown again
            kept = []
            for commit in replaced:
                if commit.id == self._latest:
                    kept.append(commit)
                    continue
                for each in reversed(commit.files()):
                    self._folder.remove(each.path)
            with self._lock:
                self._catalog.forget({commit.id for commit in replaced} - {commit.id for commit in kept})
            if kept:
                self._replaced.append((at, merged, kept))
                return
