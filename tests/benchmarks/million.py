"""Rows about a million calls: an even rate, memory, questions afterwards; and a scheduler that answers meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from rayflow.runtime.protocol.reports import Progress, Silent, Summary
from rayflow.store.open import open_store
from tests.benchmarks import workloads
from tests.benchmarks.measuring import ROOT, Growth, Plan, Row, child_environment, clock, command_seconds

MILLION = 1_000_000
GB = 1e9

ENDS_OF_TENTHS = """
SELECT epoch(max(finished_at)) FROM (
    SELECT finished_at, ntile(10) OVER (ORDER BY finished_at) AS tenth FROM jobs
    WHERE execution_id = $execution AND parent_job_id IS NOT NULL)
GROUP BY tenth ORDER BY tenth
"""
FIRST_START = """
SELECT epoch(min(started_at)) FROM jobs WHERE execution_id = $execution AND parent_job_id IS NOT NULL
"""
END_OF_ROOT_BODY = """
SELECT epoch(started_at) + wall_seconds FROM jobs WHERE execution_id = $execution AND parent_job_id IS NULL
"""


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A fan-out that was recorded. rates: calls a second in each tenth of its calls, from the first body's start."""

    store: Path
    count: int
    seconds: float
    rates: list[float]
    scheduler_peak: int


def million(plan: Plan) -> Row:
    """A fan-out of a million calls."""
    found = _recorded(plan)
    return Row(
        "million", f"{found.count:,} calls in one fan-out", found.seconds, "s", budget="< 60 s", ok=found.seconds < 60,
        beside=(f"{found.count / found.seconds:,.0f} calls/s",), clock="submit - counted",
    )  # fmt: skip


def even(plan: Plan) -> Row:
    """Whether its last calls are as fast as its first ones."""
    rates = _recorded(plan).rates
    return Row(
        "million-even", "the last tenth of its calls", rates[-1], "calls/s", "the first tenth", rates[0], ">= 0.8 x",
        rates[-1] >= 0.8 * rates[0], (f"calls/s by tenths: {', '.join(f'{rate:,.0f}' for rate in rates)}",),
        "recorded finished_at",
    )  # fmt: skip


def scheduler_memory(plan: Plan) -> Row:
    """The scheduler's memory in all."""
    peak = _recorded(plan).scheduler_peak / GB
    return Row(
        "million-memory", "memory of its scheduler", peak, "GB", budget="< 1.2 GB", ok=peak < 1.2,
        clock="peak meanwhile",
    )  # fmt: skip


def replayed(plan: Plan) -> Row:
    """The memory of a process that replays it from the cache."""
    found = _recorded(plan)
    command = [sys.executable, "-m", "tests.benchmarks.replaying", str(found.store), str(found.count)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=child_environment(), check=True, timeout=3600
    )
    replay = json.loads(done.stdout)
    peak = replay["peak"] / GB
    return Row(
        "million-replay", "memory of a driver that replays it", peak, "GB", budget="< 1 GB", ok=peak < 1,
        beside=(f"in {replay['seconds']:.1f} s: {found.count / replay['seconds']:,.0f} calls/s",),
        clock="peak of the process",
    )  # fmt: skip


def questions(plan: Plan) -> Row:
    """What the command line takes to tell of it."""
    store = _recorded(plan).store
    asked = [
        ("log", "-"), ("why", workloads.noop.fullname),
        ("sql", "select task_name, how, count(*) from jobs group by all"),
    ]  # fmt: skip
    taken = {words: command_seconds(words, store) for words in asked}
    slowest = max(taken.values())
    return Row(
        "million-asked", "the slowest of log -, why, sql", slowest, "s", budget="< 2 s", ok=slowest < 2,
        beside=tuple(f"rayflow {' '.join(words)}: {seconds:.2f} s" for words, seconds in taken.items()),
        clock="process - its end",
    )  # fmt: skip


def _recorded(plan: Plan) -> _Recorded:
    return plan.once("million", lambda: _record(plan, plan.size(MILLION)))


def _record(plan: Plan, count: int) -> _Recorded:
    from tests.benchmarks import clusters

    store = plan.folder("million") / "store"
    plan.counter()
    with clusters.ready_scheduler(store) as ready:
        growth = Growth(ready.process_id())
        growth.start()
        with clock() as taken:
            submission = ready.scheduler.submit(workloads.fan_out(count))
            assert len(submission.result()) == count
            plan.counted(store, submission.execution_id, count + 1)
        peak = growth.peak()
    started, *_ = _asked(store, FIRST_START, submission.execution_id)
    ends = [started, *_asked(store, ENDS_OF_TENTHS, submission.execution_id)]
    rates = [count / 10 / max(after - before, 1e-6) for before, after in pairwise(ends)]  # recorded in microseconds
    return _Recorded(store, count, taken.seconds, rates, peak)


def _asked(store: Path, query: str, execution: str) -> list[float]:
    with closing(open_store(store, create=False, read_only=True).history()) as history:
        return [number for (number,) in history.sql(query, {"execution": execution}).fetchall()]


# --- calls that are not cached ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class _News(Silent):
    """Notes when the scheduler has told of an execution, and when that was something new."""

    answered: list[float] = field(default_factory=list)
    new: list[float] = field(default_factory=list)
    _last: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def progress(self, progress: Progress) -> None:
        """The counts, whether they have changed or not."""
        self.answered.append(time.time())
        if progress.by_task != self._last:
            self._last = progress.by_task
            self.new.append(self.answered[-1])

    def ended(self, summary: Summary) -> None:
        """The end is news, too."""
        self.answered.append(time.time())
        self.new.append(self.answered[-1])


@dataclass(frozen=True, slots=True)
class _Uncached:
    """A fan-out that no cache remembers.

    unanswered, unchanged: the longest times between answers, and between new counts, in seconds. taken_in: the time
    from the end of the root's body to the first new counts.
    """

    count: int
    seconds: float
    unanswered: float
    unchanged: float
    taken_in: float
    scheduler_peak: int


def answering(plan: Plan) -> Row:
    """How long the scheduler says nothing new of a million calls that are not cached."""
    found = _uncached(plan)
    longest = max(found.unanswered, found.unchanged)
    return Row(
        "uncached", f"silence in {found.count:,} uncached calls", longest, "s", budget="< 1 s", ok=longest < 1,
        beside=(
            f"longest without an answer {found.unanswered:.2f} s, with the same counts {found.unchanged:.2f} s",
            f"the calls are counted {found.taken_in:.2f} s after the body that made them has ended",
            f"{found.count / found.seconds:,.0f} calls/s",
        ),
        clock="news - news",
    )  # fmt: skip


def answering_memory(plan: Plan) -> Row:
    """The scheduler's memory in all during that."""
    peak = _uncached(plan).scheduler_peak / GB
    return Row(
        "uncached-memory", "memory of their scheduler", peak, "GB", budget="< 3 GB", ok=peak < 3,
        clock="peak meanwhile",
    )  # fmt: skip


def _uncached(plan: Plan) -> _Uncached:
    return plan.once("uncached", lambda: _run_uncached(plan, plan.size(MILLION)))


def _run_uncached(plan: Plan, count: int) -> _Uncached:
    from tests.benchmarks import clusters

    store = plan.folder("uncached") / "store"
    news = _News()
    with clusters.ready_scheduler(store, news) as ready:
        news.answered.clear()
        news.new.clear()
        growth = Growth(ready.process_id())
        growth.start()
        with clock() as taken:
            submission = ready.scheduler.submit(workloads.fan_out(count), options={"cache_scope": "none"})
            assert len(submission.result()) == count
        peak = growth.peak()
    # Until the root's body has ended there is nothing new to tell. From then on every second counts, also those in
    # which its result travels: an answer with old counts does not say whether the scheduler can do any more.
    (called,) = _asked(store, END_OF_ROOT_BODY, submission.execution_id)
    new = [called, *(moment for moment in news.new if moment > called)]
    return _Uncached(count, taken.seconds, _longest(news.answered), _longest(new), new[1] - called, peak)


def _longest(moments: list[float]) -> float:
    """The longest time between two moments."""
    return max((after - before for before, after in pairwise(moments)), default=0.0)
