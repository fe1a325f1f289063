"""Who does the work: equal calls of one execution share it, and calls under another context share a part of it.

In: jobs whose arguments are values, contexts that are read, jobs whose value is known. Out: look-ups, attempts, jobs
that follow others. Never: walks a term.

Equal calls under one context are one piece of work. Under several contexts the body runs once, and the term that it
returned is reduced once a context, unless it is known that all that was read of the context is alike.
"""

from __future__ import annotations

from collections.abc import Iterable

from rayflow.errors import BadOption
from rayflow.evaluator import commands, lookups, provenance, witnessing
from rayflow.evaluator.cells import Cell
from rayflow.evaluator.executions import IN_FLIGHT
from rayflow.evaluator.inheritance import ABSENT, left_open
from rayflow.evaluator.jobs import DONE, HELD, LOOKUP, RESULT, SHARED, Job
from rayflow.evaluator.paths import below
from rayflow.evaluator.stepping import BECOME_SLOT, Stepper
from rayflow.lang.expressions import Term
from rayflow.lang.operations import SUBRUN
from rayflow.lang.options import scope_of
from rayflow.values.digests import digest
from rayflow.values.failures import Failure, Outcome, failure_from_exception

CONTEXT = "get_context"
"""The form that reads the context: not a rule of its own, since rules see outcomes and nothing else."""


class Sharer(Stepper):
    """The machine, with what equal calls have in common."""

    def _identify(self, job: Job) -> None:
        """All arguments are values: form the hashes, share with an equal job, else ask the cache."""
        execution = job.execution
        job.args_hash = provenance.args_hash_of(job)
        eval_hash = job.eval_hash = provenance.eval_hash_of(job)
        if scope_of(job.options) != "NONE":
            twin = execution.shared.setdefault(eval_hash, job)
            if twin is not job:
                if twin.hands_down is job.hands_down or twin.hands_down.has_context_of(job.hands_down):
                    self._share(job, twin)
                else:
                    self._share_across(job, twin)
                return
        key = lookups.key_of(job)
        if key is None:
            self._move(job, HELD)
            self._start(job)
        else:
            self._look_up(job, key)

    def _look_up(self, job: Job, key: bytes) -> None:
        self._move(job, LOOKUP)
        self._out.append(commands.LookUp(job.number, key, job.entry.hash))

    def _share_across(self, job: Job, first: Job) -> None:
        """An equal job under another context does the work: its term is shared, and reduced here under this one.

        Nothing is left to do where it is known that what was read of the context is the same here.
        """
        if first.state is DONE and first.clean and job.hands_down.agrees(lookups.context_read(first)):
            self._share(job, first)
            return
        assert job.eval_hash is not None
        key = digest("shared", job.eval_hash, job.hands_down.digest)
        twin = job.execution.shared.setdefault(key, job)
        if twin is not job:
            self._share(job, twin)
        elif job.entry.name != SUBRUN and (
            RESULT not in first.trail or (first.state in IN_FLIGHT and first.awaits is None)
        ):
            self._share(job, first)  # until its body has returned, or awaits; if that fails, this fails alike
        else:
            self._look_up(job, lookups.remember_key(job))

    def _part_contexts(self, job: Job) -> None:
        """The term of a job is known, and kept: jobs of other contexts that wait for it take it up from there."""
        followers = job.followers or ()
        job.followers = [each for each in followers if each.hands_down.has_context_of(job.hands_down)]
        for each in followers:
            if each.is_open and not each.hands_down.has_context_of(job.hands_down):
                self._look_up(each, lookups.remember_key(each))

    def _share(self, job: Job, twin: Job) -> None:
        job.how = "shared"
        if twin.is_open:
            self._move(job, SHARED)
            if twin.followers is None:
                twin.followers = []
            twin.followers.append(job)
        else:
            self._follow(job, twin)

    # --- what was read of the context -------------------------------------------------------------------------------

    def _read_context(self, cell: Cell, path: str, default: Term) -> None:
        """The value behind a path of the context, or the default."""
        scope = cell.scope
        scope.note_reads((path,))
        try:
            found = scope.hands_down.value_at(path)
        except BadOption as error:
            self._settle(cell, self._noted(failure_from_exception(error), scope), ())
            return
        if found is ABSENT:
            self._demand(default, scope, below(cell.path, "default", 0), cell, BECOME_SLOT)
        else:
            self._settle(cell, found, ())

    def _note_reads(self, job: Job, child: Job) -> None:
        """Note what was read of the context below a child, but for what is settled on the way to it."""
        paths: Iterable[str] = child.reads or ()
        step: Job | None = child
        while step is not None and step is not job:
            paths = left_open(paths, step.options)
            step = step.parent
        job.note_reads(paths)

    # --- the value ----------------------------------------------------------------------------------------------------

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
        job.clean = all(child.clean for child in job.children) and (job.below is None or job.below.is_clean)
        job.fleeting = job.below is not None and job.below.is_fleeting
        for child in job.children:
            if not job.fleeting and lookups.is_fleeting(child):
                job.fleeting = True
            if child.reads is not None:
                self._note_reads(job, child)
            if child.seen is not None:
                job.seen = witnessing.joined(job.seen, child.seen)
            if child.oldest is not None and (job.oldest is None or child.oldest < job.oldest):
                job.oldest = child.oldest
        taken_whole = job.task_set is not None
        if not taken_whole:
            job.task_set = job.execution.task_set_of(job)
        if job.clean and not taken_whole and job.is_recorded and lookups.is_kept_whole(job):
            # Before it closes: the root's closing ends the execution, and with it what is committed.
            key = lookups.remember_key(job)
            witnesses = witnessing.collected(job.seen, lookups.is_shallow(job))
            if witnesses is not None:
                row = provenance.full_reduction_row(job, key, lookups.context_read(job), witnesses, self._now)
                self._out.append(commands.Remember(row))
        if job.seen is not None and lookups.is_shallow(job):
            job.seen = witnessing.hidden(job.seen, outcome)
        self._close(job, DONE)
