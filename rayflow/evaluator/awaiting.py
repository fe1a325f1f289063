"""Bodies that await: what a job has learnt of the expressions that its body waits for.

In: what a body asked for when it left its worker, and how that turned out. Out: `Awaits`, the log with which the body
is entered again. Never: enters it.

A body that awaits holds no worker. It is entered from its start each time, and given the outcomes of all that it has
awaited so far; so it must come to the same expressions again, in whatever order.
"""

from __future__ import annotations

from rayflow.evaluator.events import Cost
from rayflow.values.failures import Failure, Outcome

MOST_STRAYS = 20
"""So often a body may be entered and leave again without having asked for all that it asked for before."""


class Awaits:
    """What a body has awaited so far.

    outcomes: value or Failure of each expression, by the key that the body's worker gave it. strays: how often the body
    has left for something new although it had not asked for all that it knows.
    """

    __slots__ = ("_cost", "outcomes", "strays")

    def __init__(self) -> None:
        self.outcomes: dict[bytes, Outcome] = {}
        self.strays = 0
        self._cost: Cost | None = None

    def add_cost(self, cost: Cost) -> Cost:
        """What all entries took together, this one included."""
        before = self._cost
        if before is not None:
            cost = Cost(
                before.started_at,
                before.wall_seconds + cost.wall_seconds,
                before.cpu_seconds + cost.cpu_seconds,
                max(before.peak_memory_bytes or 0, cost.peak_memory_bytes or 0) or None,
                cost.node,
                cost.pid,
            )
        self._cost = cost
        return cost

    def passes_on(self, failure: Failure) -> bool:
        """Whether a body that fails so has only not caught what it awaited."""
        return any(type(known) is Failure and known == failure for known in self.outcomes.values())
