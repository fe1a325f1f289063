"""The time of a scheduler.

In: nothing. Out: the time, and waits. Never: decides what is waited for.
"""

from __future__ import annotations

import threading
import time


class Clock:
    """The time as it is. A rehearsal has another clock, which skips what nobody wants to wait for."""

    def now(self) -> int:
        """Microseconds since the epoch."""
        return time.time_ns() // 1000

    def seconds(self) -> float:
        """Seconds that only grow, for timers."""
        return time.monotonic()

    def wait(self, news: threading.Event, longest_seconds: float, timer_seconds: float | None) -> None:
        """Wait for news, but not longer than this, and not beyond the next timer, where there is one."""
        news.wait(longest_seconds if timer_seconds is None else max(0.0, min(longest_seconds, timer_seconds)))


CLOCK = Clock()
"""The clock of everything that runs in earnest."""
