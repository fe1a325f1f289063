"""Reduction: from a term to cells and jobs, and from their outcomes back to a value.

In: terms, and outcomes of what they need. Out: jobs that are identified and asked for or started. Never: takes an event
apart; that is evaluator.py's.

A worklist of two kinds of entries, "reduce this term for that place" and "that place has this outcome", is emptied
after each event, so nothing recurses however deep the user's program is.
"""

from __future__ import annotations

import difflib

from rayflow.errors import BadArguments, BadOption
from rayflow.evaluator import attempts, commands, lookups, provenance
from rayflow.evaluator.cells import ARGUMENTS_SLOT, RESULT_SLOT, Cell, Kind, expressions_of, is_value
from rayflow.evaluator.executions import Execution
from rayflow.evaluator.jobs import Job, State
from rayflow.evaluator.stepping import BECOME_SLOT, Stepper, below
from rayflow.lang.codec import SCALARS
from rayflow.lang.entries import TaskEntry
from rayflow.lang.expressions import Expression, Form, Operation, Quoted, TaskCall, Term
from rayflow.lang.options import check_options, merge, scope_of
from rayflow.lang.signatures import Parameters
from rayflow.values.digests import short_digest
from rayflow.values.failures import Failure, Outcome, failure_from_exception

MOST_LOOKUPS = 5_000
"""So many jobs ask the store at a time: of a million calls in one list, most wait as the expressions that they are."""


class Reducer(Stepper):
    """The machine, with the worklist that reduces terms."""

    def _drain(self) -> None:
        demands, fills = self._demands, self._fills
        while demands or fills:
            while fills:
                self._fill(*fills.popleft())
            if self._looking >= MOST_LOOKUPS:
                return  # the answers to these go on with the rest
            if demands:
                self._reduce(*demands.popleft())

    # --- from an expression to a job --------------------------------------------------------------------------------

    def _reduce_result(self, job: Job, term: Term) -> None:
        """Reduce the term that a job's task returned."""
        if type(term) in SCALARS:
            self._fills.append((job, RESULT_SLOT, term, ()))
        else:
            self._demands.append((term, job, _result_path(job), job, RESULT_SLOT))

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
        for position, expression in enumerate(found):
            self._demands.append((expression, scope, below(path, "part", position), cell, position))

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
        if entry.defaults is not None:
            defaults = execution.defaults_of(entry)
            bound = {
                name: bound[name] if name in bound else defaults[name]
                for name in entry.parameters.names
                if name in bound or name in defaults
            }
        job.bound = bound
        job.call = None  # its arguments say all from here on, and of many calls each weighs
        job.options = execution.options_of(entry, call._options)
        lazy = [name for name, value in bound.items() if type(value) not in SCALARS and not is_value(value)]
        lazy_options = [name for name, value in job.options.items() if not is_value(value)] if call._options else []
        if not (lazy or lazy_options):
            self._identify(job)
            return job
        terms = [*(bound[name] for name in lazy), *(job.options[name] for name in lazy_options)]
        cell = Cell(Kind.ARGUMENTS, (lazy, lazy_options), parent or job, job_id, len(terms))
        cell.waiters.append((job, ARGUMENTS_SLOT))
        cell.missing = len(terms)
        for position, term in enumerate(terms):
            self._demand(term, parent or job, below(job_id, "argument", position), cell, position)
        return job

    def _identify(self, job: Job) -> None:
        """All arguments are values: form the hashes, share with an equal job, else ask the cache."""
        execution = job.execution
        job.args_hash = provenance.args_hash_of(job)
        eval_hash = job.eval_hash = provenance.eval_hash_of(job)
        if scope_of(job.options) != "NONE":
            twin = execution.shared.setdefault(eval_hash, job)
            if twin is not job:
                self._share(job, twin)
                return
        key = lookups.key_of(job)
        if key is None:
            self._move(job, State.HELD)
            self._start(job)
        else:
            self._move(job, State.LOOKUP)
            self._out.append(commands.LookUp(job.number, key, job.entry.hash))

    def _share(self, job: Job, twin: Job) -> None:
        job.how = "shared"
        if twin.is_open:
            self._move(job, State.SHARED)
            if twin.followers is None:
                twin.followers = []
            twin.followers.append(job)
        else:
            self._follow(job, twin)

    # --- from outcomes to values ------------------------------------------------------------------------------------

    def _fill(self, target: Cell | Job, slot: int, outcome: Outcome, sources: tuple[Job, ...]) -> None:
        if isinstance(target, Job):
            if slot == RESULT_SLOT:
                self._result_known(target, outcome)
            return
        if target.settled:
            return
        if slot == BECOME_SLOT:
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
                job.options = merge(job.options, check_options(given, where=f"{job.entry.name}.options", at_call=True))
            except BadOption as error:
                self._fail(job, failure_from_exception(error))
                return
        if job.wanted:
            self._identify(job)
        else:
            self._fail(job, attempts.cancelled())

    def _result_known(self, job: Job, outcome: Outcome) -> None:
        if not job.is_open:
            return
        if isinstance(outcome, Failure):
            self._fail(job, outcome, own=False)
            return
        job.outcome = outcome
        job.value_hash = provenance.hash_of(outcome)
        if job.call_hash is None:
            job.call_hash = provenance.call_hash_of(job)
        job.clean = all(child.clean for child in job.children)
        taken_whole = job.task_set is not None
        if not taken_whole:
            job.task_set = job.execution.task_set_of(job)
        is_shallow = job.options.get("check_valid") == "shallow" and scope_of(job.options) != "NONE"
        if job.clean and not taken_whole and (is_shallow or job.awaits is not None):
            # Before it closes: the root's closing ends the execution, and with it what is committed.
            row = provenance.full_reduction_row(job, lookups.remember_key(job), self._now)
            self._out.append(commands.Remember(row))
        self._close(job, State.DONE)


def _result_path(job: Job) -> bytes:
    """Where the term of a job begins, for the ids of the jobs below.

    Which of several equal jobs does the work depends on the order of answers, the ids below it must not: a crashed
    execution that is taken up again has to meet the same jobs. So the path of a term that equal jobs share starts from
    what they have in common.
    """
    if job.eval_hash is None or scope_of(job.options) == "NONE":
        return below(job.job_id, "result", 0)
    return short_digest("result", job.execution.execution_id.encode(), job.eval_hash)


def awaited_path(job: Job, key: bytes) -> bytes:
    """Where an expression that the job's body awaits begins: the same in whichever round it is asked for."""
    return short_digest("awaited", _result_path(job), key)


def _no_such_task(name: str, execution: Execution) -> str:
    short = name.rpartition(".")[2]
    near = difflib.get_close_matches(name, execution.table, n=3) or [
        full for full in execution.table if full.rpartition(".")[2] == short
    ]
    hint = f" Did you mean {' or '.join(near[:3])}?" if near else ""
    return f"There is no task {name!r}: it was renamed or removed, or the module that defines it is not imported.{hint}"
