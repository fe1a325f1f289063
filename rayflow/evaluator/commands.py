"""Everything that comes out of the evaluator.

In: nothing. Out: the command classes. Never: logic; never a user's object, only symbolic terms.

A command is an order. The shell carries it out and reports with the message that is named beside each; most need no
answer. Commands are named tuples, as messages are.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from rayflow.evaluator.messages import NestedEnd, NestedStart
from rayflow.evaluator.timers import Timer
from rayflow.lang.task_table import TaskEntry
from rayflow.lang.terms.expressions import Term
from rayflow.record_columns import Columns
from rayflow.records import ReductionRow, Row
from rayflow.values.failures import Failure, Outcome

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class LookUp(NamedTuple):
    """Is there a recorded reduction for this key? Answered by `LookedUp`.

    wants_value: whether each record that tells the final value may answer, although files below it have changed.
    """

    asker: int
    eval_hash: bytes
    task_hash: bytes
    wants_value: bool = False


class RunTask(NamedTuple):
    """Send one attempt of a job to a worker. Answered by its `Returned`, `Paused`, `Raised` or `WorkerGone`.

    job: the evaluator's number of the job, for the answer. job_id: its id in the records.
    arguments: bound arguments by parameter name, symbolic; all defaults are filled in.
    options: merged task options.
    losses: how many workers this job has lost so far (a job that lost one is sent alone).
    known: the outcomes of the expressions that earlier runs of the body awaited, by key.
    under: the settings of a nested execution, if the body is one.
    label: the text before the printed lines of the job. name: the name under which the job is counted. Both are empty
    if the job is shown by its task and arguments.
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
    under: NestedStart | None = None
    label: str = ""
    name: str = ""

    @property
    def shown_name(self) -> str:
        """The name under which the job is counted."""
        return self.name or self.entry.name


class LookUpVector(NamedTuple):
    """Are there recorded reductions for these keys of one task? Answered by `LookedUpVector`.

    first: the number of the first job; the job of the key at a position has the number `first + position`.
    """

    first: int
    eval_hashes: Sequence[bytes]
    task_hash: bytes


class RunVector(NamedTuple):
    """Send the first attempt of each of these jobs to a worker.

    The jobs are calls of one task with plain arguments. `ReturnedVector` answers those that returned a scalar and
    nothing else. Each other job is answered alone, as if its attempt had been a `RunTask`.

    jobs: the numbers of the jobs. job_ids: their ids in the records. names: the parameters. arguments: for each job, a
    scalar for each of these parameters. options: of all of them.
    """

    execution_id: str
    entry: TaskEntry
    options: Mapping[str, Any]
    jobs: Sequence[int]
    job_ids: Sequence[bytes]
    names: tuple[str, ...]
    arguments: Sequence[tuple[Any, ...]]

    @property
    def shown_name(self) -> str:
        """The name under which the jobs are counted."""
        return self.entry.name

    def part(self, start: int, stop: int | None = None) -> RunVector:
        """The vector of the members from one position to another."""
        where = slice(start, stop)
        return self._replace(
            jobs=self.jobs[where], job_ids=self.job_ids[where], arguments=self.arguments[where]
        )

    def of(self, jobs: Container[int]) -> RunVector:
        """The vector of the members that are among these jobs."""
        kept = [position for position, job in enumerate(self.jobs) if job in jobs]
        return self._replace(
            jobs=[self.jobs[position] for position in kept],
            job_ids=[self.job_ids[position] for position in kept],
            arguments=[self.arguments[position] for position in kept],
        )

    def attempts(self) -> Iterator[RunTask]:
        """The same attempts, one by one."""
        for job, job_id, arguments in zip(self.jobs, self.job_ids, self.arguments, strict=True):
            bound = dict(zip(self.names, arguments, strict=True))
            yield RunTask(job, 1, self.execution_id, job_id, self.entry, bound, self.options)


class RunOperation(NamedTuple):
    """Apply an operation where the data is. Answered by `Operated`."""

    asker: int
    execution_id: str
    name: str
    args: tuple[Term, ...]


class SetTimer(NamedTuple):
    """Report when `seconds` have passed. Answered by `TimerFired` with the same timer, not earlier."""

    timer: Timer
    seconds: float


class Stop(NamedTuple):
    """Nothing wants this attempt any more. Its answer may still come, and closes the job."""

    job: int
    attempt: int


class Remember(NamedTuple):
    """Record a reduction. No answer."""

    reduction: ReductionRow


class Record(NamedTuple):
    """Append these rows to the provenance, and the rows of these columns. No answer.

    If a row of a turn is durable (`PlaceRow`), the shell commits all rows of the turn before it carries out any of the
    turn's other commands. If it cannot, it carries out none of them.
    """

    rows: tuple[Row, ...]
    columns: tuple[Columns, ...] = ()


class OpenWait(NamedTuple):
    """An execution waits at this place for something from outside. Answered by `Resolved`, once; perhaps much later.

    An execution that is taken up again opens its waits again. So a wait that is open already stays as it is: its
    deadline does not move. One that is resolved already is answered with the outcome that it has.

    kind: sleep, sleep_until, event, ask, emit, child, spawn, join or continue_as. given: what it was made with, by name
    (`rayflow.evaluator.forms.WAITS`). A duration is a number of seconds, a moment is a number of microseconds since the
    epoch, None is what was left out. `expr` of child, spawn and continue_as is a `Quoted` expression: the root of the
    other run. `default` of event is a value, or `Quoted`: if it resolves to that, it is reduced then. `where` of event
    is a `Quoted` condition (`rayflow.lang.events.conditions.holds`) or None. `form` of ask is a class as a reference,
    or a tuple of the texts that may be answered. All else are values. is_cleanup: whether a clean-up that has begun
    needs it, so that it stays open when the execution is cancelled.
    """

    execution_id: str
    place: bytes
    kind: str
    given: Mapping[str, Term]
    is_cleanup: bool = False


class CloseWait(NamedTuple):
    """Nothing needs this wait any more. No answer; a `Resolved` that comes all the same changes nothing."""

    execution_id: str
    place: bytes


class Parked(NamedTuple):
    """Nothing of this execution is in flight: only waits that are open, or other code, can bring news. Said once each
    time it becomes so. The shell may answer with `Forget`. No answer is needed.

    missing: of a run, the names of the tasks that its calls need and the table lacks.
    """

    execution_id: str
    missing: tuple[str, ...] = ()


class Warn(NamedTuple):
    """Show a text to the users who watch the execution. No answer."""

    text: str
    execution_id: str


class Finish(NamedTuple):
    """The execution has ended: commit, then inform its waiters. No answer.

    outcome: the root's value (symbolic) or its Failure.
    failures: jobs that failed by themselves, as (job id, task name, Failure without its pickled exception): first the
    one that the execution ends with, then the others in the order in which they failed; a thousand at most.
    counts: how many jobs there are, how many of them ended as computed, cached, shared, failed, not_run and cancelled,
    how many attempts were made again (retries), and how many jobs were recorded. by_task: the same by task name.
    below: for a nested execution, its report to the execution around it.
    is_torn: whether a scheduler, or a worker with a nested execution, was lost. Then there may be recorded
    open jobs that this evaluator does not know: close these.
    at: when the end was recorded; 0 until then.
    """

    execution_id: str
    outcome: Outcome
    failures: tuple[tuple[bytes, str, Failure], ...] = ()
    counts: Mapping[str, int] = _NOTHING
    by_task: Mapping[str, Mapping[str, int]] = _NOTHING
    value_hash: bytes | None = None
    below: NestedEnd | None = None
    is_torn: bool = False
    at: int = 0


Command: TypeAlias = (
    LookUp
    | LookUpVector
    | RunTask
    | RunVector
    | RunOperation
    | SetTimer
    | Stop
    | Remember
    | Record
    | OpenWait
    | CloseWait
    | Parked
    | Warn
    | Finish
)
