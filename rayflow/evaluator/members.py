"""Members of vectors that go on as jobs of their own, because something about them is special.

In: a vector, and which member is meant. Out: a `Job` in the member's state, as if it had always been one. Never: closes
a job.

Changes: the vector, and the job around; of the execution open, vectors and shared; of the State jobs, vectors, young.
"""

from __future__ import annotations

from rayflow.evaluator.graph import (
    BLOCK_BITS,
    LEFT,
    MOST_MEMBERS,
    Execution,
    Job,
    UnrecordedReturn,
    Vector,
    as_job,
    siblings_in,
)  # fmt: skip
from rayflow.evaluator.job_states import DONE, HELD, LOOKUP, RESULT, RUNNING, JobState
from rayflow.evaluator.lookups import remember_key
from rayflow.evaluator.opening_rows import note_young
from rayflow.evaluator.paths import child_path
from rayflow.evaluator.rows import reduction_row
from rayflow.evaluator.state import State
from rayflow.lang.terms.codec import dumps


def member_in(state: State, number: int, of_state: JobState) -> tuple[Vector, int] | None:
    """The vector and the place of the member with this number, if it is in this state."""
    vector = state.vectors.get(number >> BLOCK_BITS)
    place = number & (MOST_MEMBERS - 1)
    if vector is None or place >= len(vector.states) or vector.states[place] != of_state:
        return None
    return vector, place


def job_in(state: State, number: int, of_state: JobState) -> Job | None:
    """The job of this number, if it is in this state. A member of a vector leaves it for that."""
    job = state.jobs.get(number)
    if job is None:
        found = member_in(state, number, of_state)
        return None if found is None else leave(state, *found)
    return job if job.state is of_state else None


def leave(state: State, vector: Vector, place: int) -> Job:
    """Let an open member go on as a job."""
    job = as_job(vector, place)
    execution = vector.execution
    vector.states[place] = LEFT
    vector.open -= 1
    if not vector.open and not vector.is_asking:
        forget(state, vector)
    execution.open[job.number] = state.jobs[job.number] = job
    siblings = siblings_in(vector.parent)
    if siblings is not None:
        siblings.append(job)
    assert job.eval_hash is not None
    if execution.shared.get(job.eval_hash) is vector:
        execution.shared[job.eval_hash] = job
    job.waiters.append((vector.cell, vector.positions[place]))
    note_young(state, job)
    return job


def forget(state: State, vector: Vector) -> None:
    """No member is open any more, and no answer can be for this vector."""
    vector.let_go()
    state.vectors.pop(vector.first >> BLOCK_BITS, None)
    vector.execution.vectors.pop(vector.first, None)


def leave_all(state: State, execution: Execution) -> None:
    """Let all open members of an execution go on as jobs."""
    for vector in list(execution.vectors.values()):
        for of_state in (LOOKUP, RUNNING):
            for place in vector.in_state(of_state):
                leave(state, vector, place)


def twin_in(state: State, vector: Vector, eval_hash: bytes) -> Job:
    """The job of the member with this key, for an equal call to share. An open member leaves the vector for that."""
    place = vector.place_of(eval_hash)
    if vector.states[place] != DONE:
        return leave(state, vector, place)
    job = vector.execution.shared[eval_hash] = _done_job(vector, place)
    return job


def _done_job(vector: Vector, place: int) -> Job:
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
