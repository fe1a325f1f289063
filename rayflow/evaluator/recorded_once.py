"""Remembers the records of an execution, so that it records each task, value and set of tasks once.

In: hashes. Out: `FirstTimes`. Never: makes a row.
"""

from __future__ import annotations

from collections.abc import Sequence

from rayflow.values.digests import digest

MOST_VALUES = 100_000
"""This many values are remembered; then all are forgotten, and a value may be recorded again."""


class FirstTimes:
    """Says whether a hash comes for the first time."""

    def __init__(self) -> None:
        self._tasks: set[bytes] = set()
        self._values: set[bytes] = set()
        self._task_sets: dict[frozenset[bytes], bytes] = {}

    def of_task(self, task_hash: bytes) -> bool:
        """Whether a task comes for the first time, so that its source has to be recorded. Notes the task."""
        if task_hash in self._tasks:
            return False
        self._tasks.add(task_hash)
        return True

    def of_value(self, value_hash: bytes) -> bool:
        """Whether a value comes for the first time, as far as this remembers. Notes the value."""
        if value_hash in self._values:
            return False
        if len(self._values) >= MOST_VALUES:
            self._values.clear()
        self._values.add(value_hash)
        return True

    def of_values(self, value_hashes: Sequence[bytes]) -> set[bytes]:
        """Those of many values that come for the first time. Notes the values."""
        new = set(value_hashes) - self._values
        if len(self._values) + len(new) > MOST_VALUES:
            self._values.clear()
        self._values |= new
        return new

    def of_task_set(self, members: frozenset[bytes]) -> tuple[bytes, bool]:
        """The digest of a set of tasks, and whether the set comes for the first time. Notes the set."""
        known = self._task_sets.get(members)
        if known is not None:
            return known, False
        made = self._task_sets[members] = digest("task_set", *sorted(members))
        return made, True
