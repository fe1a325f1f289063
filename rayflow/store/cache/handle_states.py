"""States of handles: which of them are valid.

In: rows of the table `handles`, from this process and from the commits of others. Out: whether a state is valid.
Never: decides what runs again.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pyarrow as pa

from rayflow.records import HandleRow
from rayflow.store.folders.protocol import Folder
from rayflow.store.write.catalog import Catalog, Replaced
from rayflow.store.write.segments import Commit, embedded_tables, read_segment

_TABLE = "handles"


class HandleStates:
    """The states of a store's handles. Nothing is read until the first question."""

    def __init__(self, folder: Folder, catalog: Catalog) -> None:
        self._folder = folder
        self._catalog = catalog
        self._rows: dict[bytes, HandleRow] = {}
        self._newest: dict[bytes, HandleRow] = {}
        """By state (or fork of one), the row of the newest state that was made from it."""
        self._seen: set[str] = set()

    def made(self, row: HandleRow, now_us: int) -> HandleRow:
        """Take in a state that was made here and is not committed yet. Returns the row to record.

        Its time is made later than the times of the states that it follows: the same state as made before, the newest
        state of its parent, and the state before it. These times are in the future if another clock runs ahead.
        """
        self._refresh()
        before = (self._rows.get(row.state), self._newest.get(row.parent), self._rows.get(row.after or b""))
        known = max((each.at for each in before if each is not None), default=-1)
        if known > now_us and known >= row.at:
            row = row._replace(at=known + 1)
        self._add(row)
        return row

    def _add(self, row: HandleRow) -> None:
        """Take in a state that was made, or made again."""
        known = self._rows.get(row.state)
        if known is None or row.at > known.at:
            self._rows[row.state] = row
        newest = self._newest.get(row.parent)
        if newest is None or row.at >= newest.at:
            self._newest[row.parent] = row

    def is_valid(self, state: bytes) -> bool:
        """Whether a state is valid: each state on the way to it is the newest from the one before, and later."""
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
        # If a commit is replaced while it is read, the rows are read again from the new commit.
        while new := [each for each in self._catalog.verified({_TABLE}).commits if each.id not in self._seen]:
            for commit in new:
                self._seen.add(commit.id)
                for table in self._tables(commit):
                    columns = [table.column(name) for name in HandleRow._fields]
                    columns[-1] = columns[-1].cast(pa.int64())
                    for values in zip(*(column.to_pylist() for column in columns), strict=True):
                        self._add(HandleRow(*values))

    def _tables(self, commit: Commit) -> list[Any]:
        found: list[Any] = []
        with suppress(Replaced):
            with self._catalog.reading(commit, commit.path):
                found.extend(table for _, table in embedded_tables(self._folder, commit, _TABLE))
            for segment in commit.segments:
                if segment.table == _TABLE and not self._catalog.is_broken(segment.path):
                    with self._catalog.reading(commit, segment.path):
                        found.append(read_segment(self._folder, segment))
        return found
