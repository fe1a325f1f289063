"""The life of a run: it begins, it is woken, it is stopped, it ends, it is retried.

In: the state and a run. Out: rows and commands. Never: decides about waits that belong to other runs, but for those
that wait for the end of this one.
"""

from __future__ import annotations

from rayflow.keeper import outcomes
from rayflow.keeper.commands import Evaluate, ForgetRun, Resolve, StopRun
from rayflow.keeper.folding import AGAIN, DELIVERY_FAILED, RETRY, write
from rayflow.keeper.ids import derived_run_id, hook_id
from rayflow.keeper.run_states import (
    CANCELLED,
    CLOSED,
    DONE,
    ENDING,
    FAILED,
    QUEUED,
    RESOLVED,
    RUNNING,
    SCHEDULED,
    WAITING,
)
from rayflow.keeper.state import KeeperState, KeptRun, KeptWait
from rayflow.lang.terms.codec import dumps
from rayflow.lang.terms.expressions import TaskCall
from rayflow.lang.terms.outcomes import error_of
from rayflow.records import DeliveryRow, RunRow, WaitRow
from rayflow.values.digests import digest

CANCEL, PARENT, TIMEOUT = "cancel", "parent", "timeout"
"""What ends a run that has not ended by itself."""

CONTINUED = "continued"
"""Cause: the run goes on as the next run of its chain."""

MISSING_CODE = "missing code"
"""Cause: the loaded code lacks a task of the run."""


# --- a run begins -----------------------------------------------------------------------------------------------------


def begin(state: KeeperState, row: RunRow, timeout_us: int | None) -> KeptRun:
    """Make a run: now, or at its time. row: what describes it; its number, time and state are filled in.

    timeout_us: how long it may take from its start on. None: as long as its flow says.
    """
    if timeout_us is None:
        timeout_us = flow_timeout(state, row.flow)
    is_later = row.due_at is not None and row.due_at > state.now
    starts_at = row.due_at if is_later and row.due_at is not None else state.now
    number = state.number + 1
    write(
        state,
        row._replace(
            number=number,
            at=state.now,
            state=SCHEDULED if is_later else RUNNING,
            due_at=starts_at if is_later else None,
            timeout_at=None if timeout_us is None else starts_at + timeout_us,
            root_run_id=row.root_run_id or row.run_id,
            seen_from=number + 1 if row.seen_from is None else row.seen_from,
        ),
    )
    run = state.runs[row.run_id]
    if not is_later:
        evaluate(state, run)
    return run


def flow_timeout(state: KeeperState, flow: str | None) -> int | None:
    """How long a run of this flow may take."""
    spec = state.flows.get(flow) if state.flows and flow else None
    return spec.timeout_us if spec else None


def _allowed_us(first: RunRow) -> int | None:
    """How long a run may take, as its first row says."""
    return None if first.timeout_at is None else first.timeout_at - (first.due_at or first.at)


def new_row(run_id: str, cause: str) -> RunRow:
    """The first row of a run, to be filled in."""
    return RunRow(run_id, 0, 0, RUNNING, cause, life=0, generation=0)


def begin_due(state: KeeperState, run: KeptRun) -> None:
    """The time of a scheduled run has come."""
    change(state, run, RUNNING, "due")
    evaluate(state, run)


def evaluate(state: KeeperState, run: KeptRun) -> None:
    """Let the run be evaluated."""
    state.out.append(evaluation(run))


def evaluation(run: KeptRun) -> Evaluate:
    """The command that takes a run up."""
    return Evaluate(run.run_id, run.first.root or b"", run.life, run.generation, run.stops, run.ends_by)


def change(
    state: KeeperState, run: KeptRun, to: str, cause: str, *, life: int | None = None, reason: str | None = None
) -> None:
    """Move a run to another state."""
    write(state, RunRow(run.run_id, state.number + 1, state.now, to, cause, life=life, reason=reason))


def take_up(state: KeeperState, run: KeptRun, cause: str) -> None:
    """Take the evaluation of a run up again."""
    reason = None if run.state == QUEUED else run.reason
    change(state, run, ENDING if run.state == ENDING else RUNNING, cause, life=run.life + 1, reason=reason)
    evaluate(state, run)


def park(state: KeeperState, run: KeptRun) -> None:
    """Nothing of the run is in flight."""
    change(state, run, WAITING, "parked")


def miss_code(state: KeeperState, run: KeptRun, names: tuple[str, ...]) -> None:
    """The run cannot go on before its code is there. One that is ending ends without its clean-up."""
    if run.state == ENDING:
        why = f"the code of its clean-up was missing: {', '.join(names)}"
        end_stopped(state, run, _joined(run.reason, why))
    else:
        change(state, run, QUEUED, MISSING_CODE, reason=", ".join(names))


def _joined(reason: str | None, other: str | None) -> str | None:
    """Two reasons as one text, each of which may be missing."""
    return "; ".join(each for each in (reason, other) if each) or None


# --- its waits have outcomes ------------------------------------------------------------------------------------------


def resolve(state: KeeperState, wait: KeptWait, outcome: bytes, cause: str, event_id: str | None = None) -> None:
    """Give an open wait its outcome, and wake its run."""
    opened = wait.opened
    write(
        state,
        WaitRow(
            opened.run_id, opened.place, state.number + 1, state.now, RESOLVED, opened.kind, cause,
            event_id=event_id, outcome=outcome, error=error_of(outcome),
        ),
    )  # fmt: skip
    run = state.runs[opened.run_id]
    if run.state == WAITING:
        change(state, run, RUNNING, "wake", life=run.life + 1)
    elif run.state == ENDING:
        change(state, run, ENDING, "wake", life=run.life + 1, reason=run.reason)
    if run.state != QUEUED:
        state.out.append(Resolve(opened.run_id, opened.place, outcome))


def close(state: KeeperState, wait: KeptWait, cause: str) -> None:
    """Close an open wait. A child that it waits for is cancelled; a joined run goes on."""
    opened = wait.opened
    write(state, WaitRow(opened.run_id, opened.place, state.number + 1, state.now, CLOSED, opened.kind, cause))
    drop_child(state, wait)


def drop_child(state: KeeperState, wait: KeptWait) -> None:
    """Nobody waits for the child of this wait any more: cancel it."""
    opened = wait.opened
    child = state.runs.get(opened.target_run_id or "")
    if opened.kind == "child" and child is not None and child.first.parent_run_id == opened.run_id:
        state.stops.append((child.run_id, PARENT, "nothing waits for it any more", False))


# --- a run is stopped -------------------------------------------------------------------------------------------------


def stop(state: KeeperState, run: KeptRun, by: str, reason: str | None, is_again: bool) -> None:
    """Let a run end: by a cancel, with its parent, or because it has taken too long.

    is_again: whether a run that is ending is to end its clean-up, too. What is still to be stopped below it comes into
    `state.stops`.
    """
    if run.has_ended or (run.state == ENDING and (not is_again or run.stops == 2)):
        return
    if run.state in (SCHEDULED, QUEUED):
        run_children(state, run, reason, is_again=True)
        lacked = f"its code was missing: {run.reason}" if run.cause == MISSING_CODE else None
        end_stopped(state, run, _joined(reason, lacked), by)
        return
    is_second = run.state == ENDING
    change(state, run, ENDING, AGAIN if is_second else by, reason=run.reason if is_second else reason)
    state.out.append(StopRun(run.run_id, run.ends_by or by, is_second))
    run_children(state, run, reason, is_again=is_second)
    for wait in run.open_waits():
        if is_second or not wait.opened.is_cleanup:
            close(state, wait, by)


def run_children(state: KeeperState, run: KeptRun, reason: str | None, is_again: bool) -> None:
    """Stop the runs that hang on a run which is stopped, but for those that its clean-up has started."""
    why = f"run {run.run_id} was stopped" + (f": {reason}" if reason else "")
    for child_id in state.children.get(run.run_id, ()):
        first = state.runs[child_id].first
        if (first.link == "child" or first.tie) and (is_again or not _is_of_cleanup(run, first.parent_place)):
            state.stops.append((child_id, PARENT, why, is_again))
    for event_id in tuple(state.tied.get(run.run_id, ())):
        event = state.events[event_id]
        if not event.is_cut and (is_again or not _is_of_cleanup(run, event.row.place)):
            _cut(state, event_id)


def _is_of_cleanup(run: KeptRun, place: bytes | None) -> bool:
    wait = run.waits.get(place or b"")
    return wait is not None and bool(wait.opened.is_cleanup)


def _cut(state: KeeperState, event_id: str) -> None:
    """Let an event start no more runs."""
    why = "the run that emitted it was cancelled"
    write(state, DeliveryRow(event_id, "", state.number + 1, state.now, DELIVERY_FAILED, error=why))
    for pending, flow in [each for each in state.pending if each[0] == event_id]:
        write(state, DeliveryRow(pending, flow, state.number + 1, state.now, DELIVERY_FAILED, error=why))


def end_stopped(state: KeeperState, run: KeptRun, reason: str | None, by: str | None = None) -> None:
    """End a run that was stopped: as failed when it has taken too long, else as cancelled."""
    by = run.ends_by or by
    if by == TIMEOUT:
        end(state, run, FAILED, TIMEOUT, outcomes.of_timeout(run, reason), reason)
    else:
        end(state, run, CANCELLED, by or CANCEL, outcomes.of_cancel(run, reason), reason)


# --- a run ends -------------------------------------------------------------------------------------------------------


def end(
    state: KeeperState, run: KeptRun, to: str, cause: str, outcome: bytes, reason: str | None = None,
    error: str | None = None, next_run_id: str | None = None,
) -> None:  # fmt: skip
    """End a run: close its waits, give its outcome to those that wait for it, start its hook."""
    for wait in run.open_waits():
        close(state, wait, "end")
    write(
        state,
        RunRow(
            run.run_id, state.number + 1, state.now, to, cause, outcome=outcome, reason=reason,
            error=error_of(outcome) or error, next_run_id=next_run_id,
        ),
    )  # fmt: skip
    for wait in list(state.waiters.get(run.run_id, {}).values()):
        if next_run_id is not None:
            follow(state, wait, next_run_id)
        else:
            resolve(state, wait, outcomes.of_ended(run), "run")
    if to != DONE:
        _start_hook(state, run)
    if run.first.schedule is not None:
        state.freed.append(run.first.schedule)


def follow(state: KeeperState, wait: KeptWait, next_run_id: str) -> None:
    """Let a wait for the end of a run wait for the next run of its chain."""
    write(state, wait.opened._replace(number=state.number + 1, at=state.now, target_run_id=next_run_id))


def _start_hook(state: KeeperState, run: KeptRun) -> None:
    """Start the run that the flow of an ended run names for its failure or cancel.

    Its argument is a dict of run_id, id, flow, state, error and reason.
    """
    first = run.first
    spec = state.flows.get(first.flow) if state.flows and first.flow else None
    name = None if spec is None else (spec.on_failure if run.state == FAILED else spec.on_cancel)
    if name is None or run.end is None:
        return
    told = {
        "run_id": run.run_id, "id": first.id, "flow": first.flow, "state": run.state,
        "error": run.end.error, "reason": run.end.reason,
    }  # fmt: skip
    root = dumps(TaskCall(name, (told,)))
    id = hook_id(run.run_id, "failure" if run.state == FAILED else "cancel", run.generation)
    row = new_row(derived_run_id(id), "hook")._replace(
        id=id, flow=name, root=root, input_hash=digest("input", root), link="hook", parent_run_id=run.run_id,
        arguments=f"run {run.run_id}",
    )  # fmt: skip
    begin(state, row, None)


def continue_as(state: KeeperState, run: KeptRun, row: RunRow) -> None:
    """End a run, and go on as the next one of its chain. row: root, flow and arguments of the next one."""
    first = run.first
    next_run_id = derived_run_id(f"next:{run.run_id}")
    timeout_us = flow_timeout(state, row.flow)
    if timeout_us is None:
        timeout_us = _allowed_us(first)
    next_row = row._replace(
        run_id=next_run_id,
        id=first.id,
        input_hash=first.input_hash,
        parent_run_id=first.parent_run_id,
        parent_place=first.parent_place,
        link=first.link,
        tie=first.tie,
        root_run_id=None if first.root_run_id == run.run_id else first.root_run_id,
        event_id=first.event_id,
        schedule=first.schedule,
        moment=first.moment,
        seen_from=first.seen_from,
        queue=first.queue,
        priority=first.priority,
        tags=first.tags,
        chain_run_id=run.chain,
    )
    end(state, run, DONE, CONTINUED, outcomes.NOTHING, next_run_id=next_run_id)
    state.out.append(ForgetRun(run.run_id))
    begin(state, next_row, timeout_us)


def retry(state: KeeperState, run: KeptRun, reason: str | None) -> None:
    """Let a failed or cancelled run go on."""
    allowed = _allowed_us(run.first)
    write(
        state,
        RunRow(
            run.run_id, state.number + 1, state.now, RUNNING, RETRY, life=run.life + 1, generation=run.generation + 1,
            reason=reason, timeout_at=None if allowed is None else state.now + allowed,
        ),
    )  # fmt: skip
    evaluate(state, state.runs[run.run_id])
