"""Lines: the runs that wait for slots, and which of them is next.

In: runs that come and go, what is full. Out: the next run of a queue. Never: admits one, or records anything.

Theory of operation. Runs of one queue that need the same things stand in one line, in their order: what one of them
cannot have, none behind it can. A line is *ready*, or *blocked* by one thing that is full. The best of the ready lines
of a queue is next. If it needs something full, it goes to the lines that this thing blocks. When a thing has room
again, the best line that it blocks is ready; the next one follows when that one was looked at. So a decision looks at
a few lines, whatever the number of runs.

All of this follows from the runs that wait, and is made anew at recovery. A heap may hold entries that are out of date:
an entry counts if it is its line's own.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from rayflow.keeper.demands import Limit, Rate

Order: TypeAlias = tuple[bool, int, int, int]
"""The place of a run in its queue: new ones come after those that go on; then priority, round, number."""

Need: TypeAlias = Limit | Rate
Signature: TypeAlias = tuple[str, tuple[Need, ...]]


class Queued(Protocol):
    """A run that waits: its place, and its id."""

    order: Order | None

    @property
    def run_id(self) -> str:
        """Its id."""


@dataclass(slots=True, eq=False)
class Line:
    """Runs of one queue with the same needs, in order. count: how many. entry: where it stands in its heap."""

    queue: str
    needs: tuple[Need, ...]
    runs: list[tuple[Order, Queued]] = field(default_factory=list)
    count: int = 0
    entry: tuple[Order, Line] | None = None

    def head(self) -> Queued | None:
        """Its first run."""
        while self.runs and self.runs[0][1].order != self.runs[0][0]:
            heapq.heappop(self.runs)
        return self.runs[0][1] if self.runs else None


Heap: TypeAlias = list[tuple[Order, Line]]

_MOST_USELESS = 1_000
"""Below this number of runs that are gone a line is not cleared."""


class Lines:
    """All lines. to_look_at: the queues of which a run may be next now. freed: names of things that may have room."""

    def __init__(self) -> None:
        self.to_look_at: dict[str, None] = {}
        self.freed: dict[str, None] = {}
        self._lines: dict[Signature, Line] = {}
        self._ready: dict[str, Heap] = {}
        self._blocked: dict[str, dict[tuple[str, Need], Heap]] = {}
        self._orders: dict[str, list[Order]] = {}
        """The orders of the runs of a queue, sorted: made when somebody asks for a place, and dropped on a change."""
        self._of_queue: dict[str, dict[int, Queued]] = {}

    def add(self, run: Queued, queue: str, needs: tuple[Need, ...]) -> None:
        """A run waits, at its `order`."""
        assert run.order is not None
        line = self._lines.get((queue, needs))
        if line is None:
            line = self._lines[queue, needs] = Line(queue, needs)
        heapq.heappush(line.runs, (run.order, run))
        line.count += 1
        self._of_queue.setdefault(queue, {})[run.order[3]] = run
        self._orders.pop(queue, None)
        if line.entry is None or run.order < line.entry[0]:
            self._set_ready(line)

    def remove(self, run: Queued, queue: str, needs: tuple[Need, ...]) -> None:
        """A run waits no more. Its `order` is taken away."""
        assert run.order is not None
        of_queue = self._of_queue[queue]
        del of_queue[run.order[3]]
        if not of_queue:
            del self._of_queue[queue]
        run.order = None
        self._orders.pop(queue, None)
        line = self._lines[queue, needs]
        line.count -= 1
        if not line.count:  # what stood behind it comes forward
            del self._lines[queue, needs]
            line.entry = None
            self.freed.update({need.name: None for need in needs})
        elif len(line.runs) > 2 * line.count + _MOST_USELESS:
            line.runs = [each for each in line.runs if each[1].order == each[0]]
            heapq.heapify(line.runs)

    def next(self, queue: str, is_full: Callable[[Need], bool]) -> Queued | None:
        """The next run of a queue, which has a free slot. None if each one needs something that is full."""
        ready = self._ready.get(queue, [])
        while ready:
            entry = ready[0]
            line = entry[1]
            head = line.head() if line.entry is entry else None
            if line.entry is entry and head is not None and head.order == entry[0]:
                full = next((need for need in line.needs if is_full(need)), None)
                if full is None:
                    return head
                heapq.heappop(ready)
                self._block(line, full)
            else:
                heapq.heappop(ready)
                if head is None:
                    continue
                self._set_ready(line)
            for need in line.needs:
                self.has_room(need.name, is_full)
        self._ready.pop(queue, None)
        return None

    def has_room(self, name: str, is_full: Callable[[Need], bool]) -> None:
        """Something may have room: of each queue, the best line that it blocks is ready."""
        blocked = self._blocked.get(name)
        for (queue, need), heap in list(blocked.items()) if blocked else ():
            while heap and not is_full(need):
                entry = heapq.heappop(heap)
                line = entry[1]
                head = line.head() if line.entry is entry else None
                if head is None or head.order is None:
                    continue
                if head.order != entry[0]:
                    line.entry = (head.order, line)
                    heapq.heappush(heap, line.entry)
                else:
                    self._set_ready(line)
                    break
            if not heap and blocked is not None:
                del blocked[queue, need]
                if not blocked:
                    del self._blocked[name]

    def has_runs(self, queue: str) -> bool:
        """Whether runs wait in a queue."""
        return queue in self._of_queue

    def counts(self) -> dict[str, int]:
        """How many runs wait in each queue."""
        return {queue: len(runs) for queue, runs in self._of_queue.items()}

    def place_of(self, run: Queued, queue: str) -> int:
        """How many runs of a queue come before this one, and 1 more."""
        assert run.order is not None
        orders = self._orders.get(queue)
        if orders is None:
            found = [each.order for each in self._of_queue[queue].values() if each.order is not None]
            orders = self._orders[queue] = sorted(found)
        return bisect_left(orders, run.order) + 1

    def _set_ready(self, line: Line) -> None:
        head = line.head()
        assert head is not None and head.order is not None
        line.entry = (head.order, line)
        heapq.heappush(self._ready.setdefault(line.queue, []), line.entry)
        self.to_look_at[line.queue] = None

    def _block(self, line: Line, need: Need) -> None:
        assert line.entry is not None
        line.entry = (line.entry[0], line)
        heapq.heappush(self._blocked.setdefault(need.name, {}).setdefault((line.queue, need), []), line.entry)

    def look_at(self, queue: str) -> None:
        """A queue may have a slot."""
        if queue in self._ready:
            self.to_look_at[queue] = None
