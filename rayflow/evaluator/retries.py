"""Whether and when an attempt that failed is made again, and how that is reported.

In: a job, and how its attempt ended. Out: seconds to wait before the next attempt, or None; texts. Never: sets a timer,
starts an attempt.
"""

from __future__ import annotations

import math
from dataclasses import replace

from rayflow import errors
from rayflow.evaluator.graph import Job
from rayflow.values.digests import digest
from rayflow.values.encoding.previews import one_line
from rayflow.values.failures import Failure, error_name

NEVER_AGAIN = frozenset(
    error_name(each)
    for each in (errors.BadArguments, errors.NotSerializable, errors.NestedRun, errors.Cancelled, errors.NonRetriable)
)
"""Errors that the same code with the same arguments always gives again."""

LOST = error_name(errors.WorkerLost)

FIRST_LOSS_DELAY_SECONDS = 0.5
"""The wait before a job that lost its worker is sent again; doubled with each further loss."""

LONGEST_LOSS_DELAY_SECONDS = 60.0
"""The longest such wait: a job that may lose many workers must not stand still for days."""

MOST_CAUSES = 5
"""The failure of a job that was tried more often lists this many failed attempts: the first ones and the last."""

RETRIES_SHOWN = 5
"""This many retries of one task are shown as they come; all are counted."""


def retry_delay(job: Job, failure: Failure) -> float | None:
    """Seconds until a job that raised is tried again; None when it is not."""
    options = job.options
    if job.work.raised > options.get("retries", 0) or NEVER_AGAIN.intersection(failure.classes):
        return None
    names = options.get("retry_on") or ("builtins.Exception",)
    if not any(name in failure.classes for name in names):
        return None
    if failure.retry_after_seconds is not None:
        return failure.retry_after_seconds
    delay: float = options.get("retry_delay", 0.0)
    if not delay:
        return 0.0
    grown = _growing(delay, options.get("retry_backoff", 2.0), job.work.raised - 1)
    most = options.get("retry_max_delay")
    return _spread(job, grown if most is None else min(grown, most))


def _spread(job: Job, delay: float) -> float:
    """The delay, longer or shorter by a part of itself: always the same for one attempt of one job."""
    jitter = job.options.get("retry_jitter", 0.0)
    if not jitter:
        return delay
    made = digest("jitter", job.job_id, job.work.attempt.to_bytes(8, "little"))
    chance: float = int.from_bytes(made[:4], "little") / 2**32
    return float(delay * (1 + jitter * (2 * chance - 1)))


def loss_delay(job: Job, fatal: bool) -> float | None:
    """Seconds until a job whose worker was lost is sent again; None if another attempt is not allowed."""
    if fatal or job.work.losses > job.options.get("max_worker_losses", 3):
        return None
    return min(LONGEST_LOSS_DELAY_SECONDS, _growing(FIRST_LOSS_DELAY_SECONDS, 2.0, job.work.losses - 1))


def cause_text(failure: Failure, limit: int = 200) -> str:
    """Why an attempt failed, on one line."""
    return one_line(failure.summary, limit)


def note_cause(job: Job, failure: Failure) -> None:
    """Note in the job why an attempt failed; of many, the first ones and the last are kept."""
    job.work.causes = (*job.work.causes[: MOST_CAUSES - 1], cause_text(failure))


def with_causes(job: Job, failure: Failure) -> Failure:
    """The failure of a job's last attempt, with why each attempt failed among its notes."""
    tries = job.work.raised + job.work.losses
    if tries < 2:
        return failure
    lines = [f"  attempt {number}: {cause}" for number, cause in enumerate(job.work.causes, 1)]
    if tries > MOST_CAUSES:
        lines[-1:] = [f"  ... {tries - MOST_CAUSES} more ...", f"  attempt {tries}: {job.work.causes[-1]}"]
    note = "\n".join([f"It failed in {tries} attempts:", *lines])
    return replace(failure, notes=(*failure.notes, note))


def retry_text(job: Job, call: str, failure: Failure, delay: float) -> str:
    """The warning for an attempt that failed and is made again. call: the job's call as text."""
    when = f" in {delay:g} s" if delay else ""
    if failure.type_name == LOST:
        most = job.options.get("max_worker_losses", 3)
        return (
            f"{call} has lost its worker, {job.work.losses} of at most {most} times, and starts again{when}: "
            f"{failure.message}"
        )
    most = job.options.get("retries", 0) + 1
    return (
        f"{call} failed in attempt {job.work.raised} of {most}, and attempt {job.work.raised + 1} follows{when}: "
        f"{cause_text(failure)}"
    )


def _growing(first: float, factor: float, times: int) -> float:
    try:
        return float(first * factor**times)
    except OverflowError:  # after a thousand times or so
        return math.inf
