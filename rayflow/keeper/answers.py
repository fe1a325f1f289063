"""Answers to requests: plain data that say what a run, a wait or an event is.

In: the state. Out: dicts, lists and scalars, for an API and for people; times are microseconds since the epoch.
Never: changes anything.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from rayflow.keeper.admission import blocked_by, room_at, slots_of
from rayflow.keeper.admission_folding import queue_name
from rayflow.keeper.demands import Rate
from rayflow.keeper.folding import DELIVERED, PENDING
from rayflow.keeper.ids import is_own_id
from rayflow.keeper.run_states import DEBOUNCE, ENDING, KEY, MISSING_CODE, MUTEX, QUEUED, SCHEDULED, WAITING
from rayflow.keeper.state import KeeperState, KeptEvent, KeptRun, KeptSchedule, KeptWait
from rayflow.records import DeliveryRow

Plain: TypeAlias = dict[str, Any]


def of_run(run: KeptRun) -> Plain:
    """A run: what it is, and its state."""
    first = run.first
    return {
        "run_id": run.run_id,
        "id": _starters_id(run),
        "flow": first.flow,
        "arguments": first.arguments,
        "state": run.state,
        "cause": run.cause,
        "reason": run.reason,
        "created_at": first.at,
        "due_at": run.due_at,
        "timeout_at": run.timeout_at,
        "parent_run_id": first.parent_run_id,
        "link": first.link,
        "event_id": first.event_id,
        "schedule": first.schedule,
        "moment": first.moment,
        "forked_run_id": first.forked_run_id,
        "chain_run_id": run.chain,
        "queue": first.queue,
        "priority": first.priority or 0,
        "tags": first.tags,
        "life": run.life,
        "generation": run.generation,
    }


def of_wait(wait: KeptWait) -> Plain:
    """A wait: what it waits for."""
    row = wait.opened
    said = {
        "place": row.place.hex(),
        "kind": row.kind,
        "since": row.at,
        "deadline_at": row.deadline_at,
        "prompt" if row.kind == "ask" else "name": row.name,
        "key": row.key,
        "target_run_id": row.target_run_id,
    }
    return {name: value for name, value in said.items() if value is not None}


def of_ask(state: KeeperState, wait: KeptWait) -> Plain:
    """An open question to a person, and the run that asks it."""
    run = state.runs[wait.opened.run_id]
    asked = {"run_id": run.run_id, "id": _starters_id(run), "deadline_at": None, "number": wait.opened.number}
    return {**asked, **of_wait(wait)}


def _starters_id(run: KeptRun) -> str | None:
    id = run.first.id
    return id if id is not None and is_own_id(id) else None


def of_event(state: KeeperState, event: KeptEvent) -> Plain:
    """An event, and what has become of it. A pending delivery whose flow the loaded code lacks says so as its error.

    status: delayed, pending (for a root term or code), delivered, partial, failed, or no subscribers.
    """
    row = event.row
    states = {delivery.state for delivery in event.deliveries.values()}
    if event.seen is None:
        status = "delayed"
    elif PENDING in states:
        status = "pending"
    elif not states:
        status = "no subscribers"
    elif states == {DELIVERED}:
        status = "delivered"
    else:
        status = "partial" if DELIVERED in states else "failed"
    return {
        "event_id": row.event_id,
        "number": row.number,
        "name": row.name,
        "key": row.key,
        "at": row.at,
        "due_at": row.due_at,
        "run_id": row.run_id,
        "status": status,
        "deliveries": [
            {
                "to": "flow" if each.place is None else "wait",
                "target": each.target,
                "state": each.state,
                "run_id": each.run_id,
                "error": MISSING_CODE if _lacks_code(state, each) else each.error,
            }
            for each in event.deliveries.values()
        ],
    }


def _lacks_code(state: KeeperState, delivery: DeliveryRow) -> bool:
    return delivery.state == PENDING and delivery.target not in (state.flows or ())


def of_schedule(state: KeeperState, kept: KeptSchedule) -> Plain:
    """A schedule: what it is, when it fires next, and what of it has not ended.

    runs: the open ones. queued: the moments that wait for these, in order. pending: the moments whose run is being
    made, or waits for code.
    """
    row = kept.row
    return {
        "schedule": row.schedule,
        "state": row.state,
        "cause": row.cause,
        "changed_at": row.at,
        "flow": row.flow,
        "timetable": row.timetable,
        "overlap": row.overlap,
        "catch_up_seconds": row.catch_up_us / 1_000_000,
        "arguments": row.arguments,
        "is_of_code": bool(row.is_of_code),
        "next_at": kept.next_at,
        "decided_to": kept.decided,
        "runs": list(state.scheduled.get(row.schedule, ())),
        "queued": list(kept.queued),
        "pending": list(kept.pending),
    }


def explanation(state: KeeperState, run: KeptRun) -> Plain:
    """Why a run has not ended: exactly one cause, with what belongs to it.

    cause: due (at), missing code (tasks), key (flow: what the run asks of admission is being computed), debounce
    (until: other starts may join it), mutex (mutex, held_by, place among those that wait for it), throttle (name,
    until), limit (name, most), queue (queue, slots, used), the last three with the place in the queue, evaluation
    (something of it runs), waits (each with what it waits for), or ending (by, reason, and what its clean-up waits
    for).
    """
    said: Plain = {"run_id": run.run_id, "state": run.state}
    if run.state == SCHEDULED:
        return {**said, "cause": "due", "at": run.first.due_at}
    if run.state == QUEUED:
        return {**said, **_queued(state, run)}
    waits = [_explained(state, wait) for wait in run.open_waits()]
    if run.state == ENDING:
        return {**said, "cause": "ending", "by": run.ends_by, "reason": run.reason, "waits": waits}
    if run.state == WAITING:
        return {**said, "cause": "waits", "waits": waits}
    return {**said, "cause": "evaluation", "waits": waits}


def _queued(state: KeeperState, run: KeptRun) -> Plain:
    """What a queued run waits for."""
    if run.cause == MISSING_CODE:
        return {"cause": MISSING_CODE, "tasks": (run.reason or "").split(", ")}
    if run.cause == KEY:
        return {"cause": KEY, "flow": run.first.flow}
    if run.cause == DEBOUNCE:
        return {"cause": DEBOUNCE, "until": run.due_at}
    if run.cause == MUTEX:
        key = run.demands.mutex or ""
        mutex = state.admission.mutexes[key]
        place = [*mutex.going_on, *mutex.new].index(run.run_id) + 1
        return {"cause": MUTEX, "mutex": key, "held_by": list(mutex.holders), "place": place}
    full = blocked_by(state, run)
    placed = {"queue": run.queue, "place": state.admission.lines.place_of(run, run.queue)}
    if isinstance(full, Rate):
        return {"cause": "throttle", "name": full.name, "until": room_at(state, full), **placed}
    if full is not None:
        return {"cause": "limit", "name": full.name, "most": full.most, **placed}
    used = state.admission.used.get(queue_name(run.queue), 0)
    return {"cause": "queue", **placed, "slots": slots_of(state, run.queue), "used": used}


def of_queues(state: KeeperState) -> list[Plain]:
    """The queues that were said, are in use, or are waited for, by name."""
    used = {name.removeprefix("queue:") for name in state.admission.used if name.startswith("queue:")}
    names = {*state.admission.queues, *used, *state.admission.lines.counts()}
    return [of_queue(state, name) for name in sorted(names)]


def of_queue(state: KeeperState, queue: str) -> Plain:
    """A queue: slots (None for any number), how many are used, and how many runs wait for one."""
    return {
        "queue": queue,
        "slots": slots_of(state, queue),
        "used": state.admission.used.get(queue_name(queue), 0),
        "waiting": state.admission.lines.counts().get(queue, 0),
    }


def _explained(state: KeeperState, wait: KeptWait) -> Plain:
    target = state.runs.get(wait.opened.target_run_id or "")
    return of_wait(wait) if target is None else {**of_wait(wait), "target_state": target.state}
