"""Races and clean-ups: forms that decide which of their terms counts, and terms that are evaluated at every end.

In: forms that are met, outcomes of their terms. Out: decisions, recorded at the place of the form; the end of what has
lost. Never: decides twice: a decision holds for all lives.

What has lost is left: its waits close, calls that nothing else needs end, and no effect begins there any more. An
effect that runs is left running, unless its option `on_cancel` says otherwise.

Changes: cells, jobs that nothing needs; waits, shared, demands, threads and cleanups of the execution; out of the
State.
"""

from __future__ import annotations

from collections.abc import Iterator

from rayflow.evaluator import commands, members
from rayflow.evaluator.cell_roles import BECOME_SLOT, CellRole, Race
from rayflow.evaluator.closing import end_job_for_nothing, enter_lost, has_cleaned_up, leave_to_clean_up
from rayflow.evaluator.graph import Cell, Execution, Job
from rayflow.evaluator.job_states import LOOKUP, RUNNING
from rayflow.evaluator.needs import Node, is_allowed, is_needless, needless
from rayflow.evaluator.own_failures import cancelled
from rayflow.evaluator.paths import child_path
from rayflow.evaluator.pinning import decided
from rayflow.evaluator.places import form_row, ledger_of, may_lead_to_clean_up, pinned_caller
from rayflow.evaluator.state import State, demand, settle
from rayflow.evaluator.vectors import ContainerPart
from rayflow.evaluator.waits import stand
from rayflow.lang.terms.codec import dumps
from rayflow.lang.terms.expressions import Form, Term
from rayflow.values.failures import Failure, Outcome

ALL_FAILED = -1
"""The winner of an `any_of` whose terms have all failed."""


def begin(state: State, cell: Cell, terms: tuple[Term, ...]) -> None:
    """Begin a race between terms, or go on from its decision."""
    form: Form = cell.expression
    standing = stand(state, cell, form._name, form._args)
    if standing is None:
        return
    place, above, known = standing
    cell.race = Race(place, above)
    count = len(terms)
    cell.values, cell.sources, cell.missing = [None] * count, [()] * count, count
    chosen = range(count)
    if known is not None and known.decision is not None:
        winner = cell.race.winner = decided(known)[0]
        if winner >= 0:
            if count > 1 and above.place in ledger_of(cell.scope.execution).unclean:
                _enter_losers(state, cell, terms)
            if _is_default(form, winner):
                _become_default(state, cell)
                return
            chosen = range(winner, winner + 1)
            cell.missing = 1
    for position in chosen:
        path = child_path(cell.path, "step", position)
        demand(state, terms[position], cell.scope, path, cell, position)


def _enter_losers(state: State, cell: Cell, terms: tuple[Term, ...]) -> None:
    """Go to the clean-ups of what has lost in an earlier life; one of them may not have come to its end."""
    assert cell.race is not None
    positions = [each for each in range(len(terms)) if each != cell.race.winner]
    lost = [(child_path(cell.path, "step", position), terms[position]) for position in positions]
    enter_lost(state, cell.scope, cell.path, lost)


def take(state: State, cell: Cell, slot: int) -> None:
    """A term of a race has an outcome: perhaps it decides the race."""
    race = cell.race
    assert race is not None
    outcome = cell.values[slot]
    if race.winner is not None:  # decided in an earlier life
        if slot == race.winner:
            _end(state, cell, outcome, slot)
        elif race.winner == ALL_FAILED and cell.missing == 0:
            _end(state, cell, cell.first_failure(), slot)
        return
    is_failure = isinstance(outcome, Failure)
    winner = slot
    if cell.expression._name == "any_of" and is_failure:
        if cell.missing:
            return
        winner = ALL_FAILED
        outcome = cell.first_failure()
    if not (isinstance(outcome, Failure) and outcome.is_cancelled):
        row = form_row(cell, race.above, race.place, cell.expression._name, "decision", state.now)
        failure = outcome if isinstance(outcome, Failure) else None
        row = row._replace(
            outcome=dumps((winner, failure.digest, failure.origin) if failure is not None else (winner, None)),
            error=failure.summary if failure is not None else None,
            generation=known.generation if (known := ledger_of(cell.scope.execution).pins.get(race.place)) else 0,
        )
        state.out.append(commands.Record((row,)))
    race.winner = winner
    _end(state, cell, outcome, slot)
    if cell.missing:
        abandon(state, cell.scope)


def _end(state: State, cell: Cell, outcome: Outcome, slot: int) -> None:
    if _is_default(cell.expression, slot) and not isinstance(outcome, Failure):
        _become_default(state, cell)
    else:
        settle(state, cell, outcome, cell.sources[slot])


def _is_default(form: Form, slot: int) -> bool:
    """Whether this term of a race is the time of a `within`."""
    return form._name == "within" and slot == 1


def _become_default(state: State, cell: Cell) -> None:
    default = cell.expression._args[2]
    demand(state, default, cell.scope, child_path(cell.path, "become", 0), cell, BECOME_SLOT)


# --- clean-ups --------------------------------------------------------------------------------------------------------


def enter(state: State, cell: Cell) -> bool:
    """Note that a form with a clean-up is entered. Gives whether it may go on."""
    execution = cell.scope.execution
    standing = stand(state, cell, cell.expression._name, cell.expression._args)
    if standing is None:
        return False
    place, above, known = standing
    if not is_allowed(execution, cell):
        if known is None or (known.is_cleaned and not may_lead_to_clean_up(cell.scope)):
            settle(state, cell, cancelled(), ())  # nothing was begun that has to be cleaned up
            return False
        leave_to_clean_up(cell)
    if known is None:
        row = form_row(cell, above, place, cell.expression._name, "started", state.now)
        state.out.append(commands.Record((row,)))
    cell.key = place
    return True


def cleaned(state: State, cell: Cell) -> bool:
    """Note that a form has evaluated its clean-up. Gives whether it may go on."""
    execution = cell.scope.execution
    execution.cleanups.pop(id(cell), None)
    above = pinned_caller(cell.scope)
    assert above is not None
    assert cell.key is not None
    _, end = cell.values
    known = ledger_of(execution).pins.get(cell.key)
    if not (isinstance(end, Failure) and end.is_cancelled) and (known is None or not known.is_cleaned):
        row = form_row(cell, above, cell.key, cell.expression._name, "cleaned", state.now)
        row = row._replace(generation=known.generation if known is not None else 0)
        state.out.append(commands.Record((row,)))
    # Behind one that an earlier life has cleaned up there may be another one.
    may_go_on = is_allowed(execution, cell) or (known is not None and known.is_cleaned)
    if not may_go_on:
        settle(state, cell, cancelled(), cell.all_sources())
    has_cleaned_up(state, cell)
    return may_go_on


# --- what has lost ----------------------------------------------------------------------------------------------------


def abandon(state: State, scope: Job) -> None:
    """End what is open below a job and needed by nothing, but for clean-ups."""
    execution = scope.execution
    on_the_way = (target for target, *_ in state.fills if _execution_of(target) is execution)
    lost = needless(execution, (*_open_below(state, scope), *on_the_way))
    ids = set(map(id, lost))
    execution.is_restricted = True
    for cell in (*execution.cleanups.values(), *(node for node in lost if _cleans_up(node))):
        leave_to_clean_up(cell)
    for place, cell in list(execution.waits.items()):
        if id(cell) in ids:
            del execution.waits[place]
            state.out.append(commands.CloseWait(execution.execution_id, place))
            _end_cell(state, cell)
    for cells in execution.operations.values():
        for cell in cells:
            if id(cell) in ids and not may_lead_to_clean_up(cell.scope):
                _end_cell(state, cell)
    if execution.demands:
        demands = list(execution.demands)
        execution.demands.clear()
        for each in demands:
            term, of_scope, path, target, slot = each
            if id(target) not in ids:
                execution.demands.append(each)
                continue
            terms = term.expressions if type(term) is ContainerPart else (term,)
            state.fills.extend((target, slot + further, cancelled(), ()) for further in range(len(terms)))
            if may_lead_to_clean_up(of_scope):
                paths = [path] if terms[0] is term else [child_path(path, "part", slot + i) for i in range(len(terms))]
                enter_lost(state, of_scope, path, list(zip(paths, terms, strict=True)))
    scopes = {id(node.scope): node.scope for node in lost if isinstance(node, Cell)}
    for node in lost:
        if isinstance(node, Job):
            if node.parent is not None:
                scopes[id(node.parent)] = node.parent
            end_job_for_nothing(state, node)
    for job in scopes.values():
        memo = job.work.memo
        if memo and id(job) not in ids:
            for key in [key for key, (_, known) in memo.items() if id(known) in ids and not _runs_on(known)]:
                del memo[key]


def _execution_of(node: Node) -> Execution:
    return node.execution if isinstance(node, Job) else node.scope.execution


def _cleans_up(node: Node) -> bool:
    """Whether it is a form that still has to evaluate its clean-up."""
    return isinstance(node, Cell) and node.role is CellRole.FORM and not node.settled and node.key is not None


def _end_cell(state: State, cell: Cell) -> None:
    """Cancel a cell that has lost. What is on its way to it is taken in and not used."""
    waiters, cell.waiters = cell.waiters, []
    cell.settled, cell.outcome = True, cancelled()
    for target, slot in waiters:
        state.fills.append((target, slot, cell.outcome, ()))


def _runs_on(known: Node) -> bool:
    return isinstance(known, Job) and known.is_open and known.work.wanted


def is_given_up(known: Node) -> bool:
    """Whether a cell or job was cancelled because nothing needed it at that time."""
    if isinstance(known, Job) and known.is_open:
        return not known.work.wanted and not known.is_cleaning_up
    is_over = isinstance(known, Job) or known.settled
    return is_over and isinstance(known.outcome, Failure) and known.outcome.is_cancelled


def needed_again(known: Node) -> None:
    """Something waits for a cell or job that may have lost before: an effect that runs is late no longer."""
    if isinstance(known, Job) and known.standing is not None and known.is_open:
        known.standing.is_late = False


def _open_below(state: State, scope: Job) -> Iterator[Node]:
    """What is open below a job, and may still bring about something."""
    execution = scope.execution
    jobs, vectors = [scope], list(execution.vectors.values())
    if scope is execution.root:
        jobs = [job for job in execution.open.values() if job is not scope]  # also those in its own arguments
        yield from jobs
    else:
        for job in jobs:
            below = [child for child in job.work.children if isinstance(child, Job) and child.is_open]
            jobs.extend(below)
            yield from below
    scopes = {id(scope), *map(id, jobs)}
    for vector in vectors:
        if id(vector.parent) in scopes and not (vector.open and not is_needless(execution, vector.cell)):
            for place in (*vector.in_state(LOOKUP), *vector.in_state(RUNNING)):
                yield members.leave(state, vector, place)
    for cell in execution.waits.values():
        if id(cell.scope) in scopes:
            yield cell
    for cells in execution.operations.values():
        yield from (cell for cell in cells if id(cell.scope) in scopes)
    for _, of_scope, _, target, _ in execution.demands:
        if id(of_scope) in scopes:
            yield target
