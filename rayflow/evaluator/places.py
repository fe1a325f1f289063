"""Places of jobs, and the rows that are recorded there.

In: jobs and vectors. Out: places, `PlaceRow`s. Never: moves a job; says when something is pinned (pinning.py does).
"""

from __future__ import annotations

from collections.abc import Iterator

from rayflow import errors
from rayflow.evaluator.graph import Cell, Execution, Job, Vector
from rayflow.evaluator.job_states import ARGUMENTS, DONE
from rayflow.evaluator.ledger import ROOT_PLACE, Ledger, Pin, Standing, is_known
from rayflow.evaluator.paths import child_path, result_path
from rayflow.lang.terms.codec import dumps
from rayflow.lang.terms.outcomes import pack_outcome
from rayflow.records import PlaceRow
from rayflow.values.digests import digest, to_hex
from rayflow.values.encoding.identity import identity
from rayflow.values.failures import Failure, error_name

_NOT_PINNED = frozenset({error_name(errors.Cancelled), error_name(errors.NoSuchTask)})
"""Failures that say nothing of the call itself: it has another outcome when the execution is taken up again."""


def ledger_of(execution: Execution) -> Ledger:
    """The ledger of an execution. It is made when something needs it."""
    if execution.ledger is None:
        execution.ledger = Ledger()
    return execution.ledger


def caller_of(parent: Job | None) -> Job | None:
    """The call in whose term a call or form stands. parent: its job around.

    What stands in the arguments of a call belongs to the call that gave them; in the root's own ones, to the root.
    """
    owner = parent
    while owner is not None and owner.state is ARGUMENTS and owner.parent is not None:
        owner = owner.parent
    return owner


def pinned_caller(parent: Job | None) -> Standing | None:
    """The standing of the call in whose term a call or form stands, if that call is pinned."""
    caller = caller_of(parent)
    standing = caller.standing if caller is not None else None
    return standing if standing is not None and standing.is_pinned else None


def may_lead_to_clean_up(parent: Job | None) -> bool:
    """Whether a call or form may lead to a clean-up that an earlier life has not evaluated. parent: its job around."""
    ledger = parent.execution.ledger if parent is not None else None
    if ledger is None or not ledger.unclean:
        return False
    above = pinned_caller(parent)
    return above is not None and above.place in ledger.unclean


def place_of(job: Job, above: Standing) -> bytes:
    """The place of a call whose arguments are values. above: the standing of its caller. Notes it in the job."""
    if job.standing is None:
        job.standing = Standing()
    standing = job.standing
    if standing.place is None:
        args_hash = standing.args_hash or job.work.args_hash
        assert args_hash is not None
        assert above.place is not None
        key = job.options.get("key")
        ledger = ledger_of(job.execution)
        standing.place = ledger.place_of(
            job.job_id,
            above.place,
            job.entry.name,
            args_hash,
            None if key is None else identity(key),
            may_move=ledger.may_move(above),
        )
    return standing.place


def place_of_root(job: Job) -> bytes:
    """The place of the root. Notes it in the job."""
    if job.standing is None:
        job.standing = Standing()
    job.standing.place = ROOT_PLACE
    return ROOT_PLACE


def own_path(job: Job) -> bytes:
    """A path for the term of a job that it shares with no other job."""
    return child_path(job.job_id, "result", 0)


def idempotency_key(job: Job) -> str:
    """The text that every attempt of an effect has, in every life; and no other effect."""
    standing = job.standing
    assert standing is not None
    assert standing.place is not None
    of_run = job.execution.execution_id.encode()
    return to_hex(digest("idempotency", of_run, standing.place, standing.known_failures.to_bytes(8, "little")))


# --- rows -------------------------------------------------------------------------------------------------------------


def _row(job: Job, kind: str, number: int, at: int) -> PlaceRow:
    standing = job.standing
    assert standing is not None
    assert standing.place is not None
    above = pinned_caller(job.parent)
    return PlaceRow(
        execution_id=job.execution.execution_id,
        place=standing.place,
        kind=kind,
        number=number,
        at=at,
        name=job.entry.name,
        parent=above.place if above is not None else None,
        job_id=job.job_id,
        is_effect=job.entry.is_effect,
        key=standing.key if job.entry.is_effect else None,
        generation=standing.generation,
        life=job.execution.life,
    )


def form_row(cell: Cell, above: Standing, place: bytes, name: str, kind: str, at: int) -> PlaceRow:
    """A row of a form at its place. above: the standing of the call in whose term it stands."""
    execution = cell.scope.execution
    return PlaceRow(
        execution_id=execution.execution_id,
        place=place,
        kind=kind,
        number=0,
        at=at,
        name=name,
        parent=above.place,
        job_id=cell.path,
        is_effect=False,
        generation=0,
        life=execution.life,
    )


def term_row(job: Job, at: int) -> PlaceRow:
    """The row of the term that the body of a pinned call has returned. Without a term: of its path alone."""
    packed = job.work.packed
    return _row(job, "term", 0 if packed is None else 1, at)._replace(
        path=result_path(job), task_hash=job.entry.hash, outcome=packed
    )


def started_row(job: Job, text: str, at: int) -> PlaceRow:
    """The row of an attempt of an effect that is sent. text: the call."""
    counts = dumps((job.work.raised, job.work.losses, 0))
    return _row(job, "started", job.work.attempt, at)._replace(arguments=text, outcome=counts)


def tried_row(job: Job, failure: Failure, delay_seconds: float, at: int) -> PlaceRow:
    """The row of an attempt of an effect that has failed, and that another attempt follows after a delay."""
    counts = dumps((job.work.raised, job.work.losses, at + int(delay_seconds * 1_000_000)))
    return _row(job, "tried", job.work.attempt, at)._replace(outcome=counts, error=failure.summary[:MOST_LETTERS])


def awaited_rows(job: Job, start: int, at: int) -> tuple[PlaceRow, ...]:
    """The rows of the outcomes that the body of a pinned call has awaited, from one position on."""
    assert job.work.awaits is not None
    known = list(job.work.awaits.outcomes.items())
    generations = job.standing.pin.cleared if job.standing is not None and job.standing.pin is not None else {}
    return tuple(
        _row(job, "awaited", number, at)._replace(
            key=key, outcome=pack_outcome(outcome), generation=generations.get(key, 0)
        )
        for number, (key, outcome) in enumerate(known[start:], start)
    )


def cleared_row(execution: Execution, pin: Pin, key: bytes | None, failure: Failure, at: int) -> PlaceRow:
    """The row of a failure that a retry has cleared. key: of the outcome that a body awaited."""
    return PlaceRow(
        execution_id=execution.execution_id,
        place=pin.place,
        kind="cleared",
        number=0 if key is None else 1 + int.from_bytes(key[:6], "big"),
        at=at,
        name=pin.name,
        parent=pin.parent,
        job_id=pin.path,
        generation=pin.cleared.get(key, 0),
        life=execution.life,
        key=key,
        outcome=pack_outcome(is_known(failure)),
        error=failure.summary[:MOST_LETTERS],
    )


def outcome_row(job: Job, at: int) -> PlaceRow | None:
    """The row of a call that has ended below a pinned caller, or of a pinned root; None where there is nothing to pin.

    That is: its outcome comes from a pin, or says nothing of the call itself; or an argument of it has failed, so that
    it was never made.
    """
    standing, outcome, kind = job.standing, job.outcome, "outcome"
    if (standing is not None and standing.is_answered) or not job.job_id:
        return None
    failure = outcome if isinstance(outcome, Failure) else None
    if failure is not None and failure.type_name in _NOT_PINNED:
        return None
    if job.eval_hash is None and job.parent is not None:
        return None
    if job.parent is None:
        if standing is None or not (standing.is_pinned or job.entry.is_effect):
            return None
        place_of_root(job)
    else:
        above = pinned_caller(job.parent)
        if above is None:
            return None
        place_of(job, above)
    if standing is not None and standing.is_late:
        kind = "late"
    row = _row(job, kind, 0, at)
    return row._replace(
        outcome=pack_outcome(outcome),
        value_hash=job.value_hash,
        call_hash=job.call_hash,
        error=failure.summary[:MOST_LETTERS] if failure is not None else None,
    )


def vector_rows(vector: Vector, places: Iterator[int] | list[int] | range, at: int) -> list[PlaceRow]:
    """The rows of members of a vector that are done below a pinned caller."""
    above = pinned_caller(vector.parent)
    if above is None or not vector.args_hashes:
        return []
    assert above.place is not None
    ledger, execution, name = ledger_of(vector.execution), vector.execution, vector.entry.name
    rows: list[PlaceRow] = []
    for each in places:
        path = child_path(vector.path, "part", vector.positions[each])
        place = ledger.place_of(path, above.place, name, vector.args_hashes[each], None, may_move=False)
        rows.append(
            PlaceRow(
                execution_id=execution.execution_id,
                place=place,
                kind="outcome",
                number=0,
                at=at,
                name=name,
                parent=above.place,
                job_id=path,
                is_effect=False,
                generation=0,
                life=execution.life,
                outcome=pack_outcome(vector.outcomes[each]),
                value_hash=vector.value_hashes[each],
                call_hash=vector.call_hash_of[each],
            )
        )
    return rows


def done_members(vector: Vector) -> list[int]:
    """The members of a vector that are done."""
    return vector.in_state(DONE)


MOST_LETTERS = 4_000
"""The most characters of an error in a row."""
