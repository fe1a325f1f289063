"""The state of admission: what is in use, who waits for it, and what was counted.

In: nothing. Out: `AdmissionState`, and what it holds. Never: decides anything.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field

from rayflow.keeper.lines import Lines


@dataclass(slots=True, eq=False)
class Mutex:
    """A mutex, by run ids: those that hold it, which are one run and its children; and those that wait for it, in their
    order. going_on: they had it before, and come first."""

    holders: dict[str, None] = field(default_factory=dict)
    going_on: dict[str, None] = field(default_factory=dict)
    new: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Bucket:
    """What a throttle or a rate limit has counted. number: no other bucket has it. ends: when each run that was counted
    counts no more, in order. alarm_at: when a timer looks at it."""

    name: str
    number: int
    ends: deque[int] = field(default_factory=deque)
    alarm_at: int | None = None


@dataclass(slots=True)
class QueueSlots:
    """The slots of a queue. configured: what a configuration has said last. None: any number."""

    slots: int | None = None
    configured: int | None = None


@dataclass(slots=True)
class Round:
    """The latest round of a queue and priority of which a run was admitted, and the keys that had their run in it."""

    turn: int = 0
    keys: set[str] = field(default_factory=set)


_MOST_USELESS = 1_000
"""Below this number of rounds that are over a heap is not cleared."""


@dataclass(slots=True, eq=False)
class Turns:
    """The rounds in which the runs of one fairness key have their turn that wait."""

    waiting: set[int] = field(default_factory=set)
    _latest_first: list[int] = field(default_factory=list)

    def add(self, turn: int) -> None:
        """One more run waits."""
        self.waiting.add(turn)
        heapq.heappush(self._latest_first, -turn)

    def drop(self, turn: int) -> None:
        """A run waits no more."""
        self.waiting.discard(turn)
        if len(self._latest_first) > 2 * len(self.waiting) + _MOST_USELESS:
            self._latest_first = [-each for each in self.waiting]
            heapq.heapify(self._latest_first)

    def last(self) -> int:
        """The latest of them; 0 if there is none."""
        while self._latest_first and -self._latest_first[0] not in self.waiting:
            heapq.heappop(self._latest_first)
        return -self._latest_first[0] if self._latest_first else 0


@dataclass(slots=True, eq=False)
class AdmissionState:
    """All that admission knows.

    used: how many runs hold something, by its name. queues: those whose slots somebody has said. mutexes: those that a
    run holds or waits for, by key. unlocked: mutexes that may be free. buckets: by name; buckets_made: the number of
    the last one; charges, charges_kept: how many are counted, and how many were when it was last cleared. windows: the
    run of each open debounce. rounds: by queue and priority. turns: of the runs that wait, by queue, priority and
    fairness key. lines: the runs that wait for slots.
    """

    used: dict[str, int] = field(default_factory=dict)
    queues: dict[str, QueueSlots] = field(default_factory=dict)
    mutexes: dict[str, Mutex] = field(default_factory=dict)
    unlocked: dict[str, None] = field(default_factory=dict)
    buckets: dict[str, Bucket] = field(default_factory=dict)
    buckets_made: int = 0
    charges: int = 0
    charges_kept: int = 0
    windows: dict[str, str] = field(default_factory=dict)
    rounds: dict[tuple[str, int], Round] = field(default_factory=dict)
    turns: dict[tuple[str, int, str], Turns] = field(default_factory=dict)
    lines: Lines = field(default_factory=Lines)
