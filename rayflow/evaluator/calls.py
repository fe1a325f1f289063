"""Calls that are met in terms: each becomes a job, whose arguments are reduced first.

In: a task call, then the outcomes of its arguments and options. Out: a job that is identified, or has failed. Never:
sends an attempt.

Reads the tasks and options of the execution. Changes: the new job; of the execution open, tally, root and the children
of the job around; of the State numbers and the demands for arguments.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rayflow.errors import BadArguments, BadOption
from rayflow.evaluator import explanations, own_failures, witnessing
from rayflow.evaluator.call_options import without_lazy_exports
from rayflow.evaluator.cell_roles import ARGUMENTS_SLOT, CellRole
from rayflow.evaluator.closing import enter_lost, fail
from rayflow.evaluator.effects import (
    answered_by,
    go_on_from_term,
    goes_on_to_clean_up,
    has_term,
    identify,
    is_only_to_be_met,
    note_awaited_key,
)
from rayflow.evaluator.graph import Cell, Execution, Job
from rayflow.evaluator.ledger import ROOT_PLACE, Pin, Standing
from rayflow.evaluator.members import siblings_in
from rayflow.evaluator.open_terms import is_value
from rayflow.evaluator.opening_rows import note_young
from rayflow.evaluator.paths import child_path
from rayflow.evaluator.places import may_lead_to_clean_up, pinned_caller
from rayflow.evaluator.sharing import go_on
from rayflow.evaluator.state import State, demand, next_number, warn
from rayflow.lang.options.options import MOST_DEPTH, check_options, merge, scope_of
from rayflow.lang.parameters.signatures import Parameters
from rayflow.lang.task_table import TaskEntry
from rayflow.lang.terms.expressions import Expression, TaskCall, Term
from rayflow.values.failures import Failure, failure_from_exception
from rayflow.values.native import SCALARS

DEEP = 20_000
"""A warning comes, once, for a recursion this deep: few recursions that come so far have an end."""


def new_job(
    state: State,
    execution: Execution,
    parent: Job | None,
    call: TaskCall | None,
    entry: TaskEntry,
    job_id: bytes,
    *,
    is_begun: bool = False,
) -> Job:
    """Make a job, and add it to the state.

    is_begun: the call runs for its own sake. It may end before its parent or after it, so it does not count as a child
    of the parent.
    """
    execution.tally.totals["jobs"] += 1
    job = Job(next_number(state), job_id, execution, parent, call, entry, state.now)
    if entry.is_named_after_caller or (call is not None and call._options and "label" in call._options):
        job.name = explanations.name_of(job)
    execution.open[job.number] = job
    if len(execution.open) >= execution.crowded_at:
        execution.crowded_at *= 2
        warn(state, execution, explanations.wide_text(execution))
    execution.tally.count(job.name, "open")
    execution.binding += 1
    if parent is None:
        execution.root = job
    elif not is_begun:
        siblings = siblings_in(parent)
        if siblings is not None:
            siblings.append(job)
    if entry.unresolved and execution.cache and scope_of(entry.options) == "BACKEND" and entry.doubt is not None:
        warn(state, execution, entry.doubt)
    note_young(state, job)
    return job


def meet(
    state: State, call: TaskCall, execution: Execution, parent: Job | None, job_id: bytes, *, is_begun: bool = False
) -> Job:
    """Make a task call a job, and have its arguments reduced. is_begun: as for `new_job`."""
    entry = execution.tasks.table.get(call._task)
    pin = _pin_of(execution, parent, job_id)
    if entry is None:
        unknown = TaskEntry(name=call._task, hash=b"", parameters=Parameters((), (), frozenset()))
        job = new_job(state, execution, parent, call, unknown, job_id, is_begun=is_begun)
        if pin is None or not answered_by(state, job, pin, needs_task=False):
            _wait_for_code(state, job)
        return job
    job = new_job(state, execution, parent, call, entry, job_id, is_begun=is_begun)
    if is_begun:
        job.standing = Standing()
        job.standing.is_begun = True
    if pin is not None and answered_by(state, job, pin):
        if parent is not None and may_lead_to_clean_up(parent):
            _enter_arguments(state, job, call, parent)
        return job
    if entry.is_effect:
        note_awaited_key(job)
    if not execution.may_begin:
        job.work.wanted = False
        if not goes_on_to_clean_up(state, job):
            fail(state, job, own_failures.cancelled())
            return job
    try:
        bound = entry.parameters.bind(call._args, call._kwargs, name=entry.name)
    except BadArguments as error:
        if pin is None or not answered_by(state, job, pin, needs_task=False):
            fail(state, job, own_failures.bad_arguments(str(error)))
        return job
    given = bound
    if entry.defaults is not None:
        defaults = execution.tasks.defaults_of(entry)
        if len(given) < len(entry.parameters.names):
            job.seen = witnessing.in_term(job.seen, entry.defaults)
        bound = _with_defaults(entry, bound, defaults)
    job.work.bound = bound
    try:
        job.options, job.hands_down = execution.call_options.of_call(entry, call._options, job.received)
    except BadOption as error:
        fail(state, job, failure_from_exception(error))
        return job
    job.work.call = None  # from here on its arguments are enough; with many calls, each object costs memory
    if (job.depth >= DEEP or "max_depth" in job.options) and _refuse_too_deep(state, job):
        return job
    lazy = _lazy_of(bound)
    may_be_lazy = call._options or entry.lazy_options or job.received.exports
    lazy_options = [name for name, value in job.options.items() if not is_value(value)] if may_be_lazy else []
    if not (lazy or lazy_options):
        if is_only_to_be_met(job):
            fail(state, job, own_failures.cancelled())
        else:
            identify(state, job)
        return job
    if "export_options" in lazy_options:
        # The calls that reduce these options cannot have them themselves.
        job.hands_down = job.received.handed_down(without_lazy_exports(job.options))
    terms = [*(bound[name] for name in lazy), *(job.options[name] for name in lazy_options)]
    cell = Cell(CellRole.ARGUMENTS, (lazy, lazy_options), parent or job, job_id, len(terms))
    cell.waiters.append((job, ARGUMENTS_SLOT))
    scope = parent or job
    # Defaults and options of the definition belong to the call, and are reduced in its own context. Arguments are
    # reduced in the context of the job that gave them.
    own_scope = scope if job.hands_down.context is scope.hands_down.context else job
    for position, term in enumerate(terms):
        name = (*lazy, *lazy_options)[position]
        is_given = name in (given if position < len(lazy) else call._options or ())
        place = child_path(job_id, "argument", position)
        demand(state, term, scope if is_given else own_scope, place, cell, position)
    return job


def _with_defaults(entry: TaskEntry, bound: dict[str, Term], defaults: Mapping[str, Term]) -> dict[str, Term]:
    """The arguments of a call in the order of the parameters, with the defaults of those that it does not give."""
    return {
        name: bound[name] if name in bound else defaults[name]
        for name in entry.parameters.names
        if name in bound or name in defaults
    }


def _lazy_of(bound: Mapping[str, Term]) -> list[str]:
    """The names of the arguments that have to be reduced."""
    return [name for name, value in bound.items() if type(value) not in SCALARS and not is_value(value)]


def _enter_arguments(state: State, job: Job, call: TaskCall, parent: Job) -> None:
    """Go to the clean-ups of what has lost in the arguments of a call that an earlier life has ended; one of them may
    not have come to its end."""
    entry, execution = job.entry, parent.execution
    try:
        given = bound = entry.parameters.bind(call._args, call._kwargs, name=entry.name)
    except BadArguments:
        return  # its parameters are others now: nobody knows the paths of its arguments
    if entry.defaults is not None:
        bound = _with_defaults(entry, bound, execution.tasks.defaults_of(entry))
    lazy = [(position, name) for position, name in enumerate(_lazy_of(bound)) if name in given]
    lost = [(child_path(job.job_id, "argument", position), bound[name]) for position, name in lazy]
    enter_lost(state, parent, job.job_id, lost)


def _pin_of(execution: Execution, parent: Job | None, job_id: bytes) -> Pin | None:
    """What earlier lives have recorded of a call."""
    ledger = execution.ledger
    if ledger is None or not ledger.by_path:
        return None
    above = pinned_caller(parent)
    if parent is None:
        pin = ledger.pins.get(ROOT_PLACE)
    elif above is None:
        return None
    else:
        pin = ledger.pin_at(job_id, above.place)
    return pin if pin is not None and pin.may_stand_at(job_id) else None


def meet_identified(
    state: State,
    parent: Job,
    entry: TaskEntry,
    options: Mapping[str, Any],
    job_id: bytes,
    bound: dict[str, Term],
    args_hash: bytes,
    eval_hash: bytes,
) -> Job:
    """Make a plain call a job (see vectors.py). Its options, bound arguments and hashes were found with others'."""
    job = new_job(state, parent.execution, parent, None, entry, job_id)
    job.options = options
    job.work.bound = bound
    job.work.args_hash, job.eval_hash = args_hash, eval_hash
    go_on(state, job)
    return job


def take_arguments(state: State, cell: Cell, failure: Failure | None) -> None:
    """The lazy arguments and options of a job have settled: go on with it, or fail as the first of them did."""
    ((job, _),) = cell.waiters
    assert isinstance(job, Job)
    if job.is_settled:
        return
    names, option_names = cell.expression
    if failure is not None and failure.is_cancelled and has_term(job):
        assert job.standing is not None
        assert job.standing.pin is not None
        go_on_from_term(state, job, job.standing.pin)  # for its clean-up, the term is enough
        return
    if failure is not None:
        job.work.never_ran = True
        position = next(place for place, value in enumerate(cell.values) if value is failure)
        if position >= len(names):
            note = f"this is the option {option_names[position - len(names)]!r} of {job.entry.name}"
            failure = replace(failure, notes=(*failure.notes, note))
        fail(state, job, failure, own=False)
        return
    job.work.bound = {**job.work.bound, **dict(zip(names, cell.values, strict=False))}
    job.work.sources = {name: sources for name, sources in zip(names, cell.sources, strict=False) if sources}
    if option_names:
        given = dict(zip(option_names, cell.values[len(names) :], strict=True))
        try:
            checked = check_options(given, where=job.entry.name, at_call=True)
            options = merge(job.options, checked)
            job.options, job.hands_down = job.execution.call_options.completed(options, job.received)
        except BadOption as error:
            fail(state, job, failure_from_exception(error))
            return
        if _refuse_too_deep(state, job):
            return
    if is_only_to_be_met(job):
        fail(state, job, own_failures.cancelled())
    else:
        identify(state, job)


def _refuse_too_deep(state: State, job: Job) -> bool:
    """Check how many calls are around a job. Too many fail it; before that comes a warning. Gives whether it failed.

    While the option max_depth is lazy, the limit without it counts. The check is made again once the option is reduced.
    """
    given = job.options.get("max_depth", MOST_DEPTH)
    most = MOST_DEPTH if isinstance(given, Expression) else given
    if job.depth > most:
        fail(state, job, own_failures.too_deep(explanations.deep_text(job, most)))
        return True
    if job.depth == DEEP and not job.execution.is_deep:
        job.execution.is_deep = True
        warn(state, job.execution, explanations.deep_text(job, most))
    return False


def _wait_for_code(state: State, job: Job) -> None:
    """Nobody knows the task of a call: in a run, the call waits for other code; elsewhere it fails."""
    execution = job.execution
    if not execution.may_begin:
        fail(state, job, own_failures.cancelled())
    elif execution.is_run and execution.wanted:
        execution.lacking[job.number] = job
    else:
        fail(state, job, own_failures.no_such_task(_no_such_task(job.entry.name, execution)))


def _no_such_task(name: str, execution: Execution) -> str:
    table = execution.tasks.table
    short = name.rpartition(".")[2]
    near = difflib.get_close_matches(name, table, n=3) or [full for full in table if full.rpartition(".")[2] == short]
    hint = f" Did you mean {' or '.join(near[:3])}?" if near else ""
    return f"There is no task {name!r}: it was renamed or removed, or the module that defines it is not imported.{hint}"
