"""The life of a run: it begins, it is woken, it is stopped, it ends, it is retried.

In: the state and a run. Out: rows and commands. Never: decides about waits that belong to other runs, but for those
that wait for the end of this one.
"""

from __future__ import annotations

from typing import Any

from rayflow.errors import BadArguments, RateLimited
from rayflow.keeper import outcomes
from rayflow.keeper.admission import arrival, change, charge, evaluate, go, refusing
from rayflow.keeper.commands import ComputeKeys, ForgetRun, Resolve, StopRun
from rayflow.keeper.debounces import due_at, joined
from rayflow.keeper.demands import NO_DEMANDS, Debounce, Demands, as_text
from rayflow.keeper.folding import AGAIN, DELIVERY_FAILED, JOINED, RETRY, write
from rayflow.keeper.ids import derived_run_id, hook_id
from rayflow.keeper.requests import FlowSpec
from rayflow.keeper.run_states import (
    CANCELLED,
    CLOSED,
    DEBOUNCE,
    DONE,
    ENDING,
    FAILED,
    KEY,
    MISSING_CODE,
    PARKED,
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

RATE = "rate limit"
"""Cause: a rate limit has refused the run."""


# --- a run begins -----------------------------------------------------------------------------------------------------


def begin(state: KeeperState, row: RunRow, timeout_us: int | None, demands: Demands | None = None) -> KeptRun:
    """Make a run: now, or at its time. row: what describes it; its number, time and state are filled in.

    timeout_us: how long it may take from its start on. None: as long as its flow says. demands: what it asks of
    admission; None if nobody has computed that for its arguments. A start that joins another one ends at once; its
    `next_run_id` is the run of both.
    """
    if timeout_us is None:
        timeout_us = flow_timeout(state, row.flow)
    spec = _spec(state, row.flow)
    if demands is None and spec is not None and not spec.has_keys:
        demands = spec.demands
    lacks_keys = demands is None and spec is not None and spec.has_keys
    if demands is not None:
        row = row._replace(**_described(row, demands))
    is_later = row.due_at is not None and row.due_at > state.now
    starts_at = row.due_at if is_later and row.due_at is not None else state.now
    row = row._replace(
        due_at=starts_at if is_later else None,
        timeout_at=None if timeout_us is None else starts_at + timeout_us,
        root_run_id=row.root_run_id or row.run_id,
    )
    is_asked = demands is not None and (demands.rates or demands.debounce) and row.chain_run_id is None
    where: dict[str, Any]
    if is_later:
        where = {"state": SCHEDULED}
    elif lacks_keys or is_asked:
        where = {"state": QUEUED, "cause": KEY}
    else:
        where = arrival(state, row, row.cause)
    number = state.number + 1
    seen_from = number + 1 if row.seen_from is None else row.seen_from
    write(state, row._replace(number=number, at=state.now, seen_from=seen_from, **where))
    run = state.runs[row.run_id]
    if is_later:
        if row.link is None and demands is not None:
            charge(state, run.run_id, demands.rates)
    elif lacks_keys:
        _ask_for_keys(state, run)
    elif is_asked:
        enter(state, run)
    elif run.state == RUNNING:
        charge(state, run.run_id, run.demands.throttles)
        evaluate(state, run)
    return run


def _spec(state: KeeperState, flow: str | None) -> FlowSpec | None:
    return state.flows.get(flow) if state.flows and flow else None


def _described(first: RunRow, demands: Demands) -> dict[str, Any]:
    """The columns of a row that say what a run asks of admission. What its starter has said counts more than its flow,
    and this more than what it has from its parent."""
    is_started = first.link is None
    mine, flows = first.priority, demands.priority
    priority = (mine if mine is not None else flows) if is_started else (flows if flows is not None else mine)
    return {"demands": as_text(demands), "queue": first.queue or demands.queue, "priority": priority}


def flow_timeout(state: KeeperState, flow: str | None) -> int | None:
    """How long a run of this flow may take."""
    spec = _spec(state, flow)
    return spec.timeout_us if spec else None


def _allowed_us(first: RunRow) -> int | None:
    """How long a run may take, as its first row says."""
    return None if first.timeout_at is None else first.timeout_at - (first.due_at or first.at)


def new_row(run_id: str, cause: str) -> RunRow:
    """The first row of a run, to be filled in."""
    return RunRow(run_id, 0, 0, RUNNING, cause, life=0, generation=0)


def begin_due(state: KeeperState, run: KeptRun) -> None:
    """The time of a scheduled run has come, or no more starts join one with a debounce."""
    if run.state == QUEUED:
        _close_window(state, run)
        return
    spec = _spec(state, run.first.flow)
    demands = run.demands
    if run.first.demands is None and spec is not None and spec.has_keys:
        change(state, run, QUEUED, KEY)
        _ask_for_keys(state, run)
    elif demands.debounce is not None or (demands.rates and run.first.link is not None):
        change(state, run, QUEUED, KEY)
        enter(state, run)
    elif go(state, run, "due"):
        evaluate(state, run)


# --- keys, rate limits and debounces ----------------------------------------------------------------------------------


def _ask_for_keys(state: KeeperState, run: KeptRun) -> None:
    state.out.append(ComputeKeys(run.run_id, run.first.flow or "", run.first.root or b""))


def keys_known(state: KeeperState, run: KeptRun, demands: Demands) -> None:
    """It is known what a run asks of admission that waits for that."""
    change(state, run, QUEUED, KEY, **_described(run.first, demands))
    enter(state, run)


def keys_failed(state: KeeperState, run: KeptRun, why: str) -> None:
    """Nobody can say what a run asks of admission: it fails."""
    end(state, run, FAILED, KEY, outcomes.of_error(BadArguments, why))


def code_came(state: KeeperState, run: KeptRun) -> None:
    """Other code was loaded: a run that waits for code or keys goes on, or asks again."""
    spec = _spec(state, run.first.flow)
    is_whole = run.cause == MISSING_CODE and run.first.flow in (run.reason or "").split(", ")
    if run.first.demands is None and (run.cause == KEY or is_whole):
        if spec is not None and spec.has_keys:
            change(state, run, QUEUED, KEY)
            _ask_for_keys(state, run)
            return
        if run.cause == KEY or (spec is not None and spec.demands is not None):
            demands = None if spec is None else spec.demands
            keys_known(state, run, demands or NO_DEMANDS)
            return
    if run.cause == MISSING_CODE:
        take_up(state, run, "code")


def enter(state: KeeperState, run: KeptRun) -> None:
    """A new run comes to admission: it joins another start, is refused, waits for other starts, or goes on."""
    demands, first = run.demands, run.first
    debounce = demands.debounce
    if first.chain_run_id is None:
        known = state.runs.get(state.admission.windows.get(debounce.name, "")) if debounce is not None else None
        if known is not None and debounce is not None:
            _join(state, run, known, debounce)
            return
        refused = refusing(state, demands) if first.due_at is None or first.link is not None else None
        if refused is not None:
            text = outcomes.rate_text(*refused)
            end(state, run, FAILED, RATE, outcomes.of_error(RateLimited, text))
            return
        if first.due_at is None or first.link is not None:
            charge(state, run.run_id, demands.rates)
        if debounce is not None:
            until = due_at(debounce, state.now, state.now)
            change(state, run, QUEUED, DEBOUNCE, due_at=until, timeout_at=_timeout_at(run, until))
            return
    if go(state, run, first.cause):
        evaluate(state, run)


def _join(state: KeeperState, run: KeptRun, known: KeptRun, debounce: Debounce) -> None:
    """A start joins another one, whose run it becomes."""
    first = run.first
    until = due_at(debounce, state.now, known.entered_at)
    fields: dict[str, Any] = {"due_at": until, "timeout_at": _timeout_at(known, until)}
    if debounce.keep != "first":
        fields |= {"root": first.root, "arguments": first.arguments}
    if debounce.keep == "last":
        fields |= {"demands": first.demands, "queue": first.queue, "priority": first.priority}
    change(state, known, QUEUED, DEBOUNCE, **fields)
    end(state, run, DONE, JOINED, outcomes.NOTHING, next_run_id=known.run_id)


def _close_window(state: KeeperState, run: KeptRun) -> None:
    """No more starts join a run."""
    fields: dict[str, Any] = {}
    if run.roots is not None:
        fields = {"root": joined([run.first.root or b"", *run.roots]), "arguments": f"{len(run.roots) + 1} starts"}
    if go(state, run, JOINED, **fields):
        evaluate(state, run)


def _timeout_at(run: KeptRun, starts_at: int) -> int | None:
    allowed = _allowed_us(run.first)
    return None if allowed is None else starts_at + allowed


def take_up(state: KeeperState, run: KeptRun, cause: str) -> None:
    """Take the evaluation of a run up again."""
    if run.state == QUEUED:
        if not go(state, run, cause, life=run.life + 1):
            return
    else:
        change(state, run, run.state, cause, life=run.life + 1, reason=run.reason)
    evaluate(state, run)


def park(state: KeeperState, run: KeptRun) -> None:
    """Nothing of the run is in flight: it gives back its slot."""
    if run.state == ENDING:
        change(state, run, ENDING, PARKED, reason=run.reason)
    else:
        change(state, run, WAITING, PARKED)


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
        go(state, run, "wake", life=run.life + 1)
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
    if run.state == SCHEDULED or (run.state == QUEUED and (run.cause == MISSING_CODE or not run.goes_on)):
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
    spec = _spec(state, first.flow)
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
    spec = _spec(state, run.first.flow)
    lacks_keys = run.begun is None and run.first.demands is None and spec is not None and spec.has_keys
    is_refused = run.end is not None and run.end.cause == RATE
    fields: dict[str, Any] = {
        "life": run.life + 1, "generation": run.generation + 1, "reason": reason,
        "timeout_at": _timeout_at(run, state.now),
    }  # fmt: skip
    if lacks_keys or is_refused:
        change(state, run, QUEUED, KEY, **fields)
        if lacks_keys:
            _ask_for_keys(state, run)
        else:
            enter(state, run)
    elif go(state, run, RETRY, **fields):
        evaluate(state, run)
