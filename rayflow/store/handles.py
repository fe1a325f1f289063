"""States of handles: which of them count now.

In: rows of the table `handles`, this process's and what others have committed. Out: whether a state is current. Never:
decides what is run again.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from rayflow.records import HandleRow
from rayflow.store.catalog import Catalog, Problem
from rayflow.store.folders import Folder
from rayflow.store.segments import Commit, embedded_table, read_segment

_TABLE = "handles"


class HandleStates:
    """The states of a store's handles. Nothing is read until the first question."""

    def __init__(self, folder: Folder, catalog: Catalog) -> None:
        self._folder = folder
        self._catalog = catalog
        self._rows: dict[bytes, HandleRow] = {}
        self._newest: dict[bytes, HandleRow] = {}
        """For each state (or fork of one) the row of the newest state that was made from it."""
        self._seen: set[str] = set()

    def add(self, row: HandleRow) -> None:
        """A state that was made, or made again."""
        known = self._rows.get(row.state)
        if known is None or row.at > known.at:
            self._rows[row.state] = row
        newest = self._newest.get(row.parent)
        if newest is None or row.at >= newest.at:
            self._newest[row.parent] = row

    def is_current(self, state: bytes) -> bool:
        """Whether a state counts: each on the way to it is the newest from the one before, and was made after it."""
        self._refresh()
        row = self._rows.get(state)
        while row is not None:
            if self._newest[row.parent].state != row.state:
                return False
            if row.after is None:
                return True
            before = self._rows.get(row.after)
            if before is None or before.at > row.at:
                return False
            row = before
        return False

    def _refresh(self) -> None:
        for commit in self._catalog.snapshot.commits:
            if commit.id not in self._seen:
                self._seen.add(commit.id)
                for table in self._tables(commit):
                    columns = [table.column(name) for name in HandleRow._fields]
                    columns[-1] = columns[-1].cast(pa.int64())
                    for values in zip(*(column.to_pylist() for column in columns), strict=True):
                        self.add(HandleRow(*values))

    def _tables(self, commit: Commit) -> list[Any]:
        found: list[Any] = []
        if _TABLE in commit.tables:
            try:
                found.append(embedded_table(commit, self._folder.read(commit.path), _TABLE))
            except (OSError, pa.ArrowException) as error:
                self._catalog.report(Problem(commit.path, "damaged", str(error)))
        for segment in commit.segments:
            if segment.table == _TABLE and not self._catalog.is_broken(segment.path):
                try:
                    found.append(read_segment(self._folder, segment))
                except (OSError, pa.ArrowException) as error:
                    kind = "missing" if isinstance(error, FileNotFoundError) else "damaged"
                    self._catalog.report(Problem(segment.path, kind, str(error)))
        return found
