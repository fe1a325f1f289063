"""Operations: the evaluator applies a cheap one itself. Any other one is looked up, or runs where the data is.

In: cells of operations whose arguments are values, answers to look-ups, operations that ended. Out: `LookUp`,
`RunOperation`, the term that an operation becomes. Never: makes a job.

Reads the cell. Changes operations, in_flight, demands and the unknown tasks of the execution; and cells, numbers, fills
and out of the State.
"""

from __future__ import annotations

from rayflow.evaluator import commands, lookups, messages, witnessing
from rayflow.evaluator.cell_roles import BECOME_SLOT
from rayflow.evaluator.closing import located
from rayflow.evaluator.graph import Cell
from rayflow.evaluator.needs import is_allowed
from rayflow.evaluator.own_failures import cancelled
from rayflow.evaluator.paths import child_path
from rayflow.evaluator.places import may_lead_to_clean_up
from rayflow.evaluator.rows import operation_row
from rayflow.evaluator.state import State, demand, next_number, settle, warn
from rayflow.lang.operations import here, operate, refuse_thunks
from rayflow.lang.terms.codec import loads, read
from rayflow.lang.terms.expressions import Quoted
from rayflow.values.digests import digest
from rayflow.values.encoding.identity import identity
from rayflow.values.failures import failure_from_exception

OPERATIONS = digest("operations")
"""Replaces the task_hash in the reductions of operations."""


def apply(state: State, cell: Cell) -> None:
    """Apply an operation whose arguments are values, or let it be looked up or run."""
    name: str = cell.expression._name
    args = tuple(cell.values)
    if here(name, args) or Quoted in map(type, args):
        try:
            refuse_thunks(name, args)
            term = operate(name, args)
        except Exception as error:  # any error on the user's values is the user's error, as a value
            failure = failure_from_exception(error)
            settle(state, cell, located(failure, cell.scope, cell.expression), cell.all_sources())
            return
        demand(state, term, cell.scope, child_path(cell.path, "operated", 0), cell, BECOME_SLOT)
        return
    execution = cell.scope.execution
    if not _is_needed(cell):
        settle(state, cell, cancelled(), ())
        return
    cell.key = digest("operation", name.encode(), *map(identity, args))
    waiting = execution.operations.setdefault(cell.key, [])
    waiting.append(cell)
    if len(waiting) > 1:
        return
    _number(state, cell)
    execution.in_flight += 1
    if execution.cache or execution.life:
        state.out.append(commands.LookUp(cell.number, cell.key, OPERATIONS))
    else:
        state.out.append(commands.RunOperation(cell.number, execution.execution_id, name, args))


def looked_up(state: State, cell: Cell, message: messages.LookedUp) -> None:
    """Take the first valid candidate from the store's answer. If there is none, let the operation run."""
    execution = cell.scope.execution
    assert cell.key is not None
    if not _any_needed(execution.operations[cell.key]):
        for waiting in _answered(state, cell):
            settle(state, waiting, cancelled(), ())
        return
    for candidate in message.candidates:
        try:
            head, _ = read(candidate.term)
        except ValueError:
            continue
        foreign = not execution.cache and candidate.execution_id != execution.execution_id
        if candidate.verdict and not foreign and lookups.fits_tasks(head, execution):
            _become(state, _answered(state, cell), candidate.term)
            return
    # The operation gets a new number. So a repeated answer to the look-up does not start it again.
    state.cells.pop(cell.number)
    _number(state, cell)
    name, args = cell.expression._name, tuple(cell.values)
    state.out.append(commands.RunOperation(cell.number, execution.execution_id, name, args))


def operated(state: State, message: messages.Operated) -> None:
    """Give the term or the failure of an operation that has run to all cells that wait for it."""
    cell = state.cells.get(message.asker)
    if cell is None:
        return
    execution = cell.scope.execution
    cells = _answered(state, cell)
    is_recorded = any(each.scope.hands_down.is_recorded for each in cells)
    if message.rows and is_recorded:
        state.out.append(commands.Record(message.rows))
    if message.term is None or not _any_needed(cells):
        failure = message.failure or cancelled()
        for each in cells:
            settle(state, each, located(failure, each.scope, each.expression), each.all_sources())
        return
    for text in execution.tasks.learn(message.entries):
        warn(state, execution, text)
    if is_recorded:
        assert cell.key is not None
        row = operation_row(cell.key, OPERATIONS, message.term, execution.execution_id, message.at)
        state.out.append(commands.Remember(row))
    _become(state, cells, message.term)


def _any_needed(cells: list[Cell]) -> bool:
    """Whether any of the cells that wait for one operation may go on."""
    return any(map(_is_needed, cells))


def _is_needed(cell: Cell) -> bool:
    return is_allowed(cell.scope.execution, cell) or may_lead_to_clean_up(cell.scope)


def _number(state: State, cell: Cell) -> None:
    """Give a cell a number, so that an answer finds it."""
    cell.number = next_number(state)
    state.cells[cell.number] = cell


def _answered(state: State, cell: Cell) -> list[Cell]:
    """Note that the question of this cell is answered. Gives all cells that wait for the answer, this one first."""
    execution = cell.scope.execution
    execution.in_flight -= 1
    state.cells.pop(cell.number, None)
    assert cell.key is not None
    return execution.operations.pop(cell.key)


def _become(state: State, cells: list[Cell], packed: bytes) -> None:
    """Reduce the term of an operation in place of each of these cells.

    Each cell gets its own jobs, since the calls in the term belong to the scope of the cell.
    """
    for cell in cells:
        cell.scope.seen = witnessing.in_term(cell.scope.seen, packed)
        path = child_path(cell.path, "operated", 0)
        demand(state, loads(packed, path), cell.scope, path, cell, BECOME_SLOT)
