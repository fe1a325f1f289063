"""Operations and forms: what is asked of their arguments, and what they become.

In: cells whose values are known. Out: what they need next, what they are, or how they failed. Never: makes a job; a
term that is still to be reduced goes to the worklist.
"""

from __future__ import annotations

from abc import abstractmethod

from rayflow.errors import Bug
from rayflow.evaluator import attempts, commands, events, lookups, provenance, witnessing
from rayflow.evaluator.cells import Cell, Kind
from rayflow.evaluator.executions import Execution
from rayflow.evaluator.forms import RULES, Begin, Tag
from rayflow.evaluator.jobs import Job
from rayflow.evaluator.machine import Machine
from rayflow.evaluator.paths import below
from rayflow.evaluator.subruns import Below
from rayflow.lang.codec import SCALARS, loads, read
from rayflow.lang.expressions import Form, Quoted, TaskCall, Term
from rayflow.lang.operations import here, operate, refuse_thunks
from rayflow.lang.rules import Become, Fail, Need
from rayflow.values.digests import digest
from rayflow.values.failures import Outcome, failure_from_exception
from rayflow.values.identity import identity

BECOME_SLOT = -3
"""Slot of a form or an operation that what it became fills."""

NEVER_WHOLE = Below(is_clean=False)
"""Of a job in whose term a thread is begun, no full reduction is kept, nor of those above it."""

OPERATIONS = digest("operations")
"""Stands for the task_hash in the reductions of operations."""


class Stepper(Machine):
    """The machine, with what it knows of operations and forms."""

    def _demand(self, term: Term, scope: Job, path: bytes, target: Cell | Job, slot: int) -> None:
        """Have `term` reduced, and its outcome filled into a slot of `target`."""
        kind = type(term)
        if kind in SCALARS:
            self._fills.append((target, slot, term, ()))
        else:
            scope.execution.demands.append((term, scope, path, target, slot))

    def _settle(self, cell: Cell, outcome: Outcome, sources: tuple[Job, ...]) -> None:
        """A cell has its outcome: tell who waits."""
        if len(sources) > 1:
            sources = tuple(dict.fromkeys(sources))
        cell.settled = True
        cell.outcome = outcome
        cell.sources = [sources]
        cell.values = []
        cell.expression = None
        waiters, cell.waiters = cell.waiters, []
        for target, slot in waiters:
            self._fills.append((target, slot, outcome, sources))

    @abstractmethod
    def _meet(self, call: TaskCall, execution: Execution, parent: Job | None, job_id: bytes) -> Job:
        """A task call becomes a job."""

    # --- operations ---------------------------------------------------------------------------------------------------

    def _operate(self, cell: Cell) -> None:
        name: str = cell.expression._name
        args = tuple(cell.values)
        if here(name, args) or Quoted in map(type, args):
            try:
                refuse_thunks(name, args)
                term = operate(name, args)
            except Exception as error:  # whatever Python raises on the user's values is the user's error, as a value
                failure = failure_from_exception(error)
                self._settle(cell, self._noted(failure, cell.scope, cell.expression), cell.all_sources())
                return
            self._demand(term, cell.scope, below(cell.path, "operated", 0), cell, BECOME_SLOT)
            return
        execution = cell.scope.execution
        if not execution.wanted:
            self._settle(cell, attempts.cancelled(), ())
            return
        cell.key = digest("operation", name.encode(), *map(identity, args))
        waiting = execution.operations.setdefault(cell.key, [])
        waiting.append(cell)
        if len(waiting) > 1:
            return
        self._number(cell)
        execution.in_flight += 1
        if execution.cache or execution.life:
            self._out.append(commands.LookUp(cell.number, cell.key, OPERATIONS))
        else:
            self._out.append(commands.RunOperation(cell.number, execution.execution_id, name, args))

    def _operation_looked_up(self, cell: Cell, event: events.LookedUp) -> None:
        execution = cell.scope.execution
        if not execution.wanted:
            for waiting in self._answered(cell):
                self._settle(waiting, attempts.cancelled(), ())
            return
        for candidate in event.candidates:
            try:
                head, _ = read(candidate.term)
            except ValueError:
                continue
            foreign = not execution.cache and candidate.execution_id != execution.execution_id
            if candidate.verdict and not foreign and lookups.holds(head, execution):
                self._become(self._answered(cell), candidate.term)
                return
        # A new question has a new number, so that a repeated answer to the look-up does not ask it again.
        self._cells.pop(cell.number)
        self._number(cell)
        self._out.append(
            commands.RunOperation(cell.number, execution.execution_id, cell.expression._name, tuple(cell.values))
        )

    def _become(self, cells: list[Cell], packed: bytes) -> None:
        """These cells become the term that an operation gave: each for itself, since calls in it belong to its
        scope."""
        for cell in cells:
            cell.scope.seen = witnessing.in_term(cell.scope.seen, packed)
            self._demand(loads(packed), cell.scope, below(cell.path, "operated", 0), cell, BECOME_SLOT)

    # --- forms --------------------------------------------------------------------------------------------------------

    def _step(self, cell: Cell) -> None:
        """Ask a form's rule what it needs next."""
        form: Form = cell.expression
        rule = RULES.get(form._name)
        if rule is None:
            raise Bug(f"There is no form {form._name!r}.")
        step = rule(form._args, cell.values)
        if type(step) is Need:
            terms = tuple(step.terms)
            first = len(cell.values)
            cell.missing = len(terms)
            cell.values.extend([None] * len(terms))
            cell.sources.extend([()] * len(terms))
            for position, term in enumerate(terms, start=first):
                self._demand(term, cell.scope, below(cell.path, "step", position), cell, position)
        elif type(step) is Become:
            self._demand(step.term, cell.scope, below(cell.path, "become", 0), cell, BECOME_SLOT)
        elif type(step) is Begin:
            self._begin(cell, step)
        elif type(step) is Tag:
            if cell.scope.hands_down.is_recorded:
                self._out.append(commands.Record(provenance.applied_tags(step, cell.scope, self._now)))
            self._settle(cell, step.value, cell.all_sources())
        else:
            assert type(step) is Fail
            # A failure that the rule has seen was told where it happened; one of its own happens here.
            is_seen = any(step.error is outcome for outcome in cell.values)
            failure = step.error if is_seen else self._noted(step.error, cell.scope, form)
            self._settle(cell, failure, cell.all_sources())

    def _begin(self, cell: Cell, step: Begin) -> None:
        """Make a call that nobody waits for, except the end of the execution."""
        scope = cell.scope
        job = self._meet(step.call, scope.execution, scope, below(cell.path, "begun", 0))
        # Whether it has ended when its parent does is chance, and no part of what the parent is.
        siblings = self._siblings(scope)
        if siblings is not None:
            siblings.pop()
        # Who takes the parent's value as a whole would begin nothing.
        scope.below = NEVER_WHOLE
        if job.is_open:
            thread = Cell(Kind.THREAD, None, scope, cell.path, 1)
            thread.missing = 1
            job.waiters.append((thread, 0))
            scope.execution.threads += 1
        self._demand(step.term, scope, below(cell.path, "become", 0), cell, BECOME_SLOT)

    def _thread_ended(self, execution: Execution) -> None:
        execution.threads -= 1
        root = execution.root
        if not execution.threads and root is not None and not root.is_open:
            self._finish(execution, root)
