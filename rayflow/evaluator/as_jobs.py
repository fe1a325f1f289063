"""Jobs in place of members of vectors.

In: a vector, and which member is meant. Out: a job in the member's state, as if it had always been one. Never: changes
the vector, or tells anyone of the job.
"""

from __future__ import annotations

from rayflow.evaluator.graph import Job, UnrecordedReturn, Vector
from rayflow.evaluator.job_states import DONE, HELD, LOOKUP, RESULT, RUNNING, JobState
from rayflow.evaluator.lookups import remember_key
from rayflow.evaluator.paths import child_path
from rayflow.evaluator.rows import reduction_row
from rayflow.lang.terms.codec import dumps


def as_job(vector: Vector, place: int) -> Job:
    """An open member as a job that nothing knows yet."""
    execution = vector.execution
    job = Job(
        vector.first + place, vector.job_ids[place], execution, vector.parent, None, vector.entry, vector.queued_at
    )
    work = job.work
    work.ordinal = vector.ordinals[place]
    job.options, job.hands_down = vector.options, vector.hands_down
    work.bound = dict(zip(vector.names, vector.arguments[place], strict=True))
    work.args_hash, job.eval_hash = vector.args_hashes[place], vector.eval_hashes[place]
    work.ready_at = vector.queued_at
    steps: list[JobState] = [LOOKUP] if vector.is_asked else []
    if vector.states[place] == RUNNING:
        work.attempt = 1
        work.missed = vector.missed
        work.sent_at = vector.sent_at
        steps += HELD, RUNNING
    for step in steps:
        job.move(step)
    return job


def done_job(vector: Vector, place: int) -> Job:
    """A closed job in place of a member that is done, with all that an equal call may ask of it."""
    execution = vector.execution
    # The path of its call is all that is left of its id.
    job_id = child_path(vector.path, "part", vector.positions[place])
    job = Job(vector.first + place, job_id, execution, vector.parent, None, vector.entry, vector.queued_at)
    job.options, job.hands_down = vector.options, vector.hands_down
    job.eval_hash, job.value_hash = vector.eval_hashes[place], vector.value_hashes[place]
    job.call_hash, job.task_set = vector.call_hash_of[place], vector.task_set
    job.outcome = vector.outcomes[place]
    job.oldest = vector.ages[place] if vector.ages is not None else None
    job.how = vector.hows[place]
    for step in ([LOOKUP] if vector.is_asked else []) + ([HELD, RUNNING] if job.how == "computed" else []):
        job.move(step)
    job.move(RESULT)
    if job.how == "computed" and not job.hands_down.is_recorded:
        row = reduction_row(job, remember_key(job), dumps(job.outcome), vector.queued_at)
        job.unrecorded = UnrecordedReturn(row, ())
    job.move(DONE)
    job.let_go()
    return job
