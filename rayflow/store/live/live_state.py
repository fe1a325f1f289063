"""What is said of an execution that lives: as data, and as a few kilobytes of JSON.

In: counts and running calls, from the shell that evaluates. Out: `LiveState`, its bytes. Never: reads a clock or a
file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

MOST_BYTES = 65_536
"""The most bytes of a state. Of what does not fit, the tasks and calls that matter least are left out."""

MOST_TASKS = 100
"""The most tasks that a state names. The counts of the others are one row."""

MOST_RUNNING = 20
"""The most running calls that a state names: those that run longest."""

MOST_SENTENCES = 20
MOST_WAITS = 50
_LONGEST_TEXT = 300

OTHERS = "(other tasks)"
"""The name of the row of the tasks that are not named."""


@dataclass(frozen=True, slots=True)
class RunningCall:
    """A call that runs. job_id: as hex. task: the name that it is shown under. node: host name. since: when it began,
    in microseconds since the epoch. calls: how many calls run one after the other in its Ray task; which of them runs
    is not known, this is the first."""

    job_id: str
    task: str
    node: str | None
    since: int
    pid: int | None = None
    calls: int = 1


@dataclass(frozen=True, slots=True)
class LiveState:
    """An execution as the shell that evaluates it sees it. Times are in microseconds since the epoch, by the clock of
    that shell.

    host, pid: of the shell, which may be another process than the driver. shell: "ray" or "inline".
    counted_at: when the counts were right. written_at: when this was written. next_at: when it is written next, at the
    latest.
    tasks: counts by name of the task: open, running, queued (for a worker), computed, cached, shared, failed, not_run,
    cancelled, retries. waits: how many of the open jobs wait for what: arguments, records, calls, retry, worker,
    "limit NAME". sentences: about calls that cannot start. rates: jobs that ended a second, by how they ended.
    running: the calls that run longest. cancelled_by: who has asked for its end; None if nobody has.
    """

    execution_id: str
    life: int = 0
    host: str = ""
    pid: int = 0
    shell: str = ""
    started_at: int = 0
    counted_at: int = 0
    written_at: int = 0
    next_at: int = 0
    tasks: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    waits: Mapping[str, int] = field(default_factory=dict)
    sentences: tuple[str, ...] = ()
    rates: Mapping[str, float] = field(default_factory=dict)
    running: tuple[RunningCall, ...] = ()
    cancelled_by: str | None = None

    @property
    def interval_seconds(self) -> float:
        """The time from this state to the next one, as its writer has announced it."""
        return max(0.0, (self.next_at - self.written_at) / 1_000_000)


def encoded(state: LiveState) -> bytes:
    """A state as JSON, of at most `MOST_BYTES`."""
    share = 1.0
    while True:
        written = json.dumps(asdict(_part(state, share)), separators=(",", ":")).encode()
        if len(written) <= MOST_BYTES:
            return written
        share /= 2


def _part(state: LiveState, share: float) -> LiveState:
    """A state with this share of what it may name at most, and short texts."""
    longest = sorted(state.running, key=lambda call: call.since)[: int(MOST_RUNNING * share)]
    return replace(
        state,
        tasks=_with_short_names(_busiest(state.tasks, max(1, int(MOST_TASKS * share)))),
        waits={_short(name): count for name, count in list(state.waits.items())[: int(MOST_WAITS * share)]},
        sentences=tuple(map(_short, state.sentences[: int(MOST_SENTENCES * share)])),
        running=tuple(
            replace(call, task=_short(call.task), node=None if call.node is None else _short(call.node))
            for call in longest
        ),
        cancelled_by=None if state.cancelled_by is None else _short(state.cancelled_by),
    )


def decoded(content: bytes) -> LiveState | None:
    """The state in these bytes; None if they are none: half of a file, or from a later rayflow that says it in another
    way. What a later rayflow has added is passed over."""
    try:
        parts: dict[str, Any] = json.loads(content)
        known = {name: parts[name] for name in LiveState.__slots__ if name in parts}
        calls = [
            RunningCall(**{name: call[name] for name in RunningCall.__slots__ if name in call})
            for call in known.pop("running", ())
        ]
        state = LiveState(**{**known, "sentences": tuple(known.get("sentences", ())), "running": tuple(calls)})
        return state if all(isinstance(each, int) for each in (state.written_at, state.next_at)) else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def totals(tasks: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """The counts of all tasks together."""
    sums: dict[str, int] = {}
    for row in tasks.values():
        for name, count in row.items():
            sums[name] = sums.get(name, 0) + count
    return sums


def _busiest(tasks: Mapping[str, Mapping[str, int]], most: int) -> Mapping[str, Mapping[str, int]]:
    """The tasks with the most open and failed jobs, in their order, and a row for all others."""
    if len(tasks) <= most:
        return tasks
    ranked = sorted(tasks, key=lambda name: (-tasks[name].get("open", 0), -tasks[name].get("failed", 0)))
    named = set(ranked[: max(0, most - 1)])
    others = totals({name: row for name, row in tasks.items() if name not in named})
    return {**{name: row for name, row in tasks.items() if name in named}, OTHERS: others}


def _with_short_names(tasks: Mapping[str, Mapping[str, int]]) -> dict[str, Mapping[str, int]]:
    """The same rows under names that are short; those that then have one name are one row. Their ends differ."""
    found: dict[str, Mapping[str, int]] = {}
    for name, row in tasks.items():
        short = name if len(name) <= _LONGEST_TEXT else f"...{name[3 - _LONGEST_TEXT :]}"
        found[short] = totals({"": row, " ": found[short]}) if short in found else dict(row)
    return found


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 3]}..."
