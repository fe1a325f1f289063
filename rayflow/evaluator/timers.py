"""The purposes of timers.

In: nothing. Out: one small class for each use of a timer. Never: sets one.

The evaluator puts one of these into `SetTimer` and gets an equal one back in `TimerFired`. Other code only passes it
on. A new use is a new class here, and a branch in `Evaluator`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class RetryTimer:
    """The wait before the next attempt of a job. number: of this timer, so that one that fires twice starts nothing."""

    number: int


@dataclass(frozen=True, slots=True)
class OpeningTimer:
    """Time to look for jobs that have been open for long, and to record them as open. number: of this timer, so that
    one that fires twice sets no second one."""

    number: int


Timer: TypeAlias = RetryTimer | OpeningTimer
