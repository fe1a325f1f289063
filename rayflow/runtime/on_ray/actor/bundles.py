"""Puts several small calls into one Ray task.

In: attempts and vectors of them that are ready, and how long earlier ones took. Out: bundles. Never: submits, imports
Ray.

Each Ray task costs half a millisecond, so shorter calls run together in one Ray task. A bundle takes about
TARGET_SECONDS, by the measured times of its tasks. But it is small enough that every processor still gets several
bundles. Vectors wait whole, and are divided when a bundle is made.

Calls of an unmeasured task go alone, a few at a time, until one of them has come back or has turned out to be
long. A bundle holds calls of one shape, and of one execution, or of several that have the same context: the runs of a
service. Each execution has queues of its own, which take turns.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from rayflow.evaluator.commands import RunTask, RunVector
from rayflow.runtime.on_ray.lowering import Shape, shape_of

TARGET_SECONDS = 0.1
"""How long a bundle should last."""
MOST_CALLS = 1000
"""The most calls in one bundle that are not members of a vector."""
MOST_MEMBERS = 1500
"""The most calls in one bundle if they are members of vectors. The columns of the answer of so many are small enough
for Ray to send them with the answer itself (100 kB)."""
BUNDLES_PER_CPU = 3
"""How many bundles per processor the ready calls are divided into, at least, unless these would be too short."""
LEAST_SECONDS = 0.002
"""How long a bundle lasts at least, where there are calls enough: four times what Ray itself takes for it."""
WINDOW_PER_CPU = 50
"""Ray tasks of one queue in flight per processor: enough to keep workers fed and an autoscaler informed."""
SHORT_SECONDS = 0.001
"""A measured task that takes less is short: Ray's own cost counts. Its calls wait here, and not at Ray, so that bundles
are large."""
SHORT_WINDOW_PER_CPU = 6
"""Ray tasks of one queue in flight per processor, while it is the turn of a short task."""
GANGS_IN_FLIGHT = 16
"""Calls of one queue in flight that hold a gang: Ray places the gangs that wait one by one, in no set order."""
LARGEST_WINDOW = 10_000
"""The most Ray tasks in flight."""
FIRST_TRIES_PER_CPU = 2
"""Calls of an unmeasured task in flight per processor, until the first has come back or has turned out to be long."""
LONG_SECONDS = 0.3
"""An unmeasured task in flight for so long counts as one that takes this time."""
OVERHEAD_SECONDS = 0.00003
"""The time that a call in a bundle takes besides its body: for unpacking, packing and hashing."""
MEMBER_OVERHEAD_SECONDS = 0.000005
"""The same for a member of a vector: what is measured as the time of its body has most of this in it."""
NEWEST_SHARE_SLOWER, NEWEST_SHARE_FASTER = 0.3, 0.7
"""The weight of the newest measurement. The first call of a task also pays for its imports, so a faster one after it
has more weight."""


@dataclass(slots=True)
class Bundle:
    """Attempts that run in one Ray task: those that are alone, and vectors of them.

    execution_id: whose turn it was. sent_at: monotonic seconds. name: a worker notes its run under it; it begins with
    the name of its shape. alone: it is a call that was to go alone, before others. avoided: the ids of the nodes that
    it must not go to, because they did not answer when it was sent. executions: of its attempts. unwanted: those of
    them that want none of its attempts any more, though others do; unwanted_since: from then on, in monotonic seconds.
    """

    number: int
    execution_id: str
    shape: Shape
    calls: list[RunTask]
    sent_at: float = 0.0
    stopping_since: float | None = None
    forced: bool = False
    name: str = ""
    vectors: list[RunVector] = field(default_factory=list)
    alone: bool = False
    avoided: tuple[str, ...] = ()
    executions: frozenset[str] = field(init=False)
    unwanted: frozenset[str] = frozenset()
    unwanted_since: float | None = None

    def __post_init__(self) -> None:
        self.executions = frozenset(
            [*(call.execution_id for call in self.calls), *(vector.execution_id for vector in self.vectors)]
        )

    def __len__(self) -> int:
        return len(self.calls) + sum(len(vector.jobs) for vector in self.vectors)

    @property
    def first(self) -> RunTask | RunVector:
        """Its first attempt, or the vector that this belongs to."""
        return self.calls[0] if self.calls else self.vectors[0]

    @property
    def attempts(self) -> list[RunTask]:
        """All its attempts, one by one."""
        return [*self.calls, *chain.from_iterable(vector.attempts() for vector in self.vectors)]

    def numbers(self) -> Iterator[tuple[int, int]]:
        """Job and attempt of each."""
        yield from ((call.job, call.attempt) for call in self.calls)
        for vector in self.vectors:
            yield from ((job, 1) for job in vector.jobs)

    def left(self, jobs: Collection[int] | None = None) -> list[RunTask | RunVector]:
        """Those of its attempts that are of these jobs; all of them by default. Vectors stay vectors."""
        if jobs is None:
            return [*self.calls, *self.vectors]
        vectors = [vector.of(jobs) for vector in self.vectors]
        return [*(call for call in self.calls if call.job in jobs), *(vector for vector in vectors if vector.jobs)]

    def goes_on(self, execution_id: str) -> bool:
        """Whether the attempts of an execution are wanted: the bundle is not stopped, or only because of others."""
        return self.stopping_since is None or bool(self.unwanted and execution_id not in self.unwanted)

    def without(self, execution_ids: Collection[str], moment: float) -> bool:
        """These executions want none of its attempts any more. Returns whether another one does.

        moment: monotonic seconds.
        """
        unwanted = self.unwanted | self.executions.intersection(execution_ids)
        if unwanted == self.executions:
            self.unwanted = frozenset()
            return False
        if unwanted and self.unwanted_since is None:
            self.unwanted_since = moment
        self.unwanted = unwanted
        return True

    def task_of(self) -> dict[int, str]:
        """The name of the task of each job."""
        found = {call.job: call.entry.name for call in self.calls}
        for vector in self.vectors:
            found.update(dict.fromkeys(vector.jobs, vector.entry.name))
        return found

    def execution_of(self) -> Iterator[tuple[tuple[int, int], str]]:
        """Job and attempt of each, and its execution."""
        yield from (((call.job, call.attempt), call.execution_id) for call in self.calls)
        for vector in self.vectors:
            yield from (((job, 1), vector.execution_id) for job in vector.jobs)

    def execution_of_job(self, job_id: bytes) -> str:
        """The execution of the job with this id."""
        if len(self.executions) == 1:
            return self.execution_id
        return next(each.execution_id for each in self.attempts if each.job_id == job_id)

    def tasks(self) -> Counter[str]:
        """How many calls of each task it holds."""
        found = Counter(call.entry.name for call in self.calls)
        for vector in self.vectors:
            found[vector.entry.name] += len(vector.jobs)
        return found


def calls_text(bundles: Iterable[Bundle]) -> str:
    """The calls of some bundles, for people."""
    bundles = list(bundles)
    first, count = bundles[0].first.entry.name, sum(map(len, bundles))
    return f"{first} and {count - 1} more calls" if count > 1 else first


@dataclass(slots=True)
class _Queue:
    """Ready attempts of one execution and one shape, in order. Attempts of higher priority come first."""

    execution_id: str
    shape: Shape
    by_priority: dict[float, deque[RunTask | RunVector]] = field(default_factory=dict)
    alone: deque[RunTask | RunVector] = field(default_factory=deque)
    size: int = 0
    in_flight: int = 0

    def add(self, ready: RunTask | RunVector) -> None:
        self.of_priority(ready.options.get("priority", 0)).append(ready)

    def of_priority(self, priority: float) -> deque[RunTask | RunVector]:
        queue = self.by_priority.get(priority)
        if queue is None:
            queue = self.by_priority[priority] = deque()
            self.by_priority = dict(sorted(self.by_priority.items(), key=lambda item: -item[0]))
        return queue

    def first(self) -> deque[RunTask | RunVector] | None:
        if self.alone:
            return self.alone
        return next((queue for queue in self.by_priority.values() if queue), None)

    def take(self, source: deque[RunTask | RunVector], count: int) -> RunTask | RunVector:
        """Take the first attempt out; if it belongs to a vector, as many members, if there are so many."""
        first = source.popleft()
        if isinstance(first, RunVector) and len(first.jobs) > count:
            source.appendleft(first.part(count))
            first = first.part(0, count)
        self.size -= _count(first)
        return first


def _count(ready: RunTask | RunVector) -> int:
    return len(ready.jobs) if isinstance(ready, RunVector) else 1


class Bundler:
    """Divides ready attempts into bundles.

    cpus: processors of the cluster; may change. clock: monotonic seconds. holds_back: whether the calls of a shape are
    not to be sent now. shares: whether calls of two executions may run in one bundle.
    """

    def __init__(
        self,
        cpus: float,
        clock: Callable[[], float] = time.monotonic,
        holds_back: Callable[[Shape], bool] = lambda shape: False,
        shares: Callable[[str, str], bool] = lambda one, other: False,
    ) -> None:
        self.cpus = max(1.0, cpus)
        self._clock = clock
        self._holds_back = holds_back
        self._shares = shares
        self._shape_names: dict[Shape, str] = {}
        self._shapes_named = 0
        self._queues: dict[tuple[str, Shape], _Queue] = {}
        self._turns: deque[_Queue] = deque()
        """The queues that are not empty."""
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

    def name_of(self, shape: Shape) -> str:
        """The beginning of the names of its bundles of a shape."""
        known = self._shape_names.get(shape)
        if known is None:
            if len(self._shape_names) > 10_000:
                self._shape_names.clear()
            self._shapes_named += 1
            known = self._shape_names[shape] = f"{self._name}:{self._shapes_named}:"
        return known

    # --- in -----------------------------------------------------------------------------------------------------------

    def add(self, ready: RunTask | RunVector, *, alone: bool = False, shape: Shape | None = None) -> None:
        """An attempt is ready, or a vector of attempts. alone: it goes in a Ray task of its own, before the others.

        Raises BadOption for options that have no meaning on Ray.
        """
        shape = shape or self._shape(ready.options)
        key = ready.execution_id, shape
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _Queue(*key)
        if not queue.size:
            self._turns.append(queue)
        if alone:
            queue.alone.append(ready)
        elif isinstance(ready, RunVector) and len(ready.jobs) > MOST_MEMBERS:
            # Cut once here, so that a small bundle from a very long vector does not copy all the rest of it.
            for start in range(0, len(ready.jobs), MOST_MEMBERS):
                queue.add(ready.part(start, start + MOST_MEMBERS))
        else:
            queue.add(ready)
        queue.size += _count(ready)
        self._size += _count(ready)

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
        names = bundle.tasks().keys()
        return names <= self._small and not names & self._never_bundled

    # --- out ----------------------------------------------------------------------------------------------------------

    def next(self) -> Bundle | None:
        """The next bundle to send; None when there is nothing, or nothing should be sent yet."""
        if not self._size or len(self.in_flight) >= LARGEST_WINDOW:
            return None
        for _ in range(len(self._turns)):
            queue = self._turns.popleft()
            room = self._window(queue) - queue.in_flight
            bundle = self._cut(queue, room) if room > 0 and not self._holds_back(queue.shape) else None
            if queue.size:
                self._turns.append(queue)
            if bundle is not None:
                return bundle
        return None

    def _window(self, queue: _Queue) -> int:
        """How many Ray tasks of this queue may be in flight."""
        if queue.shape.gang is not None:
            return GANGS_IN_FLIGHT
        first = queue.first()
        # Calls that go alone win nothing by waiting here.
        seconds = None if first is None or self._go_alone(queue, first) else self._seconds.get(first[0].entry.name)
        is_short = seconds is not None and seconds < SHORT_SECONDS
        return min(LARGEST_WINDOW, int((SHORT_WINDOW_PER_CPU if is_short else WINDOW_PER_CPU) * self.cpus))

    def _cut(self, queue: _Queue, room: int) -> Bundle | None:
        """A bundle of the calls that have been ready longest. room: how many bundles may be sent now, with this one."""
        first = queue.first()
        if first is None:
            return None
        name = first[0].entry.name
        if self._go_alone(queue, first):
            return self._new_bundle(queue, self._taken_alone(queue, first), alone=first is queue.alone)
        if self._estimate(name) is None and len(self._tries.get(name, ())) >= FIRST_TRIES_PER_CPU * self.cpus:
            return None
        others = [
            each
            for each in self._turns
            if each.shape == queue.shape and self._shares(queue.execution_id, each.execution_id)
        ]
        size = queue.size + sum(each.size for each in others)
        # The last bundles for which there is room take all the rest: a few calls left here would wait for one to end.
        share = max(1, math.ceil(size / min(self.cpus * BUNDLES_PER_CPU, room)))
        share = max(share, math.ceil(LEAST_SECONDS / self._seconds_of(first[0])))
        limit = first[0].options.get("bundle", True)
        if limit is not True:
            share = max(1, min(share, int(limit)))
        parts: list[RunTask | RunVector] = []
        has_room = self._fill(parts, queue, first, share)
        for other in others:
            source = other.first()
            if not has_room:
                break
            if source is not None and not self._go_alone(other, source):
                has_room = self._fill(parts, other, source, share)
        if others:
            self._turns = deque(each for each in self._turns if each.size)
        return self._new_bundle(queue, parts)

    def _fill(
        self, parts: list[RunTask | RunVector], queue: _Queue, source: deque[RunTask | RunVector], share: int
    ) -> bool:
        """Move calls from a queue to the parts of a bundle. Returns whether there is room for more."""
        count = sum(map(_count, parts))
        seconds = sum(_count(part) * self._seconds_of(part) for part in parts)
        while source:
            head = source[0]
            most = min(share, MOST_MEMBERS if isinstance(head, RunVector) else MOST_CALLS)
            if seconds >= TARGET_SECONDS or count >= most:
                return False
            if parts and (self._estimate(head.entry.name) is None or not self._bundles(head)):
                break
            each = self._seconds_of(head)
            part = queue.take(source, min(most - count, math.ceil((TARGET_SECONDS - seconds) / each)))
            parts.append(part)
            count += _count(part)
            seconds += _count(part) * each
        return True

    def _seconds_of(self, ready: RunTask | RunVector) -> float:
        """How long such a call takes in a bundle; of an unmeasured task, as long as a bundle."""
        estimate = self._estimate(ready.entry.name)
        overhead = MEMBER_OVERHEAD_SECONDS if isinstance(ready, RunVector) else OVERHEAD_SECONDS
        return overhead + (TARGET_SECONDS if estimate is None else estimate)

    def _go_alone(self, queue: _Queue, first: deque[RunTask | RunVector]) -> bool:
        """Whether the next call of a queue has a Ray task of its own. first: where it stands."""
        return first is queue.alone or queue.shape.gang is not None or not self._bundles(first[0])

    def _taken_alone(self, queue: _Queue, source: deque[RunTask | RunVector]) -> list[RunTask | RunVector]:
        taken = queue.take(source, 1)
        # Only a call has a deadline of its own on a worker.
        is_timed = taken.options.get("timeout") is not None
        return list(taken.attempts()) if is_timed and isinstance(taken, RunVector) else [taken]

    def _bundles(self, ready: RunTask | RunVector) -> bool:
        options = ready.options
        return (
            options.get("bundle", True) is not False
            and options.get("timeout") is None
            and (isinstance(ready, RunVector) or ready.losses == 0)
            and ready.entry.name not in self._never_bundled
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

    def _new_bundle(self, queue: _Queue, parts: list[RunTask | RunVector], alone: bool = False) -> Bundle:
        self._numbers += 1
        self._size -= sum(map(_count, parts))
        queue.in_flight += 1
        bundle = Bundle(
            self._numbers,
            queue.execution_id,
            queue.shape,
            [part for part in parts if not isinstance(part, RunVector)],
            self._clock(),
            name=f"{self.name_of(queue.shape)}{self._numbers}",
            vectors=[part for part in parts if isinstance(part, RunVector)],
            alone=alone,
        )
        self.in_flight[bundle.number] = bundle
        name = bundle.first.entry.name
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
        name = bundle.first.entry.name
        tries = self._tries.get(name)
        if tries is not None:
            tries.pop(number, None)
            if not tries:
                del self._tries[name]
        return bundle

    # --- taking back --------------------------------------------------------------------------------------------------

    def drop(self, stopped: Collection[tuple[int, int]]) -> list[tuple[int, int]]:
        """Take these attempts (job, attempt) out of the queues, as far as they were not sent yet; gives those."""
        dropped: list[tuple[int, int]] = []
        firsts = {job for job, attempt in stopped if attempt == 1}
        for queue in self._queues.values():
            before = len(dropped)
            for source in (queue.alone, *queue.by_priority.values()):
                kept = [left for each in source if (left := _left_of(each, stopped, firsts, dropped)) is not None]
                source.clear()
                source.extend(kept)
            queue.size -= len(dropped) - before
        self._turns = deque(queue for queue in self._turns if queue.size)
        self._size -= len(dropped)
        return dropped

    def forget(self, execution_id: str) -> None:
        """Drop the ready attempts of an execution that has ended."""
        for key in [key for key in self._queues if key[0] == execution_id]:
            queue = self._queues.pop(key)
            if queue.size:
                self._turns.remove(queue)
                self._size -= queue.size


def _left_of(
    ready: RunTask | RunVector,
    stopped: Collection[tuple[int, int]],
    firsts: set[int],
    dropped: list[tuple[int, int]],
) -> RunTask | RunVector | None:
    """What is left without the stopped attempts. firsts: the jobs whose first attempts these are. dropped: gets the
    attempts that are taken out."""
    if not isinstance(ready, RunVector):
        number = ready.job, ready.attempt
        if number not in stopped:
            return ready
        dropped.append(number)
        return None
    gone = firsts & set(ready.jobs)
    dropped.extend((job, 1) for job in gone)
    if not gone:
        return ready
    return ready.of(set(ready.jobs) - gone) if len(gone) < len(ready.jobs) else None
