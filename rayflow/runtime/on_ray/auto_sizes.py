"""The sizes that `num_cpus="auto"` and `memory="auto"` stand for: what earlier calls of the task used, and a margin.

In: what calls used; which calls ran out of memory. Out: amounts, or nothing where nothing is known. Never: reads a
store, knows a cluster.

Amounts are rounded up to few steps: calls of one shape share Ray tasks, and each shape has a queue.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rayflow.lang.options.option_values import AUTO

MOST_CALLS = 200
"""The latest calls of a task that count."""

SHARE = 0.95
"""The share of the calls that used no more than what is asked for, without the margin."""

MEMORY_MARGIN = 1.25
CPU_MARGIN = 1.1
STEP_BYTES = 64 << 20
CPU_STEP = 0.25
"""Below one processor, parts of this size are asked for, with the margin. Above, whole ones: what is over by less than
this counts for nothing, since a call with one thread uses a little more than one processor."""

LEAST_SECONDS = 0.1
"""Calls that took less tell nothing about processors: the system counts these in hundredths of a second."""

GROWTH = 2.0
"""The factor by which a task asks for more after a call of it has run out of memory."""


class Used(NamedTuple):
    """What one call used: its seconds, those of processors, and the most memory of one process, in bytes."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int | None


class Most(NamedTuple):
    """The most processors and bytes of memory that a node has."""

    cpus: float = math.inf
    memory: float = math.inf


@dataclass(slots=True)
class TaskSizes:
    """What the latest calls of one task used. most: no node has more, so nothing larger is asked for."""

    most: Most = field(default_factory=Most)
    _cpus: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_CALLS))
    _peaks: deque[int] = field(default_factory=lambda: deque(maxlen=MOST_CALLS))
    _grown: float = 0.0
    _new: int = 0
    _memory: int | None = None
    _num_cpus: float | None = None

    def note(self, calls: Iterable[Used]) -> None:
        """Calls have ended, the latest one last."""
        for used in calls:
            self._new += 1
            if used.peak_bytes:
                self._peaks.append(used.peak_bytes)
            if used.wall_seconds >= LEAST_SECONDS:
                self._cpus.append(used.cpu_seconds / used.wall_seconds)

    def note_out_of_memory(self, asked: int | None) -> bool:
        """A call has run out of memory that had asked for so much, or for nothing. From now on the task asks for more;
        False where it cannot: a node has no more, or nothing is known."""
        before = max(asked or 0, self.memory() or 0)
        self._grown = max(self._grown, min(before * GROWTH, self.most.memory))
        return bool(before) and self._grown > (asked or 0)

    def memory(self) -> int | None:
        """The bytes to ask for; None where nothing is known."""
        self._reckon()
        usual = math.ceil(self._memory * MEMORY_MARGIN / STEP_BYTES) * STEP_BYTES if self._memory else 0
        return int(min(max(usual, self._grown), self.most.memory)) or None

    def num_cpus(self) -> float | None:
        """The processors to ask for; None where nothing is known."""
        self._reckon()
        if self._num_cpus is None:
            return None
        parts = math.ceil(self._num_cpus * CPU_MARGIN / CPU_STEP) * CPU_STEP
        asked = parts if parts <= 1 else math.ceil(self._num_cpus - CPU_STEP)
        return float(min(max(asked, CPU_STEP), self.most.cpus))

    def _reckon(self) -> None:
        """Work out what most calls used, once an eighth of the calls is new."""
        if self._new * 8 > len(self._peaks) or (self._new and self._memory is None):
            self._new = 0
            self._memory = _at(SHARE, self._peaks)
            self._num_cpus = _at(SHARE, self._cpus)

    def resolved(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options with numbers in place of "auto"; without those of which nothing is known."""
        found = dict(options)
        for name, amount in (("num_cpus", self.num_cpus()), ("memory", self.memory())):
            if found.get(name) == AUTO:
                del found[name]
                if amount is not None:
                    found[name] = amount
        return found


def _at(share: float, amounts: Iterable[Any]) -> Any:
    """The amount that this share of all do not exceed; None for none."""
    ordered = sorted(amounts)
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else None


def unknown_text(task: str) -> str:
    """Message for a task of which no call is recorded."""
    return (
        f'{task} asks for sizes by "auto", and none of its calls is recorded: the first ones ask for one processor and '
        "no memory in particular, as by default."
    )
