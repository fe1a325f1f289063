"""Counts the calls that run, apart from those that wait for a worker: Ray does not tell them apart.

In: the bundles in flight, the names of bundles that workers have noted, the processors of the cluster. Out: counts by
name. Never: asks Ray.

A worker notes a bundle that it has been running for some seconds. Of the bundles without a note, the oldest count as
running, as many as the cluster has processors for. A bundle that counts so for longer than a note takes does not run:
its environment is being made, or others use what it asks for. It keeps its place then, so that no other bundle of its
shape counts as running there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable

from rayflow.runtime.on_ray.actor.bundles import Bundle
from rayflow.runtime.on_ray.lowering import Shape

NOTED_BY_SECONDS = 5.0
"""After so long the worker has noted a bundle that it runs, and the note has come here."""

MOST_LOOKED_AT = 2_000
"""The most bundles without a note that are looked at, the oldest ones, since this is done many times a second."""


class RunningCounts:
    """Counts running calls, and remembers its estimates from one look to the next. clock: monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: dict[str, float] = {}
        """Since when a bundle without a note counts as running, by its name."""

    def look(self, bundles: Iterable[Bundle], noted: Collection[str], cpus: float) -> Counter[tuple[str, str]]:
        """How many calls run, by execution and name. bundles: in flight, in the order in which they were sent. noted:
        the names of those that workers have noted."""
        moment = self._clock()
        running: Counter[tuple[str, str]] = Counter()
        since: dict[str, float] = {}
        free = cpus
        others = []
        for bundle in bundles:
            if bundle.name in noted:
                free -= bundle.shape.held_cpus
                running[_key_of(bundle)] += 1
            else:
                others.append(bundle)
        blocked: Counter[Shape] = Counter()
        for bundle in others[:MOST_LOOKED_AT]:
            if free <= 0:
                break
            needed = bundle.shape.held_cpus
            if needed > free - blocked[bundle.shape] + 1e-9:
                continue
            since[bundle.name] = begun = self._since.get(bundle.name, moment)
            if moment - begun > NOTED_BY_SECONDS:
                blocked[bundle.shape] += needed  # type: ignore[assignment]  # a Counter may count in parts
                continue
            free -= needed
            running[_key_of(bundle)] += 1
        self._since = since
        return running


def _key_of(bundle: Bundle) -> tuple[str, str]:
    """Execution and name of the one call of a bundle that runs: its calls run one after the other."""
    return bundle.first.execution_id, bundle.first.shown_name
