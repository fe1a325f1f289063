"""Opening rows: jobs that stay open for long are recorded as open, so that a crash shows what was in flight.

In: a new job, or an `OpeningTimer`. Out: rows of open jobs, the next timer. Never: closes a job.

Changes young, opening_set and out of the State, and `listed` of a job.
"""

from __future__ import annotations

from rayflow.evaluator.commands import Record, SetTimer
from rayflow.evaluator.explanations import nearest_recorded
from rayflow.evaluator.graph import Job
from rayflow.evaluator.rows import job_row
from rayflow.evaluator.state import State
from rayflow.evaluator.timers import OpeningTimer
from rayflow.records import JobRow

OPENING_SECONDS = 1.0
"""A job that stays open for longer gets an opening row."""

OPENING_ROWS = 1_000
"""The most opening rows at one time: of a hundred thousand calls that wait for workers, most need none."""

OPENING_TIMER = OpeningTimer()


def note_young(state: State, job: Job) -> None:
    """Remember a new job, to look later whether it is still open."""
    state.young.append((state.now, job))
    if not state.opening_set:
        state.opening_set = True
        state.out.append(SetTimer(OPENING_TIMER, OPENING_SECONDS))


def record_open_jobs(state: State, at: int) -> None:
    """Record the jobs that have been open for long, and the jobs above them. Sets the next timer if any are left."""
    state.opening_set = False
    oldest = at - int(OPENING_SECONDS * 1_000_000)
    rows: list[JobRow] = []
    young = state.young
    while young and young[0][0] <= oldest and len(rows) < OPENING_ROWS:
        job: Job | None = nearest_recorded(young.popleft()[1])
        while job is not None and job.is_open and not job.work.listed and job.is_recorded:
            job.work.listed = True
            rows.append(job_row(job, None))
            job = job.parent
    if rows:
        state.out.append(Record(tuple(rows)))
    if young:
        state.opening_set = True
        state.out.append(SetTimer(OPENING_TIMER, OPENING_SECONDS))
