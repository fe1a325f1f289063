"""Everything that can come out of the evaluator.

Orders, not requests: the shell carries them out and reports with the event named beside each. A command never carries
a user's object, only symbolic terms. Named tuples, as events are.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from rayflow.evaluator.subruns import Below, Under
from rayflow.lang.entries import TaskEntry
from rayflow.lang.expressions import Term
from rayflow.records import ReductionRow, Row
from rayflow.values.failures import Failure, Outcome

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class LookUp(NamedTuple):
    """Is there a reduction of this key? Answered by `LookedUp`."""

    asker: int
    eval_hash: bytes
    task_hash: bytes


class RunTask(NamedTuple):
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


class RunOperation(NamedTuple):
    """Apply an operation where the data is. Answered by `Operated`."""

    asker: int
    execution_id: str
    name: str
    args: tuple[Term, ...]


class SetTimer(NamedTuple):
    """Wake me. Answered by `TimerFired` with the same name, not before `seconds` have passed."""

    name: tuple[str, int]
    seconds: float


class Stop(NamedTuple):
    """Nobody wants this attempt any more. Its answer may still come, and is then ignored."""

    job: int
    attempt: int


class Remember(NamedTuple):
    """Keep a reduction. No answer."""

    reduction: ReductionRow


class Record(NamedTuple):
    """Append these rows to the provenance. No answer."""

    rows: tuple[Row, ...]


class Warn(NamedTuple):
    """Tell whoever watches. No answer."""

    text: str


class Finish(NamedTuple):
    """The execution has ended: commit, then tell whoever waits. No answer.

    outcome: the root's value (symbolic) or its Failure. failures: jobs that failed by themselves: (job id, task
    name, Failure without its pickled exception): what it ends with, then in the order in which they failed, a thousand
    of them. counts: jobs, computed, cached, shared, failed, cancelled. by_task: the same by task name. below: for an
    evaluation inside a call, what that has to know. is_torn: a scheduler, or a worker with an evaluation inside a call,
    was lost, so that jobs may be recorded as open of which this one knows nothing: close what is.
    """

    execution_id: str
    outcome: Outcome
    failures: tuple[tuple[bytes, str, Failure], ...] = ()
    counts: Mapping[str, int] = _NOTHING
    by_task: Mapping[str, Mapping[str, int]] = _NOTHING
    value_hash: bytes | None = None
    below: Below | None = None
    is_torn: bool = False


Command: TypeAlias = LookUp | RunTask | RunOperation | SetTimer | Stop | Remember | Record | Warn | Finish
