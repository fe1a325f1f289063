"""The states of runs and of waits, and the moves between them.

In: nothing. Out: the names of the states, and the two tables of allowed moves. Never: moves anything.

    scheduled --> running <--> waiting           open --> resolved
       |          |  ^  |         |               |  ^      |
       +> queued+<+  |  +-> ending+               |  +------+   in a later generation
           +---------+        |                   |  +------+
                              v                   v         |
    every open state --> done, failed, cancelled  closed ---+
"""

from __future__ import annotations

from collections.abc import Mapping

from rayflow.errors import WrongMove

SCHEDULED = "scheduled"
"""It is to start at a later time."""
QUEUED = "queued"
"""It cannot run now: it waits for a key, for its mutex or for a slot, for other starts, or for code. The cause says for
which."""
RUNNING = "running"
"""Its evaluation has something to do."""
WAITING = "waiting"
"""Nothing of it runs; each open wait says what for."""
ENDING = "ending"
"""It is cancelled or has taken too long, and cleans up."""
DONE = "done"
"""It has a value, or goes on as the next run of its chain."""
FAILED = "failed"
"""It has a failure."""
CANCELLED = "cancelled"
"""It was cancelled."""

KEY = "key"
"""It is not known yet what its flow asks of admission."""
DEBOUNCE = "debounce"
"""Other starts may still join it."""
MUTEX = "mutex"
"""Another run holds its mutex."""
SLOT = "slot"
"""Its queue is full, or one of its limits or throttles is."""
MISSING_CODE = "missing code"
"""The loaded code lacks a task of it."""

PARKED = "parked"
"""Cause: nothing of the run runs."""

ENDED = frozenset({DONE, FAILED, CANCELLED})
"""The states of a run that has ended."""

OPEN = "open"
"""It waits for its outcome."""
RESOLVED = "resolved"
"""It has its outcome."""
CLOSED = "closed"
"""Nothing needs it any more, so it takes nothing."""

MOVES: Mapping[str | None, frozenset[str]] = {
    None: frozenset({SCHEDULED, QUEUED, RUNNING}),
    SCHEDULED: frozenset({QUEUED, RUNNING, CANCELLED}),
    QUEUED: frozenset({QUEUED, RUNNING, ENDING, DONE, FAILED, CANCELLED}),
    RUNNING: frozenset({RUNNING, WAITING, QUEUED, ENDING, DONE, FAILED, CANCELLED}),
    WAITING: frozenset({RUNNING, QUEUED, ENDING, DONE, FAILED, CANCELLED}),
    ENDING: frozenset({ENDING, FAILED, CANCELLED}),
    DONE: frozenset(),
    FAILED: frozenset({RUNNING, QUEUED}),
    CANCELLED: frozenset({RUNNING, QUEUED}),
}
"""Every allowed move of a run. None: it is made.

RUNNING and ENDING go to themselves when the evaluation is taken up again, or asked a second time to end. QUEUED goes to
itself when the run waits for something else, and to DONE when it has joined another start of its debounce. FAILED and
CANCELLED go on by a retry. A run that is WAITING can end when something outside the keeper has cancelled its
execution."""

WAIT_MOVES: Mapping[str | None, frozenset[str]] = {
    None: frozenset({OPEN}),
    OPEN: frozenset({OPEN, RESOLVED, CLOSED}),
    RESOLVED: frozenset({OPEN}),
    CLOSED: frozenset({OPEN}),
}
"""Every allowed move of a wait. OPEN goes to itself when the run that it waits for goes on as the next of its chain."""


def check_move(
    moves: Mapping[str | None, frozenset[str]], before: str | None, after: str, run_id: str, place: bytes = b""
) -> None:
    """Raise WrongMove if a table does not have this move of a run, or of the wait at this place of it."""
    if after not in moves[before]:
        what = f"the wait {place.hex()} of run {run_id}" if place else f"run {run_id}"
        raise WrongMove(f"{what} cannot go from {before or 'nothing'} to {after}")
