"""The outcomes that the keeper makes itself.

In: what has happened. Out: packed outcomes. Never: the outcome of an evaluation, which comes packed.
"""

from __future__ import annotations

from rayflow.errors import Cancelled, NotFound, RayflowError, RunCancelled, RunConflict, TaskTimeout
from rayflow.keeper.demands import Rate, told
from rayflow.keeper.state import KeptEvent, KeptRun
from rayflow.lang.events.event_values import event_term, run_ref_term
from rayflow.lang.terms.codec import loads
from rayflow.lang.terms.outcomes import pack_outcome
from rayflow.values.failures import own_failure

NOTHING = pack_outcome(None)
"""The value None."""


def of_text(text: str) -> bytes:
    """The id of a run or event, as a value."""
    return pack_outcome(text)


def of_event(event: KeptEvent) -> bytes:
    """The event that a wait has taken: the term of an `Event`."""
    row = event.row
    data = None if row.data is None else loads(row.data)
    return pack_outcome(event_term(row.event_id, row.name, row.key, data, row.due_at or row.at, row.number))


def of_run_ref(run_id: str) -> bytes:
    """A reference to a run: the term of a `RunRef`."""
    return pack_outcome(run_ref_term(run_id))


def of_error(of: type[RayflowError], message: str) -> bytes:
    """A failure of this class."""
    return pack_outcome(own_failure(of, message))


def of_ended(run: KeptRun) -> bytes:
    """The outcome of a run that has ended, for a run that waited for it."""
    if run.state == "cancelled" or run.end is None or run.end.outcome is None:
        why = f": {run.end.reason}" if run.end is not None and run.end.reason else ""
        return of_error(RunCancelled, f"run {run.run_id} was cancelled{why}")
    return run.end.outcome


def of_cancel(run: KeptRun, reason: str | None) -> bytes:
    """The outcome of a run that was cancelled."""
    return of_error(Cancelled, f"run {run.run_id} was cancelled" + (f": {reason}" if reason else ""))


def of_timeout(run: KeptRun, reason: str | None) -> bytes:
    """The outcome of a run that has taken too long. reason: what else is to be said."""
    text = f"run {run.run_id} took longer than its timeout allows" + (f": {reason}" if reason else "")
    return of_error(TaskTimeout, text)


def of_late_wait(kind: str) -> bytes:
    """The outcome of a wait for a run that has not ended in time."""
    return of_error(TaskTimeout, f"{kind}: the run did not end before the timeout of the wait")


def of_unknown_run(run_id: str) -> bytes:
    """The outcome of a wait for a run that never was."""
    return of_error(NotFound, f"there is no run {run_id} in this store")


def of_other_run(message: str) -> bytes:
    """The outcome of a wait for a run whose id belongs to another run."""
    return of_error(RunConflict, message)


def rate_text(rate: Rate, room_in_us: int) -> str:
    """Says that a rate limit refuses a start."""
    return (
        f"the rate limit of {told(rate.name)} was reached: {rate.most} in {rate.per_us / 1_000_000:g} s; start it "
        f"again in {room_in_us / 1_000_000:g} s"
    )
