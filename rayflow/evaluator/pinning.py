"""Pinning: what holds for all lives of an execution is recorded under its place.

In: a call, form or decision that is met and must not be met anew. Out: rows of its callers: their terms, and what has
ended below them. Answers from the pins of earlier lives. Never: runs an effect, opens a wait.

A caller is *effectful* from the moment when an effect, a wait or a decision is met below it. From then on it is pinned:
its term, and the outcome of each call that ends below it. So a later life decides nothing anew. A finished subtree is
one pinned outcome. Equal callers share no longer: each reduces the term under its own place. And since the way up to
the root is pinned, what has no effect below pays nothing.

Changes: the standing of jobs, followers; out of the State.
"""

from __future__ import annotations

from rayflow import errors
from rayflow.evaluator import commands
from rayflow.evaluator.closing import close, fail
from rayflow.evaluator.graph import Execution, Job, Vector
from rayflow.evaluator.hashes import hash_of
from rayflow.evaluator.job_states import DONE
from rayflow.evaluator.ledger import ROOT_PLACE, Pin, Standing
from rayflow.evaluator.paths import result_path
from rayflow.evaluator.places import (
    awaited_rows,
    caller_of,
    cleared_row,
    done_members,
    ledger_of,
    outcome_row,
    place_of,
    place_of_root,
    term_row,
    vector_rows,
)
from rayflow.evaluator.sharing import go_alone
from rayflow.evaluator.state import State
from rayflow.lang.terms.codec import loads
from rayflow.lang.terms.outcomes import unpack_outcome
from rayflow.records import Row
from rayflow.values.failures import Failure, Outcome, own_failure


def stand(state: State, job: Job) -> Standing:
    """The standing of a call whose arguments are values, with its place. Pins its callers."""
    caller = caller_of(job.parent)
    if caller is None:
        place_of_root(job)
    else:
        place_of(job, pin(state, caller))
    assert job.standing is not None
    return job.standing


def pin(state: State, job: Job) -> Standing:
    """Pin a call in whose term something was met that must not be met anew, and the calls above it."""
    chain: list[Job] = []
    each: Job | None = job
    while each is not None and not (each.standing is not None and each.standing.is_pinned):
        chain.append(each)
        each = caller_of(each.parent)
    for caller in reversed(chain):
        _pin_one(state, caller)
    assert job.standing is not None
    return job.standing


def _pin_one(state: State, job: Job) -> None:
    above = caller_of(job.parent)
    if above is None:
        place_of_root(job)
    else:
        assert above.standing is not None
        place_of(job, above.standing)
    standing = job.standing
    assert standing is not None
    standing.path = result_path(job)
    standing.is_pinned = True
    ledger_of(job.execution).term_paths.add(standing.path)
    rows: list[Row] = [term_row(job, state.now)]
    if job.work.awaits is not None:
        rows.extend(awaited_rows(job, 0, state.now))
    for child in job.work.children:
        if isinstance(child, Vector):
            rows.extend(vector_rows(child, done_members(child), state.now))
        elif not child.is_open:
            row = outcome_row(child, state.now)
            if row is not None:
                rows.append(row)
    state.out.append(commands.Record(tuple(rows)))
    followers, job.work.followers = job.work.followers or (), []
    for follower in followers:
        if follower.is_open:
            go_alone(state, follower)


# --- retries of a failed execution ------------------------------------------------------------------------------------


def clear_failures(state: State, execution: Execution, generation: int) -> None:
    """Clear the failures that have reached the root, for a retry. A generation that has begun already clears nothing.

    A failure that something has caught stays: it was no reason of the end.
    """
    ledger = execution.ledger
    root = ledger.pins.get(ROOT_PLACE) if ledger is not None else None
    if ledger is None or root is None or root.outcome is None or generation <= root.generation:
        return
    failure = unpack_outcome(root.outcome)
    if not isinstance(failure, Failure):
        return
    below: dict[bytes | None, list[Pin]] = {}
    for pin in ledger.pins.values():
        below.setdefault(pin.parent, []).append(pin)
    root.cleared[None] = generation - 1
    rows: list[Row] = [cleared_row(execution, root, None, failure, state.now)]
    root.clear(failure)
    callers = [root]
    while callers:
        caller = callers.pop()
        for key, packed in list(caller.awaited.items()):
            if _is_same(unpack_outcome(packed), failure):
                rows.append(cleared_row(execution, caller, key, failure, state.now))
                caller.cleared[key] = caller.cleared.get(key, 0) + 1
                del caller.awaited[key]
        for pin in below.get(caller.place, ()):
            if pin.outcome is not None and _is_same(unpack_outcome(pin.outcome), failure):
                callers.append(pin)
            elif pin.decision is None or not _has_decided(pin, failure):
                continue
            rows.append(cleared_row(execution, pin, None, failure, state.now))
            pin.clear(failure)
    state.out.append(commands.Record(tuple(rows)))


def decided(pin: Pin) -> tuple[int, bytes | None]:
    """The decision that was recorded for a race: the position of the winner, and the digest of its failure."""
    assert pin.decision is not None
    winner, failure, *_ = loads(pin.decision)
    return winner, failure


def _has_decided(pin: Pin, failure: Failure) -> bool:
    """Whether this failure, and not an equal one, is the outcome of a race."""
    assert pin.decision is not None
    _, found, *origin = loads(pin.decision)
    return found == failure.digest and (not origin or origin[0] == failure.origin)


def _is_same(outcome: Outcome, failure: Failure) -> bool:
    """Whether an outcome is this failure, and not one of another call that has failed alike."""
    if not isinstance(outcome, Failure):
        return False
    return (outcome.digest, outcome.trail, outcome.origin) == (failure.digest, failure.trail, failure.origin)


# --- answers from earlier lives ---------------------------------------------------------------------------------------


def settled_by(pin: Pin, gone: str | None) -> Outcome:
    """The outcome that was pinned. gone: the text for a value with a file that is gone."""
    assert pin.outcome is not None
    outcome = unpack_outcome(pin.outcome)
    return own_failure(errors.FileGone, gone) if gone is not None and not isinstance(outcome, Failure) else outcome


def answer(state: State, job: Job, pin: Pin) -> None:
    """End a call with the outcome that an earlier life has pinned."""
    pin.taken_at = job.job_id
    standing = job.standing = Standing(pin.place)
    standing.generation, standing.known_failures = pin.generation, pin.known_failures
    standing.is_answered = True
    job.how = "shared"
    outcome = settled_by(pin, ledger_of(job.execution).gone.get(pin.place))
    if isinstance(outcome, Failure):
        fail(state, job, outcome, own=False)
        return
    job.outcome = outcome
    job.value_hash = hash_of(outcome)
    job.call_hash = pin.call_hash
    job.fleeting = True
    close(state, job, DONE)
