"""Reduction: from a term to cells and jobs, and from their outcomes back to a value.

In: the worklist. Out: an empty worklist; cells and jobs that wait for answers. Never: takes a message apart; that is
evaluator.py's.

The worklist has two forms of entries: a demand, "reduce this term for that slot", and a fill, "that slot has this
outcome". It is emptied after each message, so nothing recurses however deep the user's program is.

Reads terms. Changes: cells, the memo of jobs; of the State fills; of executions demands.
"""

from __future__ import annotations

from rayflow.evaluator import operations, races
from rayflow.evaluator.attempts import enter_again, start
from rayflow.evaluator.calls import meet, take_arguments
from rayflow.evaluator.cell_roles import BECOME_SLOT, CHANGED_SLOT, RESULT_SLOT, CellRole
from rayflow.evaluator.changed_effects import take_answer
from rayflow.evaluator.closing import end_thread, has_cleaned_up, located
from rayflow.evaluator.form_steps import step
from rayflow.evaluator.forms import FORMS, while_recovering
from rayflow.evaluator.graph import MOST_MEMBERS, Cell, Execution, Job, Vector
from rayflow.evaluator.needs import is_allowed
from rayflow.evaluator.open_terms import expressions_of, is_value
from rayflow.evaluator.paths import child_path
from rayflow.evaluator.results import take_result
from rayflow.evaluator.state import State, demand, settle, wait_for
from rayflow.evaluator.vectors import ContainerPart, reduce_together
from rayflow.lang.terms.expressions import Expression, Form, Operation, Quoted, TaskCall, Term
from rayflow.values.failures import Failure, Outcome, failure_from_exception

MOST_LOOKUPS = 5_000
"""The most jobs that ask the store at a time: of a million calls in one list, most wait as expressions."""

MOST_RUNNING = 20_000
"""The most attempts that are sent at a time, for the same reason: not every call asks the store."""


def drain(state: State) -> None:
    """Empty the worklist, as far as the bound on look-ups allows."""
    fills = state.fills
    while True:
        while fills:
            _fill(state, *fills.popleft())
        while state.freed:
            start(state, state.freed.pop(0))
        # Each execution has its own bound, so that none waits for another's answers.
        ready = [each for each in state.hungry.values() if not each.demands or _has_room(each)]
        if not ready:
            return
        for execution in ready:
            demands = execution.demands
            while demands and _has_room(execution):
                _reduce(state, *demands.popleft())
                while fills:
                    _fill(state, *fills.popleft())
            if not demands:
                state.hungry.pop(execution.execution_id, None)


def _has_room(execution: Execution) -> bool:
    return execution.looking < MOST_LOOKUPS and execution.running < MOST_RUNNING


# --- from a term to cells and jobs ------------------------------------------------------------------------------------


def _reduce(state: State, term: Term, scope: Job, path: bytes, target: Cell | Job, slot: int) -> None:
    execution = scope.execution
    if execution.is_restricted:
        execution.may_begin = is_allowed(execution, target, slot)
    if execution.ledger is not None:
        execution.target = target, slot
    cls = type(term)
    if cls is ContainerPart:
        assert isinstance(target, Cell)
        reduce_together(state, term, scope, path, target, _reduce)
        return
    if cls is TaskCall or cls is Operation or cls is Form:
        memo = scope.work.memo.get(id(term)) if scope.work.memo is not None and term._shared else None
        if memo is not None and not (execution.may_begin and races.is_given_up(memo[1])):
            races.needed_again(memo[1])
            wait_for(state, memo[1], target, slot)
            return
        if type(term._shared) is bytes:
            path = term._shared
        known = _open_expression(state, term, scope, path, target, slot)
        if term._shared and scope.is_open:
            if scope.work.memo is None:
                scope.work.memo = {}
            # The expression is kept beside what became of it, so that no other is found under its id.
            scope.work.memo[id(term)] = term, known
        return
    if cls is Quoted or is_value(term):
        state.fills.append((target, slot, term, ()))
        return
    found, places = expressions_of(term)
    cell = Cell(CellRole.CONTAINER, term, scope, path, len(found))
    cell.places = places
    if places is None:
        # A flat list of expressions: its type is enough to build it again.
        cell.expression = type(term)()
    cell.waiters.append((target, slot))
    demands = scope.execution.demands
    if len(found) < state.fewest:
        for position, expression in enumerate(found):
            demands.append((expression, scope, child_path(path, "part", position), cell, position))
        return
    for first in range(0, len(found), MOST_MEMBERS):
        demands.append((ContainerPart(found[first : first + MOST_MEMBERS], first), scope, path, cell, first))


def _open_expression(
    state: State, term: Expression, scope: Job, path: bytes, target: Cell | Job, slot: int
) -> Cell | Job:
    """The job or cell that an expression becomes. Its outcome goes into a slot of the target."""
    if type(term) is TaskCall:
        job = meet(state, term, scope.execution, scope, path)
        wait_for(state, job, target, slot)
        return job
    if type(term) is Operation:
        cell = Cell(CellRole.OPERATION, term, scope, path, len(term._args))
        cell.waiters.append((target, slot))
        for position, arg in enumerate(term._args):
            demand(state, arg, scope, child_path(path, "argument", position), cell, position)
        if cell.missing == 0:
            operations.apply(state, cell)
        return cell
    cell = Cell(CellRole.FORM, term, scope, path, 0)
    cell.waiters.append((target, slot))
    step(state, cell)
    return cell


# --- from outcomes to values ------------------------------------------------------------------------------------------


def _fill(state: State, target: Cell | Job, slot: int, outcome: Outcome, sources: tuple[Job | Vector, ...]) -> None:
    if isinstance(target, Job):
        if slot == RESULT_SLOT:
            take_result(state, target, outcome)
        elif slot == CHANGED_SLOT:
            take_answer(state, target, outcome)
        return
    if target.settled:
        return
    if slot == BECOME_SLOT:
        if type(outcome) is Failure and target.role is CellRole.FORM and FORMS[target.expression._name].recovers:
            outcome = while_recovering(outcome, target.values)
        settle(state, target, outcome, (*target.all_sources(), *sources))
        return
    target.values[slot] = outcome
    target.sources[slot] = sources
    target.missing -= 1
    if target.race is not None:
        races.take(state, target, slot)
    elif target.missing == 0:
        _complete(state, target)


def _complete(state: State, cell: Cell) -> None:
    """Use the values of a cell, when all of them are there."""
    if cell.role is CellRole.FORM:
        step(state, cell)
        return
    if cell.role is CellRole.THREAD:
        end_thread(state, cell.scope.execution)
        return
    if cell.role is CellRole.LOST:
        has_cleaned_up(state, cell)
        return
    failure = cell.first_failure()
    if cell.role is CellRole.ARGUMENTS:
        take_arguments(state, cell, failure)
    elif cell.role is CellRole.AWAITED:
        enter_again(state, cell)
    elif failure is not None:
        settle(state, cell, failure, ())
    elif cell.role is CellRole.OPERATION:
        operations.apply(state, cell)
    else:
        try:
            rebuilt = cell.rebuilt()
        except TypeError as error:  # a value that cannot be a key or a member
            rebuilt = located(failure_from_exception(error), cell.scope)
        settle(state, cell, rebuilt, cell.all_sources())
