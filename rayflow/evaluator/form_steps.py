"""The steps of forms. The rule of a form says what comes next, and this module does it.

In: cells of forms. Out: demands, begun calls, tags, outcomes. Never: knows a form by its name; `forms.FORMS` does.

Reads the rules, and the context of the form's job. Changes the cell; the reads of that job; threads of the execution;
fills and out of the State.
"""

from __future__ import annotations

from rayflow.errors import BadOption, Bug
from rayflow.evaluator import commands, races, waits
from rayflow.evaluator.calls import meet
from rayflow.evaluator.cell_roles import BECOME_SLOT, CellRole
from rayflow.evaluator.closing import located
from rayflow.evaluator.forms import FORMS, Begin, Compete, Note, Open, ReadContext, Tag
from rayflow.evaluator.graph import Cell
from rayflow.evaluator.inheritance import ABSENT
from rayflow.evaluator.messages import NestedEnd
from rayflow.evaluator.needs import is_allowed
from rayflow.evaluator.paths import child_path
from rayflow.evaluator.rows import applied_tags
from rayflow.evaluator.state import State, demand, settle
from rayflow.lang.rules import Become, Fail, Need
from rayflow.lang.terms.expressions import Form
from rayflow.values.failures import failure_from_exception

NEVER_WHOLE = NestedEnd(is_clean=False)
"""Given to a job in whose term a thread is begun: neither its final value nor that of a job above it is recorded."""


def step(state: State, cell: Cell) -> None:
    """Ask a form's rule what comes next, and do it."""
    form: Form = cell.expression
    definition = FORMS.get(form._name)
    if definition is None:
        raise Bug(f"There is no form {form._name!r}.")
    if definition.cleans_up:
        if not cell.values and not races.enter(state, cell):
            return
        if len(cell.values) == 1:
            cell.scope.execution.cleanups[id(cell)] = cell
        elif cell.values and not races.cleaned(state, cell):
            return
    answer = definition.rule(form._args, cell.values)
    if type(answer) is Need:
        terms = tuple(answer.terms)
        first = len(cell.values)
        cell.missing = len(terms)
        cell.values.extend([None] * len(terms))
        cell.sources.extend([()] * len(terms))
        for position, term in enumerate(terms, start=first):
            demand(state, term, cell.scope, child_path(cell.path, "step", position), cell, position)
    elif type(answer) is Become:
        demand(state, answer.term, cell.scope, child_path(cell.path, "become", 0), cell, BECOME_SLOT)
    elif type(answer) is Open:
        waits.open_wait(state, cell, answer.kind, answer.given)
    elif type(answer) is Compete:
        races.begin(state, cell, answer.terms)
    elif type(answer) is Note:
        waits.note(state, cell, answer.kind)
    elif type(answer) is ReadContext:
        _read_context(state, cell, answer)
    elif type(answer) is Begin:
        _begin(state, cell, answer)
    elif type(answer) is Tag:
        if cell.scope.hands_down.is_recorded:
            state.out.append(commands.Record(applied_tags(answer, cell.scope, state.now)))
        settle(state, cell, answer.value, cell.all_sources())
    else:
        assert type(answer) is Fail
        # A failure that the rule has seen was located where it happened; a new one happens here.
        is_seen = any(answer.error is outcome for outcome in cell.values)
        failure = answer.error if is_seen else located(answer.error, cell.scope, form)
        settle(state, cell, failure, cell.all_sources())


def _begin(state: State, cell: Cell, answer: Begin) -> None:
    """Make a call that nothing waits for, except the end of the execution."""
    scope = cell.scope
    scope.execution.may_begin = is_allowed(scope.execution, cell)
    job = meet(state, answer.call, scope.execution, scope, child_path(cell.path, "begun", 0), is_begun=True)
    # Taking the final value of the scope from the cache would begin nothing.
    scope.work.below = NEVER_WHOLE
    if job.is_open:
        thread = Cell(CellRole.THREAD, None, scope, cell.path, 1)
        job.waiters.append((thread, 0))
        scope.execution.threads += 1
    demand(state, answer.term, scope, child_path(cell.path, "become", 0), cell, BECOME_SLOT)


def _read_context(state: State, cell: Cell, answer: ReadContext) -> None:
    """Settle a form with the value behind a path of the context, or have the default reduced."""
    scope = cell.scope
    scope.note_reads((answer.path,))
    try:
        found = scope.hands_down.value_at(answer.path)
    except BadOption as error:
        settle(state, cell, located(failure_from_exception(error), scope), ())
        return
    if found is ABSENT:
        demand(state, answer.default, scope, child_path(cell.path, "default", 0), cell, BECOME_SLOT)
    else:
        settle(state, cell, found, ())
