"""Attempts: a job is sent to a worker, and what follows from how that ends.

In: jobs that are to run, attempts that ended. Out: `RunTask`, timers, failures of jobs that are not tried again. Never:
reads what a body returned.

Reads the options of the job. Changes: the job and its state; of the State capacity, retries, numbers and out; of the
execution the counts.
"""

from __future__ import annotations

from typing import Any

from rayflow.evaluator import explanations, own_failures, retries
from rayflow.evaluator.awaiting import MOST_STRAYS
from rayflow.evaluator.capacity import unknown_text
from rayflow.evaluator.closing import fail
from rayflow.evaluator.commands import Record, RunTask, SetTimer, Warn
from rayflow.evaluator.graph import Cell, Job
from rayflow.evaluator.job_states import HELD, RUNNING
from rayflow.evaluator.members import job_in
from rayflow.evaluator.nested_executions import MOST_DEEP, limits_text, nested_start
from rayflow.evaluator.places import awaited_rows, idempotency_key, started_row, tried_row
from rayflow.evaluator.state import State, move, next_number, warn
from rayflow.evaluator.timers import RetryTimer
from rayflow.lang.parameters.job_info import JobInfo
from rayflow.lang.terms.codec import CONTAINERS
from rayflow.lang.terms.expressions import Term
from rayflow.values.digests import to_hex
from rayflow.values.encoding.nested import parts_of
from rayflow.values.failures import Failure
from rayflow.values.native import SCALARS
from rayflow.values.refs import TaggedTree


def start(state: State, job: Job) -> None:
    """Send an attempt, if the job can take its limits now. Else the job waits for them."""
    under = nested_start(job, state.capacity.declared) if job.entry.is_nested else None
    if under is not None and under.depth > MOST_DEEP:
        fail(state, job, own_failures.nested_too_deep(MOST_DEEP))
        return
    if "limits" in job.options and (text := limits_text(job)) is not None:
        warn(state, job.execution, text)
    capacity = state.capacity
    fits = capacity.take(job)
    if capacity.unknown:
        warn(state, job.execution, unknown_text(capacity.unknown))
        capacity.unknown.clear()
    while capacity.excess:
        warn(state, job.execution, capacity.excess.pop())
    if not fits:
        for name in capacity.lacking(job):
            job.work.note_wait(f"limit {name}")
        return
    job.work.attempt += 1
    job.work.sent_at = state.now
    move(state, job, RUNNING)
    options = job.options
    if job.entry.is_effect:
        options = {**options, "bundle": False}
        state.out.append(Record((started_row(job, explanations.call_text(job), state.now),)))
    is_named = job.name is not job.entry.name or job.entry.is_named_after_caller
    state.out.append(
        RunTask(
            job=job.number,
            attempt=job.work.attempt,
            execution_id=job.execution.execution_id,
            job_id=job.job_id,
            entry=job.entry,
            arguments=with_job_info(job) if job.entry.job_info else job.work.bound,
            options=options,
            losses=job.work.losses,
            known=job.work.awaits.outcomes if job.work.awaits is not None else None,
            under=under,
            label=explanations.print_label(job) if is_named else "",
            name=job.name if is_named else "",
        )
    )


def running(state: State, number: int, attempt: int) -> Job | None:
    """The job that an answer is for; None for an answer that is late, repeated or unknown."""
    if attempt != 1 and number not in state.jobs:
        return None  # the members of a vector are in their first attempt
    job = job_in(state, number, RUNNING)
    return job if job is not None and job.work.attempt == attempt else None


def release(state: State, job: Job) -> None:
    """An attempt has ended: give back what the job held, and start the jobs that fit now."""
    for waiting in state.capacity.give_back(job):
        start(state, waiting)


def retry_or_fail(state: State, job: Job, delay: float | None, failure: Failure) -> None:
    """Try a job again, or end it. delay: seconds until the next attempt; None for no other attempt."""
    retries.note_cause(job, failure)
    if delay is None or (job.standing is not None and job.standing.is_late):
        fail(state, job, retries.with_causes(job, failure))
        return
    _report_retry(state, job, failure, delay)
    if job.entry.is_effect:
        state.out.append(Record((tried_row(job, failure, delay, state.now),)))
    move(state, job, HELD)
    start_later(state, job, delay)


def start_later(state: State, job: Job, delay: float) -> None:
    """Send a held job after so many seconds."""
    if delay > 0:
        job.work.note_wait("retry")
        number = next_number(state)
        state.retries[number] = job
        job.execution.retrying += 1
        state.out.append(SetTimer(RetryTimer(number), delay))
    else:
        start(state, job)


def retry_now(state: State, timer: RetryTimer) -> None:
    """The wait before an attempt is over."""
    job = state.retries.pop(timer.number, None)
    if job is None:
        return
    job.execution.retrying -= 1
    if job.state is HELD:
        start(state, job)


def _report_retry(state: State, job: Job, failure: Failure, delay: float) -> None:
    """Count an attempt that is made again, and warn of it unless there were many warnings for its task."""
    execution = job.execution
    execution.tally.totals["retries"] += 1
    execution.tally.count(job.name, "retries")
    count = execution.tally.by_task[job.name]["retries"]
    if count <= retries.RETRIES_SHOWN:
        text = retries.retry_text(job, explanations.call_text(job), failure, delay)
        more = "" if count < retries.RETRIES_SHOWN else f" (Further retries of {job.name} are only counted.)"
        state.out.append(Warn(f"{text}{more}", execution.execution_id))


def enter_again(state: State, cell: Cell) -> None:
    """Send the job of a body again, when all expressions that the body awaits have outcomes."""
    ((job, _),) = cell.waiters
    assert isinstance(job, Job)
    if job.is_settled:
        return
    if not job.work.wanted:
        fail(state, job, own_failures.cancelled())
        return
    assert job.work.awaits is not None
    known = job.work.awaits.outcomes
    count = len(known)
    known.update(zip(cell.expression, cell.values, strict=True))
    if job.standing is not None and job.standing.is_pinned:
        state.out.append(Record(awaited_rows(job, count, state.now)))
    if job.work.awaits.strays > MOST_STRAYS:
        fail(state, job, own_failures.unsteady(job))
        return
    job.work.note_wait("await")
    move(state, job, HELD)
    start(state, job)


# --- the arguments that a worker gets ---------------------------------------------------------------------------------


def with_job_info(job: Job) -> dict[str, Term]:
    """The arguments of a job, with its JobInfo for the parameters that take it and were not given one."""
    assert job.eval_hash is not None
    info = JobInfo(
        job.execution.execution_id,
        to_hex(job.job_id),
        to_hex(job.eval_hash),
        job.work.attempt,
        job.entry.name,
        _given_options(job),
        idempotency_key(job) if job.entry.is_effect else "",
    )
    container = parts_of(info)
    assert container is not None
    tree = TaggedTree(container.kind, container.header, tuple(container.parts))
    return {**job.work.bound, **{name: tree for name in job.entry.job_info if name not in job.work.bound}}


def _given_options(job: Job) -> dict[str, Any]:
    """The options as they were given, those that are plain data. The parameters for a JobInfo are ours among the
    config_args."""
    given = {name: value for name, value in job.options.items() if _is_plain(value)}
    if job.entry.job_info and "config_args" in given:
        config_args = [name for name in given["config_args"] if name not in job.entry.job_info]
        given["config_args"] = type(given["config_args"])(config_args)
        if not config_args:
            del given["config_args"]
    return given


def _is_plain(value: Any) -> bool:
    """Whether it is a scalar, or built-in containers of scalars."""
    waiting = [value]
    for each in waiting:
        if type(each) in CONTAINERS:
            waiting.extend((*each.keys(), *each.values()) if type(each) is dict else each)
        elif type(each) not in SCALARS:
            return False
    return True
