"""Events: accepted once, then delivered to waits and to flows.

In: the state and what is emitted. Out: rows; commands that make the runs which an event starts. Never: unpacks data,
but to evaluate conditions.
"""

from __future__ import annotations

from collections.abc import Mapping

from rayflow.keeper import outcomes
from rayflow.keeper.admission import refusing
from rayflow.keeper.commands import BindEvent
from rayflow.keeper.conditions import is_fulfilled
from rayflow.keeper.folding import DELIVERED, DELIVERY_FAILED, DUE, PENDING, write
from rayflow.keeper.ids import delivery_target, derived_run_id, event_run_id
from rayflow.keeper.requests import BoundArguments
from rayflow.keeper.run_states import OPEN
from rayflow.keeper.runs import begin, new_row, resolve
from rayflow.keeper.state import KeeperState, KeptEvent, KeptWait
from rayflow.records import DeliveryRow, EventRow


def accept(state: KeeperState, row: EventRow, bound: Mapping[str, BoundArguments] | None = None) -> KeptEvent:
    """Accept an event, and deliver it unless it is due later. row: its number and time are filled in.

    bound: root terms that were made before it was accepted, by flow.
    """
    row = row._replace(number=state.number + 1, at=state.now)
    write(state, row)
    event = state.events[row.event_id]
    if event.seen is not None:
        _deliver(state, event, bound or {})
    return event


def deliver_due(state: KeeperState, event: KeptEvent) -> None:
    """The time of a delayed event has come."""
    write(state, DeliveryRow(event.row.event_id, "", state.number + 1, state.now, DUE))
    _deliver(state, event, {})


def _deliver(state: KeeperState, event: KeptEvent, bound: Mapping[str, BoundArguments]) -> None:
    by_key = state.listening.get(event.row.name, {})
    keys = (None,) if event.row.key is None else (None, event.row.key)
    waits = [wait for key in keys for wait in by_key.get(key, {}).values()]
    for wait in sorted(waits, key=lambda wait: wait.opened.number):
        if wait.state == OPEN and fits(state, event, wait):
            _give(state, event, wait)
    if event.is_cut:
        return
    for flow, where in state.subscribers.get(event.row.name, ()):
        if is_fulfilled(where, event.row):
            if flow in bound:
                _start(state, event, bound[flow])
            else:
                _record(state, event, flow, PENDING)
                ask_for_root(state, event.row, flow)


def subscribed(state: KeeperState, row: EventRow) -> list[str]:
    """The flows of which an event starts a run."""
    return [flow for flow, where in state.subscribers.get(row.name, ()) if is_fulfilled(where, row)]


# --- waits ------------------------------------------------------------------------------------------------------------


def take_earlier(state: KeeperState, wait: KeptWait) -> None:
    """Let a wait that has just been opened take the first event that it sees and that fits."""
    row = wait.opened
    if row.name is None:
        return
    known = state.by_name.get(row.name, ()) if row.key is None else state.by_key.get((row.name, row.key), ())
    first = row.seen_from or 0
    low, high = 0, len(known)
    while low < high:  # they stand in the order of the numbers from which on they are seen
        middle = (low + high) // 2
        low, high = (middle + 1, high) if (known[middle].seen or 0) < first else (low, middle)
    for place in range(low, len(known)):
        if fits(state, known[place], wait):
            _give(state, known[place], wait)
            return


def fits(state: KeeperState, event: KeptEvent, wait: KeptWait) -> bool:
    """Whether a wait takes an event that it sees, of its name and key."""
    row = wait.opened
    if row.is_exclusive and event.is_taken:
        return False
    return state.runs[row.run_id].chain not in event.takers and is_fulfilled(row.condition, event.row)


def _give(state: KeeperState, event: KeptEvent, wait: KeptWait) -> None:
    row = wait.opened
    target = delivery_target(state.runs[row.run_id].chain, row.place)
    delivery = DeliveryRow(
        event.row.event_id, target, state.number + 1, state.now, DELIVERED, row.run_id, row.place,
        is_exclusive=row.is_exclusive,
    )  # fmt: skip
    write(state, delivery)
    resolve(state, wait, outcomes.of_event(event), "event", event.row.event_id)


def ask_for_root(state: KeeperState, row: EventRow, flow: str) -> None:
    """Ask for the root term of the run of a flow that an event starts."""
    state.out.append(BindEvent(row.event_id, flow, row))


# --- flows ------------------------------------------------------------------------------------------------------------


def bound(state: KeeperState, event: KeptEvent, answer: BoundArguments) -> None:
    """The root term of a run that an event starts is there, or cannot be made."""
    if (event.row.event_id, answer.flow) in state.pending:
        _start(state, event, answer)


def bind_again(state: KeeperState) -> None:
    """Ask again for the root terms of all deliveries that are pending and whose flows the loaded code has."""
    for event_id, flow in state.pending:
        if state.flows and flow in state.flows:
            ask_for_root(state, state.events[event_id].row, flow)


def _start(state: KeeperState, event: KeptEvent, answer: BoundArguments) -> None:
    row, flow = event.row, answer.flow
    if answer.error is not None or answer.root is None:
        _record(state, event, flow, DELIVERY_FAILED, error=answer.error or "it has no root term")
        return
    refused = None if answer.demands is None else refusing(state, answer.demands)
    if refused is not None:
        _record(state, event, flow, DELIVERY_FAILED, error=f"RateLimited: {outcomes.rate_text(*refused)}")
        return
    id = event_run_id(row.event_id, flow)
    run_id = derived_run_id(id)
    _record(state, event, flow, DELIVERED, run_id)
    begin(
        state,
        new_row(run_id, "event")._replace(
            id=id, flow=flow, root=answer.root, input_hash=answer.input_hash, arguments=answer.arguments, link="event",
            event_id=row.event_id, seen_from=(event.seen or 0) + 1, tie=row.tie,
            parent_run_id=row.run_id if row.tie else None, parent_place=row.place if row.tie else None,
        ),
        None,
        answer.demands,
    )  # fmt: skip


def _record(
    state: KeeperState, event: KeptEvent, flow: str, to: str, run_id: str | None = None, error: str | None = None
) -> None:
    write(state, DeliveryRow(event.row.event_id, flow, state.number + 1, state.now, to, run_id, error=error))
