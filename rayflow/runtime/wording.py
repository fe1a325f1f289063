"""Numbers in words: counts, where a run is. The same on a terminal, in a pipe and in a notebook.

In: plain data. Out: texts, and the sums that they show. Never: prints.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayflow.runtime.durations import duration
from rayflow.runtime.live.outlook import TimeLeft
from rayflow.runtime.protocol.reports import Progress

MOST_TASKS = 15
"""Up to so many tasks are listed; the rest is one line."""


def many(count: int, noun: str) -> str:
    """A number of things: 1 value, 1,200 values."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


_COUNTED = (
    "running", "queued", "open", "waiting", "computed", "cached", "shared", "failed", "not_run", "cancelled",
)  # fmt: skip


def size(count: float | None) -> str:
    """A number of bytes as people say it: 512 B, 3.4 KiB, 1.2 GiB."""
    if count is None:
        return ""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def counted(counts: Mapping[str, Any]) -> str:
    """Counts in words, without those that are zero: "3 jobs, 2 computed, 1 cached"."""
    parts = [many(counts["jobs"], "job")] if counts.get("jobs") else []
    for name in _COUNTED:
        if counts.get(name):
            parts.append(f"{counts[name]:,} {name.replace('_', ' ')}")
    if retries := counts.get("retries"):
        parts.append(f"{retries:,} {'retry' if retries == 1 else 'retries'}")
    return ", ".join(parts) or "no jobs"


def now_by_task(progress: Progress) -> dict[str, dict[str, int]]:
    """The counts of each task, with its open calls split up: running, queued for a worker, and waiting (for arguments,
    capacity or children)."""
    now = {}
    for name, numbers in progress.by_task.items():
        others = {key: count for key, count in numbers.items() if key not in ("jobs", "open")}
        sent = numbers.get("running", 0) + numbers.get("queued", 0)
        now[name] = {**others, "waiting": max(numbers.get("open", 0) - sent, 0)}
    return now


def sum_up(by_task: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Counts of all tasks together."""
    sums: dict[str, int] = {}
    for numbers in by_task.values():
        for name, count in numbers.items():
            sums[name] = sums.get(name, 0) + count
    return sums


def progress_text(progress: Progress) -> str:
    """How far a run is: the counts of all jobs, how fast they end, how long it may still take."""
    parts = [counted(sum_up(now_by_task(progress))), rate_text(progress.rates)]
    if progress.left is not None:
        parts.append(left_text(progress.left))
    return "; ".join(filter(None, parts))


def rate_text(rates: Mapping[str, float]) -> str:
    """How many jobs end: `12 jobs a second`. Empty where none has ended lately."""
    ended = rates.get("ended", 0.0)
    if not ended:
        return ""
    return f"{ended:,.0f} jobs a second" if ended >= 10 else f"{60 * ended:,.1f} jobs a minute"


SHORTEST_LEFT_SECONDS = 2.0
"""Less time that is left is not said."""


def left_text(left: TimeLeft) -> str:
    """The time that is left, as a range: `2 min 5 s to 4 min 0 s left`. Empty where it is very short."""
    low, high = rounded(left.low_seconds), rounded(left.high_seconds)
    if high < SHORTEST_LEFT_SECONDS:
        return ""
    if low < 1:
        return f"up to {duration(high)} left"
    return f"about {duration(high)} left" if low == high else f"{duration(low)} to {duration(high)} left"


def rounded(seconds: float) -> float:
    """Seconds as roughly as a forecast is: whole ones, from a minute on tens, from an hour on minutes of five."""
    step = 1 if seconds < 60 else 10 if seconds < 3600 else 300
    return float(round(seconds / step) * step)


def busiest(by_task: Mapping[str, Mapping[str, int]]) -> list[tuple[str, dict[str, int]]]:
    """The tasks in the order in which the run met them; of many, the busiest ones, and the rest as one entry."""
    named = [(name, dict(numbers)) for name, numbers in by_task.items()]
    if len(named) <= MOST_TASKS:
        return named
    ranked = sorted(named, key=lambda pair: (-pair[1].get("failed", 0), -pair[1].get("running", 0)))
    listed = {name for name, _ in ranked[: MOST_TASKS - 1]}
    rest = {name: numbers for name, numbers in named if name not in listed}
    return [pair for pair in named if pair[0] in listed] + [(f"{len(rest)} other tasks", sum_up(rest))]
