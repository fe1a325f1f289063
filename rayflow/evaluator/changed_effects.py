"""Effects of a body that was edited between two lives of its execution.

In: an effect that no life has begun, below a body that awaits. Out: its attempt; or a question to a person, and what
follows from the answer. Never: guesses.

A body that awaits is entered again with its code of now. If it does not come again to an effect that was begun, and
asks for one of the same task with other arguments, then perhaps it is the same one. The option `on_changed` says what
follows: a person is asked; or the recorded outcome is kept for the new call; or the new call is made all the same; or
it fails.
"""

from __future__ import annotations

from rayflow.errors import EffectChanged
from rayflow.evaluator import explanations
from rayflow.evaluator.attempts import start
from rayflow.evaluator.cell_roles import CHANGED_SLOT, CellRole
from rayflow.evaluator.closing import fail
from rayflow.evaluator.graph import Cell, Job
from rayflow.evaluator.job_states import HELD
from rayflow.evaluator.ledger import Pin
from rayflow.evaluator.pinning import answer
from rayflow.evaluator.places import caller_of, ledger_of
from rayflow.evaluator.state import State, move
from rayflow.evaluator.waits import open_question
from rayflow.values.digests import digest
from rayflow.values.failures import Failure, Outcome, own_failure

ANSWERS = ("keep", "again", "fail")
"""What a person may say: keep the recorded outcome for the new call; make the new call; let it fail."""


def begin_new(state: State, job: Job) -> None:
    """Send an effect that no life has begun, unless another one seems to have stood in its place."""
    before = _replaced(job)
    if before is None:
        _send(state, job)
        return
    answer_now = job.options.get("on_changed", "stop")
    if answer_now != "stop":
        _follow(state, job, before, answer_now)
        return
    assert job.standing is not None
    assert job.standing.place is not None
    cell = Cell(CellRole.QUESTION, before.place, job, job.job_id, 1)
    cell.waiters.append((job, CHANGED_SLOT))
    place = digest("changed effect", job.standing.place)
    given = {"prompt": f"changed effect: {_text(job, before)}", "form": ANSWERS, "timeout": None}
    open_question(state, cell, place, given)


def take_answer(state: State, job: Job, outcome: Outcome) -> None:
    """A person has said what becomes of a changed effect; or the execution was cancelled meanwhile."""
    if job.is_settled:
        return
    if isinstance(outcome, Failure):
        fail(state, job, outcome, own=False)
        return
    before = _replaced(job)
    if before is None:
        _send(state, job)
    else:
        _follow(state, job, before, str(outcome))


def _follow(state: State, job: Job, before: Pin, said: str) -> None:
    before.taken_at = job.job_id
    if said == "again":
        _send(state, job)
    elif said == "keep" and before.outcome is not None:
        answer(state, job, before)
    else:
        fail(state, job, own_failure(EffectChanged, f"{_text(job, before)}."))


def _send(state: State, job: Job) -> None:
    move(state, job, HELD)
    start(state, job)


def _text(job: Job, before: Pin) -> str:
    done = "is done" if before.outcome is not None else "was begun"
    return (
        f"{before.arguments or before.name} {done} in this run, and its caller asks for "
        f"{explanations.call_text(job)} instead"
    )


def _replaced(job: Job) -> Pin | None:
    """The effect that was begun in an earlier life, and that this one may be in other words; None if there is none."""
    caller = caller_of(job.parent)
    awaits = caller.work.awaits if caller is not None else None
    if caller is None or awaits is None or caller.standing is None or caller.standing.place is None:
        return None
    if not caller.standing.is_edited:
        return None
    for pin in ledger_of(job.execution).missed(caller.standing.place, job.entry.name):
        is_awaited_again = pin.key in awaits.open or (pin.key in awaits.outcomes and pin.key not in awaits.missed)
        if not is_awaited_again:
            return pin
    return None
