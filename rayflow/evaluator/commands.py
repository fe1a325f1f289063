"""Everything that can come out of the evaluator.

Orders, not requests: the shell carries them out and reports with the event named beside each. A command never carries
a user's object, only symbolic terms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from rayflow.evaluator.subruns import Below, Under
from rayflow.lang.entries import TaskEntry
from rayflow.lang.expressions import Term
from rayflow.records import ReductionRow, Row
from rayflow.values.failures import Failure, Outcome


@dataclass(frozen=True, slots=True)
class LookUp:
    """Is there a reduction of this key? Answered by `LookedUp`."""

    asker: int
    eval_hash: bytes
    task_hash: bytes


@dataclass(frozen=True, slots=True)
class RunTask:
    """Send one attempt of a job to a worker. Answered by `Returned`, `Paused`, `Raised` or `WorkerLost` of it.

    job: the evaluator's number of the job, for the answer. job_id: its id in the records.
    arguments: bound arguments by parameter name, symbolic; all defaults are filled in.
    options: merged task options.
    losses: how many workers this job has lost so far (a job that lost one is sent alone).
    known: outcomes of what the body has awaited when it was entered before, by key.
    under: for a call whose body is an evaluation of its own, what that takes over.
    """

    job: int
    attempt: int
    execution_id: str
    job_id: bytes
    entry: TaskEntry
    arguments: Mapping[str, Term]
    options: Mapping[str, Any]
    losses: int = 0
    known: Mapping[bytes, Outcome] | None = None
    under: Under | None = None


@dataclass(frozen=True, slots=True)
class RunOperation:
    """Apply an operation where the data is. Answered by `Operated`."""

    asker: int
    execution_id: str
    name: str
    args: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Wake me. Answered by `TimerFired` with the same name, not before `seconds` have passed."""

    name: tuple[str, int]
    seconds: float


@dataclass(frozen=True, slots=True)
class Stop:
    """Nobody wants this attempt any more. Its answer may still come, and is then ignored."""

    job: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Remember:
    """Keep a reduction. No answer."""

    reduction: ReductionRow


@dataclass(frozen=True, slots=True)
class Record:
    """Append these rows to the provenance. No answer."""

    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Warn:
    """Tell whoever watches. No answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The execution has ended: commit, then tell whoever waits. No answer.

    outcome: the root's value (symbolic) or its Failure. failures: jobs that failed by themselves: (job id, task
    name, Failure without its pickled exception), in the order in which they failed; the first thousand, and the
    root's. counts: jobs, computed, cached, shared, failed, cancelled. by_task: the same by task name. below: for an
    evaluation inside a call, what that has to know.
    """

    execution_id: str
    outcome: Outcome
    failures: tuple[tuple[bytes, str, Failure], ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    by_task: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    value_hash: bytes | None = None
    below: Below | None = None


Command: TypeAlias = LookUp | RunTask | RunOperation | SetTimer | Stop | Remember | Record | Warn | Finish
