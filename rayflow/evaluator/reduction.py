"""Reduction: from a term to cells and jobs, and from their outcomes back to a value.

In: terms, and outcomes of what they need. Out: jobs that are identified and asked for or started. Never: takes an event
apart; that is evaluator.py's.

A worklist of two kinds of entries, "reduce this term for that place" and "that place has this outcome", is emptied
after each event, so nothing recurses however deep the user's program is.
"""

from __future__ import annotations

import difflib

from rayflow.errors import BadArguments, BadOption
from rayflow.evaluator import attempts, witnessing
from rayflow.evaluator.cells import ARGUMENTS_SLOT, RESULT_SLOT, Cell, Kind, expressions_of, is_value
from rayflow.evaluator.executions import Execution
from rayflow.evaluator.forms import told_after
from rayflow.evaluator.jobs import Job
from rayflow.evaluator.paths import below, result_path
from rayflow.evaluator.sharing import CONTEXT, Sharer
from rayflow.evaluator.stepping import BECOME_SLOT
from rayflow.lang.codec import SCALARS
from rayflow.lang.entries import TaskEntry
from rayflow.lang.expressions import Expression, Form, Operation, Quoted, TaskCall, Term
from rayflow.lang.options import check_options, merge
from rayflow.lang.signatures import Parameters
from rayflow.values.failures import Failure, Outcome, failure_from_exception

MOST_LOOKUPS = 5_000
"""So many jobs ask the store at a time: of a million calls in one list, most wait as the expressions that they are."""


class Reducer(Sharer):
    """The machine, with the worklist that reduces terms."""

    def _drain(self) -> None:
        fills = self._fills
        while True:
            while fills:
                self._fill(*fills.popleft())
            # Each execution has its own bound, so that none waits for another's answers.
            ready = [each for each in self.executions.values() if each.demands and each.looking < MOST_LOOKUPS]
            if not ready:
                return
            for execution in ready:
                demands = execution.demands
                while demands and execution.looking < MOST_LOOKUPS:
                    self._reduce(*demands.popleft())
                    while fills:
                        self._fill(*fills.popleft())

    # --- from an expression to a job --------------------------------------------------------------------------------

    def _reduce_result(self, job: Job, term: Term) -> None:
        """Reduce the term that a job's task returned."""
        if type(term) in SCALARS:
            self._fills.append((job, RESULT_SLOT, term, ()))
        else:
            job.execution.demands.append((term, job, result_path(job), job, RESULT_SLOT))

    def _reduce(self, term: Term, scope: Job, path: bytes, target: Cell | Job, slot: int) -> None:
        kind = type(term)
        if kind is TaskCall or kind is Operation or kind is Form:
            memo = scope.memo.get(id(term)) if scope.memo is not None and term._shared else None
            if memo is not None:
                known = memo[1]
            else:
                known = self._open_expression(term, scope, path)
                if term._shared:
                    if scope.memo is None:
                        scope.memo = {}
                    # The expression is kept beside what became of it, so that no other is found under its id.
                    scope.memo[id(term)] = term, known
            if isinstance(known, Job) and not known.is_open:
                self._fills.append((target, slot, known.outcome, (known,)))
            elif isinstance(known, Cell) and known.settled:
                self._fills.append((target, slot, known.outcome, known.all_sources()))
            else:
                known.waiters.append((target, slot))
            return
        if kind is Quoted or is_value(term):
            self._fills.append((target, slot, term, ()))
            return
        found, places = expressions_of(term)
        cell = Cell(Kind.CONTAINER, term, scope, path, len(found))
        cell.places = places
        if places is None:
            # A flat list of expressions: its kind is all that is needed to build it again.
            cell.expression = type(term)()
        cell.waiters.append((target, slot))
        cell.missing = len(found)
        demands = scope.execution.demands
        for position, expression in enumerate(found):
            demands.append((expression, scope, below(path, "part", position), cell, position))

    def _open_expression(self, term: Expression, scope: Job, path: bytes) -> Cell | Job:
        if type(term) is TaskCall:
            return self._meet(term, scope.execution, scope, path)
        if type(term) is Operation:
            cell = Cell(Kind.OPERATION, term, scope, path, len(term._args))
            cell.missing = len(term._args)
            for position, arg in enumerate(term._args):
                self._demand(arg, scope, below(path, "argument", position), cell, position)
            if cell.missing == 0:
                self._operate(cell)
            return cell
        assert type(term) is Form
        cell = Cell(Kind.FORM, term, scope, path, 0)
        if term._name == CONTEXT:
            self._read_context(cell, *term._args)
        else:
            self._step(cell)
        return cell

    def _meet(self, call: TaskCall, execution: Execution, parent: Job | None, job_id: bytes) -> Job:
        """A task call becomes a job; its arguments are reduced first."""
        entry = execution.table.get(call._task)
        if entry is None:
            unknown = TaskEntry(name=call._task, hash=b"", parameters=Parameters((), (), frozenset()))
            job = self._new_job(execution, parent, call, unknown, job_id)
            self._fail(job, attempts.no_such_task(_no_such_task(call._task, execution)))
            return job
        job = self._new_job(execution, parent, call, entry, job_id)
        if not execution.wanted:
            self._fail(job, attempts.cancelled())
            return job
        try:
            bound = entry.parameters.bind(call._args, call._kwargs, name=entry.name)
        except BadArguments as error:
            self._fail(job, attempts.bad_arguments(str(error)))
            return job
        given = bound
        if entry.defaults is not None:
            defaults = execution.defaults_of(entry)
            if len(given) < len(entry.parameters.names):
                job.seen = witnessing.in_term(job.seen, entry.defaults)
            bound = {
                name: bound[name] if name in bound else defaults[name]
                for name in entry.parameters.names
                if name in bound or name in defaults
            }
        job.bound = bound
        try:
            job.options, job.hands_down = execution.options_of(entry, call._options, job.received)
        except BadOption as error:
            self._fail(job, failure_from_exception(error))
            return job
        job.call = None  # its arguments say all from here on, and of many calls each weighs
        lazy = [name for name, value in bound.items() if type(value) not in SCALARS and not is_value(value)]
        lazy_options = [name for name, value in job.options.items() if not is_value(value)] if call._options else []
        if not (lazy or lazy_options):
            self._identify(job)
            return job
        terms = [*(bound[name] for name in lazy), *(job.options[name] for name in lazy_options)]
        cell = Cell(Kind.ARGUMENTS, (lazy, lazy_options), parent or job, job_id, len(terms))
        cell.waiters.append((job, ARGUMENTS_SLOT))
        cell.missing = len(terms)
        scope = parent or job
        # Defaults belong to the call: they are reduced in its own context, arguments in that of who gave them.
        own_scope = scope if job.hands_down.context is scope.hands_down.context else job
        for position, term in enumerate(terms):
            is_default = position < len(lazy) and lazy[position] not in given
            place = below(job_id, "argument", position)
            self._demand(term, own_scope if is_default else scope, place, cell, position)
        return job

    # --- from outcomes to values ------------------------------------------------------------------------------------

    def _fill(self, target: Cell | Job, slot: int, outcome: Outcome, sources: tuple[Job, ...]) -> None:
        if isinstance(target, Job):
            if slot == RESULT_SLOT:
                self._result_known(target, outcome)
            return
        if target.settled:
            return
        if slot == BECOME_SLOT:
            if type(outcome) is Failure and target.kind is Kind.FORM:
                outcome = told_after(target.expression._name, outcome, target.values)
            self._settle(target, outcome, (*target.all_sources(), *sources))
            return
        target.values[slot] = outcome
        target.sources[slot] = sources
        target.missing -= 1
        if target.missing == 0:
            self._complete(target)

    def _complete(self, cell: Cell) -> None:
        """All values of a cell are there."""
        if cell.kind is Kind.FORM:
            self._step(cell)
            return
        if cell.kind is Kind.THREAD:
            self._thread_ended(cell.scope.execution)
            return
        failure = cell.first_failure()
        if cell.kind is Kind.ARGUMENTS:
            self._arguments_known(cell, failure)
        elif cell.kind is Kind.AWAITED:
            self._awaited_known(cell)
        elif failure is not None:
            self._settle(cell, failure, ())
        elif cell.kind is Kind.OPERATION:
            self._operate(cell)
        else:
            try:
                rebuilt = cell.rebuilt()
            except TypeError as error:  # a value that cannot be a key or a member
                rebuilt = self._noted(failure_from_exception(error), cell.scope)
            self._settle(cell, rebuilt, cell.all_sources())

    def _arguments_known(self, cell: Cell, failure: Failure | None) -> None:
        ((job, _),) = cell.waiters
        assert isinstance(job, Job)
        if not job.is_open:
            return
        names, option_names = cell.expression
        if failure is not None:
            self._fail(job, failure, own=False)
            return
        job.bound = {**job.bound, **dict(zip(names, cell.values, strict=False))}
        job.sources = {name: sources for name, sources in zip(names, cell.sources, strict=False) if sources}
        if option_names:
            given = dict(zip(option_names, cell.values[len(names) :], strict=True))
            try:
                checked = check_options(given, where=f"{job.entry.name}.options", at_call=True)
                job.options, job.hands_down = job.execution.completed(merge(job.options, checked), job.received)
            except BadOption as error:
                self._fail(job, failure_from_exception(error))
                return
        if job.wanted:
            self._identify(job)
        else:
            self._fail(job, attempts.cancelled())


def _no_such_task(name: str, execution: Execution) -> str:
    short = name.rpartition(".")[2]
    near = difflib.get_close_matches(name, execution.table, n=3) or [
        full for full in execution.table if full.rpartition(".")[2] == short
    ]
    hint = f" Did you mean {' or '.join(near[:3])}?" if near else ""
    return f"There is no task {name!r}: it was renamed or removed, or the module that defines it is not imported.{hint}"
