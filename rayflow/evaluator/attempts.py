"""What happens after an attempt that did not return: again, later, or not at all.

In: a job, and how its attempt ended. Out: seconds to wait before the next attempt, or None. Never: sets a timer itself.
"""

from __future__ import annotations

import math

from rayflow.evaluator.jobs import Job
from rayflow.values.digests import digest
from rayflow.values.failures import Failure

NEVER_AGAIN = frozenset(
    {
        "rayflow.errors.BadArguments",
        "rayflow.errors.NotSerializable",
        "rayflow.errors.NestedRun",
        "rayflow.errors.Cancelled",
    }
)
"""Errors that the same code with the same arguments will give again whatever happens."""

FIRST_LOSS_DELAY_SECONDS = 0.5
"""The wait before a job that lost its worker is sent again; doubled with each further loss."""

LONGEST_LOSS_DELAY_SECONDS = 60.0
"""The longest such wait: a job that may lose many workers is not to stand still for days."""


def retry_delay(job: Job, failure: Failure) -> float | None:
    """Seconds until a job that raised is tried again; None when it is not."""
    options = job.options
    if job.raised > options.get("retries", 0) or NEVER_AGAIN.intersection(failure.classes):
        return None
    names = options.get("retry_on") or ("builtins.Exception",)
    if not any(name in failure.classes for name in names):
        return None
    delay: float = options.get("retry_delay", 0.0)
    return _growing(delay, options.get("retry_backoff", 2.0), job.raised - 1) if delay else 0.0


def loss_delay(job: Job, fatal: bool) -> float | None:
    """Seconds until a job whose worker was lost is sent again; None when it has killed enough of them."""
    if fatal or job.losses > job.options.get("max_worker_losses", 3):
        return None
    return min(LONGEST_LOSS_DELAY_SECONDS, _growing(FIRST_LOSS_DELAY_SECONDS, 2.0, job.losses - 1))


def _growing(first: float, factor: float, times: int) -> float:
    try:
        return float(first * factor**times)
    except OverflowError:  # after a thousand times or so: longer than anybody waits
        return math.inf


def own_failure(type_name: str, bases: tuple[str, ...], message: str, fault: str = "user") -> Failure:
    """A failure that the evaluator itself finds: bad arguments, a cycle, a lost worker, a cancelled job."""
    return Failure(
        type_name=type_name,
        classes=(type_name, *bases, "builtins.Exception", "builtins.BaseException", "builtins.object"),
        message=message,
        digest=digest("failure", type_name.encode(), message.encode()),
        fault=fault,
    )


_USER = ("rayflow.errors.UserError", "rayflow.errors.RayflowError")
_WORLD = ("rayflow.errors.WorldError", "rayflow.errors.RayflowError")


def no_such_task(message: str) -> Failure:
    """A call of a task that the table does not have."""
    return own_failure("rayflow.errors.NoSuchTask", _USER, message)


def bad_arguments(message: str) -> Failure:
    """A call that does not fit its task's signature."""
    return own_failure("rayflow.errors.BadArguments", (*_USER, "builtins.TypeError"), message)


def cyclic(message: str) -> Failure:
    """A call that waits for its own result."""
    bases = (*_USER, "builtins.RecursionError", "builtins.RuntimeError")
    return own_failure("rayflow.errors.CyclicCall", bases, message)


def unsteady(job: Job) -> Failure:
    """A body that awaits other expressions each time that it is entered."""
    return own_failure(
        "rayflow.errors.UnsteadyBody",
        _USER,
        f"{job.entry.name} awaits other expressions each time that it is entered. A body that awaits is run again from "
        "its start when what it awaits is there, and has to come to the same calls: leave random numbers, times and "
        "what is not an argument out of them, or get those from a task of their own.",
    )


def nested_too_deep(depth: int) -> Failure:
    """A subrun in a subrun in a subrun, and so on."""
    return own_failure(
        "rayflow.errors.NestedRun",
        (*_USER, "builtins.RuntimeError"),
        f"this subrun stands in {depth} others, one in another, and each of them holds the one worker that all run in. "
        "What a task in a subrun calls is evaluated there anyhow: return the call itself, f(n - 1) and not "
        "subrun(f(n - 1)), and put a subrun around the whole.",
    )


def cancelled() -> Failure:
    """What every job of a cancelled execution ends with."""
    return own_failure("rayflow.errors.Cancelled", _USER, "the execution was cancelled")


def worker_lost(job: Job, reason: str) -> Failure:
    """A job that has lost more workers than it may. reason: of the last loss."""
    times = "once" if job.losses == 1 else f"{job.losses} times"
    return own_failure(
        "rayflow.errors.WorkerLost",
        _WORLD,
        f"the worker of {job.entry.name} was lost {times}, last: {reason}. If the task itself kills its worker "
        "(memory, a crash in C code, os._exit), mend that; give it more memory= where it was killed for memory.",
        fault="world",
    )
