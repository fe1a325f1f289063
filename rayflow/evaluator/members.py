"""Members of vectors that go on as jobs of their own, because something about them is special.

In: a vector, and which member is meant. Out: a `Job` in the member's state, as if it had always been one. Never: closes
a job.

Changes: the vector, and the job around; of the execution open, vectors and shared; of the State jobs, vectors, young.
"""

from __future__ import annotations

from rayflow.evaluator.as_jobs import as_job, done_job
from rayflow.evaluator.graph import BLOCK_BITS, LEFT, MOST_MEMBERS, Execution, Job, Vector
from rayflow.evaluator.job_states import ARGUMENTS, DONE, LOOKUP, RUNNING, JobState
from rayflow.evaluator.opening_rows import note_young
from rayflow.evaluator.state import State


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
    job = vector.execution.shared[eval_hash] = done_job(vector, place)
    return job


def siblings_in(parent: Job) -> list[Job | Vector] | None:
    """The list of children to which a call in this job's term is added; None if no list needs it.

    A call in the arguments of another call is a child of the job that made both, not of the other call. (The calls in
    the root's own arguments are shown below the root, because there is no other place.)
    """
    owner: Job | None = parent
    while owner is not None and owner.state is ARGUMENTS:
        owner = owner.parent
    if owner is None:
        return parent.execution.beside_root
    return owner.work.children if owner.is_open else None  # closed: a clean-up that outlives the job
