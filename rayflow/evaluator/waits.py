"""Waits: forms whose outcome comes from outside, once; and what is noted once, such as the time.

In: forms that are met, outcomes from outside. Out: `OpenWait`, `Parked`, rows of places; outcomes in cells. Never:
resolves a wait by itself, reads a clock (the time of the newest message is the time).

Changes: the cell; waits, is_parked and the ledger of the execution; out and fills of the State.
"""

from __future__ import annotations

from collections.abc import Mapping

from rayflow.evaluator import commands
from rayflow.evaluator.cell_roles import BECOME_SLOT
from rayflow.evaluator.closing import located
from rayflow.evaluator.graph import Cell, Execution
from rayflow.evaluator.ledger import Pin, Standing
from rayflow.evaluator.misplaced import misplaced
from rayflow.evaluator.needs import is_allowed, is_cleaning
from rayflow.evaluator.own_failures import cancelled
from rayflow.evaluator.paths import child_path
from rayflow.evaluator.pinning import pin
from rayflow.evaluator.places import caller_of, form_row, ledger_of
from rayflow.evaluator.state import State, demand, settle
from rayflow.lang.terms.codec import content_digest
from rayflow.lang.terms.expressions import Operation, Quoted, Term
from rayflow.lang.terms.outcomes import pack_outcome, unpack_outcome
from rayflow.values.digests import short_digest
from rayflow.values.failures import Failure


def stand(state: State, cell: Cell, name: str, arguments: Term) -> tuple[bytes, Standing, Pin | None] | None:
    """The place of a form, the standing of its caller, and what earlier lives have recorded there. Pins the caller.

    If the form cannot stand where it is, its cell fails, and the answer is None.
    """
    scope = cell.scope
    execution = scope.execution
    failure = misplaced(scope)
    if failure is not None:
        settle(state, cell, located(failure, scope, cell.expression), cell.all_sources())
        return None
    caller = caller_of(scope)
    assert caller is not None
    above = pin(state, caller)
    assert above.place is not None
    ledger = ledger_of(execution)
    may_move = ledger.may_move(above)
    place = ledger.place_of(cell.path, above.place, name, content_digest(arguments), None, may_move=may_move)
    return place, above, ledger.pins.get(place)


def open_wait(state: State, cell: Cell, kind: str, given: Mapping[str, Term]) -> None:
    """Open a wait at the place of a form, unless it is resolved already."""
    execution = cell.scope.execution
    may_begin = is_allowed(execution, cell)
    standing = stand(state, cell, kind, dict(given)) if may_begin or execution.ledger is not None else None
    if cell.settled:
        return
    packed = ledger_of(execution).resolved.get(standing[0]) if standing is not None else None
    if packed is not None:
        _settle(state, cell, packed)  # there may be a clean-up behind it, though nothing may begin
        return
    if standing is None or not may_begin:
        settle(state, cell, cancelled(), ())
        return
    place, above, known = standing
    if known is None:
        state.out.append(commands.Record((form_row(cell, above, place, kind, "started", state.now),)))
    execution.waits[place] = cell
    execution.is_parked = False
    is_cleanup = is_cleaning(execution, cell)
    state.out.append(commands.OpenWait(execution.execution_id, place, kind, given, is_cleanup))


def open_question(state: State, cell: Cell, place: bytes, given: Mapping[str, Term]) -> None:
    """Ask a person about a job: an `ask` at this place."""
    execution = cell.scope.execution
    packed = ledger_of(execution).resolved.get(place)
    if packed is not None:
        _settle(state, cell, packed)
        return
    execution.waits[place] = cell
    execution.is_parked = False
    state.out.append(commands.OpenWait(execution.execution_id, place, "ask", given))


def resolved(state: State, execution: Execution, place: bytes, packed: bytes) -> None:
    """A wait has its outcome. The first one counts."""
    known = ledger_of(execution).resolved.setdefault(place, packed)
    cell = execution.waits.pop(place, None)
    if cell is not None:
        execution.is_parked = False
        _settle(state, cell, known)


def _settle(state: State, cell: Cell, packed: bytes) -> None:
    outcome = unpack_outcome(packed)
    if isinstance(outcome, Failure):
        settle(state, cell, located(outcome, cell.scope, cell.expression), cell.all_sources())
    else:
        # A default that was lazy is reduced only now.
        term = outcome._term if type(outcome) is Quoted else outcome
        demand(state, term, cell.scope, child_path(cell.path, "resolved", 0), cell, BECOME_SLOT)


def note(state: State, cell: Cell, kind: str) -> None:
    """Record the time, once; or make a text that no other place has."""
    standing = stand(state, cell, kind, ())
    if standing is None:
        return
    place, above, known = standing
    execution = cell.scope.execution
    if known is not None and known.outcome is not None:
        noted = unpack_outcome(known.outcome)
    elif not is_allowed(execution, cell):
        settle(state, cell, cancelled(), ())
        return
    else:
        noted = state.now if kind == "now" else _uuid(execution.execution_id, place)
        row = form_row(cell, above, place, kind, "outcome", state.now)
        state.out.append(commands.Record((row._replace(outcome=pack_outcome(noted)),)))
    if kind == "uuid":
        settle(state, cell, noted, cell.all_sources())
        return
    term = Operation("moment", (noted,))
    demand(state, term, cell.scope, child_path(cell.path, "noted", 0), cell, BECOME_SLOT)


def _uuid(execution_id: str, place: bytes) -> str:
    made = short_digest("uuid", execution_id.encode(), place).hex()
    return "-".join((made[:8], made[8:12], made[12:16], made[16:20], made[20:]))


def hopes(execution: Execution) -> bool:
    """Whether something from outside may bring an execution on: the end of a wait, or code that it lacks."""
    return bool(execution.waits or execution.lacking)


def note_parked(state: State, execution: Execution) -> None:
    """Say that nothing but open waits, or other code, can bring news, each time that it becomes so."""
    is_parked = hopes(execution) and execution.in_flight == 0
    if is_parked and not execution.is_parked:
        missing = {job.entry.name for job in execution.lacking.values()}
        state.out.append(commands.Parked(execution.execution_id, tuple(sorted(missing))))
    execution.is_parked = is_parked
