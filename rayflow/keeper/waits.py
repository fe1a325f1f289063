"""Waits: they are opened at a place of a run, and resolved once.

In: the state and `WaitOpened`. Out: rows and commands. Never: evaluates a term, but the condition of an event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rayflow.errors import EventConflict
from rayflow.keeper import outcomes
from rayflow.keeper.commands import Recall, Resolve
from rayflow.keeper.events import accept, take_earlier
from rayflow.keeper.folding import RETRY, write
from rayflow.keeper.ids import child_id, derived_run_id, emitted_id, is_own_id
from rayflow.keeper.requests import WaitOpened
from rayflow.keeper.run_states import CLOSED, DONE, ENDING, OPEN, QUEUED, RESOLVED, SCHEDULED, WAITING
from rayflow.keeper.runs import CONTINUED, begin, continue_as, drop_child, follow, new_row, resolve, retry
from rayflow.keeper.state import Asker, KeeperState, KeptRun, KeptWait, find
from rayflow.records import EventRow, RunRow, WaitRow


def open_wait(state: KeeperState, request: WaitOpened) -> None:
    """A run has met a wait."""
    run = state.runs.get(request.run_id)
    if run is None or run.state in (SCHEDULED, QUEUED):
        return  # it has ended meanwhile, or its evaluation was dropped
    wait = run.waits.get(request.place)
    is_again = wait is not None and wait.generation < run.generation
    if wait is not None and (wait.state == OPEN or (wait.state == CLOSED and not is_again)):
        return
    if wait is not None and wait.state == RESOLVED and not (wait.has_failed and is_again):
        if run.state != WAITING and wait.outcome is not None:
            state.out.append(Resolve(run.run_id, request.place, wait.outcome))
        return
    if run.state == ENDING and (not request.is_cleanup or run.stops == 2):
        return
    _KINDS[request.kind](state, run, request, RETRY if is_again else None)


def _record(state: KeeperState, run: KeptRun, request: WaitOpened, cause: str | None, **fields: Any) -> KeptWait:
    """Record that a wait is open. Its deadline is fixed now."""
    deadline_at = request.deadline_at
    if deadline_at is None and request.delay_us is not None:
        deadline_at = state.now + request.delay_us
    write(
        state,
        WaitRow(
            run.run_id, request.place, state.number + 1, state.now, OPEN, request.kind, cause, deadline_at,
            given=request.given, late_outcome=request.default, is_cleanup=request.is_cleanup or None, **fields,
        ),
    )  # fmt: skip
    return run.waits[request.place]


def deadline_came(state: KeeperState, wait: KeptWait) -> None:
    """The deadline of an open wait has come."""
    kind = wait.opened.kind
    outcome = wait.opened.late_outcome
    if outcome is None:
        outcome = outcomes.of_late_wait(kind) if kind in ("child", "join") else outcomes.NOTHING
    resolve(state, wait, outcome, "timer")
    drop_child(state, wait)


# --- one function for each kind ---------------------------------------------------------------------------------------


def _sleep(state: KeeperState, run: KeptRun, request: WaitOpened, cause: str | None) -> None:
    _record(state, run, request, cause)


def _ask(state: KeeperState, run: KeptRun, request: WaitOpened, cause: str | None) -> None:
    _record(state, run, request, cause, name=request.name)


def _event(state: KeeperState, run: KeptRun, request: WaitOpened, cause: str | None) -> None:
    wait = _record(
        state, run, request, cause, name=request.name, key=request.key, condition=request.where,
        seen_from=_seen_from(state, run, request), is_exclusive=request.take == "exclusive" or None,
    )  # fmt: skip
    take_earlier(state, wait)


def _seen_from(state: KeeperState, run: KeptRun, request: WaitOpened) -> int:
    """The number of events from which on a wait sees them."""
    if request.since == "run":
        return run.first.seen_from or 0
    if request.since == "now":
        return state.number + 1
    if request.since == "any":
        return 0
    earliest = state.now - int(request.since)
    known = state.by_name.get(request.name or "", ())
    late = [event.seen for event in known if event.seen is not None and (event.row.due_at or event.row.at) >= earliest]
    return min(late, default=state.number + 1)


def _emit(state: KeeperState, run: KeptRun, request: WaitOpened, cause: str | None) -> None:
    wait = _record(state, run, request, cause, name=request.name, key=request.key)
    event_id = request.id or emitted_id(run.run_id, request.place)
    known = state.events.get(event_id)
    if known is not None and known.row.data_hash != request.data_hash:
        resolve(state, wait, outcomes.of_error(EventConflict, conflict_text(event_id)), "emit")
        return
    resolve(state, wait, outcomes.of_text(event_id), "emit", event_id)
    if known is None:
        accept(
            state,
            EventRow(
                event_id, 0, 0, request.name or "", request.key, request.data, request.data_hash, request.due_at,
                run.run_id, request.place, request.tie or None,
            ),
        )  # fmt: skip


def conflict_text(event_id: str) -> str:
    """Says that an event of this id has another content."""
    return f"an event with the id {event_id!r} was accepted before, with another name, key or data: use another id"


def _continue_as(state: KeeperState, run: KeptRun, request: WaitOpened, cause: str | None) -> None:
    continue_as(state, run, _row(run, request, CONTINUED))


def _row(run: KeptRun, request: WaitOpened, cause: str) -> RunRow:
    """The first row of a run that another one starts."""
    return new_row("", cause)._replace(
        flow=request.flow, root=request.root, input_hash=request.input_hash, arguments=request.arguments,
        parent_run_id=run.run_id, parent_place=request.place, root_run_id=run.first.root_run_id,
        seen_from=run.first.seen_from, due_at=request.due_at, queue=request.queue, tags=request.tags,
        priority=run.first.priority,
    )  # fmt: skip


def _start(state: KeeperState, run: KeptRun, request: WaitOpened, cause: str | None) -> None:
    """child and spawn."""
    id = request.id or child_id(run.run_id, request.place)
    ended = state.ended.get(id)
    run_id = state.ids.get(id) or (ended.run_id if ended else derived_run_id(id))
    known = state.runs.get(run_id)
    wait = _record(state, run, request, cause, target_run_id=run_id if request.kind == "child" else None)
    if known is not None or ended is not None:
        parent = known.first.parent_run_id if known else ended.parent_run_id if ended else None
        input_hash = known.first.input_hash if known else ended.input_hash if ended else None
        if parent != run.run_id or input_hash != request.input_hash:
            what = "another input" if parent == run.run_id else "another parent"
            text = (
                f"the id {id!r} belongs to run {run_id}, which has {what}: use another id, or join(ref) to wait for it"
            )
            resolve(state, wait, outcomes.of_other_run(text), "run")
            return
    elif cause != RETRY or request.kind == "spawn" or is_own_id(id):
        # (A retried run waits for its child of the earlier generation, which is retried, too.)
        row = _row(run, request, request.kind)._replace(
            run_id=run_id, id=id, link=request.kind, tie=request.tie or None
        )
        begin(state, row, None)
    if request.kind == "spawn":
        resolve(state, wait, outcomes.of_run_ref(run_id), "run")
    elif run_id not in state.runs:
        look_for_target(state, wait)


def _join(state: KeeperState, run: KeptRun, request: WaitOpened, cause: str | None) -> None:
    target = request.target or ""
    at_hand = find(state, target)
    wait = _record(state, run, request, cause, target_run_id=at_hand.run_id if at_hand else target)
    if at_hand is run:
        text = f"run {run.run_id} cannot join itself: it would wait for ever"
        resolve(state, wait, outcomes.of_other_run(text), "run")
    elif at_hand is None or at_hand.has_ended:
        look_for_target(state, wait)


_KINDS: Mapping[str, Callable[[KeeperState, KeptRun, WaitOpened, str | None], None]] = {
    "sleep": _sleep,
    "sleep_until": _sleep,
    "event": _event,
    "ask": _ask,
    "emit": _emit,
    "child": _start,
    "spawn": _start,
    "join": _join,
    "continue_as": _continue_as,
}


# --- runs that have ended ---------------------------------------------------------------------------------------------


def recall(state: KeeperState, run_id: str, asker: Asker) -> None:
    """Ask the store for a run. `Recalled` answers."""
    askers = state.recalls.get(run_id)
    if askers is None:
        state.recalls[run_id] = [asker]
        state.out.append(Recall(run_id))
    elif asker not in askers:
        askers.append(asker)


def look_for_target(state: KeeperState, wait: KeptWait) -> None:
    """Resolve a wait for a run that has ended: at once if its rows are at hand, else when the store has given them."""
    while wait.state == OPEN and wait.opened.target_run_id is not None:
        target = wait.opened.target_run_id
        run = find(state, target)
        if run is None and target not in state.unknown:
            recall(state, target, wait)
            return
        if run is None:
            resolve(state, wait, outcomes.of_unknown_run(target), "run")
        elif run.end is not None and run.end.next_run_id is not None:
            follow(state, wait, run.end.next_run_id)
        elif run.run_id != target:
            follow(state, wait, run.run_id)
        elif not run.has_ended:
            return
        elif wait.opened.kind == "child" and wait.opened.cause == RETRY and run.state != DONE:
            retry(state, run, f"run {wait.opened.run_id} was retried")
        else:
            resolve(state, wait, outcomes.of_ended(run), "run")
