"""The failures that the evaluator itself makes, each with its text.

In: a text, or a job. Out: a `Failure` of one of rayflow's error classes. Never: ends a job.
"""

from __future__ import annotations

from rayflow import errors
from rayflow.evaluator.graph import Job
from rayflow.values.failures import Failure, own_failure


def no_such_task(message: str) -> Failure:
    """The failure of a call whose task is not in the table."""
    return own_failure(errors.NoSuchTask, message)


def bad_arguments(message: str) -> Failure:
    """The failure of a call that does not fit its task's signature."""
    return own_failure(errors.BadArguments, message)


def cyclic(message: str) -> Failure:
    """The failure of a call that waits for its own result."""
    return own_failure(errors.CyclicCall, message)


def too_deep(message: str) -> Failure:
    """The failure of a call that is too deep: it has more calls around it than allowed."""
    return own_failure(errors.TooDeep, message)


def unsteady(job: Job) -> Failure:
    """The failure of a body that awaits other expressions each time that it runs."""
    return own_failure(
        errors.UnsteadyBody,
        f"{job.name} awaits other expressions each time that it is entered. A body that awaits is run again from "
        "its start when what it awaits is there, and has to come to the same calls: leave random numbers, times and "
        "what is not an argument out of them, or get those from a task of their own.",
    )


def nested_too_deep(depth: int) -> Failure:
    """The failure of a subrun that is too deep. depth: how many subruns are around it."""
    return own_failure(
        errors.NestedRun,
        f"this subrun is nested in {depth} others, and one worker runs them all. A subrun evaluates what its tasks "
        "call in any case: return the call itself, f(n - 1) and not subrun(f(n - 1)), and put one subrun around all.",
    )


def cancelled(by: str = "") -> Failure:
    """The failure of a cancelled execution, and of every job in it. by: the cause, such as a person or a signal."""
    return own_failure(errors.Cancelled, f"{_CANCELLED} by {by}" if by else _CANCELLED)


_CANCELLED = "the execution was cancelled"


def cancelled_text(failure: Failure) -> str:
    """The failure of a cancelled execution as the end of a sentence: "was cancelled by SIGTERM"."""
    return failure.message.removeprefix("the execution ")


def worker_lost(job: Job, reason: str, fatal: bool) -> Failure:
    """The failure of a job that has lost too many workers, or that no worker can run. reason: of the last loss."""
    times = "once" if job.work.losses == 1 else f"{job.work.losses} times"
    message = f"no worker can run {job.name}: {reason}." if fatal else (
        f"the worker of {job.name} was lost {times}, last: {reason}. If the task itself kills its worker "
        "(memory, a crash in C code, os._exit), mend that; give it more memory= where it was killed for memory."
    )  # fmt: skip
    return own_failure(errors.WorkerLost, message)


def outcome_unknown(job: Job, reason: str) -> Failure:
    """The failure of an effect that may have been done. reason: why nobody knows."""
    return own_failure(
        errors.OutcomeUnknown,
        f"attempt {job.work.attempt} of {job.name} has started, and nobody knows whether it has done its work: "
        f'{reason}. It has on_unknown="fail", so it is not made again. Find out what has happened outside.',
    )


def key_taken(job: Job) -> Failure:
    """The failure of an effect whose key another effect of the same caller has."""
    return own_failure(
        errors.BadArguments,
        f"two calls of {job.name} by one caller have key={job.options.get('key')!r} and different arguments. A key "
        "names one effect: give each its own.",
    )


def effect_awaits(job: Job) -> Failure:
    """The failure of an effect whose body awaits an expression."""
    return own_failure(
        errors.EffectMisplaced,
        f"the body of the effect {job.name} awaits an expression. Then it would run again from its start, and do twice "
        "what is to be done once. Pass the value as an argument, or await it in the task that calls the effect.",
    )
