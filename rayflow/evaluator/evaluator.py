"""The door of the core: events in, commands out.

In the words of "Build Systems à la Carte" (Mokhov, Mitchell, Peyton Jones, 2018) this is a *suspending* scheduler with
*constructive traces*: a call is started when its value is needed, waits while what it needs is built, and is skipped
when a trace of the same task on the same arguments holds the term that it returned (a single reduction). Traces are
*deep* on demand: a full reduction holds the final value, valid while all tasks below are current.

Theory of operation. A term is taken apart into *cells* (places with something missing) and *jobs* (task calls). Each
knows who waits for it, as data. A worklist of two kinds of entries, "reduce this term for that place" and "that place
has this outcome", is emptied after each event, so nothing recurses however deep the user's program is. An outcome is a
value or a `Failure`; whoever waits gets it when all that it needs has settled, and of several failures the first by
position counts, not by time. So what an execution means does not depend on the order in which answers come.

Nothing outside is touched: what must be done is in the commands, what was done comes back as events, with their times.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rayflow.errors import BadArguments, Bug, Unanswered
from rayflow.evaluator import attempts, commands, events, lookups, provenance, stories
from rayflow.evaluator.capacity import Capacity
from rayflow.evaluator.cells import ARGUMENTS_SLOT, RESULT_SLOT, Cell, Kind, expressions_of, is_value
from rayflow.evaluator.executions import IN_FLIGHT, Execution
from rayflow.evaluator.forms import RULES, Become, Fail, Need
from rayflow.evaluator.jobs import Job, State
from rayflow.lang.codec import SCALARS, loads, read
from rayflow.lang.entries import TaskEntry
from rayflow.lang.expressions import Expression, Form, Operation, Quoted, TaskCall, Term
from rayflow.lang.operations import here, operate
from rayflow.lang.options import scope_of
from rayflow.lang.signatures import Parameters
from rayflow.records import ReductionRow
from rayflow.values.digests import digest, short_digest
from rayflow.values.failures import Failure, Outcome, failure_from_exception
from rayflow.values.identity import identity

BECOME_SLOT = -3
"""Slot of a form or an operation that what it became fills."""

OPENING_SECONDS = 1.0
"""A job that stays open for longer than this gets an opening row, so that a crash shows what was in flight."""

OPERATIONS = digest("operations")
"""Stands for the task_hash in the reductions of operations."""

ROOT = TaskEntry(name="<expression>", hash=digest("root"), parameters=Parameters((), (), frozenset()))
"""The task of a root that is no task call: it returns the root term."""

OPENING_TIMER = ("opening", 0)


class Evaluator:
    """All executions of one scheduler.

    limits: capacities by name; a limit that is not named has capacity 1.
    """

    def __init__(self, limits: Mapping[str, float] | None = None) -> None:
        self.capacity = Capacity(limits or {})
        self.executions: dict[str, Execution] = {}
        self._jobs: dict[int, Job] = {}
        self._cells: dict[int, Cell] = {}
        self._retries: dict[int, Job] = {}
        self._numbers = 0
        self._now = 0
        self._out: list[commands.Command] = []
        self._demands: deque[tuple[Term, Job, bytes, Cell | Job, int]] = deque()
        self._fills: deque[tuple[Cell | Job, int, Outcome, tuple[Job, ...]]] = deque()
        self._young: deque[tuple[int, Job]] = deque()
        self._opening_set = False
        self._handlers: dict[type, Callable[[Any], None]] = {
            events.Submitted: self._submitted,
            events.LookedUp: self._looked_up,
            events.Returned: self._returned,
            events.Raised: self._raised,
            events.WorkerLost: self._worker_lost,
            events.Operated: self._operated,
            events.TimerFired: self._timer_fired,
            events.Cancelled: self._cancelled,
        }

    def handle(self, incoming: Sequence[events.Event]) -> list[commands.Command]:
        """Take in what happened; give back what is to be done, in order."""
        self._out = []
        for event in incoming:
            self._now = max(self._now, event.at)
            self._handlers[type(event)](event)
            self._drain()
        for execution in list(self.executions.values()):
            while execution.in_flight == 0 and execution.execution_id in self.executions:
                self._break_cycle(execution)
                self._drain()
        return self._out

    # --- one method for each event ----------------------------------------------------------------------------------

    def _submitted(self, event: events.Submitted) -> None:
        if event.execution_id in self.executions:
            return  # a submission that was repeated because its acknowledgement was lost
        execution = Execution(event.execution_id, event.table, event.options, event.cache, event.life, event.at)
        self.executions[event.execution_id] = execution
        term = loads(event.root)
        root_id = short_digest("job", event.execution_id.encode())
        if type(term) is TaskCall:
            self._meet(term, execution, None, root_id)
        else:
            root = self._new_job(execution, None, None, ROOT, root_id)
            root.how = "computed"
            root.args_hash = digest("args")
            root.move(State.RESULT)
            self._demand(term, root, _below(root_id, "result", 0), root, RESULT_SLOT)

    def _looked_up(self, event: events.LookedUp) -> None:
        cell = self._cells.get(event.asker)
        if cell is not None:
            self._operation_looked_up(cell, event)
            return
        job = self._jobs.get(event.asker)
        if job is None or job.state is not State.LOOKUP:
            return
        hit = lookups.choose(job, event.candidates, event.at) if job.wanted else None
        if not job.wanted:
            self._fail(job, attempts.cancelled())
        elif hit is None:
            self._move(job, State.HELD)
            self._start(job)
        else:
            own = hit.candidate.execution_id == job.execution.execution_id
            job.how = "shared" if own else "cached"
            self._move(job, State.RESULT)
            if hit.candidate.kind == "full":
                job.task_set = hit.candidate.task_set
            self._reduce_result(job, hit.term)

    def _returned(self, event: events.Returned) -> None:
        job = self._running(event.job, event.attempt)
        if job is None:
            return
        job.cost = event.cost
        self._end_attempt(job)
        if event.rows:
            self._out.append(commands.Record(event.rows))
        if not job.wanted:
            self._fail(job, attempts.cancelled())
            return
        job.execution.learn(event.entries)
        try:
            term = loads(event.term)
        except ValueError as error:
            raise Bug(f"A worker sent a result that cannot be read: {error}. {job.describe()}") from error
        job.how = "computed"
        self._out.append(
            commands.Remember(provenance.reduction_row(job, lookups.remember_key(job), event.term, event.at))
        )
        self._move(job, State.RESULT)
        self._reduce_result(job, term)

    def _raised(self, event: events.Raised) -> None:
        job = self._running(event.job, event.attempt)
        if job is None:
            return
        job.cost = event.cost
        job.how = "computed"
        job.raised += 1
        self._end_attempt(job)
        node, pid = (event.cost.node, event.cost.pid) if event.cost else (None, None)
        ended = "timeout" if "rayflow.errors.TaskTimeout" in event.failure.classes else "raised"
        row = provenance.attempt_row(job, ended, event.failure.summary[:4000], node, pid, event.at)
        self._out.append(commands.Record((*event.rows, row)))
        if not job.wanted:
            self._fail(job, attempts.cancelled())
            return
        self._again_or_fail(job, attempts.retry_delay(job, event.failure), event.failure)

    def _worker_lost(self, event: events.WorkerLost) -> None:
        job = self._running(event.job, event.attempt)
        if job is None:
            return
        job.losses += 1
        self._end_attempt(job)
        row = provenance.attempt_row(job, "lost", event.reason, event.node, event.pid, event.at)
        self._out.append(commands.Record((row,)))
        if not job.wanted:
            self._fail(job, attempts.cancelled())
            return
        delay = attempts.loss_delay(job, event.fatal)
        self._again_or_fail(job, delay, attempts.worker_lost(job, event.reason))

    def _operated(self, event: events.Operated) -> None:
        cell = self._cells.pop(event.asker, None)
        if cell is None or cell.settled:
            return
        self._answered(cell)
        if event.rows:
            self._out.append(commands.Record(event.rows))
        if event.failure is not None or event.term is None:
            failure = event.failure or attempts.cancelled()
            self._settle(cell, self._with_trail(failure, cell.scope), cell.all_sources())
            return
        execution = cell.scope.execution
        if not execution.wanted:
            self._settle(cell, attempts.cancelled(), ())
            return
        assert cell.key is not None
        row = ReductionRow(
            cell.key, OPERATIONS, "single", event.term, None, None, None, execution.execution_id, None, event.at
        )
        self._out.append(commands.Remember(row))
        self._demand(loads(event.term), cell.scope, _below(cell.path, "operated", 0), cell, BECOME_SLOT)

    def _timer_fired(self, event: events.TimerFired) -> None:
        if event.name == OPENING_TIMER:
            self._opening_set = False
            self._write_openings(event.at)
            return
        job = self._retries.pop(event.name[1], None)
        if job is not None and job.state is State.HELD:
            self._start(job)

    def _cancelled(self, event: events.Cancelled) -> None:
        execution = self.executions.get(event.execution_id)
        if execution is None or not execution.wanted:
            return
        execution.wanted = False
        for job in list(execution.open.values()):
            job.wanted = False
            if job.state is State.RUNNING:
                # What runs ends when it ends: its answer, whatever it is, closes the job.
                self._out.append(commands.Stop(job.number, job.attempt))
            elif job.state is State.HELD:
                self.capacity.drop(job)
                self._fail(job, attempts.cancelled())

    # --- from an expression to a job --------------------------------------------------------------------------------

    def _demand(self, term: Term, scope: Job, path: bytes, target: Cell | Job, slot: int) -> None:
        """Have `term` reduced, and its outcome filled into a slot of `target`."""
        kind = type(term)
        if kind in SCALARS:
            self._fills.append((target, slot, term, ()))
        else:
            self._demands.append((term, scope, path, target, slot))

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
        cell.waiters.append((target, slot))
        cell.missing = len(found)
        for position, expression in enumerate(found):
            self._demands.append((expression, scope, _below(path, "part", position), cell, position))

    def _open_expression(self, term: Expression, scope: Job, path: bytes) -> Cell | Job:
        if type(term) is TaskCall:
            return self._meet(term, scope.execution, scope, path)
        if type(term) is Operation:
            cell = Cell(Kind.OPERATION, term, scope, path, len(term._args))
            cell.missing = len(term._args)
            for position, arg in enumerate(term._args):
                self._demand(arg, scope, _below(path, "argument", position), cell, position)
            return cell
        assert type(term) is Form
        cell = Cell(Kind.FORM, term, scope, path, 0)
        self._step(cell)
        return cell

    def _new_job(
        self, execution: Execution, parent: Job | None, call: TaskCall | None, entry: TaskEntry, job_id: bytes
    ) -> Job:
        self._numbers += 1
        job = Job(self._numbers, job_id, execution, parent, call, entry, self._now)
        execution.open[job.number] = job
        execution.counts["jobs"] += 1
        execution.count(job, "open")
        if parent is None:
            execution.root = job
        else:
            parent.children.append(job)
        self._young.append((self._now, job))
        if not self._opening_set:
            self._opening_set = True
            self._out.append(commands.SetTimer(OPENING_TIMER, OPENING_SECONDS))
        return job

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
        job.options = execution.options_of(entry, call._options)
        lazy = [name for name, value in bound.items() if type(value) not in SCALARS and not is_value(value)]
        if not lazy:
            self._identify(job)
            return job
        cell = Cell(Kind.ARGUMENTS, lazy, parent or job, job_id, len(lazy))
        cell.waiters.append((job, ARGUMENTS_SLOT))
        cell.missing = len(lazy)
        for position, name in enumerate(lazy):
            self._demand(bound[name], parent or job, _below(job_id, "argument", position), cell, position)
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

    def _follow(self, job: Job, twin: Job) -> None:
        """The twin has ended: end alike."""
        if isinstance(twin.outcome, Failure):
            self._fail(job, twin.outcome, own=False)
            return
        job.call_hash = twin.call_hash
        job.value_hash = twin.value_hash
        job.task_set = twin.task_set
        job.clean = twin.clean
        job.outcome = twin.outcome
        self._close(job, State.DONE)

    # --- running ----------------------------------------------------------------------------------------------------

    def _start(self, job: Job) -> None:
        """Send an attempt, if what the job holds while it runs can be had now."""
        if not self.capacity.take(job):
            return
        job.attempt += 1
        self._move(job, State.RUNNING)
        self._out.append(
            commands.RunTask(
                job.number,
                job.attempt,
                job.execution.execution_id,
                job.job_id,
                job.entry,
                job.bound,
                job.options,
                job.losses,
            )
        )

    def _running(self, number: int, attempt: int) -> Job | None:
        """The job that this answer is for; None for an answer that is late, repeated or unknown."""
        job = self._jobs.get(number)
        if job is None or job.state is not State.RUNNING or job.attempt != attempt:
            return None
        return job

    def _end_attempt(self, job: Job) -> None:
        for waiting in self.capacity.give_back(job):
            self._start(waiting)

    def _again_or_fail(self, job: Job, delay: float | None, failure: Failure) -> None:
        if delay is None:
            self._fail(job, failure)
            return
        self._move(job, State.HELD)
        if delay > 0:
            # Each timer has a number of its own: one that fires twice must not start the next attempt, too.
            self._numbers += 1
            self._retries[self._numbers] = job
            self._out.append(commands.SetTimer(("retry", self._numbers), delay))
        else:
            self._start(job)

    # --- filling ----------------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        demands, fills = self._demands, self._fills
        while demands or fills:
            while fills:
                self._fill(*fills.popleft())
            if demands:
                self._reduce(*demands.popleft())

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
        elif failure is not None:
            self._settle(cell, failure, ())
        elif cell.kind is Kind.OPERATION:
            self._operate(cell)
        else:
            self._settle(cell, cell.rebuilt(), cell.all_sources())

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

    def _arguments_known(self, cell: Cell, failure: Failure | None) -> None:
        ((job, _),) = cell.waiters
        assert isinstance(job, Job)
        if not job.is_open:
            return
        names: list[str] = cell.expression
        if failure is not None:
            self._fail(job, failure, own=False)
            return
        job.bound = {**job.bound, **dict(zip(names, cell.values, strict=True))}
        job.sources = {name: sources for name, sources in zip(names, cell.sources, strict=True) if sources}
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
        job.call_hash = provenance.call_hash_of(job)
        job.clean = all(child.clean for child in job.children)
        taken_whole = job.task_set is not None
        if not taken_whole:
            job.task_set = job.execution.task_set_of(job)
        if job.clean and not taken_whole and job.options.get("check_valid") == "shallow":
            # Before it closes: the root's closing ends the execution, and with it what is committed.
            self._out.append(commands.Remember(provenance.full_reduction_row(job, self._now)))
        self._close(job, State.DONE)

    def _fail(self, job: Job, failure: Failure, own: bool = True) -> None:
        """End a job with an error: its own, or one that it only passes on."""
        if own:
            failure = self._with_trail(failure, job)
            if failure.type_name != "rayflow.errors.Cancelled":
                job.execution.failures.append((job, failure))
        job.outcome = failure
        job.clean = False
        self._close(job, State.FAILED)

    def _with_trail(self, failure: Failure, job: Job) -> Failure:
        return failure if failure.trail else replace(failure, trail=stories.trail_of(job))

    def _close(self, job: Job, state: State) -> None:
        """A job is over: record it, tell who waits, and let go of what only an open job needs."""
        execution = job.execution
        self._move(job, state)
        execution.open.pop(job.number, None)
        self._jobs.pop(job.number, None)
        self._out.append(commands.Record(tuple(provenance.closing_rows(job, self._now))))
        how = "failed" if state is State.FAILED else job.how or "computed"
        execution.counts[how] += 1
        execution.count(job, "open", -1)
        execution.count(job, how)
        waiters, job.waiters = job.waiters, []
        for target, slot in waiters:
            self._fills.append((target, slot, job.outcome, (job,)))
        followers, job.followers = job.followers, None
        for follower in followers or ():
            if follower.is_open:
                self._follow(follower, job)
        job.children, job.memo, job.call, job.sources, job.bound, job.cost = [], None, None, None, {}, None
        if job is execution.root:
            self._finish(execution, job)

    def _finish(self, execution: Execution, root: Job) -> None:
        del self.executions[execution.execution_id]
        for job in execution.open.values():
            self._jobs.pop(job.number, None)
        self._out.append(
            commands.Finish(
                execution.execution_id,
                root.outcome,
                tuple((job.job_id, job.entry.name, failure) for job, failure in execution.failures),
                execution.counts,
                execution.progress,
                root.value_hash,
            )
        )

    # --- operations and forms ---------------------------------------------------------------------------------------

    def _operate(self, cell: Cell) -> None:
        name: str = cell.expression._name
        args = tuple(cell.values)
        if here(name, args):
            try:
                term = operate(name, args)
            except Exception as error:  # whatever Python raises on the user's values is the user's error, as a value
                failure = failure_from_exception(error)
                self._settle(cell, self._with_trail(failure, cell.scope), cell.all_sources())
                return
            self._demand(term, cell.scope, _below(cell.path, "operated", 0), cell, BECOME_SLOT)
            return
        execution = cell.scope.execution
        if not execution.wanted:
            self._settle(cell, attempts.cancelled(), ())
            return
        cell.key = digest("operation", name.encode(), *map(identity, args))
        self._number(cell)
        execution.in_flight += 1
        if execution.cache or execution.life:
            self._out.append(commands.LookUp(cell.number, cell.key, OPERATIONS))
        else:
            self._out.append(commands.RunOperation(cell.number, execution.execution_id, name, args))

    def _operation_looked_up(self, cell: Cell, event: events.LookedUp) -> None:
        if cell.settled or cell.number == 0:
            return
        execution = cell.scope.execution
        if not execution.wanted:
            self._cells.pop(event.asker, None)
            self._answered(cell)
            self._settle(cell, attempts.cancelled(), ())
            return
        for candidate in event.candidates:
            try:
                head, term = read(candidate.term)
            except ValueError:
                continue
            foreign = not execution.cache and candidate.execution_id != execution.execution_id
            if candidate.verdict and not foreign and lookups.holds(head, execution):
                self._cells.pop(event.asker, None)
                self._answered(cell)
                self._demand(term, cell.scope, _below(cell.path, "operated", 0), cell, BECOME_SLOT)
                return
        # A new question has a new number, so that a repeated answer to the look-up does not ask it again.
        self._cells.pop(cell.number)
        execution.waiting_cells.pop(cell.number)
        self._number(cell)
        self._out.append(
            commands.RunOperation(cell.number, execution.execution_id, cell.expression._name, tuple(cell.values))
        )

    def _number(self, cell: Cell) -> None:
        """Give a cell a number, so that an answer finds it."""
        self._numbers += 1
        cell.number = self._numbers
        self._cells[cell.number] = cell
        cell.scope.execution.waiting_cells[cell.number] = cell

    def _answered(self, cell: Cell) -> None:
        execution = cell.scope.execution
        execution.waiting_cells.pop(cell.number, None)
        execution.in_flight -= 1
        cell.number = 0

    def _step(self, cell: Cell) -> None:
        """Ask a form's rule what it needs next."""
        form: Form = cell.expression
        rule = RULES.get(form._name)
        if rule is None:
            raise Bug(f"There is no form {form._name!r}.")
        step = rule(form._args, cell.values)
        if type(step) is Need:
            first = len(cell.values)
            cell.missing = len(step.terms)
            cell.values.extend([None] * len(step.terms))
            cell.sources.extend([()] * len(step.terms))
            for position, term in enumerate(step.terms, start=first):
                self._demand(term, cell.scope, _below(cell.path, "step", position), cell, position)
        elif type(step) is Become:
            self._demand(step.term, cell.scope, _below(cell.path, "become", 0), cell, BECOME_SLOT)
        else:
            assert type(step) is Fail
            self._settle(cell, step.failure, cell.all_sources())

    # --- bookkeeping ------------------------------------------------------------------------------------------------

    def _move(self, job: Job, to: State) -> None:
        """Move a job, and keep count of what is in flight."""
        execution = job.execution
        was_in_flight = job.state in IN_FLIGHT
        if job.state is State.RUNNING:
            execution.count(job, "running", -1)
        job.move(to)
        if to is State.RUNNING:
            execution.count(job, "running")
        if to in IN_FLIGHT:
            if not was_in_flight:
                execution.in_flight += 1
                self._jobs[job.number] = job
        elif was_in_flight:
            execution.in_flight -= 1
            self._jobs.pop(job.number, None)

    def _break_cycle(self, execution: Execution) -> None:
        """Nothing can bring news, and the root is not settled: jobs wait for each other. Fail one of them."""
        circle = stories.find_cycle(execution)
        if circle is None:
            open_jobs = "; ".join(job.describe() for job in list(execution.open.values())[:10])
            raise Unanswered(f"Execution {execution.execution_id} waits for nothing that can come. {open_jobs}")
        self._fail(circle[0], attempts.cyclic(stories.cycle_text(circle)))

    def _write_openings(self, at: int) -> None:
        """Opening rows for jobs that have been open for long, and for the jobs above them."""
        oldest = at - int(OPENING_SECONDS * 1_000_000)
        rows = []
        while self._young and self._young[0][0] <= oldest:
            job: Job | None = self._young.popleft()[1]
            while job is not None and job.is_open and not job.listed:
                job.listed = True
                rows.append(provenance.job_row(job, None))
                job = job.parent
        if rows:
            self._out.append(commands.Record(tuple(rows)))
        if self._young:
            self._opening_set = True
            self._out.append(commands.SetTimer(OPENING_TIMER, OPENING_SECONDS))

    def explain(self, execution_id: str) -> dict[str, dict[str, int]]:
        """Counts by task name: open, running, computed, cached, shared, failed."""
        execution = self.executions.get(execution_id)
        return {name: dict(row) for name, row in execution.progress.items()} if execution else {}


def _below(path: bytes, step: str, position: int) -> bytes:
    """The path of a part: 16 bytes over the path of the whole, the kind of step and the position."""
    return short_digest(step, path, position.to_bytes(4, "little"))


def _result_path(job: Job) -> bytes:
    """Where the term of a job begins, for the ids of the jobs below.

    Which of several equal jobs does the work depends on the order of answers, the ids below it must not: a crashed
    execution that is taken up again has to meet the same jobs. So the path of a term that equal jobs share starts from
    what they have in common.
    """
    if job.eval_hash is None or scope_of(job.options) == "NONE":
        return _below(job.job_id, "result", 0)
    return short_digest("result", job.execution.execution_id.encode(), job.eval_hash)


def _no_such_task(name: str, execution: Execution) -> str:
    import difflib

    short = name.rpartition(".")[2]
    near = difflib.get_close_matches(name, execution.table, n=3) or [
        full for full in execution.table if full.rpartition(".")[2] == short
    ]
    hint = f" Did you mean {' or '.join(near[:3])}?" if near else ""
    return f"There is no task {name!r}: it was renamed or removed, or the module that defines it is not imported.{hint}"
