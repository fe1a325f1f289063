"""The clock of a loop: it stamps every message and row, and runs the timers.

In: nothing. Out: the time, and waits. Never: decides what to wait for.
"""

from __future__ import annotations

import threading
import time


class Clock:
    """The real time. A rehearsal has another clock, which skips waits."""

    def now(self) -> int:
        """Microseconds since the epoch."""
        return time.time_ns() // 1000

    def seconds(self) -> float:
        """Seconds that only grow, for timers."""
        return time.monotonic()

    def wait(self, news: threading.Event, longest_seconds: float, timer_seconds: float | None) -> None:
        """Wait for news, at most longest_seconds, and not beyond the next timer, if there is one."""
        news.wait(longest_seconds if timer_seconds is None else max(0.0, min(longest_seconds, timer_seconds)))


CLOCK = Clock()
"""The clock of all real runs."""
