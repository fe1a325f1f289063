"""How fast an execution goes, and how long it may still take.

In: counts by task, and the durations of earlier bodies of the same tasks. Out: rates; the seconds that are left, as a
range, where anything is known. Never: fails a run, or keeps it waiting: a thread asks the store.

The graph of an execution grows while it runs: a call that a body is yet to make is not known, and not in the range.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeAlias

from rayflow.errors import RayflowError
from rayflow.runtime.live.rates import Rates

ASKED_AFTER_SECONDS = 5.0
"""An execution that is over sooner needs no forecast, and does not load what asks the store."""

ASKED_EVERY_SECONDS = 10.0
"""How often the store is asked, at most: the execution itself adds to what is known."""


class BodySpan(NamedTuple):
    """Between which seconds the bodies of a task mostly took."""

    low_seconds: float
    high_seconds: float


class TimeLeft(NamedTuple):
    """How long an execution may still take, in seconds."""

    low_seconds: float
    high_seconds: float


Spans: TypeAlias = Mapping[str, BodySpan]


def time_left(tasks: Mapping[str, Mapping[str, int]], spans: Spans, slots: int) -> TimeLeft | None:
    """How long the open jobs may take. None if nothing waits or runs, or if a task that does has no known durations.

    tasks: counts by name, with those that run and those that are queued. slots: how many bodies run at a time.

    At least, all that is queued takes its shorter time, on all slots. At most, also what runs begins now, all jobs that
    wait for others have bodies that are still to run, and the longest of them comes last.
    """
    low = high = longest = 0.0
    is_open = False
    for name, row in tasks.items():
        sent = row.get("running", 0) + row.get("queued", 0)
        waiting = max(0, row.get("open", 0) - sent)
        span = spans.get(name)
        if sent and span is None:
            return None
        if span is None or not sent + waiting:
            continue
        is_open = is_open or sent > 0
        low += row.get("queued", 0) * span.low_seconds
        high += (sent + waiting) * span.high_seconds
        longest = max(longest, span.high_seconds)
    if not is_open:
        return None
    return TimeLeft(low / max(1, slots), high / max(1, slots) + longest)


class Outlook:
    """The rates and the time left of one execution.

    spans_of: asks the store for the durations of tasks, by name; called in a thread. is_wanted: whether anybody is
    shown the time that is left.
    """

    def __init__(self, spans_of: Callable[[Iterable[str]], Spans], is_wanted: bool = True) -> None:
        self._spans_of = spans_of
        self._is_wanted = is_wanted
        self._rates = Rates()
        self._spans: Spans = {}
        self._asked: float | None = None
        self._thread: threading.Thread | None = None
        self._slots = 1

    def rates(self, tasks: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
        """Jobs that ended a second, by how; in all as "ended"."""
        return self._rates.of(tasks, time.monotonic())

    def left(self, tasks: Mapping[str, Mapping[str, int]], elapsed_seconds: float) -> TimeLeft | None:
        """How long it may still take, as far as is known by now."""
        if not self._is_wanted or elapsed_seconds < ASKED_AFTER_SECONDS:
            return None
        self._slots = max(self._slots, sum(row.get("running", 0) for row in tasks.values()))
        moment = time.monotonic()
        is_due = self._asked is None or moment - self._asked >= ASKED_EVERY_SECONDS
        if is_due and (self._thread is None or not self._thread.is_alive()):
            self._asked = moment
            names = [name for name, row in tasks.items() if row.get("open")]
            self._thread = threading.Thread(target=self._ask, args=(names,), name="rayflow-outlook", daemon=True)
            self._thread.start()
        return time_left(tasks, self._spans, self._slots)

    def _ask(self, names: list[str]) -> None:
        try:
            self._spans = {**self._spans, **self._spans_of(names)}
        except RayflowError:
            # A store that cannot be read: the run itself reports that where it matters. Here only the forecast is lost.
            self._is_wanted = False
