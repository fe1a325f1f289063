"""The final values that call nodes tell: they answer calls that check nothing below.

In: questions (eval_hash, task_hash), many at once. Out: the values, as reductions. Never: decides whether the value is
valid; adds a row.

A node tells its value only if nothing but tasks and files below it matters (see `lookups.tells_value`). The row of its
call has the value; the table of task sets has the tasks. A set that does not match its digest is not whole, and answers
nothing. A node does not say which calls are below it. So it answers nothing any more if anything at all was forgotten
since the oldest record behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rayflow.records import SHALLOW_VALUE, CallRow, ReductionRow
from rayflow.store.cache.keys import MEMORY_ROWS, Keys
from rayflow.store.folders.protocol import Folder
from rayflow.store.write.catalog import Catalog
from rayflow.store.write.key_index import TASK_SETS, TOLD_VALUES
from rayflow.values.digests import digest


class ToldValues:
    """The values that the committed call nodes of one store tell. Nothing is read until the first question."""

    def __init__(self, folder: Folder, catalog: Catalog, memory_rows: int = MEMORY_ROWS) -> None:
        self._calls = Keys(folder, catalog, memory_rows, TOLD_VALUES)
        self._task_sets = Keys(folder, catalog, memory_rows, TASK_SETS)

    def refresh(self) -> None:
        """Read the new commits. Raises Replaced, and can then be asked again."""
        self._calls.refresh()

    @property
    def latest(self) -> int:
        """The latest time of a value that was read."""
        return self._calls.latest

    def look_up(self, questions: Sequence[tuple[bytes, bytes]], forgotten_at: int) -> list[list[ReductionRow]]:
        """The values for each (eval_hash, task_hash), newest first. Raises Replaced, and can then be asked again.

        forgotten_at: when something was forgotten last.
        """
        self.refresh()
        found: list[dict[bytes, CallRow]] = [{} for _ in questions]
        for places, rows in self._calls.find([eval_hash for eval_hash, _ in questions]):
            for place, row in zip(places, rows, strict=True):
                if row.task_hash == questions[place][1] and _oldest(row) > forgotten_at:
                    known = found[place].setdefault(row.call_hash, row)
                    if row.at > known.at:
                        found[place][row.call_hash] = row
        members = self._members({row.task_set for rows in found for row in rows.values()})
        answers: list[list[ReductionRow]] = []
        for by_call in found:
            newest = sorted(by_call.values(), key=_age)
            answers.append([_reduction(row, members[row.task_set]) for row in newest if row.task_set in members])
        return answers

    def _members(self, task_sets: set[bytes]) -> dict[bytes, bytes]:
        """The hashes of the tasks of each of these sets that is whole, one behind the other."""
        if not task_sets:
            return {}
        self._task_sets.refresh()
        keys = [*task_sets]
        found: dict[bytes, set[bytes]] = {key: set() for key in keys}
        for places, rows in self._task_sets.find(keys):
            for place, row in zip(places, rows, strict=True):
                found[keys[place]].add(row.task_hash)
        whole = {key: sorted(members) for key, members in found.items()}
        return {key: b"".join(members) for key, members in whole.items() if digest("task_set", *members) == key}


def _reduction(row: CallRow, task_set: bytes) -> ReductionRow:
    assert row.at is not None
    return ReductionRow(
        eval_hash=row.eval_hash,
        task_hash=row.task_hash,
        kind=SHALLOW_VALUE,
        term=row.term,
        term_blob=row.term_blob,
        task_set=task_set,
        call_hash=row.call_hash,
        execution_id="",
        wall_seconds=None,
        at=row.at,
        since=row.since,
    )


def _oldest(row: CallRow) -> Any:
    return row.at if row.since is None else row.since


def _age(row: CallRow) -> Any:
    return -(row.at or 0)
