"""Opening rows: jobs that stay open for long are recorded as open, so that a crash shows what was in flight.

In: a new job, or an `OpeningTimer`. Out: rows of open jobs, the next timer. Never: closes a job.

Changes young, opening_set, openings and out of the State, and `listed` of a job.
"""

from __future__ import annotations

from rayflow.evaluator.as_jobs import as_job
from rayflow.evaluator.commands import Record, SetTimer
from rayflow.evaluator.explanations import nearest_recorded
from rayflow.evaluator.graph import Job, Vector
from rayflow.evaluator.job_states import LOOKUP, RUNNING
from rayflow.evaluator.rows import job_row
from rayflow.evaluator.state import State
from rayflow.evaluator.timers import OpeningTimer
from rayflow.records import JobRow

OPENING_SECONDS = 1.0
"""A job that stays open for longer gets an opening row."""

OPENING_ROWS = 1_000
"""The most opening rows at one time: of a hundred thousand calls that wait for workers, most need none."""


def note_young(state: State, job: Job | Vector) -> None:
    """Remember a new job or vector, to look later whether it is still open."""
    state.young.append((state.now, job))
    if not state.opening_set:
        _set_timer(state)


def _set_timer(state: State) -> None:
    state.opening_set = True
    state.openings += 1
    state.out.append(SetTimer(OpeningTimer(state.openings), OPENING_SECONDS))


def record_open_jobs(state: State, timer: OpeningTimer, at: int) -> None:
    """Record the jobs that have been open for long, and the jobs above them. Sets the next timer if any are left.

    A timer that is not the one that runs (it fires again) changes nothing.
    """
    if not state.opening_set or timer.number != state.openings:
        return
    state.opening_set = False
    oldest = at - int(OPENING_SECONDS * 1_000_000)
    rows: list[JobRow] = []
    young = state.young
    while young and young[0][0] <= oldest and len(rows) < OPENING_ROWS:
        each = young[0][1]
        if isinstance(each, Vector):
            if not _record_members(rows, each):
                young.popleft()
        else:
            young.popleft()
            _record_open(rows, nearest_recorded(each))
    if rows:
        state.out.append(Record(tuple(rows)))
    if young:
        _set_timer(state)


def _record_open(rows: list[JobRow], job: Job | None) -> None:
    """Add the opening rows of a job, and of the jobs above it."""
    while job is not None and job.is_open and not job.work.listed and job.is_recorded:
        job.work.listed = True
        rows.append(job_row(job, None))
        job = job.parent


def _record_members(rows: list[JobRow], vector: Vector) -> bool:
    """Add opening rows of the members of a vector that are open; give whether there are more than may be added."""
    _record_open(rows, nearest_recorded(vector.parent))
    if not vector.is_recorded:
        return False
    while vector.open and vector.listed < len(vector.states):
        if len(rows) >= OPENING_ROWS:
            return True
        if vector.states[vector.listed] in (LOOKUP, RUNNING):
            rows.append(job_row(as_job(vector, vector.listed), None))
        vector.listed += 1
    return False
