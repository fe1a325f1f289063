"""Rows to the state of admission: who holds what, who waits for what, and what was counted.

In: the state, a run before and after a row. Out: the state as it is after that row. Never: decides, or writes a row.
"""

from __future__ import annotations

from collections import deque

from rayflow.keeper.admission_state import AdmissionState, Bucket, Mutex, QueueSlots, Round, Turns
from rayflow.keeper.demands import Demands
from rayflow.keeper.run_states import (
    DEBOUNCE,
    ENDED,
    ENDING,
    MISSING_CODE,
    MUTEX,
    PARKED,
    QUEUED,
    RESOLVED,
    RUNNING,
    SLOT,
    WAITING,
)
from rayflow.keeper.state import KeeperState, KeptRun, KeptWait
from rayflow.records import ChargeRow, QueueRow, RunRow

_MOST_USELESS = 1_000
"""Below this number of charges the buckets are not cleared."""


def queue_name(queue: str) -> str:
    """The name of a queue's slots, among the names of all that runs hold."""
    return f"queue:{queue}"


# --- runs -------------------------------------------------------------------------------------------------------------


def leave(state: KeeperState, run: KeptRun) -> None:
    """A run leaves the state and cause that it is in: it waits no more for what it has waited for."""
    admission = state.admission
    if run.state != QUEUED:
        return
    if run.order is not None:
        turn = run.order[2]
        admission.lines.remove(run, run.queue, run.needs())
        if not run.goes_on:
            key = _turn_key(run)
            admission.turns[key].drop(turn)
            if not admission.turns[key].waiting:
                del admission.turns[key]
    elif run.cause == MUTEX:
        mutex = admission.mutexes[run.demands.mutex or ""]
        mutex.going_on.pop(run.run_id, None)
        mutex.new.pop(run.run_id, None)
        _drop_unused(admission, run.demands.mutex or "", mutex)
    elif run.cause == DEBOUNCE and run.demands.debounce is not None:
        admission.windows.pop(run.demands.debounce.name, None)


def come(state: KeeperState, run: KeptRun, row: RunRow) -> None:
    """A run has come to the state and cause of a row."""
    admission, demands = state.admission, run.demands
    is_held = row.state == RUNNING or (row.state == ENDING and row.cause != PARKED and bool(run.held))
    if is_held and not run.held:
        run.held = (queue_name(run.queue), *[limit.name for limit in demands.limits])
        for name in run.held:
            admission.used[name] = admission.used.get(name, 0) + 1
    elif run.held and not is_held:
        _give_back(admission, run)
    if demands.mutex is not None:
        _hold_mutex(admission, run, row, demands)
    if row.state == RUNNING:
        run.begun = run.generation
        run.news = None
        if row.turn is not None:
            _take_turn(admission, run, row.turn)
    elif row.state in ENDED:
        run.news = None
    elif row.state == QUEUED:
        _wait(state, run, row, demands)


def _wait(state: KeeperState, run: KeptRun, row: RunRow, demands: Demands) -> None:
    admission = state.admission
    if row.cause == SLOT:
        turn = 0 if run.goes_on else row.turn or 0
        run.order = (not run.goes_on, -(run.first.priority or 0), turn, row.number)
        if not run.goes_on:
            admission.turns.setdefault(_turn_key(run), Turns()).add(turn)
        admission.lines.add(run, run.queue, run.needs())
    elif row.cause == MUTEX and demands.mutex is not None:
        mutex = admission.mutexes.setdefault(demands.mutex, Mutex())
        (mutex.going_on if run.goes_on else mutex.new)[run.run_id] = None
        admission.unlocked[demands.mutex] = None
    elif row.cause == DEBOUNCE and demands.debounce is not None:
        admission.windows[demands.debounce.name] = run.run_id


def note_resolved(run: KeptRun, wait: KeptWait) -> None:
    """A wait has its outcome. The evaluation of a run that cannot go on now is told later."""
    if run.state in (WAITING, QUEUED) and wait.state == RESOLVED:
        run.news = [*(run.news or ()), wait.opened.place]


def _give_back(admission: AdmissionState, run: KeptRun) -> None:
    for name in run.held:
        admission.used[name] -= 1
        if not admission.used[name]:
            del admission.used[name]
        admission.lines.freed[name] = None
    run.held = ()


def _hold_mutex(admission: AdmissionState, run: KeptRun, row: RunRow, demands: Demands) -> None:
    is_slot = row.state == QUEUED and row.cause in (SLOT, MISSING_CODE)
    has = row.state == RUNNING or (row.state == QUEUED and row.cause == SLOT)
    keeps = is_slot or row.state == ENDING or (row.state == WAITING and not demands.release_on_wait)
    key = demands.mutex or ""
    if has and not run.has_mutex:
        admission.mutexes.setdefault(key, Mutex()).holders[run.run_id] = None
        run.has_mutex = True
    elif run.has_mutex and not has and not keeps:
        mutex = admission.mutexes[key]
        del mutex.holders[run.run_id]
        run.has_mutex = False
        _drop_unused(admission, key, mutex)
        admission.unlocked[key] = None


def _drop_unused(admission: AdmissionState, key: str, mutex: Mutex) -> None:
    if not (mutex.holders or mutex.going_on or mutex.new):
        admission.mutexes.pop(key, None)


# --- turns ------------------------------------------------------------------------------------------------------------


def _turn_key(run: KeptRun) -> tuple[str, int, str]:
    return run.queue, run.first.priority or 0, run.demands.fairness or ""


def turn_now(admission: AdmissionState, queue: str, priority: int, fairness: str) -> int:
    """The round of a run of a fairness key that is admitted now."""
    latest = admission.rounds.get((queue, priority))
    if latest is None:
        return 1
    return latest.turn + 1 if fairness in latest.keys else latest.turn


def next_turn(admission: AdmissionState, queue: str, priority: int, fairness: str) -> int:
    """The round in which one more run of a fairness key has its turn, after those of its key that wait."""
    waiting = admission.turns.get((queue, priority, fairness))
    now = turn_now(admission, queue, priority, fairness)
    return now if waiting is None else max(now, waiting.last() + 1)


def _take_turn(admission: AdmissionState, run: KeptRun, turn: int) -> None:
    queue, priority, fairness = _turn_key(run)
    took_turn(admission, queue, priority, turn, fairness)


def took_turn(admission: AdmissionState, queue: str, priority: int, turn: int, fairness: str) -> None:
    """A run of a fairness key was admitted in this round."""
    latest = admission.rounds.setdefault((queue, priority), Round())
    if turn > latest.turn:
        latest.turn, latest.keys = turn, {fairness}
    elif turn == latest.turn:
        latest.keys.add(fairness)


# --- queues and charges -----------------------------------------------------------------------------------------------


def apply_queue(state: KeeperState, row: QueueRow) -> None:
    """A queue has its slots."""
    slots = state.admission.queues.setdefault(row.queue, QueueSlots())
    slots.slots = row.slots
    if row.cause == "configuration":
        slots.configured = row.slots
    state.admission.lines.freed[queue_name(row.queue)] = None


def apply_charge(state: KeeperState, row: ChargeRow) -> None:
    """A run was counted."""
    admission = state.admission
    bucket = admission.buckets.get(row.name)
    if bucket is None:
        admission.buckets_made += 1
        bucket = admission.buckets[row.name] = Bucket(row.name, admission.buckets_made)
    if bucket.ends and bucket.ends[-1] > row.until_at:
        bucket.ends = deque(sorted([*bucket.ends, row.until_at]))
    else:
        bucket.ends.append(row.until_at)
    admission.charges += 1
    if admission.charges > 2 * admission.charges_kept + _MOST_USELESS:
        _clear(admission, row.at)


def counted(admission: AdmissionState, name: str, now: int) -> deque[int]:
    """When each run that a throttle or rate limit counts now counts no more."""
    bucket = admission.buckets.get(name)
    if bucket is None:
        return deque()
    while bucket.ends and bucket.ends[0] <= now:
        bucket.ends.popleft()
        admission.charges -= 1
    return bucket.ends


def _clear(admission: AdmissionState, now: int) -> None:
    for name in list(admission.buckets):
        if not counted(admission, name, now) and admission.buckets[name].alarm_at is None:
            del admission.buckets[name]
    admission.charges_kept = admission.charges
