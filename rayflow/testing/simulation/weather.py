"""The small parts of a simulated cluster: the weather, the store, the report, and which message answers which command.

In: rows, commands, messages. Out: plain data. Never: chance, time, decisions.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rayflow.evaluator import commands, messages
from rayflow.evaluator.timers import OpeningTimer
from rayflow.records import JobRow, PlaceRow, ReductionRow, Row
from rayflow.testing.simulation.meaning import Key
from rayflow.values.digests import DIGEST_BYTES


@dataclass(frozen=True)
class Weather:
    """How rough the world is: probabilities between 0 and 1, for each command or tick."""

    lost: float = 0.0
    repeated: float = 0.0
    late: float = 0.0
    noise: float = 0.0
    committed: float = 0.2
    crashed: float = 0.0
    cancelled: float = 0.0
    spread_seconds: float = 1.0


@dataclass
class Report:
    """The report of one run.

    ran: the jobs that had an attempt, by life. keys: by job id, the oracle's name of the call. rows: by job id, the
    last row. untruths: the mistakes that were found. torn: the jobs that had an attempt in a nested execution that was
    lost. generation: how often it was retried. is_unsure: whether a nested execution was lost, or made more than once.
    places: the committed rows of places. resolved: by place, the outcomes of resolved waits. place_of: by job id.
    done: by place, how often an effect's body ran to its end. hits: by place, how often a start was followed by a crash
    or a lost worker.
    """

    execution_id: str
    outcome: Any = None
    finish: commands.Finish | None = None
    rows: dict[bytes, JobRow] = field(default_factory=dict)
    ran: list[set[bytes]] = field(default_factory=list)
    keys: dict[bytes, Key] = field(default_factory=dict)
    lives: int = 1
    generation: int = 0
    was_cancelled: bool = False
    cancelled_in_time: bool = False
    torn: set[bytes] = field(default_factory=set)
    is_unsure: bool = False
    untruths: list[str] = field(default_factory=list)
    places: list[PlaceRow] = field(default_factory=list)
    resolved: dict[bytes, bytes] = field(default_factory=dict)
    place_of: dict[bytes, bytes] = field(default_factory=dict)
    done: Counter[bytes] = field(default_factory=Counter)
    hits: Counter[bytes] = field(default_factory=Counter)

    def runs(self) -> Counter[Key]:
        """How many jobs of each call had an attempt in the last life."""
        return Counter(self.keys[job_id] for job_id in self.ran[-1])


@dataclass
class SimulatedStore:
    """The content of a store, now or after the next commit."""

    reductions: dict[bytes, list[ReductionRow]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Add a row."""
        if isinstance(row, ReductionRow):
            self.reductions.setdefault(row.eval_hash, []).append(row)
        else:
            self.rows.append(row)


def hashes_in(task_set: bytes | None) -> frozenset[bytes] | None:
    """The task hashes that a full reduction lists."""
    if task_set is None:
        return None
    return frozenset(task_set[start : start + DIGEST_BYTES] for start in range(0, len(task_set), DIGEST_BYTES))


def one_by_one(message: Any) -> list[Any]:
    """The messages that say the same, each about one job."""
    match message:
        case messages.LookedUpVector(at, first, found, later):
            return [messages.LookedUp(at, first + place, each) for place, each in found.items() if place not in later]
        case messages.ReturnedVector():
            costs = zip(message.started_at, message.wall_seconds, message.cpu_seconds, message.peaks, strict=True)
            return [
                messages.Returned(message.at, job, 1, term, _cost_of(cost, message))
                for job, term, cost in zip(message.jobs, message.terms, costs, strict=True)
            ]
    return [message]


def _cost_of(measured: tuple[int, float, float, int | None], message: messages.ReturnedVector) -> messages.Cost:
    return messages.Cost(*measured, message.node, message.pid, environment=message.environment)


def asked_by(command: Any) -> tuple[Any, ...] | None:
    """The question of a command, as a key that its answer has, too; None if nothing answers the command."""
    match command:
        case commands.LookUp():
            return ("look up", command.asker)
        case commands.RunTask():
            return ("run", command.job, command.attempt)
        case commands.RunOperation():
            return ("operate", command.asker)
        case commands.SetTimer():
            return ("time", type(command.timer)) if isinstance(command.timer, OpeningTimer) else None
    return None


def answered_by(message: Any) -> tuple[Any, ...] | None:
    """Which question a message answers; None when it comes unasked."""
    match message:
        case messages.LookedUp():
            return ("look up", message.asker)
        case messages.Returned() | messages.Paused() | messages.Raised() | messages.WorkerGone():
            return ("run", message.job, message.attempt)
        case messages.Operated():
            return ("operate", message.asker)
        case messages.TimerFired():
            return ("time", type(message.timer)) if isinstance(message.timer, OpeningTimer) else None
    return None
