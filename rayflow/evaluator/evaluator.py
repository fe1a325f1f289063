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

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rayflow.errors import Bug, Unanswered
from rayflow.evaluator import attempts, commands, events, lookups, provenance, stories, witnessing
from rayflow.evaluator.awaiting import Awaits
from rayflow.evaluator.cells import AWAITED_SLOT, RESULT_SLOT, Cell, Kind
from rayflow.evaluator.executions import Execution
from rayflow.evaluator.jobs import HELD, LOOKUP, RESULT, Job
from rayflow.evaluator.machine import OPENING_TIMER
from rayflow.evaluator.paths import awaited_path, below
from rayflow.evaluator.reduction import Reducer
from rayflow.evaluator.stepping import OPERATIONS
from rayflow.evaluator.writers import conflict
from rayflow.lang.codec import WITH_WITNESSES, loads
from rayflow.lang.entries import TaskEntry
from rayflow.lang.expressions import TaskCall, Term
from rayflow.lang.operations import SUBRUN
from rayflow.lang.signatures import Parameters
from rayflow.records import ReductionRow
from rayflow.values.digests import digest, short_digest

ROOT = TaskEntry(name="<expression>", hash=digest("root"), parameters=Parameters((), (), frozenset()))
"""The task of a root that is no task call: it returns the root term."""


class Evaluator(Reducer):
    """All executions of one scheduler.

    limits: capacities by name; a limit that is not named has capacity 1.
    """

    def __init__(self, limits: Mapping[str, float] | None = None) -> None:
        super().__init__(limits)
        self._handlers: dict[type, Callable[[Any], None]] = {
            events.Submitted: self._submitted,
            events.LookedUp: self._looked_up,
            events.Returned: self._returned,
            events.Paused: self._paused,
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

    def explain(self, execution_id: str) -> dict[str, dict[str, int]]:
        """Counts by task name: open, running, computed, cached, shared, failed."""
        execution = self.executions.get(execution_id)
        return {name: dict(row) for name, row in execution.progress.items()} if execution else {}

    # --- one method for each event ----------------------------------------------------------------------------------

    def _submitted(self, event: events.Submitted) -> None:
        if event.execution_id in self.executions:
            return  # a submission that was repeated because its acknowledgement was lost
        execution = Execution(
            event.execution_id, event.table, event.options, event.cache, event.life, event.at, event.context,
            event.profiles, event.under, event.fail_fast, event.project_dir,
        )
        self.executions[event.execution_id] = execution
        term = loads(event.root)
        root_id = short_digest("job", execution.seed)
        if type(term) is TaskCall:
            self._meet(term, execution, None, root_id)
        else:
            root = self._new_job(execution, None, None, ROOT, root_id)
            root.how = "computed"
            root.args_hash = digest("args")
            root.move(RESULT)
            self._demand(term, root, below(root_id, "result", 0), root, RESULT_SLOT)
        if execution.root is not None:
            execution.root.seen = witnessing.in_term(execution.root.seen, event.root)

    def _looked_up(self, event: events.LookedUp) -> None:
        cell = self._cells.get(event.asker)
        if cell is not None:
            self._operation_looked_up(cell, event)
            return
        job = self._jobs.get(event.asker)
        if job is None or job.state is not LOOKUP:
            return
        hit = lookups.choose(job, event.candidates, event.at) if job.wanted else None
        if not job.wanted:
            self._fail(job, attempts.cancelled())
        elif hit is None:
            self._move(job, HELD)
            self._start(job)
        else:
            own = hit.candidate.execution_id == job.execution.execution_id
            job.how = "shared" if own else "cached"
            job.oldest = hit.candidate.at
            self._move(job, RESULT)
            if hit.candidate.kind != "single":
                job.task_set = hit.candidate.task_set
                job.call_hash = hit.candidate.call_hash
                if hit.candidate.context:
                    job.note_reads(hit.candidate.context)
            if job.followers:
                self._part_contexts(job)
            self._take_result(job, hit.candidate.term, hit.term)

    def _returned(self, event: events.Returned) -> None:
        job = self._running(event.job, event.attempt)
        if job is None:
            return
        if event.below is not None:
            job.execution.count_below(event.below)
            for text in event.below.warnings:
                self._warn(job.execution, text)
        term = self._taken_in(job, event)
        if not job.is_open:
            return
        if event.below is not None:
            job.below = event.below
            if event.below.reads:
                job.note_reads(event.below.reads)
            job.seen = witnessing.in_term(job.seen, event.below.witnesses)
            job.oldest = event.below.oldest
        elif job.awaits is None and job.is_recorded:
            self._out.append(
                commands.Remember(provenance.reduction_row(job, lookups.remember_key(job), event.term, event.at))
            )
        self._move(job, RESULT)
        if job.followers:
            self._part_contexts(job)
        self._take_result(job, event.term, term)

    def _take_result(self, job: Job, packed: bytes, term: Term) -> None:
        """Reduce what a body returned, unless it has overwritten a file of another job's."""
        if packed[:1] == WITH_WITNESSES:
            failure = conflict(job, packed, term)
            if failure is not None:
                self._fail(job, failure)
                return
            job.seen = witnessing.in_term(job.seen, packed)
        self._reduce_result(job, term)

    def _paused(self, event: events.Paused) -> None:
        job = self._running(event.job, event.attempt)
        if job is None:
            return
        if job.awaits is None:
            job.awaits = Awaits()
        asked = self._taken_in(job, event)
        if not job.is_open:
            return
        has_strayed, terms = asked
        job.seen = witnessing.in_term(job.seen, event.term)
        job.awaits.strays += has_strayed
        self._move(job, RESULT)
        if job.followers:
            self._part_contexts(job)  # what the body awaits may be something else there
        cell = Cell(Kind.AWAITED, tuple(terms), job, job.job_id, len(terms))
        cell.waiters.append((job, AWAITED_SLOT))
        cell.missing = len(terms)
        for position, (key, term) in enumerate(terms.items()):
            self._demand(term, job, awaited_path(job, key), cell, position)

    def _taken_in(self, job: Job, event: events.Returned | events.Paused) -> Term:
        """A body has come back: its attempt ends. What it brings; the job is closed when nobody wants it any more."""
        job.cost = event.cost if job.awaits is None else job.awaits.add_cost(event.cost)
        self._end_attempt(job)
        self._record(job, event.rows)
        if not job.wanted:
            self._fail(job, attempts.cancelled())
            return None
        if event.entries:
            self._learn(job.execution, event.entries)
        job.how = "computed"
        try:
            return loads(event.term)
        except ValueError as error:
            raise Bug(f"A worker sent a result that cannot be read: {error}. {job.describe()}") from error

    def _learn(self, execution: Execution, entries: tuple[TaskEntry, ...]) -> None:
        """Take in tasks that a body has met."""
        for text in execution.learn(entries):
            self._warn(execution, text)

    def _raised(self, event: events.Raised) -> None:
        job = self._running(event.job, event.attempt)
        if job is None:
            return
        job.cost = event.cost if job.awaits is None or event.cost is None else job.awaits.add_cost(event.cost)
        job.how = "computed"
        job.raised += 1
        if job.entry.name == SUBRUN and (event.below is None or event.below.is_torn):
            job.execution.is_torn = True
        for text in event.below.warnings if event.below is not None else ():
            self._warn(job.execution, text)
        self._end_attempt(job)
        node, pid = (event.cost.node, event.cost.pid) if event.cost else (None, None)
        ended = "timeout" if "rayflow.errors.TaskTimeout" in event.failure.classes else "raised"
        row = provenance.attempt_row(job, ended, event.failure.summary[:4000], node, pid, event.at)
        self._record(job, (*event.rows, row))
        delay = attempts.retry_delay(job, event.failure) if job.wanted else None
        if delay is None and event.below is not None:
            # Of an attempt that is made again, the next one counts the same jobs.
            job.execution.count_below(event.below)
        if not job.wanted:
            self._fail(job, attempts.cancelled())
            return
        if job.awaits is not None and job.awaits.passes_on(event.failure):
            # As for a call in a term: the error is its own, and what needs it fails with it.
            self._fail(job, event.failure, own=False)
            return
        self._again_or_fail(job, delay, event.failure)

    def _worker_lost(self, event: events.WorkerLost) -> None:
        job = self._running(event.job, event.attempt)
        if job is None:
            return
        job.losses += 1
        if job.entry.name == SUBRUN:
            job.execution.is_torn = True
        self._end_attempt(job)
        row = provenance.attempt_row(job, "lost", event.reason, event.node, event.pid, event.at)
        self._record(job, (row,))
        if not job.wanted:
            self._fail(job, attempts.cancelled())
            return
        delay = attempts.loss_delay(job, event.fatal)
        self._again_or_fail(job, delay, attempts.worker_lost(job, event.reason))

    def _operated(self, event: events.Operated) -> None:
        cell = self._cells.get(event.asker)
        if cell is None:
            return
        execution = cell.scope.execution
        cells = self._answered(cell)
        is_recorded = any(each.scope.hands_down.is_recorded for each in cells)
        if event.rows and is_recorded:
            self._out.append(commands.Record(event.rows))
        if event.term is None or not execution.wanted:
            failure = event.failure or attempts.cancelled()
            for each in cells:
                self._settle(each, self._noted(failure, each.scope, each.expression), each.all_sources())
            return
        assert cell.key is not None
        self._learn(execution, event.entries)
        row = ReductionRow(
            cell.key, OPERATIONS, "single", event.term, None, None, None, execution.execution_id, None, event.at
        )
        if is_recorded:
            self._out.append(commands.Remember(row))
        self._become(cells, event.term)

    def _timer_fired(self, event: events.TimerFired) -> None:
        if event.name == OPENING_TIMER:
            self._opening_set = False
            self._write_openings(event.at)
            return
        job = self._retries.pop(event.name[1], None)
        if job is not None and job.state is HELD:
            self._start(job)

    def _cancelled(self, event: events.Cancelled) -> None:
        execution = self.executions.get(event.execution_id)
        if execution is None or not execution.wanted:
            return
        self._stop(execution)

    def _break_cycle(self, execution: Execution) -> None:
        """Nothing can bring news, and the root is not settled: jobs wait for each other. Fail one of them."""
        circle = stories.find_cycle(execution)
        if circle is None:
            open_jobs = "; ".join(job.describe() for job in list(execution.open.values())[:10])
            raise Unanswered(f"Execution {execution.execution_id} waits for nothing that can come. {open_jobs}")
        self._fail(circle[0], attempts.cyclic(stories.cycle_text(circle)))
