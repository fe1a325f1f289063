"""The timers: when a run, a wait, an event or a schedule has its time.

In: the state. Out: the timers that have come, in order; the next alarm. Never: reads a clock.

Timers of one moment come in the order of their ranks, and then of their numbers. A timer is not taken out of the heap
when its owner does not need it any more: it is then passed over.
"""

from __future__ import annotations

import heapq

from rayflow.keeper.admission_state import Bucket
from rayflow.keeper.run_states import DEBOUNCE, ENDING, OPEN, QUEUED, SCHEDULED
from rayflow.keeper.state import KeeperState, KeptEvent, KeptRun, KeptSchedule, KeptWait, Timer

EVENT_DUE, RUN_DUE, FIRING_DUE, DEADLINE, TIMEOUT, ROOM = range(6)
"""Ranks: an event that is due comes before a deadline of the same moment, so that it is seen. ROOM: a throttle may have
room again."""

_MOST_USELESS = 1_000
"""Below this size a heap is not cleared."""


def set_timer(
    state: KeeperState, at: int, rank: int, number: int, owner: KeptRun | KeptWait | KeptEvent | KeptSchedule | Bucket
) -> None:
    """Let something happen at a time."""
    heapq.heappush(state.timers, (at, rank, number, owner))
    if len(state.timers) > 2 * state.timers_kept + _MOST_USELESS:
        state.timers = [timer for timer in state.timers if holds(state, timer)]
        heapq.heapify(state.timers)
        state.timers_kept = len(state.timers)


def holds(state: KeeperState, timer: Timer) -> bool:
    """Whether the owner of a timer still needs it."""
    at, rank, number, owner = timer
    if isinstance(owner, KeptEvent):
        return owner.seen is None
    if isinstance(owner, KeptWait):
        return owner.state == OPEN and owner.opened.number == number
    if isinstance(owner, KeptSchedule):
        return owner.next_at == at
    if isinstance(owner, Bucket):
        return owner.alarm_at == at
    if rank == RUN_DUE:
        is_joined = owner.state == QUEUED and owner.cause == DEBOUNCE and owner.due_at == at
        return owner.state == SCHEDULED or is_joined
    return owner.timeout_at == at and owner.state != ENDING and not owner.has_ended


def next_due(state: KeeperState) -> Timer | None:
    """Take the next timer that has come; None if there is none."""
    while state.timers and state.timers[0][0] <= state.now:
        timer = heapq.heappop(state.timers)
        if holds(state, timer):
            return timer
    return None


def next_time(state: KeeperState) -> int | None:
    """When the next timer comes."""
    while state.timers and not holds(state, state.timers[0]):
        heapq.heappop(state.timers)
    return state.timers[0][0] if state.timers else None
