"""Admission: whether a run may run now, and who is next.

In: a run that wants to run, or to go on; room that has come. Out: rows and commands that let runs run; for the others,
what each waits for. Never: ends a run.

A run asks for its mutex first, then for a slot of its queue together with its limits and throttles. It holds its slot
and its limits while something of it runs: when it parks they are given back, and before it goes on it asks again.
Runs that go on come before new ones. Among those: priority, then the round of the fairness key, then the order in
which they came. What one run cannot have blocks no run that does not need it.

`settle` lets all run that can. So outside of it, each run that waits needs something that is full: a run that comes
then may run at once if it finds room.
"""

from __future__ import annotations

from typing import Any

from rayflow.keeper.admission_folding import counted, next_turn, queue_name, turn_now
from rayflow.keeper.commands import Evaluate, Resolve
from rayflow.keeper.demands import DEFAULT_QUEUE, NO_DEMANDS, Demands, Limit, Rate, from_text
from rayflow.keeper.folding import write
from rayflow.keeper.lines import Need
from rayflow.keeper.run_states import MUTEX, QUEUED, RUNNING, SLOT
from rayflow.keeper.state import KeeperState, KeptRun
from rayflow.keeper.timers import ROOM, set_timer
from rayflow.records import ChargeRow, RunRow

ADMITTED = "admitted"
"""Cause: the run had waited for a slot."""


# --- runs move --------------------------------------------------------------------------------------------------------


def change(state: KeeperState, run: KeptRun, to: str, cause: str, **fields: Any) -> None:
    """Move a run to another state. fields: other columns of the row."""
    write(state, RunRow(run.run_id, state.number + 1, state.now, to, cause, **fields))


def evaluate(state: KeeperState, run: KeptRun) -> None:
    """Let the run be evaluated."""
    state.out.append(evaluation(run))


def evaluation(run: KeptRun) -> Evaluate:
    """The command that takes a run up."""
    return Evaluate(run.run_id, run.first.root or b"", run.life, run.generation, run.stops, run.ends_by)


def arrival(
    state: KeeperState, first: RunRow, cause: str, run: KeptRun | None = None, *, is_retry: bool = False
) -> dict[str, Any]:
    """The columns of a row that say where a run is that wants to run now: running, or queued for what it needs.

    first: what describes it. run: None for one that is made. is_retry: whether it comes to a new generation.
    """
    demands = NO_DEMANDS if first.demands is None else from_text(first.demands)
    queue = first.queue or DEFAULT_QUEUE
    goes_on = run is not None and run.goes_on and not is_retry
    if not goes_on:
        settle(state)
    if demands.mutex is not None and not (run and run.has_mutex) and not _is_free(state, demands.mutex, first):
        return {"state": QUEUED, "cause": MUTEX}
    needs = _needs_of_new(demands) if run is None else run.needs()
    # What has room now may be another's that goes on, too: `settle` gives it to the first of them.
    is_contended = goes_on and _is_unsettled(state) and state.admission.lines.has_runs(queue)
    has_room = not is_contended and _has_slot(state, queue) and not any(_is_full(state, need) for need in needs)
    if has_room and demands.fairness is None:
        return {"state": RUNNING, "cause": cause}
    turn: dict[str, Any] = {}
    if not goes_on:
        priority = first.priority or 0
        turn_of = turn_now if has_room else next_turn
        turn = {
            "turn": turn_of(state.admission, queue, priority, demands.fairness or ""),
            "queue": queue, "priority": priority, "demands": first.demands,
        }  # fmt: skip
    return {"state": RUNNING, "cause": cause, **turn} if has_room else {"state": QUEUED, "cause": SLOT, **turn}


def go(state: KeeperState, run: KeptRun, cause: str, **fields: Any) -> bool:
    """A run wants to run now. Returns whether it does. fields: other columns of the row."""
    is_first = run.begun is None
    columns = arrival(state, run.first, cause, run, is_retry="generation" in fields)
    change(state, run, columns.pop("state"), columns.pop("cause"), **{**fields, **columns})
    if run.state != RUNNING:
        return False
    if is_first:
        charge(state, run.run_id, run.demands.throttles)
    return True


def _needs_of_new(demands: Demands) -> tuple[Need, ...]:
    return (*demands.limits, *demands.throttles)


# --- what is full -----------------------------------------------------------------------------------------------------


def slots_of(state: KeeperState, queue: str) -> int | None:
    """The slots of a queue; None for any number."""
    said = state.admission.queues.get(queue)
    return None if said is None else said.slots


def _has_slot(state: KeeperState, queue: str) -> bool:
    slots = slots_of(state, queue)
    return slots is None or state.admission.used.get(queue_name(queue), 0) < slots


def _is_full(state: KeeperState, need: Need) -> bool:
    if isinstance(need, Limit):
        return state.admission.used.get(need.name, 0) >= need.most
    return room_at(state, need) is not None


def room_at(state: KeeperState, rate: Rate) -> int | None:
    """When a throttle or rate limit has room again; None if it has now."""
    ends = counted(state.admission, rate.name, state.now)
    return None if len(ends) < rate.most else ends[len(ends) - rate.most]


def blocked_by(state: KeeperState, run: KeptRun) -> Need | None:
    """What a run that waits for a slot needs and is full; None if it is its queue."""
    return next((need for need in run.needs() if _is_full(state, need)), None)


def charge(state: KeeperState, run_id: str, rates: tuple[Rate, ...]) -> None:
    """Count a run."""
    for rate in rates:
        write(state, ChargeRow(rate.name, state.number + 1, state.now, run_id, state.now + rate.per_us))


def refusing(state: KeeperState, demands: Demands) -> tuple[Rate, int] | None:
    """The rate limit that refuses a new run, and how many microseconds later it has room; None if none does.

    A start that joins another one is no new run.
    """
    if demands.debounce is not None and demands.debounce.name in state.admission.windows:
        return None
    for rate in demands.rates:
        at = room_at(state, rate)
        if at is not None:
            return rate, at - state.now
    return None


# --- mutexes ----------------------------------------------------------------------------------------------------------


def _is_free(state: KeeperState, key: str, first: RunRow) -> bool:
    """Whether a run gets a mutex now: it is free, or a run has it of which this one is a child, at any depth."""
    mutex = state.admission.mutexes.get(key)
    if mutex is None or not (mutex.holders or mutex.going_on or mutex.new):
        return True
    above: RunRow | None = first
    while above is not None and above.link == "child" and above.parent_run_id is not None:
        if above.parent_run_id in mutex.holders:
            return True
        parent = state.runs.get(above.parent_run_id)
        above = parent.first if parent else None
    return False


def _hand_on(state: KeeperState, key: str) -> None:
    """Give a free mutex to the next run that waits for it."""
    mutex = state.admission.mutexes.get(key)
    if mutex is None or mutex.holders:
        return
    run = state.runs[next(iter(mutex.going_on or mutex.new))]
    change(state, run, QUEUED, SLOT, **_turn_of(state, run))
    below = list(state.children.get(run.run_id, ()))
    while below:  # its children have it, too
        child = state.runs[below.pop()]
        if child.first.link == "child":
            if child.run_id in mutex.going_on or child.run_id in mutex.new:
                change(state, child, QUEUED, SLOT, **_turn_of(state, child))
            below.extend(state.children.get(child.run_id, ()))


def _turn_of(state: KeeperState, run: KeptRun) -> dict[str, Any]:
    if run.goes_on:
        return {}
    first = run.first
    priority = first.priority or 0
    turn = next_turn(state.admission, run.queue, priority, run.demands.fairness or "")
    return {"turn": turn, "queue": run.queue, "priority": priority, "demands": first.demands}


# --- who is next ------------------------------------------------------------------------------------------------------


def settle(state: KeeperState) -> None:
    """Let each run run that can, in order."""
    admission = state.admission
    lines = admission.lines
    while _is_unsettled(state):
        _look_at_freed(state)
        if admission.unlocked:
            key = next(iter(admission.unlocked))
            del admission.unlocked[key]
            _hand_on(state, key)
        elif lines.to_look_at:
            queue = next(iter(lines.to_look_at))
            del lines.to_look_at[queue]
            _admit_from(state, queue)


def _is_unsettled(state: KeeperState) -> bool:
    """Whether a run may run that waits, or get its mutex."""
    admission = state.admission
    return bool(admission.lines.freed or admission.lines.to_look_at or admission.unlocked)


def _look_at_freed(state: KeeperState) -> None:
    lines = state.admission.lines
    while lines.freed:
        name = next(iter(lines.freed))
        del lines.freed[name]
        if name.startswith("queue:"):
            lines.look_at(name[6:])
        else:
            lines.has_room(name, lambda need: _is_full_for_now(state, need))


def _admit_from(state: KeeperState, queue: str) -> None:
    lines = state.admission.lines
    while _has_slot(state, queue):
        _look_at_freed(state)
        run = lines.next(queue, lambda need: _is_full_for_now(state, need))
        if run is None:
            return
        _admit(state, state.runs[run.run_id])


def _is_full_for_now(state: KeeperState, need: Need) -> bool:
    """The same as `_is_full`; of a throttle, somebody looks again when it has room."""
    if isinstance(need, Limit):
        return _is_full(state, need)
    at = room_at(state, need)
    if at is None:
        return False
    bucket = state.admission.buckets[need.name]
    if bucket.alarm_at is None or at < bucket.alarm_at:
        bucket.alarm_at = at
        set_timer(state, at, ROOM, bucket.number, bucket)
    return True


def _admit(state: KeeperState, run: KeptRun) -> None:
    assert run.order is not None
    is_first, goes_on, news, turn = run.begun is None, run.goes_on, run.news or [], run.order[2]
    turned: dict[str, Any] = {}
    if not goes_on:
        first = run.first
        turned = {"turn": turn, "queue": run.queue, "priority": first.priority or 0, "demands": first.demands}
    change(state, run, RUNNING, ADMITTED, life=None if is_first else run.life + 1, **turned)
    if is_first:
        charge(state, run.run_id, run.demands.throttles)
    known = [run.waits[place] for place in news] if goes_on else []
    told = [Resolve(run.run_id, wait.opened.place, wait.outcome) for wait in known if wait.outcome is not None]
    if told:
        state.out.extend(told)
    else:
        evaluate(state, run)
