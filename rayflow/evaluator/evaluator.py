"""The door of the core: messages in, commands out.

In the words of "Build Systems à la Carte" (Mokhov, Mitchell, Peyton Jones, 2018) this is a *suspending* scheduler with
*constructive traces*: a call starts when its value is needed, and waits while its needs are built. It is skipped if a
trace of the same task on the same arguments holds the term that it returned (a single reduction). Traces are
*deep* on demand: a full reduction holds the final value, valid while all tasks below are unchanged.

Theory of operation. A term is taken apart into *cells* (places with something missing) and *jobs* (task calls). Each
keeps its waiters as data. A worklist of demands ("reduce this term for that slot") and fills ("that slot has this
outcome") is emptied after each message. So nothing recurses, even if the user's program is very deep. An outcome is a
value or a `Failure`. A cell passes its outcome on when all its values are there. Of several failures the first by
position counts, not the first in time. So the result of an execution does not depend on the order of the answers.

Vectors. Most calls are plain: one task, scalar arguments, and a scalar as result. Such calls that stand together in a
container go as one `Vector`: as columns, which cost a fifth of the time. There could be one way, with a job as a vector
of one member. But nearly everything in this room is about what happens to one call: a failure, a retry, an equal call,
a limit, an expression as result. As columns it would all be written for the case that needs it least. So a vector is a
second way, and a small one: it knows success alone (vectors.py), and can give any member back as a job, in the state
that the member is in (members.py). From there on the job knows of no vector. Both ways leave the same rows.

In: messages, with the times when things happened. Out: commands. Never: touches anything
outside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rayflow.errors import Bug, TaskTimeout, Unanswered
from rayflow.evaluator import (
    commands,
    explanations,
    lookups,
    messages,
    operations,
    own_failures,
    retries,
    rows,
    vectors,
    waits,
    witnessing,
)  # fmt: skip
from rayflow.evaluator.attempts import release, retry_now, retry_or_fail, running, start
from rayflow.evaluator.awaiting import Awaits
from rayflow.evaluator.calls import meet, new_job
from rayflow.evaluator.capacity import Capacity
from rayflow.evaluator.cell_roles import AWAITED_SLOT, RESULT_SLOT, CellRole
from rayflow.evaluator.closing import drop, fail, stop
from rayflow.evaluator.effects import answered_by
from rayflow.evaluator.graph import Cell, Execution, Job, UnrecordedReturn
from rayflow.evaluator.job_states import HELD, LOOKUP, RESULT
from rayflow.evaluator.ledger import ROOT_PLACE
from rayflow.evaluator.members import job_in, leave_all
from rayflow.evaluator.opening_rows import record_open_jobs
from rayflow.evaluator.paths import awaited_path, child_path, result_path
from rayflow.evaluator.pinning import clear_failures
from rayflow.evaluator.reduction import drain
from rayflow.evaluator.sharing import part, reduce_result
from rayflow.evaluator.state import State, demand, move, record, warn
from rayflow.evaluator.timers import RetryTimer
from rayflow.evaluator.vectors import FEWEST
from rayflow.lang.parameters.signatures import Parameters
from rayflow.lang.task_table import TaskEntry
from rayflow.lang.terms.codec import give_paths, loads
from rayflow.lang.terms.expressions import TaskCall, Term
from rayflow.records import SINGLE
from rayflow.values.digests import digest, short_digest

ROOT = TaskEntry(name="<expression>", hash=digest("root"), parameters=Parameters((), (), frozenset()))
"""The task of a root that is not a task call. It returns the root term."""


class Evaluator:
    """All executions of one scheduler.

    limits: capacities by name; a limit that is not named has capacity 1. fewest: the fewest calls that make a vector.
    """

    def __init__(self, limits: Mapping[str, float] | None = None, *, fewest: int = FEWEST) -> None:
        self._state = State(Capacity(limits or {}), fewest)

    @property
    def executions(self) -> Mapping[str, Execution]:
        """The executions that have not ended, by id."""
        return self._state.executions

    @property
    def capacity(self) -> Capacity:
        """The limits, and the amounts of them that jobs hold."""
        return self._state.capacity

    def handle(self, incoming: Sequence[messages.Message]) -> list[commands.Command]:
        """Take in messages. Give the commands that follow from them, in order."""
        state = self._state
        state.out = []
        for message in incoming:
            state.now = max(state.now, message.at)
            _HANDLERS[type(message)](state, message)
            if type(message) in _OF_EXECUTION:
                _wake(state, message.execution_id)  # type: ignore[union-attr]  # those of the table have one
            drain(state)
        for execution_id, execution in list(state.awake.items()):
            if execution.is_restricted and execution.wanted and not (execution.left or execution.demands):
                execution.is_restricted, execution.may_begin = False, True  # all that has lost is settled
            while execution.in_flight == 0 and not waits.hopes(execution) and _is_open(state, execution):
                _break_cycle(state, execution)
                drain(state)
            if waits.hopes(execution) or execution.is_parked:
                waits.note_parked(state, execution)
            if execution.is_parked or not _is_open(state, execution):
                del state.awake[execution_id]
        return state.out

    def open_jobs(self, execution_id: str) -> list[Job]:
        """The jobs of an execution that are neither done nor failed. Members of vectors become jobs for that."""
        execution = self._state.executions[execution_id]
        leave_all(self._state, execution)
        return list(execution.open.values())

    def explain(self, execution_id: str) -> dict[str, dict[str, int]]:
        """Counts by task name: how many jobs are open and running, and how the others ended."""
        execution = self._state.executions.get(execution_id)
        return {name: dict(row) for name, row in execution.tally.by_task.items()} if execution else {}

    def waits(self, execution_id: str) -> dict[str, int]:
        """For what the open jobs of an execution wait that are not sent, and how many wait for it. What is zero is left
        out.

        The counts are kept as jobs move, so that this costs the same for a million jobs. The keys: arguments, records
        (the store's answer), retry (the pause before the next attempt), "limit NAME", and calls (those that a job made
        or awaits, or an equal one that runs).
        """
        execution = self._state.executions.get(execution_id)
        if execution is None:
            return {}
        limits = {f"limit {', '.join(names)}": count for names, count in self.capacity.waiting(execution_id).items()}
        known = {
            "arguments": execution.binding, "records": execution.looking, "retry": execution.retrying, **limits,
        }  # fmt: skip
        is_open = sum(row["open"] for row in execution.tally.by_task.values())
        known["calls"] = max(0, is_open - execution.running - sum(known.values()))
        return {what: count for what, count in known.items() if count > 0}


def _wake(state: State, execution_id: str) -> None:
    """News of an execution: look at the end of the turn whether it can go on."""
    execution = state.executions.get(execution_id)
    if execution is not None:
        state.awake[execution_id] = execution


def _is_open(state: State, execution: Execution) -> bool:
    return state.executions.get(execution.execution_id) is execution


# --- one function for each message ------------------------------------------------------------------------------------


def _submitted(state: State, message: messages.Submitted) -> None:
    if message.execution_id in state.executions:
        return  # a submission that was repeated because its acknowledgement was lost
    execution = Execution(message)
    state.executions[message.execution_id] = execution
    clear_failures(state, execution, message.generation)
    root_id = short_digest("job", execution.seed)
    term = loads(message.root, root_id)
    pin = execution.ledger.pins.get(ROOT_PLACE) if execution.ledger is not None else None
    if type(term) is TaskCall:
        meet(state, term, execution, None, root_id)
    elif pin is not None and answered_by(state, new_job(state, execution, None, None, ROOT, root_id), pin):
        return
    else:
        root = execution.root or new_job(state, execution, None, None, ROOT, root_id)
        root.how = "computed"
        root.work.args_hash = digest("args")
        move(state, root, RESULT)
        demand(state, term, root, child_path(root_id, "result", 0), root, RESULT_SLOT)
    if execution.root is not None:
        execution.root.seen = witnessing.in_term(execution.root.seen, message.root)


def _looked_up(state: State, message: messages.LookedUp) -> None:
    cell = state.cells.get(message.asker)
    if cell is not None:
        operations.looked_up(state, cell, message)
        return
    job = job_in(state, message.asker, LOOKUP)
    if job is None:
        return
    if not (job.work.wanted or job.is_cleaning_up):
        fail(state, job, own_failures.cancelled())
        return
    choice = lookups.choose(job, message.candidates, message.at)
    if choice.unknown:
        job.execution.tasks.unknown.update(dict.fromkeys(choice.unknown, job.entry.name))
    candidate = choice.candidate
    if candidate is None:
        job.work.missed = lookups.missed(job, message.candidates, message.at)
        move(state, job, HELD)
        start(state, job)
        return
    job.how = "shared" if candidate.execution_id == job.execution.execution_id else "cached"
    job.oldest = candidate.at
    move(state, job, RESULT)
    if candidate.kind != SINGLE:
        job.task_set = candidate.task_set
        if not job.entry.sees_staged_alone:  # else it may be the call of another file of equal content
            job.call_hash = candidate.call_hash
        if candidate.context:
            job.note_reads(candidate.context)
    if job.work.followers:
        part(state, job)
    reduce_result(state, job, candidate.term, choice.term)


def _returned(state: State, message: messages.Returned) -> None:
    job = running(state, message.job, message.attempt)
    if job is None:
        return
    below = message.below
    if below is not None:
        _count_nested(job.execution, below)
        _warn_all(state, job.execution, below)
    term = _take_in(state, job, message, result_path(job))
    if job.is_settled:
        return
    if below is not None:
        job.work.below = below
        if below.reads:
            job.note_reads(below.reads)
        job.seen = witnessing.in_term(job.seen, below.witnesses)
        job.oldest = below.oldest
    move(state, job, RESULT)
    if below is None and job.work.awaits is None and not job.entry.is_effect:
        row = rows.reduction_row(job, lookups.remember_key(job), message.term, message.at)
        if job.is_recorded:
            state.out.append(commands.Remember(row))
        if not job.hands_down.is_recorded:
            job.unrecorded = UnrecordedReturn(row, rows.of_values(message.rows))
    if job.work.followers:
        part(state, job)
    reduce_result(state, job, message.term, term)


def _looked_up_vector(state: State, message: messages.LookedUpVector) -> None:
    vectors.looked_up(state, message, _looked_up)


def _returned_vector(state: State, message: messages.ReturnedVector) -> None:
    vectors.returned(state, message, _returned)


def _paused(state: State, message: messages.Paused) -> None:
    job = running(state, message.job, message.attempt)
    if job is None:
        return
    if job.work.awaits is None:
        job.work.awaits = Awaits()
    asked = _take_in(state, job, message, b"")
    if job.is_settled:
        return
    if job.entry.is_effect:
        fail(state, job, own_failures.effect_awaits(job))
        return
    missed, terms = asked
    job.seen = witnessing.in_term(job.seen, message.term)
    job.work.awaits.strays += bool(missed)
    job.work.awaits.missed, job.work.awaits.open = frozenset(missed), frozenset(terms)
    move(state, job, RESULT)
    if job.work.followers:
        part(state, job)  # there the body may await other expressions
    cell = Cell(CellRole.AWAITED, tuple(terms), job, job.job_id, len(terms))
    cell.waiters.append((job, AWAITED_SLOT))
    for position, (key, term) in enumerate(terms.items()):
        give_paths(term, awaited_path(job, key))
        demand(state, term, job, awaited_path(job, key), cell, position)


def _take_in(state: State, job: Job, message: messages.Returned | messages.Paused, path: bytes) -> Term:
    """A body has come back: end its attempt, and give what it brings. Fails the job when nothing wants it any more.

    path: where its term stands; empty for several terms.
    """
    job.work.cost = message.cost if job.work.awaits is None else job.work.awaits.add_cost(message.cost)
    release(state, job)
    record(state, job, message.rows)
    if not (job.work.wanted or job.is_cleaning_up):
        fail(state, job, own_failures.cancelled())
        return None
    for text in job.execution.tasks.learn(message.entries):
        warn(state, job.execution, text)
    job.how = "computed"
    try:
        return loads(message.term, path)
    except ValueError as error:
        raise Bug(f"A worker sent a result that cannot be read: {error}. {job.describe()}") from error


def _raised(state: State, message: messages.Raised) -> None:
    job = running(state, message.job, message.attempt)
    if job is None:
        return
    cost, below, failure = message.cost, message.below, message.failure
    job.work.cost = cost if job.work.awaits is None or cost is None else job.work.awaits.add_cost(cost)
    job.how = "computed"
    job.work.raised += 1
    if job.entry.is_nested and (below is None or below.is_torn):
        job.execution.is_torn = True
    if below is not None:
        _warn_all(state, job.execution, below)
    release(state, job)
    row = rows.attempt_row(
        job,
        ended="timeout" if failure.is_a(TaskTimeout) else "raised",
        error=failure.summary[:4000],
        node=cost.node if cost else None,
        pid=cost.pid if cost else None,
        at=message.at,
        started_at=cost.started_at if cost else None,
        environment=cost.environment if cost else None,
    )
    record(state, job, (*message.rows, row))
    delay = retries.retry_delay(job, failure) if job.work.wanted else None
    if delay is None and below is not None:
        # Of an attempt that is made again, the next one counts the same jobs.
        _count_nested(job.execution, below)
    if not job.work.wanted:
        fail(state, job, own_failures.cancelled())
    elif job.work.awaits is not None and job.work.awaits.passes_on(failure):
        # As for a call in a term: the failure is its own, and what needs it fails with it.
        fail(state, job, failure, own=False)
    else:
        retry_or_fail(state, job, delay, failure)


def _worker_gone(state: State, message: messages.WorkerGone) -> None:
    job = running(state, message.job, message.attempt)
    if job is None:
        return
    job.work.losses += 1
    if job.entry.is_nested:
        job.execution.is_torn = True
    release(state, job)
    row = rows.attempt_row(job, ended="lost", error=message.reason, node=message.node, pid=message.pid, at=message.at)
    record(state, job, (row,))
    if not (job.work.wanted or job.is_cleaning_up):
        fail(state, job, own_failures.cancelled())
        return
    if job.options.get("on_unknown") == "fail" and not message.fatal:
        fail(state, job, own_failures.outcome_unknown(job, message.reason))
        return
    delay = retries.loss_delay(job, message.fatal)
    retry_or_fail(state, job, delay, own_failures.worker_lost(job, message.reason, message.fatal))


def _timer_fired(state: State, message: messages.TimerFired) -> None:
    if isinstance(message.timer, RetryTimer):
        retry_now(state, message.timer)
    else:
        record_open_jobs(state, message.timer, message.at)


def _cancel_requested(state: State, message: messages.CancelRequested) -> None:
    execution = state.executions.get(message.execution_id)
    if execution is None:
        return
    if execution.wanted:
        execution.cancelled_by = message.by
        stop(state, execution)
    elif execution.cleanups or execution.left:
        execution.cleanups.clear()  # the second request ends these, too
        for node in execution.left.values():
            if isinstance(node, Job) and node.standing is not None:
                node.standing.cleans = False
        stop(state, execution)


def _resolved(state: State, message: messages.Resolved) -> None:
    execution = state.executions.get(message.execution_id)
    if execution is not None:
        waits.resolved(state, execution, message.place, message.outcome)


def _forget(state: State, message: messages.Forget) -> None:
    execution = state.executions.get(message.execution_id)
    if execution is not None and execution.is_parked:
        drop(state, execution)


_HANDLERS: Mapping[type, Callable[[State, Any], None]] = {
    messages.Submitted: _submitted,
    messages.LookedUp: _looked_up,
    messages.LookedUpVector: _looked_up_vector,
    messages.Returned: _returned,
    messages.ReturnedVector: _returned_vector,
    messages.Paused: _paused,
    messages.Raised: _raised,
    messages.WorkerGone: _worker_gone,
    messages.Operated: operations.operated,
    messages.TimerFired: _timer_fired,
    messages.Resolved: _resolved,
    messages.Forget: _forget,
    messages.CancelRequested: _cancel_requested,
}


_OF_EXECUTION = frozenset({messages.Submitted, messages.Resolved, messages.CancelRequested})
"""Messages that may concern a parked execution. All others concern jobs in flight, which it does not have."""


def _count_nested(execution: Execution, below: messages.NestedEnd) -> None:
    """Add the counts of a nested execution's jobs to the execution around it."""
    execution.is_torn |= below.is_torn
    execution.tally.add(below.counts, below.by_task)


def _warn_all(state: State, execution: Execution, below: messages.NestedEnd) -> None:
    for text in below.warnings:
        warn(state, execution, text)


def _break_cycle(state: State, execution: Execution) -> None:
    """Nothing can bring news and the root is open, so jobs wait for each other. Fail one of them."""
    circle = explanations.find_cycle(execution)
    if circle is None:
        open_jobs = "; ".join(job.describe() for job in list(execution.open.values())[:10])
        raise Unanswered(f"Execution {execution.execution_id} waits for nothing that can come. {open_jobs}")
    fail(state, circle[0], own_failures.cyclic(explanations.cycle_text(circle)))
