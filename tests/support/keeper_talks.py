"""Conversations with the keeper: what is sent, what is expected, and the state as data that can be compared.

In: requests, and patterns of commands. Out: as `rayflow.testing.playbook`. Never: a store, a clock.
"""

from __future__ import annotations

import json
from typing import Any

from keeper_invariants import check

from rayflow.keeper import requests
from rayflow.keeper.commands import (
    BindEvent,
    BindFiring,
    Evaluate,
    RecallFirings,
    RequestReply,
    Resolve,
    SetAlarm,
    StopRun,
    Write,
)
from rayflow.keeper.folding import MOST_ANSWERED, fold
from rayflow.keeper.keeper import Keeper
from rayflow.keeper.state import KeeperState
from rayflow.keeper.timers import FIRING_DUE, ROOM, TIMEOUT, holds
from rayflow.lang.terms.codec import dumps
from rayflow.lang.terms.expressions import Operation
from rayflow.lang.terms.outcomes import pack_outcome, unpack_outcome
from rayflow.records import (
    ChargeRow,
    DeliveryRow,
    EventRow,
    FiringRow,
    QueueRow,
    RequestRow,
    RunRow,
    ScheduleRow,
    WaitRow,
)
from rayflow.testing.patterns import Like, fits
from rayflow.testing.playbook import START, Playbook
from rayflow.values.digests import digest
from rayflow.values.failures import Failure
from rayflow.values.refs import TaggedTree

SECOND = 1_000_000
"""In microseconds."""


class KeeperTalk(Playbook):
    """A playbook with a keeper: rows and alarms may go unnamed. After each request the invariants hold, and the fold of
    the rows is the state."""

    def __init__(self, *flows: requests.FlowSpec) -> None:
        self.kept = Kept()
        super().__init__(self.kept, (Write, SetAlarm))
        self.knows(*flows)
        self.kept.handle([requests.Recovered(START)])

    def knows(self, *flows: requests.FlowSpec) -> KeeperTalk:
        """Let these be the flows of the loaded code."""
        self.kept.handle([requests.FlowsKnown(self.at, {flow.name: flow for flow in flows})])
        return self

    @property
    def keeper(self) -> Any:
        """The keeper that speaks. (Its answers are plain data of any shape.)"""
        return self.kept.keeper

    def rows(self, cls: type[Any]) -> list[Any]:
        """All rows of this class written so far."""
        return [row for row in self.kept.rows if isinstance(row, cls)]

    def states(self, run_id: str) -> list[tuple[str, str]]:
        """The states that a run has had, each with its cause."""
        return [(row.state, row.cause) for row in self.rows(RunRow) if row.run_id == run_id]

    def crash(self, *flows: requests.FlowSpec) -> list[Any]:
        """Throw the keeper away, and let another one recover. Gives its first commands, without rows and alarms."""
        self.play()
        self.kept.keeper = Keeper()
        known = requests.FlowsKnown(self.at, {flow.name: flow for flow in flows})
        came = self.kept.handle([known, recovered(self.kept.rows, self.at)])
        return [command for command in came if not isinstance(command, self.quiet)]


class Kept:
    """A keeper with its rows in memory, checked after each turn."""

    def __init__(self) -> None:
        self.keeper = Keeper()
        self.rows: list[Any] = []

    def handle(self, incoming: Any) -> list[Any]:
        """One turn."""
        came = self.keeper.handle(incoming)
        for command in came:
            if isinstance(command, Write):
                self.rows += command.rows
        check(self.keeper.state)
        assert folded(self.rows, self.keeper.state.now) == snapshot(self.keeper.state)
        return came


# --- rows and states --------------------------------------------------------------------------------------------------


def recovered(rows: list[Any], at: int) -> requests.Recovered:
    """What the store says at the start of a service."""
    last: dict[str, RunRow] = {}
    first: dict[str, RunRow] = {}
    for row in rows:
        if isinstance(row, RunRow):
            last[row.run_id] = row
            first.setdefault(row.run_id, row)
    is_open = {run_id for run_id, row in last.items() if row.state not in ("done", "failed", "cancelled")}
    is_joined = {run_id: row.cause == "debounced" for run_id, row in last.items()}
    ended = [
        requests.EndedRun(
            row.id, run_id, row.input_hash or b"", last[run_id].state, row.parent_run_id, last[run_id].next_run_id
        )
        for run_id, row in first.items()
        if row.id is not None and run_id not in is_open and not (last[run_id].next_run_id and not is_joined[run_id])
    ]
    open_ids = {first[run_id].id for run_id in is_open}
    return requests.Recovered(
        at,
        [row for row in rows if isinstance(row, RunRow) and row.run_id in is_open],
        [row for row in rows if isinstance(row, WaitRow) and row.run_id in is_open],
        [row for row in rows if isinstance(row, EventRow)],
        [row for row in rows if isinstance(row, DeliveryRow)],
        [each for each in ended if each.id not in open_ids],
        max((row.number for row in rows), default=0),
        max((row.at for row in rows), default=0),
        schedules=list({row.schedule: row for row in rows if isinstance(row, ScheduleRow)}.values()),
        firings=open_firings(rows),
        requests=[row for row in rows if isinstance(row, RequestRow)][-MOST_ANSWERED:],
        queues=[row for row in rows if isinstance(row, QueueRow)],
        charges=[row for row in rows if isinstance(row, ChargeRow) and row.until_at > at],
        rounds=rounds(rows),
    )


def open_firings(rows: list[Any]) -> list[FiringRow]:
    """The firings that a service goes on with, as the store gives them."""
    firings = [row for row in rows if isinstance(row, FiringRow)]
    after = {row.schedule: row.moments_after for row in rows if isinstance(row, ScheduleRow)}
    last = {(row.schedule, row.moment): row for row in firings if row.last_moment is None}
    by_clock: dict[str, FiringRow] = {}
    for row in firings:
        latest = by_clock.get(row.schedule)
        if row.kind == "time" and (latest is None or end_of(row) >= end_of(latest)):
            by_clock[row.schedule] = row
    return [
        row
        for row in firings
        if by_clock.get(row.schedule) is row
        or (last.get((row.schedule, row.moment)) is row
            and (row.state in ("pending", "queued") or (row.kind != "time" and row.moment > after[row.schedule])))
    ]  # fmt: skip


def end_of(row: FiringRow) -> int:
    """The moment of a firing; of a series, the last one."""
    return row.last_moment or row.moment


def rounds(rows: list[Any]) -> list[tuple[str, int, int, str]]:
    """For each queue and priority the latest round, with each fairness key that had its run in it."""
    ran = [row for row in rows if isinstance(row, RunRow) and row.state == "running" and row.turn is not None]
    latest: dict[tuple[Any, Any], int] = {}
    for row in ran:
        latest[row.queue, row.priority] = max(latest.get((row.queue, row.priority), 0), row.turn or 0)
    found = {
        (row.queue or "", row.priority or 0, row.turn or 0, json.loads(row.demands or "{}").get("fairness", ""))
        for row in ran
        if row.turn == latest[row.queue, row.priority]
    }
    return sorted(found)


def recalled(rows: list[Any], run_id: str, at: int = 0) -> requests.Recalled:
    """What the store says of one run."""
    return requests.Recalled(
        at,
        run_id,
        [row for row in rows if isinstance(row, RunRow) and row.run_id == run_id],
        [row for row in rows if isinstance(row, WaitRow) and row.run_id == run_id],
    )


def folded(rows: list[Any], at: int) -> Any:
    """The state that follows from rows, as data."""
    state = KeeperState()
    fold(state, recovered(rows, at))
    return snapshot(state)


def snapshot(state: KeeperState) -> Any:
    """All recorded state as data that can be compared, whatever the order in which it came about."""

    def wait(each: Any) -> Any:
        return each.opened, each.state, each.generation, each.outcome, each.has_failed

    def run(each: Any) -> Any:
        return (
            each.first, each.state, each.cause, each.life, each.generation, each.timeout_at, each.reason, each.ends_by,
            each.stops, each.open, {place: wait(one) for place, one in each.waits.items()}, each.due_at,
            each.entered_at, each.begun, each.held, each.has_mutex, each.order, each.news, each.roots,
        )  # fmt: skip

    def event(each: Any) -> Any:
        return each.row, each.seen, each.takers, each.is_taken, each.is_cut, each.deliveries

    def schedule(each: Any) -> Any:
        return each.row, each.decided, each.next_at, list(each.queued.items()), each.pending, each.ahead

    return {
        "number": state.number,
        "runs": {run_id: run(each) for run_id, each in state.runs.items()},
        "ids": state.ids,
        "ended": state.ended,
        "chains": state.chains,
        "children": state.children,
        "waiters": {run_id: sorted(waits) for run_id, waits in state.waiters.items()},
        "listening": {
            name: {key: sorted(waits) for key, waits in by_key.items()} for name, by_key in state.listening.items()
        },
        "asks": sorted(state.asks),
        "events": {event_id: event(each) for event_id, each in state.events.items()},
        "by_name": {name: [each.row.event_id for each in known] for name, known in state.by_name.items()},
        "by_key": {key: [each.row.event_id for each in known] for key, known in state.by_key.items()},
        "tied": state.tied,
        "pending": state.pending,
        "schedules": {name: schedule(each) for name, each in state.schedules.items()},
        "scheduled": {name: set(runs) for name, runs in state.scheduled.items()},
        "answered": list(state.answered.items()),
        "timers": sorted({_timer(*timer) for timer in state.timers if timer[1] != ROOM and holds(state, timer)}),
        **_admission(state),
    }


def _admission(state: KeeperState) -> dict[str, Any]:
    """What admission knows, as data."""
    known = state.admission
    buckets = {name: [end for end in bucket.ends if end > state.now] for name, bucket in known.buckets.items()}
    return {
        "used": known.used,
        "queues": {name: (each.slots, each.configured) for name, each in known.queues.items()},
        "mutexes": {
            key: (sorted(each.holders), list(each.going_on), list(each.new)) for key, each in known.mutexes.items()
        },
        "buckets": {name: ends for name, ends in buckets.items() if ends},
        "windows": known.windows,
        "rounds": {of: (each.turn, each.keys) for of, each in known.rounds.items()},
        "turns": {of: each.waiting for of, each in known.turns.items()},
        "waiting": known.lines.counts(),
    }


def _timer(at: int, rank: int, number: int, owner: Any) -> tuple[Any, ...]:
    """A timer as data. (A run that was retried may have the same timeout from two rows; so may a schedule that goes on
    after a pause.)"""
    if rank == FIRING_DUE:
        return at, rank, owner.row.schedule
    return (at, rank, owner.run_id) if rank == TIMEOUT else (at, rank, number)


# --- what is sent -----------------------------------------------------------------------------------------------------


def term(text: str) -> bytes:
    """A packed term."""
    return dumps(text)


def start(run_id: str = "", *, root: str = "root", request: str = "start", **fields: Any) -> requests.StartRequested:
    """A StartRequested. Of an id, the run_id does not matter."""
    packed = term(root)
    return requests.StartRequested(0, request, run_id, packed, digest("input", packed), **fields)


def opens(run_id: Any, place: str, kind: str, *, root: str | None = None, **fields: Any) -> requests.WaitOpened:
    """A WaitOpened. root: of the run that it starts. data: an event's, as a term."""
    if root is not None:
        fields |= {"root": term(root), "input_hash": digest("input", term(root))}
    if kind == "emit":
        fields |= content(fields["name"], fields.get("key"), fields.get("data"))
    return requests.WaitOpened(0, run_id, at_place(place), kind, **fields)


def content(name: str, key: str | None, data: Any) -> dict[str, Any]:
    """The data of an event, and the hash of its content."""
    packed = dumps(data)
    return {"data": packed, "data_hash": digest("event", name.encode(), (key or "").encode(), packed)}


def at_place(name: str) -> bytes:
    """The place of this name."""
    return digest("place", name.encode())


def closes(run_id: Any, place: str) -> requests.WaitClosed:
    """A WaitClosed."""
    return requests.WaitClosed(0, run_id, at_place(place))


def parks(run_id: Any, *places: str) -> requests.RunParked:
    """A RunParked."""
    return requests.RunParked(0, run_id, tuple(map(at_place, places)))


def ends(run_id: Any, value: Any = None, **fields: Any) -> requests.RunEnded:
    """A RunEnded with a value or a Failure."""
    error = value.summary if isinstance(value, Failure) else None
    return requests.RunEnded(0, run_id, pack_outcome(value), error, **fields)


def emits(event_id: str, name: str = "paid", key: str | None = None, data: Any = None, **fields: Any) -> Any:
    """An EmitRequested."""
    return requests.EmitRequested(0, "emit", event_id, name, key, **content(name, key, data), **fields)


def bound(event_id: str, flow: str, root: str | None = "bound", error: str | None = None) -> requests.BoundArguments:
    """A BoundArguments."""
    packed = None if root is None or error else term(root)
    return requests.BoundArguments(0, event_id, flow, packed, packed and digest("input", packed), None, error)


def answers(run_id: str, place: str | None, value: Any, by: str | None = None) -> requests.AnswerRequested:
    """An AnswerRequested. by: the id that its client has given it."""
    at = None if place is None else at_place(place)
    return requests.AnswerRequested(0, "answer", run_id, at, pack_outcome(value), by)


def cancels(run_id: Any, reason: str = "", by: str | None = None) -> requests.CancelRunRequested:
    """A CancelRunRequested. by: as of `answers`."""
    return requests.CancelRunRequested(0, "cancel", run_id, reason, by)


def retries(run_id: Any, reason: str = "", by: str | None = None) -> requests.RetryRequested:
    """A RetryRequested. by: as of `answers`."""
    return requests.RetryRequested(0, "retry", run_id, reason, by)


def puts(name: str, timetable: str, flow: str = "lab.f", **how: Any) -> requests.PutScheduleRequested:
    """A PutScheduleRequested."""
    return requests.PutScheduleRequested(0, "put", name, flow, requests.ScheduleSpec(timetable, **how))


def pauses(name: str) -> requests.PauseRequested:
    """A PauseRequested that pauses."""
    return requests.PauseRequested(0, "pause", name, True)


def resumes(name: str) -> requests.PauseRequested:
    """A PauseRequested that has a schedule go on."""
    return requests.PauseRequested(0, "resume", name, False)


def made(name: str, moment: int, root: str | None = "made", error: str | None = None) -> requests.BoundFiring:
    """A BoundFiring. Without root and error: the code is missing."""
    packed = None if root is None or error else term(root)
    return requests.BoundFiring(0, name, moment, packed, packed and digest("input", packed), None, error)


def firings_recalled(rows: list[Any], wanted: RecallFirings, at: int = 0) -> requests.FiringsRecalled:
    """What the store says of the firings of a schedule."""
    last = {
        row.moment: row
        for row in rows
        if isinstance(row, FiringRow) and row.schedule == wanted.schedule and row.last_moment is None
    }
    found = [row for moment, row in last.items() if wanted.first <= moment <= wanted.last]
    return requests.FiringsRecalled(at, wanted.schedule, wanted.first, wanted.last, found)


def later(seconds: float) -> requests.TimeCame:
    """A TimeCame, that much after the playbook's start."""
    return requests.TimeCame(START + round(seconds * SECOND))


def value_of(packed: bytes) -> Any:
    """The outcome in these bytes; of an event its fields, of a reference to a run its id."""
    outcome = unpack_outcome(packed)
    if type(outcome) is Operation and outcome._name == "event":
        return dict(zip(("id", "name", "key", "data", "time", "number"), outcome._args, strict=True))
    return outcome.parts[0] if type(outcome) is TaggedTree else outcome


# --- what is expected -------------------------------------------------------------------------------------------------


def evaluates(run_id: Any, **fields: Any) -> Like:
    """An Evaluate."""
    return Like(Evaluate, run_id=run_id, **fields)


def resolves(run_id: Any, place: str, outcome: Any = object) -> Like:
    """A Resolve with this value, or with an outcome that fits a pattern."""
    is_pattern = isinstance(outcome, Like) or outcome is object
    return Like(
        Resolve, run_id=run_id, place=at_place(place), outcome=lambda packed: _fits(outcome, packed, is_pattern)
    )


def _fits(outcome: Any, packed: bytes, is_pattern: bool) -> bool:
    return fits(outcome, value_of(packed)) if is_pattern else pack_outcome(value_of(packed)) == pack_outcome(outcome)


def stops(run_id: Any, **fields: Any) -> Like:
    """A StopRun."""
    return Like(StopRun, run_id=run_id, **fields)


def binds(event_id: str, flow: str) -> Like:
    """A BindEvent."""
    return Like(BindEvent, event_id=event_id, flow=flow)


def makes(name: str, moment: Any = int, **fields: Any) -> Like:
    """A BindFiring."""
    return Like(BindFiring, schedule=name, moment=moment, **fields)


def replies(request: str, answer: Any = object) -> Like:
    """A RequestReply without an error."""
    return Like(RequestReply, request=request, answer=answer, error=lambda error: error is None)


def refuses(request: str, name: str, text: str = "") -> Like:
    """A RequestReply with an error of this class, whose message contains a text."""
    return Like(
        RequestReply, request=request, error=lambda error: error is not None and error[0] == name and text in error[1]
    )
