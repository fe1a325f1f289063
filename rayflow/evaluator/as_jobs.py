"""Jobs in place of members of vectors.

In: a vector, and which member is meant. Out: a job in the member's state, as if it had always been one. Never: changes
the vector, or tells anyone of the job.
"""

from __future__ import annotations

from collections.abc import Sequence

from rayflow.evaluator.graph import Job, UnrecordedReturn, Vector
from rayflow.evaluator.job_states import DONE, HELD, LOOKUP, RESULT, RUNNING, JobState
from rayflow.evaluator.lookups import remember_key
from rayflow.evaluator.paths import child_path
from rayflow.evaluator.rows import reduction_row
from rayflow.lang.terms.codec import dumps


def as_job(vector: Vector, place: int) -> Job:
    """An open member as a job that nothing knows yet."""
    is_running = vector.states[place] == RUNNING
    job = _job(vector, place, vector.job_ids[place], (HELD, RUNNING) if is_running else ())
    work = job.work
    work.ordinal = vector.ordinals[place]
    work.bound = dict(zip(vector.names, vector.arguments[place], strict=True))
    work.args_hash = vector.args_hashes[place]
    work.ready_at = vector.queued_at
    if is_running:
        work.attempt = 1
        work.missed = vector.missed
        work.sent_at = vector.sent_at
    return job


def done_job(vector: Vector, place: int) -> Job:
    """A closed job in place of a member that is done, with all that an equal call may ask of it."""
    how = vector.hows[place]
    # The path of its call is all that is left of its id.
    job_id = child_path(vector.path, "part", vector.positions[place])
    job = _job(vector, place, job_id, (HELD, RUNNING, RESULT) if how == "computed" else (RESULT,))
    job.value_hash, job.call_hash = vector.value_hashes[place], vector.call_hash_of[place]
    job.task_set = vector.task_set
    job.outcome, job.how = vector.outcomes[place], how
    job.oldest = vector.ages[place] if vector.ages is not None else None
    if job.how == "computed" and not job.hands_down.is_recorded:
        row = reduction_row(job, remember_key(job), dumps(job.outcome), vector.queued_at)
        job.unrecorded = UnrecordedReturn(row, ())
    job.move(DONE)
    job.let_go()
    return job


def _job(vector: Vector, place: int, job_id: bytes, steps: Sequence[JobState]) -> Job:
    """What every member has in common with its vector. steps: its moves after the look-up, if the store was asked."""
    job = Job(vector.first + place, job_id, vector.execution, vector.parent, None, vector.entry, vector.queued_at)
    job.options, job.hands_down = vector.options, vector.hands_down
    job.eval_hash = vector.eval_hashes[place]
    for step in (LOOKUP, *steps) if vector.is_asked else steps:
        job.move(step)
    return job
