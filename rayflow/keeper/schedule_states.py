"""The states of schedules and of firings, and the moves between them.

In: nothing. Out: the names of the states, and the tables of allowed moves. Never: moves anything.

    active <--> paused            queued --> pending --> started
       |  ^        |  ^              |          |  \\
       v  |        v  |              v          v   +--> failed
     gone, deleted ---+           skipped <-----+
                                  missed, skipped, failed --> queued, pending: by a trigger or a backfill
"""

from __future__ import annotations

from collections.abc import Mapping

ACTIVE = "active"
"""It fires."""
PAUSED = "paused"
"""Its moments are skipped."""
GONE = "gone"
"""It stood in the code, and the loaded code has it no more."""
DELETED = "deleted"
"""Somebody has deleted it."""

SCHEDULE_MOVES: Mapping[str | None, frozenset[str]] = {
    None: frozenset({ACTIVE}),
    ACTIVE: frozenset({ACTIVE, PAUSED, GONE, DELETED}),
    PAUSED: frozenset({ACTIVE, PAUSED, GONE, DELETED}),
    GONE: frozenset({ACTIVE, PAUSED}),
    DELETED: frozenset({ACTIVE}),
}
"""Every allowed move of a schedule. ACTIVE and PAUSED go to themselves when the schedule changes. One that is in
the code again is paused if it was."""

PENDING_FIRING = "pending"
"""Its run is being made, or waits for code."""
QUEUED_FIRING = "queued"
"""It waits until a run of its schedule has ended."""
STARTED = "started"
"""It has its run."""
FAILED_FIRING = "failed"
"""The task does not take its arguments."""
SKIPPED = "skipped"
"""It starts nothing, as its schedule says."""
MISSED = "missed"
"""No service was up for it, and it is too late."""

FIRING_MOVES: Mapping[str | None, frozenset[str]] = {
    None: frozenset({PENDING_FIRING, QUEUED_FIRING, SKIPPED, MISSED}),
    QUEUED_FIRING: frozenset({PENDING_FIRING, SKIPPED}),
    PENDING_FIRING: frozenset({STARTED, FAILED_FIRING, SKIPPED}),
    STARTED: frozenset(),
    FAILED_FIRING: frozenset({PENDING_FIRING, QUEUED_FIRING}),
    SKIPPED: frozenset({PENDING_FIRING, QUEUED_FIRING}),
    MISSED: frozenset({PENDING_FIRING, QUEUED_FIRING}),
}
"""Every allowed move of a firing. What started nothing can be made up by a trigger or a backfill."""

TIME, TRIGGER, BACKFILL = "time", "trigger", "backfill"
"""Kinds of firings: what has made them."""
