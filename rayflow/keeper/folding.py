"""Rows to state: the only place where recorded state changes.

In: the state and a row. Out: the KeeperState as it is after that row. Never: decides, or writes a row.

The live keeper writes each row by `write`, which applies it here. Recovery applies the rows of the store. So a keeper
that has recovered is in the state of the one that has written the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import merge
from typing import Any, TypeAlias, TypeVar

from rayflow.keeper.admission_folding import apply_charge, apply_queue, come, leave, note_resolved, took_turn
from rayflow.keeper.ids import firing_id, is_own_id
from rayflow.keeper.requests import EndedRun, Recovered
from rayflow.keeper.run_states import (
    DEBOUNCE,
    ENDED,
    ENDING,
    MOVES,
    OPEN,
    QUEUED,
    SCHEDULED,
    WAIT_MOVES,
    check_move,
)
from rayflow.keeper.schedule_states import ACTIVE, FIRING_MOVES, PENDING_FIRING, QUEUED_FIRING, TIME
from rayflow.keeper.state import KeeperState, KeptEvent, KeptRun, KeptSchedule, KeptWait
from rayflow.keeper.timers import DEADLINE, EVENT_DUE, FIRING_DUE, RUN_DUE, TIMEOUT, set_timer
from rayflow.lang.events.timetables import from_text, next_moment
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

KeeperRow: TypeAlias = (
    RunRow
    | WaitRow
    | EventRow
    | DeliveryRow
    | ScheduleRow
    | FiringRow
    | RequestRow
    | QueueRow
    | ChargeRow
)

DUE, PENDING, DELIVERED, DELIVERY_FAILED = "due", "pending", "delivered", "failed"
"""States of a delivery. DUE: the moment when a delayed event is delivered; its row has no target."""

AGAIN = "again"
"""Cause of a row: a run that is ending was asked to end its clean-up, too."""

RETRY = "retry"
"""Cause of a row: a run is retried; in a later generation a wait is opened anew."""

MOST_ANSWERED = 20_000
"""The answers to so many requests are known, so that one that is sent again does nothing twice."""

JOINED = "debounced"
"""Cause of a row: the start has joined another one, whose run goes on in its place."""


def write(state: KeeperState, row: KeeperRow) -> None:
    """Record a row, and make the change that it says."""
    state.rows.append(row)
    apply(state, row)


def apply(state: KeeperState, row: KeeperRow) -> None:
    """Make the change that a row says."""
    if isinstance(row, RunRow):
        _apply_run(state, row)
    elif isinstance(row, WaitRow):
        _apply_wait(state, row)
    elif isinstance(row, EventRow):
        _apply_event(state, row)
    elif isinstance(row, DeliveryRow):
        _apply_delivery(state, row)
    elif isinstance(row, ScheduleRow):
        _apply_schedule(state, row)
    elif isinstance(row, FiringRow):
        _apply_firing(state, row)
    elif isinstance(row, RequestRow):
        _apply_request(state, row)
    elif isinstance(row, QueueRow):
        apply_queue(state, row)
    else:
        apply_charge(state, row)
    state.number = max(state.number, row.number)
    state.now = max(state.now, row.at)


def fold(state: KeeperState, recovered: Recovered) -> None:
    """Apply the rows of the store to a new KeeperState, in the order of their numbers."""
    for each in recovered.ended:
        if is_own_id(each.id):
            state.ended[each.id] = each
    words: dict[str, str] = {}
    for queue, priority, turn, fairness in recovered.rounds:
        took_turn(state.admission, queue, priority, turn, fairness)
    for row in _in_order(
        recovered.schedules, recovered.runs, recovered.waits, recovered.events, recovered.deliveries,
        recovered.requests, recovered.queues, recovered.charges,
    ):  # fmt: skip
        apply(state, _lean(row, words))
    for firing in _in_order(recovered.firings):  # a schedule has its last row alone: it may be later than its firings
        apply(state, firing)
    state.number = max(state.number, recovered.latest_number)
    state.now = max(state.now, recovered.latest_at, recovered.at)
    state.gone.clear()


def _lean(row: Any, words: dict[str, str]) -> KeeperRow:
    """The row with one object for each text that many rows have. (A store gives each row its own.)"""
    shared = _SHARED.get(type(row), ())
    given = {name: text for name in shared if (text := getattr(row, name)) is not None}
    changed: KeeperRow = row._replace(**{name: words.setdefault(text, text) for name, text in given.items()})
    return changed


_SHARED: Mapping[type, tuple[str, ...]] = {
    RunRow: (
        "run_id", "state", "cause", "flow", "link", "queue", "tags", "root_run_id", "parent_run_id", "demands",
    ),
    WaitRow: ("run_id", "state", "cause", "kind", "name", "target_run_id"),
}
"""Columns whose texts many rows have."""


def rebuilt(runs: Sequence[RunRow], waits: Sequence[WaitRow]) -> KeptRun | None:
    """A run that has ended, from all its rows; None if there are none."""
    apart = KeeperState()
    for row in _in_order(runs, waits):
        apply(apart, row)
    return next(iter(apart.gone.values()), None)


def _in_order(*tables: Sequence[KeeperRow]) -> list[KeeperRow]:
    ordered = [sorted(rows, key=_number) for rows in tables]
    return list(merge(*ordered, key=_number))


def _number(row: KeeperRow) -> int:
    return row.number


# --- runs -------------------------------------------------------------------------------------------------------------


def _apply_run(state: KeeperState, row: RunRow) -> None:
    run = state.runs.get(row.run_id)
    is_new = run is None
    if run is None:
        run = state.gone.pop(row.run_id, None)
    check_move(MOVES, None if run is None else run.state, row.state, row.run_id)
    if run is None:
        run = KeptRun(row, row.state, row.cause, row.life or 0, row.generation or 0, row.timeout_at, None)
        run.due_at, run.entered_at = row.due_at, row.at
    else:
        leave(state, run)
        if (run.state, run.cause) != (row.state, row.cause):
            run.entered_at = row.at
        run.state, run.cause = row.state, row.cause
        if row.root is not None or row.demands is not None:
            _describe_anew(run, row)
        if row.due_at is not None:
            run.due_at = row.due_at
        run.reason = row.reason
        if row.life is not None:
            run.life = row.life
        if row.generation is not None:
            run.generation, run.ends_by, run.stops, run.end = row.generation, None, 0, None
        if row.timeout_at is not None:
            run.timeout_at = row.timeout_at
    if is_new:
        _enter(state, run)
    if row.timeout_at is not None:
        set_timer(state, row.timeout_at, TIMEOUT, row.number, run)
    if row.due_at is not None and (row.state == SCHEDULED or (row.state == QUEUED and row.cause == DEBOUNCE)):
        set_timer(state, row.due_at, RUN_DUE, row.number, run)
    elif row.state == ENDING and run.ends_by is None:
        run.ends_by, run.stops = row.cause, 1
    elif row.state == ENDING and row.cause == AGAIN:
        run.stops = 2
    elif row.state in ENDED:
        run.end = row
    come(state, run, row)
    if row.state in ENDED:
        _leave(state, run)


def _describe_anew(run: KeptRun, row: RunRow) -> None:
    """The keys of a run are known, or another start has joined it."""
    first, debounce = run.first, run.demands.debounce
    if row.root is not None and row.cause == DEBOUNCE and debounce is not None and debounce.keep == "all":
        run.roots = [*(run.roots or ()), row.root]
    elif row.root is not None:
        first = first._replace(root=row.root, arguments=row.arguments)
        run.roots = None
    if row.demands is not None:
        first = first._replace(demands=row.demands, queue=row.queue, priority=row.priority)
    run.first = first


def _enter(state: KeeperState, run: KeptRun) -> None:
    first = run.first
    state.runs[first.run_id] = run
    if first.id is not None:
        state.ids[first.id] = first.run_id
        state.ended.pop(first.id, None)
    if first.chain_run_id is not None:
        state.chains[first.chain_run_id] = first.run_id
    if first.parent_run_id is not None:
        state.children.setdefault(first.parent_run_id, {})[first.run_id] = None
    if first.schedule is not None:
        state.scheduled.setdefault(first.schedule, {})[first.run_id] = None


def _leave(state: KeeperState, run: KeptRun) -> None:
    first = run.first
    del state.runs[first.run_id]
    state.gone[first.run_id] = run
    state.tied.pop(first.run_id, None)
    if first.id is not None:
        del state.ids[first.id]
        next_run_id = None if run.end is None else run.end.next_run_id
        if is_own_id(first.id) and first.input_hash is not None and (next_run_id is None or run.cause == JOINED):
            state.ended[first.id] = EndedRun(
                first.id, first.run_id, first.input_hash, run.state, first.parent_run_id, next_run_id
            )
    if first.chain_run_id is not None:
        state.chains.pop(first.chain_run_id, None)
    if first.parent_run_id is not None:
        _discard(state.children, first.parent_run_id, first.run_id)
    if first.schedule is not None:
        _discard(state.scheduled, first.schedule, first.run_id)


# --- waits ------------------------------------------------------------------------------------------------------------


def _apply_wait(state: KeeperState, row: WaitRow) -> None:
    run = state.runs[row.run_id]
    wait = run.waits.get(row.place)
    check_move(WAIT_MOVES, None if wait is None else wait.state, row.state, row.run_id, row.place)
    if wait is not None and wait.state == OPEN:
        _stop_listening(state, wait)
        run.open -= 1
    if wait is None:
        wait = run.waits[row.place] = KeptWait(row, OPEN, run.generation)
    wait.state, wait.generation = row.state, run.generation
    wait.outcome, wait.has_failed = row.outcome, row.error is not None
    note_resolved(run, wait)
    if row.state == OPEN:
        wait.opened = row
        run.open += 1
        _listen(state, wait)


def _listen(state: KeeperState, wait: KeptWait) -> None:
    row = wait.opened
    if row.deadline_at is not None:
        set_timer(state, row.deadline_at, DEADLINE, row.number, wait)
    if row.target_run_id is not None:
        state.waiters.setdefault(row.target_run_id, {})[row.number] = wait
    if row.kind == "ask":
        state.asks[row.number] = wait
    if row.kind == "event" and row.name is not None:
        state.listening.setdefault(row.name, {}).setdefault(row.key, {})[row.number] = wait


def _stop_listening(state: KeeperState, wait: KeptWait) -> None:
    row = wait.opened
    if row.target_run_id is not None:
        _discard(state.waiters, row.target_run_id, row.number)
    if row.kind == "ask":
        del state.asks[row.number]
    if row.kind == "event" and row.name is not None:
        by_key = state.listening[row.name]
        _discard(by_key, row.key, row.number)
        if not by_key:
            del state.listening[row.name]


# --- events -----------------------------------------------------------------------------------------------------------


def _apply_event(state: KeeperState, row: EventRow) -> None:
    event = state.events[row.event_id] = KeptEvent(row)
    if row.due_at is not None and row.due_at > row.at:
        set_timer(state, row.due_at, EVENT_DUE, row.number, event)
    else:
        _show(state, event, row.number)
    if row.tie and row.run_id in state.runs:
        state.tied.setdefault(row.run_id, {})[row.event_id] = None


def _show(state: KeeperState, event: KeptEvent, number: int) -> None:
    row = event.row
    event.seen = number
    state.by_name.setdefault(row.name, []).append(event)
    if row.key is not None:
        state.by_key.setdefault((row.name, row.key), []).append(event)


def _apply_delivery(state: KeeperState, row: DeliveryRow) -> None:
    event = state.events[row.event_id]
    if row.state == DUE:
        _show(state, event, row.number)
        return
    if not row.target:
        event.is_cut = True
        return
    event.deliveries[row.target] = row
    if row.place is not None:
        event.takers.add(row.target.rpartition(":")[0])
        event.is_taken = event.is_taken or bool(row.is_exclusive)
    elif row.state == PENDING:
        state.pending[row.event_id, row.target] = None
    else:
        state.pending.pop((row.event_id, row.target), None)


# --- schedules --------------------------------------------------------------------------------------------------------


def _apply_schedule(state: KeeperState, row: ScheduleRow) -> None:
    kept = state.schedules.get(row.schedule)
    if kept is None:
        kept = state.schedules[row.schedule] = KeptSchedule(row, row.moments_after)
    kept.row = row
    _decide_up_to(state, kept, row.moments_after, row.number)


def _apply_firing(state: KeeperState, row: FiringRow) -> None:
    kept = state.schedules[row.schedule]
    if row.last_moment is None:
        held = kept.queued.pop(row.moment, None) or kept.pending.pop(row.moment, None)
        if held is not None:
            check_move(FIRING_MOVES, held.state, row.state, firing_id(row.schedule, row.moment))
        if row.state == QUEUED_FIRING:
            kept.queued[row.moment] = row
        elif row.state == PENDING_FIRING:
            kept.pending[row.moment] = row
    if row.kind == TIME:
        _decide_up_to(state, kept, row.last_moment or row.moment, row.number)
    elif row.moment > kept.decided:
        kept.ahead.add(row.moment)


def _decide_up_to(state: KeeperState, kept: KeptSchedule, moment: int, number: int) -> None:
    """The moments of a schedule up to this one are decided: the next one comes after it."""
    kept.decided = max(kept.decided, moment)
    kept.ahead = {each for each in kept.ahead if each > kept.decided}
    before, kept.next_at = kept.next_at, None
    if kept.row.state == ACTIVE:
        kept.next_at = next_moment(from_text(kept.row.timetable), kept.decided)
    if kept.next_at is not None and kept.next_at != before:
        set_timer(state, kept.next_at, FIRING_DUE, number, kept)


# --- requests ---------------------------------------------------------------------------------------------------------


def _apply_request(state: KeeperState, row: RequestRow) -> None:
    state.answered[row.request_id] = row.answer
    if len(state.answered) > MOST_ANSWERED:
        del state.answered[next(iter(state.answered))]


_Outer = TypeVar("_Outer")
_Inner = TypeVar("_Inner")
_Value = TypeVar("_Value")


def _discard(index: dict[_Outer, dict[_Inner, _Value]], outer: _Outer, inner: _Inner) -> None:
    """Take an entry out of an index of two levels."""
    entries = index[outer]
    del entries[inner]
    if not entries:
        del index[outer]
