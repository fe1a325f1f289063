"""Limits: named quantities that attempts hold while they run.

In: what a job needs. Out: whether it may start, and who may start when something is given back. Never: starts anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heappop, heappush
from typing import Any, TypeAlias

from rayflow.evaluator.jobs import Job

_Needs: TypeAlias = tuple[tuple[str, float], ...]
"""Amounts by name, sorted."""

_Waiting: TypeAlias = tuple[float, int, Job]
"""Less than another when it goes first: by priority, then by age."""


def needs_of(options: Mapping[str, Any]) -> dict[str, float]:
    """The `limits` option as amounts by name."""
    limits = options.get("limits")
    if not limits:
        return {}
    if isinstance(limits, dict):
        return dict(limits)
    return dict.fromkeys(limits, 1)


def unknown_text(names: list[str]) -> str:
    """What is said of limits that nobody has declared."""
    text = ", ".join(sorted(names))
    each = "They have" if len(names) > 1 else "It has"
    return f"The configuration has no limit {text}. {each} capacity 1: set limits in rayflow.toml for another one."


class Capacity:
    """What is left of each limit, what is held, and who waits.

    A limit that nobody declared has capacity 1. A need larger than the whole capacity is cut to it: it then runs alone
    rather than never. Who waits blocks nobody else: whoever fits goes first, by priority, then by age.
    """

    def __init__(self, limits: Mapping[str, float]) -> None:
        self.declared = dict(limits)
        self._used: dict[str, float] = {}
        self._held: dict[int, _Needs] = {}
        # Those with equal needs wait in one queue; a queue stands under the name of each limit that it needs.
        self._queues: dict[str, dict[_Needs, list[_Waiting]]] = {}
        self._waiting: set[int] = set()
        self._undeclared: set[str] = set()
        self.unknown: list[str] = []
        """Names that were met for the first time and that nobody has declared, for who tells of them."""

    def take(self, job: Job) -> bool:
        """Take what the job needs, all or nothing; False puts it among the waiting."""
        wanted = needs_of(job.options)
        if not wanted:
            return True
        for name in wanted.keys() - self.declared.keys() - self._undeclared:
            self._undeclared.add(name)
            self.unknown.append(name)
        needs = tuple(sorted((name, min(amount, self.declared.get(name, 1))) for name, amount in wanted.items()))
        if not self._fits(needs):
            heappush(self._queue(needs), (-job.options.get("priority", 0), job.number, job))
            self._waiting.add(job.number)
            return False
        self._add(needs)
        self._held[job.number] = needs
        return True

    def give_back(self, job: Job) -> list[Job]:
        """Return what the job holds, and take out of the queues those who fit now, in order."""
        held = self._held.pop(job.number, None)
        if held is None:
            return []
        self._add(held, -1)
        ready: list[tuple[_Needs, Job]] = []
        while (needs := self._first_fitting(held)) is not None:
            queue = self._queue(needs)
            ready.append((needs, heappop(queue)[2]))
            self._waiting.discard(ready[-1][1].number)
            # Each takes its part itself when it starts; until then it counts for those behind it.
            self._add(needs)
            if not queue:
                self._remove(needs)
        for needs, _ in ready:
            self._add(needs, -1)
        return [waiting for _, waiting in ready]

    def drop(self, job: Job) -> None:
        """Forget a waiting job."""
        self._waiting.discard(job.number)

    @property
    def held(self) -> dict[str, float]:
        """What is held now, by name: empty when nothing runs."""
        return {name: amount for name, amount in self._used.items() if amount}

    def _first_fitting(self, freed: _Needs) -> _Needs | None:
        """The needs of whoever is the first to fit among those who wait for any of these limits."""
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
