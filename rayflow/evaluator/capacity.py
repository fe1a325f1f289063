"""Limits: named quantities that attempts hold while they run.

In: the needs of a job. Out: whether the job may start, and which jobs may start when a job gives something back. Never:
starts a job.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from heapq import heappop, heappush
from typing import Any, TypeAlias

from rayflow.evaluator.graph import Job

_Needs: TypeAlias = tuple[tuple[str, float], ...]
"""The names and amounts of limits, sorted by name."""

_Kind: TypeAlias = tuple[str, _Needs]
"""The execution of a waiting job, and its needs."""

_Waiting: TypeAlias = tuple[float, int, Job]
"""A waiting job in an order by priority, then by age."""


def needs_of(options: Mapping[str, Any]) -> dict[str, float]:
    """The `limits` option as amounts by name."""
    limits = options.get("limits")
    if not limits:
        return {}
    if isinstance(limits, dict):
        return dict(limits)
    return dict.fromkeys(limits, 1)


def unknown_text(names: list[str]) -> str:
    """The warning for limits that the configuration does not declare."""
    text = ", ".join(sorted(names))
    each = "They have" if len(names) > 1 else "It has"
    return f"The configuration has no limit {text}. {each} capacity 1: set limits in rayflow.toml for another one."


def excess_text(task: str, name: str, amount: float, capacity: float) -> str:
    """The warning for a call that asks for more of a limit than there is."""
    return (
        f"{task} asks for {amount:g} of the limit {name}, of which there are {capacity:g}: it takes all, and no other "
        f"call that needs {name} runs beside it."
    )


class Capacity:
    """The amount of each limit that jobs hold, and the jobs that wait for some of it.

    A limit that is not declared has capacity 1. A need that is larger than the whole capacity is reduced to it, so that
    the job runs alone. A waiting job does not block another one. Of the jobs that fit, the job of the highest priority
    starts first, and of these the oldest.

    declared: the capacities. unknown: the new names of limits that are not declared. excess: warnings for calls that
    need more than the capacity. The caller reports the entries of these two lists, and empties the lists.
    """

    def __init__(self, limits: Mapping[str, float]) -> None:
        self.declared = dict(limits)
        self._used: dict[str, float] = {}
        self._held: dict[int, _Needs] = {}
        # Jobs with equal needs wait in one queue. The queue is listed under the name of each limit that they need.
        self._queues: dict[str, dict[_Needs, list[_Waiting]]] = {}
        self._waiting: dict[int, _Kind] = {}
        self._counts: Counter[_Kind] = Counter()
        self._undeclared: set[str] = set()
        self.unknown: list[str] = []
        self.excess: list[str] = []

    def take(self, job: Job) -> bool:
        """Take all that the job needs. If that does not fit, take nothing, let the job wait, and give False."""
        wanted = needs_of(job.options)
        if not wanted:
            return True
        for name in wanted.keys() - self.declared.keys() - self._undeclared:
            self._undeclared.add(name)
            self.unknown.append(name)
        for name, amount in wanted.items():
            capacity = self.declared.get(name, 1)
            if amount > capacity:
                self.excess.append(excess_text(job.name, name, amount, capacity))
        needs = tuple(sorted((name, min(amount, self.declared.get(name, 1))) for name, amount in wanted.items()))
        if not self._fits(needs):
            heappush(self._queue(needs), (-job.options.get("priority", 0), job.number, job))
            self._waiting[job.number] = kind = (job.execution.execution_id, needs)
            self._counts[kind] += 1
            return False
        self._add(needs)
        self._held[job.number] = needs
        return True

    def lacking(self, job: Job) -> list[str]:
        """The names of the limits of which there is less left than the job needs, sorted."""
        wanted = sorted(needs_of(job.options).items())
        return [name for name, amount in wanted if not self._fits(((name, min(amount, self.declared.get(name, 1))),))]

    def give_back(self, job: Job) -> list[Job]:
        """Give back all that the job holds. Removes the jobs that fit now from the queues, and gives them in order."""
        held = self._held.pop(job.number, None)
        if held is None:
            return []
        self._add(held, -1)
        ready: list[tuple[_Needs, Job]] = []
        while (needs := self._first_fitting(held)) is not None:
            queue = self._queue(needs)
            ready.append((needs, heappop(queue)[2]))
            self.drop(ready[-1][1])
            # The job takes its part itself when it starts. Until then the part counts as taken for the jobs behind it.
            self._add(needs)
            if not queue:
                self._remove(needs)
        for needs, _ in ready:
            self._add(needs, -1)
        return [waiting for _, waiting in ready]

    def drop(self, job: Job) -> None:
        """Forget a waiting job."""
        kind = self._waiting.pop(job.number, None)
        if kind is None:
            return
        self._counts[kind] -= 1
        if not self._counts[kind]:
            del self._counts[kind]

    def waiting(self, execution_id: str) -> dict[tuple[str, ...], int]:
        """How many jobs of an execution wait, by the names of the limits that they need. Not by what is lacking now:
        that would need a look at each of them."""
        found: dict[tuple[str, ...], int] = {}
        for (of, needs), count in self._counts.items():
            if of == execution_id:
                names = tuple(name for name, _ in needs)
                found[names] = found.get(names, 0) + count
        return found

    @property
    def held(self) -> dict[str, float]:
        """The amount of each limit that jobs hold now, by name. Limits of which no job holds anything are left out."""
        return {name: amount for name, amount in self._used.items() if amount}

    def _first_fitting(self, freed: _Needs) -> _Needs | None:
        """The needs of the first job that fits, among those that wait for any of these limits."""
        first: tuple[float, int] | None = None
        found: _Needs | None = None
        for name, _ in freed:
            for needs, queue in list(self._queues.get(name, {}).items()):
                while queue and queue[0][1] not in self._waiting:  # dropped
                    heappop(queue)
                if not queue:
                    self._remove(needs)
                elif (first is None or queue[0][:2] < first) and self._fits(needs):
                    first, found = queue[0][:2], needs
        return found

    def _queue(self, needs: _Needs) -> list[_Waiting]:
        known = self._queues.get(needs[0][0], {}).get(needs)
        if known is None:
            known = []
            for name, _ in needs:
                self._queues.setdefault(name, {})[needs] = known
        return known

    def _remove(self, needs: _Needs) -> None:
        for name, _ in needs:
            under = self._queues[name]
            del under[needs]
            if not under:
                del self._queues[name]

    def _add(self, needs: _Needs, sign: int = 1) -> None:
        for name, amount in needs:
            self._used[name] = self._used.get(name, 0) + sign * amount

    def _fits(self, needs: _Needs) -> bool:
        return all(self._used.get(name, 0) + amount <= self.declared.get(name, 1) + 1e-9 for name, amount in needs)
