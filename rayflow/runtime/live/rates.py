"""How fast jobs end: a second, over the last ten.

In: counts that only grow, and the moments at which they were right. Out: rates. Never: reads a clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from rayflow.evaluator.tally import ENDS

WINDOW_SECONDS = 10.0
"""The time over which a rate is taken."""


class Rates:
    """The rates of one execution."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, dict[str, int]]] = deque()

    def of(self, tasks: Mapping[str, Mapping[str, int]], moment: float) -> dict[str, float]:
        """The jobs that ended a second, by how they ended, and in all as "ended". What is zero is left out.

        tasks: counts by task. moment: in seconds.
        """
        sums = dict.fromkeys(ENDS, 0)
        for row in tasks.values():
            for name in ENDS:
                sums[name] += row.get(name, 0)
        self._seen.append((moment, sums))
        while len(self._seen) > 2 and moment - self._seen[1][0] >= WINDOW_SECONDS:
            self._seen.popleft()
        before, earlier = self._seen[0]
        if moment <= before:
            return {}
        rates = {name: (sums[name] - earlier[name]) / (moment - before) for name in ENDS}
        rates["ended"] = sum(rates.values())
        return {name: round(rate, 3) for name, rate in rates.items() if rate > 0}
