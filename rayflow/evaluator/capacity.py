"""Limits: named quantities that attempts hold while they run.

In: what a job needs. Out: whether it may start, and who may start when something is given back. Never: starts anything.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from typing import Any

from rayflow.evaluator.jobs import Job


def needs_of(options: Mapping[str, Any]) -> dict[str, float]:
    """The `limits` option as amounts by name."""
    limits = options.get("limits")
    if not limits:
        return {}
    if isinstance(limits, dict):
        return dict(limits)
    return dict.fromkeys(limits, 1)


class Capacity:
    """What is left of each limit, what is held, and who waits.

    A limit that nobody declared has capacity 1. A need larger than the whole capacity is cut to it: it then runs alone
    rather than never. Who waits blocks nobody else: whoever fits goes first, by priority, then by age.
    """

    def __init__(self, limits: Mapping[str, float]) -> None:
        self.declared = dict(limits)
        self._used: dict[str, float] = {}
        self._held: dict[int, dict[str, float]] = {}
        self._waiting: list[tuple[float, int, Job]] = []
        self._undeclared: set[str] = set()
        self.unknown: list[str] = []
        """Names that were met for the first time and that nobody has declared, for who tells of them."""

    def take(self, job: Job) -> bool:
        """Take what the job needs, all or nothing; False puts it among the waiting."""
        needs = needs_of(job.options)
        if not needs:
            return True
        for name in needs.keys() - self.declared.keys() - self._undeclared:
            self._undeclared.add(name)
            self.unknown.append(name)
        needs = {name: min(amount, self.declared.get(name, 1)) for name, amount in needs.items()}
        if not self._fits(needs):
            bisect.insort(
                self._waiting, (-job.options.get("priority", 0), job.number, job), key=lambda entry: entry[:2]
            )
            return False
        for name, amount in needs.items():
            self._used[name] = self._used.get(name, 0) + amount
        self._held[job.number] = needs
        return True

    def give_back(self, job: Job) -> list[Job]:
        """Return what the job holds, and take out of the queue whoever might fit now, in order."""
        held = self._held.pop(job.number, None)
        if not held:
            return []
        for name, amount in held.items():
            self._used[name] -= amount
        ready = [entry for entry in self._waiting if any(name in held for name in needs_of(entry[2].options))]
        if not ready:
            return []
        chosen = {entry[1] for entry in ready}
        self._waiting = [entry for entry in self._waiting if entry[1] not in chosen]
        return [entry[2] for entry in ready]

    def drop(self, job: Job) -> None:
        """Forget a waiting job."""
        self._waiting = [entry for entry in self._waiting if entry[2] is not job]

    @property
    def held(self) -> dict[str, float]:
        """What is held now, by name: empty when nothing runs."""
        return {name: amount for name, amount in self._used.items() if amount}

    def _fits(self, needs: Mapping[str, float]) -> bool:
        return all(
            self._used.get(name, 0) + amount <= self.declared.get(name, 1) + 1e-9 for name, amount in needs.items()
        )
