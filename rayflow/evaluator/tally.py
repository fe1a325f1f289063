"""Counts of an execution's jobs: in all, and by task name.

In: moves of jobs, counts of nested executions. Out: `Tally`. Never: holds a job.
"""

from __future__ import annotations

from collections.abc import Mapping

ENDS = ("computed", "cached", "shared", "failed", "not_run", "cancelled")
"""How jobs end, as they are counted. The first three are the ways to a value. not_run: an argument or an option has
failed."""


class Tally:
    """How many jobs there are, and how they ended.

    totals: of all jobs. by_task: by the name that a job is shown under; it also counts the jobs that are open and those
    that are running.
    """

    def __init__(self) -> None:
        self.totals: dict[str, int] = dict.fromkeys(("jobs", *ENDS, "recorded", "retries"), 0)
        self.by_task: dict[str, dict[str, int]] = {}

    def count(self, name: str, key: str, by: int = 1) -> None:
        """Count a job under its name alone."""
        row = self.by_task.get(name)
        if row is None:
            row = self.by_task[name] = dict.fromkeys(("open", "running", *ENDS, "retries"), 0)
        row[key] += by

    def add(self, totals: Mapping[str, int], by_task: Mapping[str, Mapping[str, int]]) -> None:
        """Add the counts of a nested execution."""
        for key, number in totals.items():
            self.totals[key] += number
        for name, row in by_task.items():
            own = self.by_task.setdefault(name, dict.fromkeys(row, 0))
            for key, number in row.items():
                own[key] += number
