"""The state of the evaluator: all data that a message may change.

In: nothing. Out: `State`, and the smallest changes that keep it consistent. Never: decides anything.

The other files of this room are functions over the State. Each file's docstring says what it reads and what it changes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from rayflow.evaluator.capacity import Capacity
from rayflow.evaluator.commands import Command, Record, Warn
from rayflow.evaluator.graph import Cell, Execution, Job, Vector
from rayflow.evaluator.job_states import ARGUMENTS, IN_FLIGHT, LOOKUP, RUNNING, JobState
from rayflow.lang.terms.expressions import Term
from rayflow.records import HandleRow, Row
from rayflow.values.failures import Outcome
from rayflow.values.native import SCALARS


@dataclass(slots=True)
class State:
    """The state of one evaluator.

    capacity: the limits, the amounts that jobs hold, and the jobs that wait for some.
    executions: the executions that have not ended, by id. awake: those of them that are not parked, and perhaps some
    that have ended since. hungry: those with demands. (A service has many more executions than any turn concerns.)
    fewest: the fewest calls that make a vector.
    jobs: the jobs in flight, by number. vectors: those with open members, by the number of the first one, divided by
    `MOST_MEMBERS`. cells: the cells that wait for a look-up or an operation, by number.
    retries: jobs that wait for their next attempt, by the number of the timer.
    numbers: the last number given to a job, cell or timer. now: the time of the newest message, in microseconds.
    out: the commands of this turn. fills: outcomes on their way to a slot, each with the jobs that it came from.
    freed: jobs that can take their limits now, because an execution has ended that held them.
    young: open jobs and vectors that are not yet recorded as open, oldest first, each with the time of its creation.
    opening_set: whether an `OpeningTimer` is running. openings: how many were set: the number of the last one.
    """

    capacity: Capacity
    fewest: int
    executions: dict[str, Execution] = field(default_factory=dict)
    awake: dict[str, Execution] = field(default_factory=dict)
    hungry: dict[str, Execution] = field(default_factory=dict)
    jobs: dict[int, Job] = field(default_factory=dict)
    vectors: dict[int, Vector] = field(default_factory=dict)
    cells: dict[int, Cell] = field(default_factory=dict)
    retries: dict[int, Job] = field(default_factory=dict)
    numbers: int = 0
    now: int = 0
    out: list[Command] = field(default_factory=list)
    fills: deque[tuple[Cell | Job, int, Outcome, tuple[Job | Vector, ...]]] = field(default_factory=deque)
    freed: list[Job] = field(default_factory=list)
    young: deque[tuple[int, Job | Vector]] = field(default_factory=deque)
    opening_set: bool = False
    openings: int = 0


def next_number(state: State) -> int:
    """A number that no job, cell or timer has had."""
    state.numbers += 1
    return state.numbers


def warn(state: State, execution: Execution, text: str) -> None:
    """Show a text once to the users who watch an execution."""
    if text not in execution.warnings:
        execution.warnings.add(text)
        state.out.append(Warn(text, execution.execution_id))


def record(state: State, job: Job, rows: tuple[Row, ...]) -> None:
    """Record the rows of a job. For an unrecorded job, record only the states of handles: they decide what is valid."""
    kept = rows if job.is_recorded else tuple([row for row in rows if type(row) is HandleRow])
    if kept:
        state.out.append(Record(kept))


def move(state: State, job: Job, to: JobState) -> None:
    """Move a job to another state. Counts the running jobs, the look-ups, the jobs in flight, and those whose arguments
    are being reduced."""
    execution = job.execution
    before = job.state
    job.move(to)
    if before is RUNNING:
        execution.tally.count(job.name, "running", -1)
        execution.running -= 1
    elif before is LOOKUP:
        execution.looking -= 1
    elif before is ARGUMENTS:
        execution.binding -= 1
    if to is RUNNING:
        execution.tally.count(job.name, "running")
        execution.running += 1
    elif to is LOOKUP:
        execution.looking += 1
    was_in_flight = before in IN_FLIGHT
    if to in IN_FLIGHT:
        if not was_in_flight:
            execution.in_flight += 1
            state.jobs[job.number] = job
    elif was_in_flight:
        execution.in_flight -= 1
        state.jobs.pop(job.number, None)


# --- the worklist -----------------------------------------------------------------------------------------------------


def demand(state: State, term: Term, scope: Job, path: bytes, target: Cell | Job, slot: int) -> None:
    """Let a term be reduced. Its outcome goes into a slot of the target."""
    if type(term) in SCALARS:
        state.fills.append((target, slot, term, ()))
    else:
        execution = scope.execution
        if not execution.demands:
            state.hungry[execution.execution_id] = execution
        execution.demands.append((term, scope, path, target, slot))


def wait_for(state: State, known: Cell | Job, target: Cell | Job, slot: int) -> None:
    """Let the outcome of a cell or job fill a slot of the target: at once if it is there already."""
    if isinstance(known, Job) and not known.is_open:
        state.fills.append((target, slot, known.outcome, (known,)))
    elif isinstance(known, Cell) and known.settled:
        state.fills.append((target, slot, known.outcome, known.all_sources()))
    else:
        known.waiters.append((target, slot))


def settle(state: State, cell: Cell, outcome: Outcome, sources: tuple[Job | Vector, ...]) -> None:
    """Give a cell its outcome, and pass the outcome on to its waiters. sources: the jobs that the outcome came from."""
    if len(sources) > 1:
        sources = tuple(dict.fromkeys(sources))
    cell.settled = True
    cell.outcome = outcome
    cell.sources = [sources]
    cell.values = []
    cell.expression = None
    waiters, cell.waiters = cell.waiters, []
    for target, slot in waiters:
        state.fills.append((target, slot, outcome, sources))
