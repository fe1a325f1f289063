"""The clock of a loop: it stamps every message and row, and runs the timers.

In: nothing. Out: the time, and waits. Never: decides what to wait for.
"""

from __future__ import annotations

import contextlib
import queue
import time


class News:
    """Wakes the thread of a loop. Any thread may say that there is something new.

    It costs a quarter less than an Event, and takes part in every call that goes to a worker alone.
    """

    def __init__(self) -> None:
        self._told: queue.SimpleQueue[None] = queue.SimpleQueue()

    def set(self) -> None:
        """There is something new. Whoever says so has put it in its place before."""
        if self._told.empty():
            self._told.put(None)

    def is_set(self) -> bool:
        """Whether something new was said since the last `clear`."""
        return not self._told.empty()

    def clear(self) -> None:
        """The loop is about to look at all that is new."""
        while not self._told.empty():
            self.wait(0)

    def wait(self, seconds: float) -> None:
        """Wait until there is something new, at most so many seconds."""
        with contextlib.suppress(queue.Empty):
            self._told.get(timeout=seconds)


class Clock:
    """The real time. A rehearsal has another clock, which skips waits."""

    def now(self) -> int:
        """Microseconds since the epoch."""
        return time.time_ns() // 1000

    def seconds(self) -> float:
        """Seconds that only grow, for timers."""
        return time.monotonic()

    def wait(self, news: News, longest_seconds: float, timer_seconds: float | None) -> None:
        """Wait for news, at most longest_seconds, and not beyond the next timer, if there is one."""
        news.wait(longest_seconds if timer_seconds is None else max(0.0, min(longest_seconds, timer_seconds)))


class SteadyClock(Clock):
    """Another clock, as it was when this one was made, and its seconds since then: a wall clock that is set changes
    nothing. It begins at `earliest` (microseconds since the epoch) if the other clock is behind that."""

    def __init__(self, clock: Clock, earliest: int = 0) -> None:
        self._clock = clock
        self._begun_at = max(clock.now(), earliest)
        self._begun_seconds = clock.seconds()

    def now(self) -> int:
        """Microseconds since the epoch; never less than before."""
        return self._begun_at + int((self._clock.seconds() - self._begun_seconds) * 1_000_000)

    def seconds(self) -> float:
        """The seconds of the other clock."""
        return self._clock.seconds()

    def wait(self, news: News, longest_seconds: float, timer_seconds: float | None) -> None:
        """The wait of the other clock."""
        self._clock.wait(news, longest_seconds, timer_seconds)


CLOCK = Clock()
"""The clock of all real runs."""
