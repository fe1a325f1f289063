"""Several small calls in one Ray task.

In: attempts that are ready, and how long earlier ones took. Out: bundles. Never: submits, imports Ray.

A Ray task costs half a millisecond whatever it does, so calls that are shorter than that travel together. A bundle is
made so large that it lasts about TARGET_SECONDS by what its tasks took before, and so small that every processor still
finds several bundles to take. A task that was never measured goes alone.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rayflow.evaluator.commands import RunTask
from rayflow.runtime.lowering import Shape, shape_of

TARGET_SECONDS = 0.1
"""How long a bundle should last."""
MOST_CALLS = 1000
"""The most calls in one bundle."""
BUNDLES_PER_CPU = 3
"""So many bundles per processor should be left when the last calls are cut up."""
WINDOW_PER_CPU = 50
"""Ray tasks in flight per processor: enough to keep workers fed and an autoscaler informed."""
LARGEST_WINDOW = 10_000
"""Ray tasks in flight at the most."""
FIRST_TRIES_PER_CPU = 2
"""Unmeasured tasks in flight per processor, until the first has come back or has shown to be long."""
LONG_SECONDS = 0.3
"""An unmeasured task in flight for so long counts as one that takes this time."""
OVERHEAD_SECONDS = 0.00003
"""What a call in a bundle costs besides its body: unpacking, packing, hashing."""


@dataclass(slots=True)
class Bundle:
    """Attempts that travel in one Ray task. sent_at: monotonic seconds."""

    number: int
    shape: Shape
    attempts: list[RunTask]
    sent_at: float = 0.0
    stopping_since: float | None = None
    forced: bool = False


@dataclass(slots=True)
class _Queue:
    """Ready attempts of one shape: in order, those of higher priority before the others."""

    shape: Shape
    by_priority: dict[float, deque[RunTask]] = field(default_factory=dict)
    alone: deque[RunTask] = field(default_factory=deque)
    size: int = 0

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


class Bundler:
    """Ready attempts on their way into bundles.

    cpus: processors of the cluster.
    """

    def __init__(self, cpus: float) -> None:
        self.cpus = max(1.0, cpus)
        self._queues: dict[Shape, _Queue] = {}
        self._shapes: dict[int, tuple[Mapping[str, Any], Shape]] = {}
        self._seconds: dict[str, float] = {}
        self._never_bundled: set[str] = set()
        self._numbers = 0
        self.in_flight: dict[int, Bundle] = {}

    def __len__(self) -> int:
        return sum(queue.size for queue in self._queues.values())

    def add(self, attempt: RunTask, *, alone: bool = False, shape: Shape | None = None) -> None:
        """An attempt is ready. alone: it goes in a Ray task of its own, before the others."""
        shape = shape or self._shape(attempt.options)
        queue = self._queues.get(shape)
        if queue is None:
            queue = self._queues[shape] = _Queue(shape)
        if alone:
            queue.alone.append(attempt)
            queue.size += 1
        else:
            queue.add(attempt)

    def _shape(self, options: Mapping[str, Any]) -> Shape:
        known = self._shapes.get(id(options))
        if known is not None and known[0] is options:
            return known[1]
        shape = shape_of(options)
        if len(self._shapes) > 10_000:
            self._shapes.clear()
        self._shapes[id(options)] = (options, shape)
        return shape

    def measured(self, task: str, seconds: float) -> None:
        """An attempt of this task took so long."""
        before = self._seconds.get(task)
        self._seconds[task] = seconds if before is None else 0.7 * before + 0.3 * seconds

    def never_bundle(self, task: str) -> None:
        """This task makes large values: its calls go alone."""
        self._never_bundled.add(task)

    def window(self) -> int:
        """How many Ray tasks may be in flight."""
        return min(LARGEST_WINDOW, int(WINDOW_PER_CPU * self.cpus))

    def next(self) -> Bundle | None:
        """The next bundle to send; None when there is nothing, or nothing should be sent yet."""
        if len(self.in_flight) >= self.window():
            return None
        for queue in self._queues.values():
            if queue.size:
                bundle = self._cut(queue)
                if bundle is not None:
                    return bundle
        return None

    def _cut(self, queue: _Queue) -> Bundle | None:
        first = queue.first()
        if first is None:
            return None
        if first is queue.alone or not self._bundles(first[0]):
            return self._made(queue, [self._pop(queue, first)])
        if self._estimate(first[0]) is None and self._unmeasured_in_flight() >= FIRST_TRIES_PER_CPU * self.cpus:
            return None
        most = max(1, min(MOST_CALLS, int(queue.size / (self.cpus * BUNDLES_PER_CPU)) or 1))
        limit = first[0].options.get("bundle", True)
        if limit is not True:
            most = min(most, int(limit))
        attempts: list[RunTask] = []
        seconds = 0.0
        while first and len(attempts) < most and seconds < TARGET_SECONDS:
            estimate = self._estimate(first[0])
            if attempts and (estimate is None or not self._bundles(first[0])):
                break
            attempts.append(self._pop(queue, first))
            seconds += (TARGET_SECONDS if estimate is None else estimate) + OVERHEAD_SECONDS
        return self._made(queue, attempts)

    def _bundles(self, attempt: RunTask) -> bool:
        options = attempt.options
        return (
            options.get("bundle", True) is not False
            and options.get("timeout") is None
            and attempt.losses == 0
            and attempt.entry.name not in self._never_bundled
        )

    def _estimate(self, attempt: RunTask) -> float | None:
        """Seconds that the attempt will take; None when nothing is known."""
        name = attempt.entry.name
        known = self._seconds.get(name)
        if known is not None:
            return known
        oldest = min(
            (bundle.sent_at for bundle in self.in_flight.values() if bundle.attempts[0].entry.name == name),
            default=None,
        )
        if oldest is not None and time.monotonic() - oldest > LONG_SECONDS:
            return LONG_SECONDS
        return None

    def _unmeasured_in_flight(self) -> int:
        return sum(1 for bundle in self.in_flight.values() if bundle.attempts[0].entry.name not in self._seconds)

    @staticmethod
    def _pop(queue: _Queue, source: deque[RunTask]) -> RunTask:
        queue.size -= 1
        return source.popleft()

    def _made(self, queue: _Queue, attempts: list[RunTask]) -> Bundle:
        self._numbers += 1
        bundle = Bundle(self._numbers, queue.shape, attempts, time.monotonic())
        self.in_flight[bundle.number] = bundle
        return bundle

    def ended(self, number: int) -> Bundle | None:
        """A bundle has come back, whole or not."""
        return self.in_flight.pop(number, None)

    def drop(self, stopped: set[tuple[int, int]]) -> list[RunTask]:
        """Take attempts (job, attempt) that were not sent yet out of the queues."""
        dropped: list[RunTask] = []
        for queue in self._queues.values():
            for source in (queue.alone, *queue.by_priority.values()):
                kept = [each for each in source if (each.job, each.attempt) not in stopped]
                if len(kept) != len(source):
                    dropped.extend(each for each in source if (each.job, each.attempt) in stopped)
                    queue.size -= len(source) - len(kept)
                    source.clear()
                    source.extend(kept)
        return dropped
