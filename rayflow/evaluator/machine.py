"""Jobs and their books: who is open, what is in flight, what is recorded when a job ends.

In: calls that the reduction meets, attempts that ended. Out: commands, and outcomes for whoever waits. Never: reduces a
term; that is reduction.py's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace

from rayflow.evaluator import attempts, commands, nesting, provenance, stories, witnessing
from rayflow.evaluator.awaiting import MOST_STRAYS
from rayflow.evaluator.capacity import Capacity, unknown_text
from rayflow.evaluator.cells import Cell
from rayflow.evaluator.executions import IN_FLIGHT, Execution
from rayflow.evaluator.jobs import ARGUMENTS, DONE, FAILED, HELD, LOOKUP, RUNNING, Job, State
from rayflow.lang.entries import TaskEntry
from rayflow.lang.expressions import Expression, TaskCall
from rayflow.lang.operations import SUBRUN
from rayflow.records import JobRow, Row
from rayflow.values.failures import Failure, Outcome

OPENING_SECONDS = 1.0
"""A job that stays open for longer than this gets an opening row, so that a crash shows what was in flight."""

MOST_FAILURES = 1_000
"""So many failures of an execution are listed when it ends; the records have all of them."""

OPENING_ROWS = 1_000
"""The most opening rows at one time: of a hundred thousand calls that wait for workers, most need none."""

OPENING_TIMER = ("opening", 0)


class Machine:
    """The state that events change, and the changes that keep it consistent.

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
        self._fills: deque[tuple[Cell | Job, int, Outcome, tuple[Job, ...]]] = deque()
        self._young: deque[tuple[int, Job]] = deque()
        self._opening_set = False

    def _new_job(
        self, execution: Execution, parent: Job | None, call: TaskCall | None, entry: TaskEntry, job_id: bytes
    ) -> Job:
        self._numbers += 1
        execution.counts["jobs"] += 1
        job = Job(self._numbers, job_id, execution, parent, call, entry, self._now)
        execution.open[job.number] = job
        execution.count(job, "open")
        if parent is None:
            execution.root = job
        else:
            siblings = self._siblings(parent)
            if siblings is not None:
                siblings.append(job)
        self._young.append((self._now, job))
        if not self._opening_set:
            self._opening_set = True
            self._out.append(commands.SetTimer(OPENING_TIMER, OPENING_SECONDS))
        return job

    def _siblings(self, parent: Job) -> list[Job] | None:
        """The calls among which one that was met in this job counts; None where that matters to nobody.

        What stands in arguments is no call of their task, but of the one that made the call. (The root's own are shown
        below it, having nowhere else to stand.)
        """
        owner: Job | None = parent
        while owner is not None and owner.state is ARGUMENTS:
            owner = owner.parent
        return owner.children if owner is not None else parent.execution.beside_root

    def _move(self, job: Job, to: State) -> None:
        """Move a job, and keep count of what is in flight."""
        execution = job.execution
        before = job.state
        job.move(to)
        if before is RUNNING:
            execution.count(job, "running", -1)
        elif before is LOOKUP:
            execution.looking -= 1
        if to is RUNNING:
            execution.count(job, "running")
        elif to is LOOKUP:
            execution.looking += 1
        was_in_flight = before in IN_FLIGHT
        if to in IN_FLIGHT:
            if not was_in_flight:
                execution.in_flight += 1
                self._jobs[job.number] = job
        elif was_in_flight:
            execution.in_flight -= 1
            self._jobs.pop(job.number, None)

    # --- attempts ---------------------------------------------------------------------------------------------------

    def _start(self, job: Job) -> None:
        """Send an attempt, if what the job holds while it runs can be had now."""
        under = nesting.under_of(job, self.capacity.declared) if job.entry.name == SUBRUN else None
        if under is not None and under.depth > nesting.MOST_DEEP:
            self._fail(job, attempts.nested_too_deep(nesting.MOST_DEEP))
            return
        if "limits" in job.options and (text := nesting.limits_text(job)) is not None:
            self._warn(job.execution, text)
        fits = self.capacity.take(job)
        if self.capacity.unknown:
            self._warn(job.execution, unknown_text(self.capacity.unknown))
            self.capacity.unknown.clear()
        if not fits:
            return
        job.attempt += 1
        self._move(job, RUNNING)
        arguments = provenance.with_job_info(job) if job.entry.job_info else job.bound
        self._out.append(
            commands.RunTask(
                job.number,
                job.attempt,
                job.execution.execution_id,
                job.job_id,
                job.entry,
                arguments,
                job.options,
                job.losses,
                job.awaits.outcomes if job.awaits is not None else None,
                under,
            )
        )

    def _warn(self, execution: Execution, text: str) -> None:
        """Tell whoever watches, once."""
        if text not in execution.told:
            execution.told.add(text)
            self._out.append(commands.Warn(text))

    def _running(self, number: int, attempt: int) -> Job | None:
        """The job that this answer is for; None for an answer that is late, repeated or unknown."""
        job = self._jobs.get(number)
        if job is None or job.state is not RUNNING or job.attempt != attempt:
            return None
        return job

    def _end_attempt(self, job: Job) -> None:
        for waiting in self.capacity.give_back(job):
            self._start(waiting)

    def _again_or_fail(self, job: Job, delay: float | None, failure: Failure) -> None:
        if delay is None:
            self._fail(job, failure)
            return
        self._move(job, HELD)
        if delay > 0:
            # Each timer has a number of its own: one that fires twice must not start the next attempt, too.
            self._numbers += 1
            self._retries[self._numbers] = job
            self._out.append(commands.SetTimer(("retry", self._numbers), delay))
        else:
            self._start(job)

    def _awaited_known(self, cell: Cell) -> None:
        """All that a body awaits has settled, well or not: enter it again."""
        ((job, _),) = cell.waiters
        assert isinstance(job, Job)
        if not job.is_open:
            return
        if not job.wanted:
            self._fail(job, attempts.cancelled())
            return
        assert job.awaits is not None
        job.awaits.outcomes.update(zip(cell.expression, cell.values, strict=True))
        if job.awaits.strays > MOST_STRAYS:
            self._fail(job, attempts.unsteady(job))
            return
        self._move(job, HELD)
        self._start(job)

    # --- cells that wait for an answer ------------------------------------------------------------------------------

    def _number(self, cell: Cell) -> None:
        """Give a cell a number, so that an answer finds it."""
        self._numbers += 1
        cell.number = self._numbers
        self._cells[cell.number] = cell

    def _answered(self, cell: Cell) -> list[Cell]:
        """The operation that this cell asked for is known; all cells that wait for it, this one first."""
        execution = cell.scope.execution
        execution.in_flight -= 1
        self._cells.pop(cell.number, None)
        assert cell.key is not None
        return execution.operations.pop(cell.key)

    # --- the end of a job -------------------------------------------------------------------------------------------

    def _follow(self, job: Job, twin: Job) -> None:
        """The twin has ended: end alike."""
        if isinstance(twin.outcome, Failure):
            self._fail(job, twin.outcome, own=False)
            return
        job.call_hash = twin.call_hash
        job.value_hash = twin.value_hash
        job.task_set = twin.task_set
        # What its own arguments have read and begun is its own.
        job.clean = twin.clean and (job.below is None or job.below.is_clean)
        job.fleeting = twin.fleeting
        if twin.reads is not None:
            job.note_reads(twin.reads)
        if twin.seen is not None:
            job.seen = witnessing.joined(job.seen, twin.seen)
        job.oldest = twin.queued_at if twin.oldest is None else twin.oldest
        job.outcome = twin.outcome
        self._close(job, DONE, is_left_to_follower=not twin.is_recorded)

    def _fail(self, job: Job, failure: Failure, own: bool = True) -> None:
        """End a job with an error: its own, or one that it only passes on."""
        execution = job.execution
        if own:
            failure = self._noted(failure, job)
        if execution.fatal is not None and job is execution.root:
            failure = execution.fatal  # what was cancelled because of it may stand before it
        job.outcome = failure
        job.clean = False
        is_fatal = execution.fail_fast and execution.wanted and stories.dooms(job)
        self._close(job, FAILED)
        if is_fatal and execution.wanted:  # it may have been stopped with an equal job by now
            execution.fatal = failure
            self._stop(execution)

    def _stop(self, execution: Execution) -> None:
        """Nobody wants an execution any more: start nothing, and end what runs."""
        execution.wanted = False
        for job in list(execution.open.values()):
            job.wanted = False
            if job.state is RUNNING:
                # What runs ends when it ends: its answer, whatever it is, closes the job.
                self._out.append(commands.Stop(job.number, job.attempt))
            elif job.state is HELD:
                self.capacity.drop(job)
                self._fail(job, attempts.cancelled())

    def _noted(self, failure: Failure, job: Job, expression: Expression | None = None) -> Failure:
        """A failure that happened in this job, with the calls that led to it; listed among the execution's.

        expression: the operation in the job's term that failed, where it was not the task itself.
        """
        if not failure.trail:
            trail = stories.trail_of(job)
            if expression is not None:
                trail = (*trail, stories.made_text(expression, job))
            failure = replace(failure, trail=trail)
        if not failure.is_cancelled and len(job.execution.failures) < MOST_FAILURES:
            # Without the exception itself: of many failures that were caught, nobody raises any.
            told = failure if failure.pickled is None else replace(failure, pickled=None)
            job.execution.failures.append((job, told))
        return failure

    def _record(self, job: Job, rows: tuple[Row, ...]) -> None:
        """Have rows kept that a job leaves, unless nothing of it is."""
        if rows and job.is_recorded:
            self._out.append(commands.Record(rows))

    def _close(self, job: Job, state: State, is_left_to_follower: bool = False) -> None:
        """A job is over: record it, tell who waits, and let go of what only an open job needs.

        is_left_to_follower: it follows a job of which nothing is recorded, and so leaves their call node itself.
        """
        execution = job.execution
        self._move(job, state)
        execution.open.pop(job.number, None)
        self._jobs.pop(job.number, None)
        if job.is_recorded:
            rows = provenance.closing_rows(job, self._now, is_left_to_follower)
            self._out.append(commands.Record(tuple(rows)))
        how = job.how or "computed"
        if state is FAILED:
            assert isinstance(job.outcome, Failure)
            how = "cancelled" if job.outcome.is_cancelled else "failed"
        execution.counts[how] += 1
        execution.count(job, "open", -1)
        execution.count(job, how)
        for target, slot in job.waiters:
            self._fills.append((target, slot, job.outcome, (job,)))
        for follower in job.followers or ():
            if follower.is_open:
                self._follow(follower, job)
        job.let_go()
        if job is execution.root and not execution.threads:
            self._finish(execution, job)

    def _finish(self, execution: Execution, root: Job) -> None:
        del self.executions[execution.execution_id]
        execution.demands.clear()
        if isinstance(root.outcome, Failure):
            self._tell_first(execution, root, root.outcome)
        for job in execution.open.values():
            self._jobs.pop(job.number, None)
        self._out.append(
            commands.Finish(
                execution.execution_id,
                root.outcome,
                tuple((_shown(job).job_id, job.entry.name, failure) for job, failure in execution.failures),
                execution.counts,
                execution.progress,
                root.value_hash,
                nesting.below_of(execution, root) if execution.under is not None else None,
                execution.is_torn,
            )
        )

    def _tell_first(self, execution: Execution, root: Job, last: Failure) -> None:
        """What an execution ends with stands before what was caught, or would not have ended it."""
        failures = execution.failures
        own = ((last.digest, last.trail) == (failure.digest, failure.trail) for _, failure in failures)
        place = next((place for place, is_own in enumerate(own) if is_own), None)
        if place is not None:
            failures.insert(0, (failures.pop(place)[0], replace(last, pickled=None)))
        elif len(failures) == MOST_FAILURES:  # the rest was left out
            failures.insert(0, (root, replace(last, pickled=None)))

    def _write_openings(self, at: int) -> None:
        """Opening rows for jobs that have been open for long, and for the jobs above them; not too many at once."""
        oldest = at - int(OPENING_SECONDS * 1_000_000)
        rows: list[JobRow] = []
        while self._young and self._young[0][0] <= oldest and len(rows) < OPENING_ROWS:
            job: Job | None = _shown(self._young.popleft()[1])
            while job is not None and job.is_open and not job.listed and job.is_recorded:
                job.listed = True
                rows.append(provenance.job_row(job, None))
                job = job.parent
        if rows:
            self._out.append(commands.Record(tuple(rows)))
        if self._young:
            self._opening_set = True
            self._out.append(commands.SetTimer(OPENING_TIMER, OPENING_SECONDS))


def _shown(job: Job) -> Job:
    """The job, or the nearest above it of which there are records."""
    while not job.is_recorded and job.parent is not None:
        job = job.parent
    return job
