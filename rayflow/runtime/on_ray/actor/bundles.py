"""Puts several small calls into one Ray task.

In: attempts that are ready, and how long earlier ones took. Out: bundles. Never: submits, imports Ray.

Each Ray task costs half a millisecond, so shorter calls run together in one Ray task. A bundle takes about
TARGET_SECONDS, by the measured times of its tasks. But it is small enough that every processor still gets several
bundles. Calls of an unmeasured task go alone, a few at a time, until one of them has come back or has turned out to be
long. A bundle holds calls of one execution and one shape; the queues take turns.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rayflow.evaluator.commands import RunTask
from rayflow.runtime.on_ray.lowering import Shape, shape_of

TARGET_SECONDS = 0.1
"""How long a bundle should last."""
MOST_CALLS = 1000
"""The most calls in one bundle."""
BUNDLES_PER_CPU = 3
"""How many bundles per processor the ready calls are divided into, at least."""
WINDOW_PER_CPU = 50
"""Ray tasks of one queue in flight per processor: enough to keep workers fed and an autoscaler informed."""
LARGEST_WINDOW = 10_000
"""The most Ray tasks in flight."""
FIRST_TRIES_PER_CPU = 2
"""Calls of an unmeasured task in flight per processor, until the first has come back or has turned out to be long."""
LONG_SECONDS = 0.3
"""An unmeasured task in flight for so long counts as one that takes this time."""
OVERHEAD_SECONDS = 0.00003
"""The time that a call in a bundle takes besides its body: for unpacking, packing and hashing."""
NEWEST_SHARE_SLOWER, NEWEST_SHARE_FASTER = 0.3, 0.7
"""The weight of the newest measurement. The first call of a task also pays for its imports, so a faster one after it
has more weight."""


@dataclass(slots=True)
class Bundle:
    """Attempts that run in one Ray task. sent_at: monotonic seconds. name: a worker notes its run under it."""

    number: int
    execution_id: str
    shape: Shape
    attempts: list[RunTask]
    sent_at: float = 0.0
    stopping_since: float | None = None
    forced: bool = False
    name: str = ""


def calls_text(bundles: Iterable[Bundle]) -> str:
    """The calls of some bundles, for people."""
    names = [attempt.entry.name for bundle in bundles for attempt in bundle.attempts]
    return f"{names[0]} and {len(names) - 1} more calls" if len(names) > 1 else names[0]


@dataclass(slots=True)
class _Queue:
    """Ready attempts of one execution and one shape, in order. Attempts of higher priority come first."""

    execution_id: str
    shape: Shape
    by_priority: dict[float, deque[RunTask]] = field(default_factory=dict)
    alone: deque[RunTask] = field(default_factory=deque)
    size: int = 0
    in_flight: int = 0

    def add(self, attempt: RunTask) -> None:
        priority = attempt.options.get("priority", 0)
        queue = self.by_priority.get(priority)
        if queue is None:
            queue = self.by_priority[priority] = deque()
            self.by_priority = dict(sorted(self.by_priority.items(), key=lambda item: -item[0]))
        queue.append(attempt)
        self.size += 1

    def first(self) -> deque[RunTask] | None:
        if self.alone:
            return self.alone
        return next((queue for queue in self.by_priority.values() if queue), None)

    def pop(self, source: deque[RunTask]) -> RunTask:
        self.size -= 1
        return source.popleft()


class Bundler:
    """Divides ready attempts into bundles.

    cpus: processors of the cluster; may change. clock: monotonic seconds.
    """

    def __init__(self, cpus: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.cpus = max(1.0, cpus)
        self._clock = clock
        self._queues: dict[tuple[str, Shape], _Queue] = {}
        self._turns: deque[_Queue] = deque()
        self._shapes: dict[int, tuple[Mapping[str, Any], Shape]] = {}
        self._seconds: dict[str, float] = {}
        self._tries: dict[str, dict[int, float]] = {}
        self._never_bundled: set[str] = set()
        self._small: set[str] = set()
        self._numbers = 0
        self._name = os.urandom(6).hex()
        self._size = 0
        self.in_flight: dict[int, Bundle] = {}

    def __len__(self) -> int:
        return self._size

    @property
    def name(self) -> str:
        """The beginning of the names of its bundles."""
        return self._name

    # --- in -----------------------------------------------------------------------------------------------------------

    def add(self, attempt: RunTask, *, alone: bool = False, shape: Shape | None = None) -> None:
        """An attempt is ready. alone: it goes in a Ray task of its own, before the others.

        Raises BadOption for options that have no meaning on Ray.
        """
        shape = shape or self._shape(attempt.options)
        key = attempt.execution_id, shape
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _Queue(*key)
            self._turns.append(queue)
        if alone:
            queue.alone.append(attempt)
            queue.size += 1
        else:
            queue.add(attempt)
        self._size += 1

    def _shape(self, options: Mapping[str, Any]) -> Shape:
        known = self._shapes.get(id(options))
        if known is not None and known[0] is options:
            return known[1]
        shape = shape_of(options)
        if len(self._shapes) > 10_000:
            self._shapes.clear()
        self._shapes[id(options)] = (options, shape)
        return shape

    def note_seconds(self, task: str, seconds: float) -> None:
        """An attempt of this task took so long."""
        before = self._seconds.get(task)
        if before is None:
            self._seconds[task] = seconds
            self._tries.pop(task, None)
        else:
            newest = NEWEST_SHARE_FASTER if seconds < before else NEWEST_SHARE_SLOWER
            self._seconds[task] = (1 - newest) * before + newest * seconds

    def note_size(self, task: str, large: bool) -> None:
        """A call of this task has made a large value, or none. Calls of a task that makes large values go alone."""
        (self._never_bundled if large else self._small).add(task)

    def is_small(self, bundle: Bundle) -> bool:
        """Whether this bundle is expected to make no large value."""
        names = {attempt.entry.name for attempt in bundle.attempts}
        return names <= self._small and not names & self._never_bundled

    # --- out ----------------------------------------------------------------------------------------------------------

    def window(self) -> int:
        """How many Ray tasks of one queue may be in flight."""
        return min(LARGEST_WINDOW, int(WINDOW_PER_CPU * self.cpus))

    def next(self) -> Bundle | None:
        """The next bundle to send; None when there is nothing, or nothing should be sent yet."""
        if not self._size or len(self.in_flight) >= LARGEST_WINDOW:
            return None
        window, turns = self.window(), self._turns
        for _ in range(len(turns)):
            queue = turns[0]
            turns.rotate(-1)
            if queue.size and queue.in_flight < window:
                bundle = self._cut(queue)
                if bundle is not None:
                    return bundle
        return None

    def _cut(self, queue: _Queue) -> Bundle | None:
        first = queue.first()
        if first is None:
            return None
        name = first[0].entry.name
        if first is queue.alone or not self._bundles(first[0]):
            return self._new_bundle(queue, [queue.pop(first)])
        if self._estimate(name) is None and len(self._tries.get(name, ())) >= FIRST_TRIES_PER_CPU * self.cpus:
            return None
        most = max(1, min(MOST_CALLS, int(queue.size / (self.cpus * BUNDLES_PER_CPU))))
        limit = first[0].options.get("bundle", True)
        if limit is not True:
            most = max(1, min(most, int(limit)))
        attempts: list[RunTask] = []
        seconds = 0.0
        while first and len(attempts) < most and seconds < TARGET_SECONDS:
            estimate = self._estimate(first[0].entry.name)
            if attempts and (estimate is None or not self._bundles(first[0])):
                break
            attempts.append(queue.pop(first))
            seconds += (TARGET_SECONDS if estimate is None else estimate) + OVERHEAD_SECONDS
        return self._new_bundle(queue, attempts)

    def _bundles(self, attempt: RunTask) -> bool:
        options = attempt.options
        return (
            options.get("bundle", True) is not False
            and options.get("timeout") is None
            and attempt.losses == 0
            and attempt.entry.name not in self._never_bundled
        )

    def _estimate(self, name: str) -> float | None:
        """The expected seconds of a call of the task; None when nothing is known."""
        known = self._seconds.get(name)
        if known is not None:
            return known
        tries = self._tries.get(name)
        if tries and self._clock() - next(iter(tries.values())) > LONG_SECONDS:
            return LONG_SECONDS
        return None

    def _new_bundle(self, queue: _Queue, attempts: list[RunTask]) -> Bundle:
        self._numbers += 1
        self._size -= len(attempts)
        queue.in_flight += 1
        name = f"{self._name}:{self._numbers}"
        bundle = Bundle(self._numbers, queue.execution_id, queue.shape, attempts, self._clock(), name=name)
        self.in_flight[bundle.number] = bundle
        name = attempts[0].entry.name
        if name not in self._seconds:
            self._tries.setdefault(name, {})[bundle.number] = bundle.sent_at
        return bundle

    def ended(self, number: int) -> Bundle | None:
        """The bundle of this number, which has come back, with or without an answer; None when it was not in flight."""
        bundle = self.in_flight.pop(number, None)
        if bundle is None:
            return None
        queue = self._queues.get((bundle.execution_id, bundle.shape))
        if queue is not None:
            queue.in_flight -= 1
        name = bundle.attempts[0].entry.name
        tries = self._tries.get(name)
        if tries is not None:
            tries.pop(number, None)
            if not tries:
                del self._tries[name]
        return bundle

    # --- taking back --------------------------------------------------------------------------------------------------

    def drop(self, stopped: set[tuple[int, int]]) -> list[RunTask]:
        """Take these attempts (job, attempt) out of the queues, as far as they were not sent yet; gives those."""
        dropped: list[RunTask] = []
        for queue in self._queues.values():
            for source in (queue.alone, *queue.by_priority.values()):
                taken = [each for each in source if (each.job, each.attempt) in stopped]
                if taken:
                    dropped.extend(taken)
                    kept = [each for each in source if (each.job, each.attempt) not in stopped]
                    source.clear()
                    source.extend(kept)
                    queue.size -= len(taken)
        self._size -= len(dropped)
        return dropped

    def forget(self, execution_id: str) -> None:
        """Drop the ready attempts of an execution that has ended."""
        for key in [key for key in self._queues if key[0] == execution_id]:
            queue = self._queues.pop(key)
            self._turns.remove(queue)
            self._size -= queue.size
