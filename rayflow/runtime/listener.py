"""The functions to which a loop reports.

In: warnings, ended jobs and counts, from the loop's thread. Out: calls of these functions. Never: changes anything in
the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from rayflow.records import JobRow

ExecutionCounts: TypeAlias = Mapping[str, Mapping[str, Mapping[str, int]]]
"""For each execution, for each name of a task: how many jobs are open, running, queued, computed and so on."""


def _ignore(execution_id: str, text: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class LoopListener:
    """The functions that a loop calls, all in its own thread. A function that is None is not called, and costs nothing.

    warned: gets an execution's id and a text for the users who watch this execution. job_ended: gets the closing row of
    each job, without its large columns. progress: gets the counts of all open executions, every progress_seconds.
    """

    warned: Callable[[str, str], None] = _ignore
    job_ended: Callable[[JobRow], None] | None = None
    progress: Callable[[ExecutionCounts], None] | None = None
    progress_seconds: float = 0.2
