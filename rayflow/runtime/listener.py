"""The functions to which a loop reports.

In: warnings, ended jobs and counts, from the loop's thread. Out: calls of these functions. Never: changes anything in
the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from rayflow.records import JobRow

ExecutionCounts: TypeAlias = Mapping[str, Mapping[str, Mapping[str, int]]]
"""For each execution, for each name of a task: how many jobs are open, running, queued, computed and so on."""


@dataclass(frozen=True, slots=True)
class LiveCounts:
    """An execution at one moment, for its live state. at: in microseconds since the epoch. tasks, waits, sentences: as
    in `LiveState`."""

    at: int = 0
    tasks: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    waits: Mapping[str, int] = field(default_factory=dict)
    sentences: tuple[str, ...] = ()


def _ignore(execution_id: str, text: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class LoopListener:
    """The functions that a loop calls, all in its own thread. A function that is None is not called, and costs nothing.

    warned: gets an execution's id and a text for the users who watch this execution. job_ended: gets the closing row of
    each job, without its large columns. progress: gets the counts of all open executions, every progress_seconds.
    live: gets what the live state of each open execution says, every live_seconds, and before bodies run in the loop's
    own thread, which may take long.
    """

    warned: Callable[[str, str], None] = _ignore
    job_ended: Callable[[JobRow], None] | None = None
    progress: Callable[[ExecutionCounts], None] | None = None
    progress_seconds: float = 0.2
    live: Callable[[Mapping[str, LiveCounts]], None] | None = None
    live_seconds: float = 0.5
