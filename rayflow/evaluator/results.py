"""The value of a job: what it sums up of the jobs below.

In: a job whose term is reduced. Out: the job with its hashes, closed. Never: reduces a term.

Reads the children of the job. Changes: the job.
"""

from __future__ import annotations

from collections.abc import Iterable

from rayflow.evaluator import lookups, witnessing
from rayflow.evaluator.closing import close, fail, remember_whole
from rayflow.evaluator.graph import Job, Vector
from rayflow.evaluator.hashes import call_hash_of, hash_of
from rayflow.evaluator.inheritance import left_open
from rayflow.evaluator.job_states import DONE
from rayflow.evaluator.own_failures import cancelled
from rayflow.evaluator.state import State
from rayflow.values.failures import Failure, Outcome


def take_result(state: State, job: Job, outcome: Outcome) -> None:
    """A job's term is reduced to this outcome: end the job with it."""
    if job.is_settled:
        return
    if job is job.execution.root and not job.execution.wanted and not isinstance(outcome, Failure):
        outcome = cancelled()  # it came while clean-ups ran
    if isinstance(outcome, Failure):
        fail(state, job, outcome, own=False)
        return
    job.outcome = outcome
    job.value_hash = hash_of(outcome)
    if job.call_hash is None:
        job.call_hash = call_hash_of(job)
    if job.work.children or job.work.below is not None:
        _sum_up_children(job)
    if job.standing is not None and (job.standing.is_pinned or job.entry.is_effect):
        job.fleeting = True
    was_final = job.task_set is not None
    if not was_final:
        job.task_set = job.execution.task_set_of(job)
    if job.clean and not was_final and job.is_recorded and lookups.is_kept_whole(job):
        # Before it closes: the root's closing ends the execution, and what comes later is not committed.
        remember_whole(state, job)
    tells_value = lookups.tells_value(job)
    if job.seen is not None and lookups.is_shallow(job):
        job.seen = witnessing.hidden(job.seen, outcome)
    close(state, job, DONE, tells_value=tells_value)


def _sum_up_children(job: Job) -> None:
    """Collect from the jobs below: whether all went well, context paths, witnesses, and the oldest record's age."""
    job.clean = all(child.clean for child in job.work.children) and (job.work.below is None or job.work.below.is_clean)
    job.fleeting = job.work.below is not None and job.work.below.is_fleeting
    for child in job.work.children:
        if not job.fleeting and lookups.is_fleeting(child):
            job.fleeting = True
        if child.reads is not None:
            _note_reads(job, child)
        if child.seen is not None:
            job.seen = witnessing.joined(job.seen, child.seen)
        if child.oldest is not None and (job.oldest is None or child.oldest < job.oldest):
            job.oldest = child.oldest


def _note_reads(job: Job, child: Job | Vector) -> None:
    """Note the context paths that were read below a child, except the paths that a call on the way to it sets."""
    paths: Iterable[str] = child.reads or ()
    step: Job | Vector | None = child
    while step is not None and step is not job:
        paths = left_open(paths, step.options)
        step = step.parent
    job.note_reads(paths)
