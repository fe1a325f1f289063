"""Numbers in words: counts, where a run is. The same on a terminal, in a pipe and in a notebook.

In: plain data. Out: texts, and the sums that they show. Never: prints.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


def busiest(by_task: Mapping[str, Mapping[str, int]]) -> list[tuple[str, dict[str, int]]]:
    """The tasks in the order in which the run met them; of many, the busiest ones, and the rest as one entry."""
    named = [(name, dict(numbers)) for name, numbers in by_task.items()]
    if len(named) <= MOST_TASKS:
        return named
    ranked = sorted(named, key=lambda pair: (-pair[1].get("failed", 0), -pair[1].get("running", 0)))
    listed = {name for name, _ in ranked[: MOST_TASKS - 1]}
    rest = {name: numbers for name, numbers in named if name not in listed}
    return [pair for pair in named if pair[0] in listed] + [(f"{len(rest)} other tasks", sum_up(rest))]
