"""What holds of the keeper after each turn.

In: its KeeperState. Out: an AssertionError that says what does not hold. Never: changes it.
"""

from __future__ import annotations

from admission_invariants import check_admission

from rayflow.keeper.answers import explanation
from rayflow.keeper.run_states import ENDED, ENDING, MOVES, OPEN, QUEUED, RUNNING, SCHEDULED, WAITING
from rayflow.keeper.schedule_states import ACTIVE, DELETED, GONE, PAUSED
from rayflow.keeper.state import KeeperState, KeptRun, KeptSchedule, KeptWait
from rayflow.keeper.timers import DEADLINE, EVENT_DUE, FIRING_DUE, RUN_DUE, TIMEOUT, holds


def check(state: KeeperState) -> None:
    """Raise AssertionError if something does not hold."""
    timers = {timer[:3] for timer in state.timers if holds(state, timer)}
    assert all(at > state.now for at, _, _ in timers), "a timer that has come did not fire"
    assert not state.stops, "something is still to be stopped"
    check_admission(state)
    for run_id, run in state.runs.items():
        assert run.run_id == run_id
        assert run.state in MOVES and run.state not in ENDED, f"{run_id} is {run.state}"
        _check_run(state, run, timers)
    _check_indexes(state)
    for name, kept in state.schedules.items():
        assert kept.row.schedule == name and kept.row.state in (ACTIVE, PAUSED, GONE, DELETED)
        _check_schedule(state, kept, timers)
    for event in state.events.values():
        assert event.seen is not None or any(timer[1:] == (EVENT_DUE, event.row.number) for timer in timers)
        exclusive = [each for each in event.deliveries.values() if each.is_exclusive]
        assert len(exclusive) <= 1, f"{event.row.event_id} was taken by {len(exclusive)} exclusive waits"
        assert event.is_taken == bool(exclusive)


def _check_run(state: KeeperState, run: KeptRun, timers: set[tuple[int, int, int]]) -> None:
    open_waits = run.open_waits()
    assert run.open == len(open_waits)
    if run.state == SCHEDULED:
        assert any(rank == RUN_DUE and at == run.first.due_at for at, rank, _ in timers), "nothing will start it"
        assert not open_waits
    elif run.state == WAITING:
        assert open_waits, f"{run.run_id} waits for nothing"
    elif run.state == QUEUED:
        assert run.reason or run.cause != "missing code", "nobody knows what code is missing"
    elif run.state == ENDING:
        assert run.ends_by in ("cancel", "parent", "timeout") and run.stops in (1, 2)
        assert all(wait.opened.is_cleanup and run.stops == 1 for wait in open_waits), "a stopped run waits"
    else:
        assert run.state == RUNNING
    if run.timeout_at is not None and run.state != ENDING:
        assert any(rank == TIMEOUT and at == run.timeout_at for at, rank, _ in timers), "its timeout will not come"
    for wait in open_waits:
        _check_wait(state, wait, timers)
    _check_explanation(state, run)


def _check_explanation(state: KeeperState, run: KeptRun) -> None:
    """A run says one cause, and all that belongs to it."""
    said = explanation(state, run)
    assert (said["run_id"], said["state"]) == (run.run_id, run.state)
    belongs = {
        SCHEDULED: {"due": "at"}, RUNNING: {"evaluation": "waits"}, WAITING: {"waits": "waits"},
        ENDING: {"ending": "by"},
        QUEUED: {
            "missing code": "tasks", "key": "flow", "debounce": "until", "mutex": "held_by", "queue": "queue",
            "throttle": "until", "limit": "most",
        },
    }  # fmt: skip
    assert said["cause"] in belongs[run.state]
    what = belongs[run.state][said["cause"]]
    assert what in said, f"{run.run_id} is {run.state} and does not say {what}"
    assert said[what] or run.state == RUNNING, f"{run.run_id} is {run.state} and says no {what}"
    assert all(said.get("tasks", ["none"])), "a task without a name is missing"


def _check_schedule(state: KeeperState, kept: KeptSchedule, timers: set[tuple[int, int, int]]) -> None:
    name, row = kept.row.schedule, kept.row
    if row.state == ACTIVE:
        assert kept.next_at is None or kept.next_at > max(kept.decided, state.now), "a firing did not come"
        assert kept.next_at is None or any(timer[:2] == (kept.next_at, FIRING_DUE) for timer in timers)
    else:
        assert kept.next_at is None, f"{name} is {row.state} and fires"
    assert bool(row.is_paused) == (row.state == PAUSED) or row.state in (GONE, DELETED)
    assert not kept.queued.keys() & kept.pending.keys(), "a firing waits twice"
    if kept.queued:
        assert row.state in (ACTIVE, PAUSED), "a schedule has ended and firings wait for their turn"
        assert kept.pending or name in state.scheduled, "nothing will let the next firing have its turn"
    assert all(moment > kept.decided for moment in kept.ahead)
    assert not state.freed, "something is still to go on"


def _check_wait(state: KeeperState, wait: KeptWait, timers: set[tuple[int, int, int]]) -> None:
    row = wait.opened
    assert wait.outcome is None
    if row.deadline_at is not None:
        assert (row.deadline_at, DEADLINE, row.number) in timers, "its deadline will not come"
    if row.kind in ("sleep", "sleep_until"):
        assert row.deadline_at is not None
    elif row.kind in ("child", "join"):
        assert row.target_run_id is not None
        assert row.target_run_id in state.runs or row.target_run_id in state.recalls, "nothing will end it"
        assert state.waiters[row.target_run_id][row.number] is wait
    elif row.kind == "event":
        assert row.name is not None
        assert state.listening[row.name][row.key][row.number] is wait
    else:
        assert row.kind == "ask", f"a {row.kind} stays open"
        assert state.asks[row.number] is wait


def _check_indexes(state: KeeperState) -> None:
    is_open = {id(wait) for run in state.runs.values() for wait in run.waits.values() if wait.state == OPEN}
    listed = [wait for waits in state.waiters.values() for wait in waits.values()]
    listed += state.asks.values()
    listed += [wait for by_key in state.listening.values() for waits in by_key.values() for wait in waits.values()]
    assert all(id(wait) in is_open for wait in listed), "a wait that is not open takes something"
    assert state.ids == {run.first.id: run.run_id for run in state.runs.values() if run.first.id is not None}
    assert not state.ended.keys() & state.ids.keys()
    children = {run_id: run.first.parent_run_id for run_id, run in state.runs.items() if run.first.parent_run_id}
    assert {child: parent for parent, below in state.children.items() for child in below} == children
    chains = {run.first.chain_run_id: run_id for run_id, run in state.runs.items() if run.first.chain_run_id}
    assert state.chains == chains
    scheduled = {run_id: run.first.schedule for run_id, run in state.runs.items() if run.first.schedule}
    assert {run_id: name for name, below in state.scheduled.items() for run_id in below} == scheduled
    pending = {
        (event.row.event_id, each.target)
        for event in state.events.values()
        for each in event.deliveries.values()
        if each.state == "pending"
    }
    assert set(state.pending) == pending
    for known in state.by_name.values():
        numbers = [event.seen or 0 for event in known]
        assert numbers == sorted(numbers) and all(numbers)
