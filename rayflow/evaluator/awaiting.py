"""Bodies that await: the outcomes of the expressions that a job's body has awaited.

In: the expressions that a body awaited when it left its worker, and their outcomes. Out: `Awaits`, the log for the
next run of the body. Never: runs the body.

A body that awaits does not hold a worker. When the outcomes are there, the body runs again from its start, with the
outcomes of all expressions that it has awaited so far. So it must await the same expressions again, in any order.
"""

from __future__ import annotations

from rayflow.evaluator.messages import Cost
from rayflow.values.failures import Failure, Outcome

MOST_STRAYS = 20
"""The most times that a body may await new expressions before it has awaited all the known ones again."""


class Awaits:
    """The expressions that a body has awaited so far, and their outcomes.

    outcomes: the value or Failure of each expression, by the key from the body's worker. strays: how often the body has
    awaited new expressions before it awaited all the known ones again. missed: the keys of known ones that it had not
    awaited again, when it left its worker last. open: the keys of those that it awaits now.
    """

    __slots__ = ("_cost", "missed", "open", "outcomes", "strays")

    def __init__(self) -> None:
        self.outcomes: dict[bytes, Outcome] = {}
        self.strays = 0
        self.missed: frozenset[bytes] = frozenset()
        self.open: frozenset[bytes] = frozenset()
        self._cost: Cost | None = None

    def add_cost(self, cost: Cost) -> Cost:
        """Add the cost of one more run of the body. Gives the cost of all runs together."""
        before = self._cost
        if before is not None:
            cost = Cost(
                started_at=before.started_at,
                wall_seconds=before.wall_seconds + cost.wall_seconds,
                cpu_seconds=before.cpu_seconds + cost.cpu_seconds,
                peak_memory_bytes=max(before.peak_memory_bytes or 0, cost.peak_memory_bytes or 0) or None,
                node=cost.node,
                pid=cost.pid,
                stage_in_seconds=_sum(before.stage_in_seconds, cost.stage_in_seconds),
                stage_out_seconds=_sum(before.stage_out_seconds, cost.stage_out_seconds),
                environment=cost.environment,
                requested=cost.requested,
            )
        self._cost = cost
        return cost

    def passes_on(self, failure: Failure) -> bool:
        """Whether this failure of a body comes from an expression that the body awaited."""
        return any(type(known) is Failure and known == failure for known in self.outcomes.values())


def _sum(before: float | None, more: float | None) -> float | None:
    """The sum of what is known of two parts."""
    return before if more is None else more + (before or 0.0)
