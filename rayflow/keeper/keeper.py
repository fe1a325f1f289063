"""The door of the keeper: requests in, commands out.

Theory of operation. Each request is handled by one function, after the timers that have come before it. What changes
is written as rows, and each row changes the state as it does at recovery (folding.py). Work that spreads from run to
run (a cancel goes down to the children) waits in `KeeperState.stops` until the request is handled: nothing recurses.
Every race is decided by the order of requests, and is then recorded.

The keeper holds the runs that have not ended. Of ended ones it holds only the ids that users gave them. When it needs
more (a retry, a join of a run that has ended), it asks the store by `Recall`, and goes on with `Recalled`.

In: requests, each with the time when it came. Out: commands, rows first. Never: touches anything outside.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rayflow.keeper import admission, answers, events, outcomes, requests, runs, schedules, waits
from rayflow.keeper.admission_state import Bucket
from rayflow.keeper.commands import Evaluate, KeeperCommand, KeepPlaces, RequestReply, SetAlarm, Write
from rayflow.keeper.folding import fold, rebuilt, write
from rayflow.keeper.ids import derived_run_id, is_own_id
from rayflow.keeper.run_states import (
    CANCELLED,
    DONE,
    ENDING,
    FAILED,
    KEY,
    MISSING_CODE,
    OPEN,
    QUEUED,
    RESOLVED,
    RUNNING,
    SCHEDULED,
    WAITING,
)
from rayflow.keeper.state import KeeperState, KeptEvent, KeptRun, KeptSchedule, KeptWait, StrictEmit, find
from rayflow.keeper.timers import RUN_DUE, next_due, next_time
from rayflow.records import EventRow, QueueRow, RequestRow


class Keeper:
    """All durable runs of one store."""

    def __init__(self) -> None:
        self.state = KeeperState()
        """Everything that it knows. To be read, by tests and for measures."""

    def handle(self, incoming: Sequence[requests.Request]) -> list[KeeperCommand]:
        """Take in requests. Give the commands that follow from them, the rows first."""
        state = self.state
        state.rows, state.out = [], []
        for request in incoming:
            state.now = max(state.now, request.at)
            if not isinstance(request, requests.Recovered):
                _fire_due(state)
            _take(state, request)
            _stop_all(state)
            _fire_due(state)
            admission.settle(state)
        state.gone.clear()
        state.unknown.clear()
        _set_alarm(state)
        written: list[KeeperCommand] = [Write(tuple(state.rows))] if state.rows else []
        return written + state.out

    # What the shell and the service ask, between turns. Of a run that has ended, ask the store.

    def run(self, run_id: str) -> dict[str, Any] | None:
        """A run that has not ended, as plain data; of a chain, the run in which it goes on. None for any other."""
        run = self._open(run_id)
        return answers.of_run(run) if run else None

    def id_of(self, text: str) -> str | None:
        """The run that a text names: an open one by its own id, or any by the id that its starter gave it. None for all
        others. Any thread may ask."""
        ended = self.state.ended.get(text)
        found = self.state.ids.get(text) if ended is None else ended.next_run_id or ended.run_id
        return text if found is None and text in self.state.runs else found

    def runs(self) -> list[dict[str, Any]]:
        """All runs that have not ended, as plain data, oldest first."""
        return [answers.of_run(run) for run in self.state.runs.values()]

    def waits(self, run_id: str) -> list[dict[str, Any]]:
        """The open waits of a run, as plain data, in the order in which they were opened."""
        run = self._open(run_id)
        return [answers.of_wait(wait) for wait in run.open_waits()] if run else []

    def asks(self, after: int, limit: int) -> list[dict[str, Any]]:
        """The open questions to people with a greater number, as plain data, oldest first."""
        numbers = sorted(number for number in self.state.asks if number > after)[:limit]
        return [answers.of_ask(self.state, self.state.asks[number]) for number in numbers]

    def event(self, event_id: str) -> dict[str, Any] | None:
        """An event and its deliveries, as plain data. None for one that is not known, or not protected any more."""
        event = self.state.events.get(event_id)
        return answers.of_event(self.state, event) if event else None

    def schedules(self) -> list[dict[str, Any]]:
        """All schedules, as plain data, by name: those that have ended, too."""
        return [answers.of_schedule(self.state, kept) for _, kept in sorted(self.state.schedules.items())]

    def schedule(self, name: str) -> dict[str, Any] | None:
        """A schedule, as plain data. None if there never was one of this name."""
        kept = self.state.schedules.get(name)
        return answers.of_schedule(self.state, kept) if kept else None

    def explain(self, run_id: str) -> dict[str, Any] | None:
        """Why a run has not ended: one cause. None if it has, or never was."""
        run = self._open(run_id)
        return answers.explanation(self.state, run) if run else None

    def queues(self) -> list[dict[str, Any]]:
        """All queues with their slots, how many are used, and how many runs wait for one, as plain data."""
        return answers.of_queues(self.state)

    def evaluation(self, run_id: str) -> Evaluate | None:
        """How the evaluation of a run is taken up again, when a `Resolve` finds it not in memory."""
        run = self.state.runs.get(run_id)
        return admission.evaluation(run) if run else None

    def resolved(self, run_id: str) -> dict[bytes, bytes]:
        """The packed outcomes of the resolved waits of a run, by place, for its evaluation."""
        run = self.state.runs.get(run_id)
        known = run.waits.items() if run else ()
        return {place: wait.outcome for place, wait in known if wait.state == RESOLVED and wait.outcome is not None}

    def answered(self, request_id: str) -> RequestReply | None:
        """The answer to a request that was done under this id."""
        known = self.state.answered.get(request_id)
        return None if known is None else RequestReply("", json.loads(known))

    def form(self, run_id: str, place: bytes) -> bytes | None:
        """The packed form of the answer that an open `ask` takes; None if there is no such one."""
        run = self._open(run_id)
        wait = run.waits.get(place) if run else None
        return wait.opened.given if wait is not None and wait.opened.kind == "ask" else None

    def _open(self, run_id: str) -> KeptRun | None:
        run = find(self.state, run_id)
        return None if run is None or run.has_ended else run


# --- the turn ---------------------------------------------------------------------------------------------------------


def _take(state: KeeperState, request: requests.Request) -> None:
    """Handle a request, or give the answer again that its id has."""
    request_id = getattr(request, "request_id", None)
    if request_id is None:
        _HANDLERS[type(request)](state, request)
        return
    name: str = getattr(request, "request", "")
    known = state.answered.get(request_id)
    if known is not None:
        _reply(state, name, json.loads(known))
        return
    before = len(state.out)
    _HANDLERS[type(request)](state, request)
    for each in state.out[before:]:
        if isinstance(each, RequestReply) and each.request == name and each.error is None:
            answer = each.answer
            about = answer["run_id"] if isinstance(answer, dict) and "run_id" in answer else _run_of(request)
            write(state, RequestRow(request_id, state.number + 1, state.now, json.dumps(answer), about))


def _run_of(request: requests.Request) -> str | None:
    """The run that a request names."""
    run_id: str | None = getattr(request, "run_id", None)
    return run_id


def _fire_due(state: KeeperState) -> None:
    """Let everything happen whose time has come, in order."""
    while (timer := next_due(state)) is not None:
        owner = timer[3]
        if isinstance(owner, Bucket):
            owner.alarm_at = None
            state.admission.lines.freed[owner.name] = None
            admission.settle(state)
        elif isinstance(owner, KeptEvent):
            events.deliver_due(state, owner)
        elif isinstance(owner, KeptWait):
            waits.deadline_came(state, owner)
        elif isinstance(owner, KeptSchedule):
            schedules.fire_due(state, owner)
        elif timer[1] == RUN_DUE:
            runs.begin_due(state, owner)
        else:
            runs.stop(state, owner, runs.TIMEOUT, None, is_again=False)
        _stop_all(state)


def _stop_all(state: KeeperState) -> None:
    """Stop what hangs on runs that were stopped, at any depth. Then let the schedules of ended runs go on."""
    while state.stops:
        run_id, by, reason, is_again = state.stops.popleft()
        run = state.runs.get(run_id)
        if run is not None:
            runs.stop(state, run, by, reason, is_again)
    while state.freed:
        schedules.go_on(state, state.freed.popleft())


def _set_alarm(state: KeeperState) -> None:
    at = next_time(state)
    if at is not None and at != state.alarm:
        state.alarm = at
        state.out.append(SetAlarm(at))


def _reply(state: KeeperState, request: str, answer: Any) -> None:
    if request:
        state.out.append(RequestReply(request, answer))


def _refuse(state: KeeperState, request: str, name: str, message: str) -> None:
    if request:
        state.out.append(RequestReply(request, None, (name, message)))


# --- one function for each request ------------------------------------------------------------------------------------


def _recovered(state: KeeperState, request: requests.Recovered) -> None:
    fold(state, request)
    for run in list(state.runs.values()):
        if run.state in (RUNNING, ENDING):
            runs.take_up(state, run, "recovery")
    for waiting in list(state.waiters.values()):
        for wait in list(waiting.values()):
            waits.look_for_target(state, wait)
    state.has_begun = True
    if state.flows is not None:
        _code_came(state)


def _flows_known(state: KeeperState, request: requests.FlowsKnown) -> None:
    state.flows = request.flows
    state.subscribers = {}
    for flow in sorted(request.flows):
        for name, where in request.flows[flow].on:
            state.subscribers.setdefault(name, []).append((flow, where))
    if state.has_begun:
        _code_came(state)


def _code_came(state: KeeperState) -> None:
    for run in list(state.runs.values()):
        if run.state == QUEUED and run.cause in (KEY, MISSING_CODE):
            runs.code_came(state, run)
    events.bind_again(state)
    schedules.bind_again(state)
    if state.flows is not None:
        schedules.follow_code(state, state.flows)


def _start_requested(state: KeeperState, request: requests.StartRequested) -> None:
    id = request.id
    if id is not None and not is_own_id(id):
        _refuse(state, request.request, "RunConflict", f"the id {id!r} begins as those that rayflow makes: use another")
        return
    ended = state.ended.get(id) if id is not None else None
    open_id = state.ids.get(id) if id is not None else request.run_id
    known = state.runs.get(open_id or "")
    if known is None and ended is None:
        spec = state.flows.get(request.flow) if state.flows and request.flow else None
        demands = request.demands if request.demands is not None or spec is None else spec.demands
        refused = None if demands is None else admission.refusing(state, demands)
        if refused is not None:
            told = ("RateLimited", outcomes.rate_text(*refused))
            state.out.append(RequestReply(request.request, {"retry_after_us": refused[1]}, told))
            return
        cause = "start" if request.forked_run_id is None else "fork"
        row = runs.new_row(derived_run_id(id) if id is not None else request.run_id, cause)._replace(
            id=id, flow=request.flow, root=request.root, input_hash=request.input_hash, arguments=request.arguments,
            due_at=request.due_at, queue=request.queue, priority=request.priority, tags=request.tags,
            forked_run_id=request.forked_run_id,
        )  # fmt: skip
        if request.places:
            state.out.append(KeepPlaces(tuple([each._replace(execution_id=row.run_id) for each in request.places])))
        run = runs.begin(state, row, request.timeout_us, demands)
        for wait in request.waits:
            write(state, wait._replace(run_id=row.run_id, number=state.number + 1, at=state.now))
        made = run if run.end is None else find(state, run.run_id) or run
        _reply(state, request.request, {"run_id": made.run_id, "state": made.state, "is_new": made is run})
        return
    run_id = known.run_id if known else (ended.next_run_id or ended.run_id) if ended else ""
    input_hash = known.first.input_hash if known else ended.input_hash if ended else None
    if input_hash != request.input_hash:
        text = f"run {run_id} has the id {id!r} and another input: use another id" if id is not None else (
            f"run {run_id} exists and has another input"
        )  # fmt: skip
        _refuse(state, request.request, "RunConflict", text)
    elif request.reuse == "reject" and id is not None:
        _refuse(state, request.request, "RunConflict", f"the id {id!r} belongs to run {run_id} already")
    elif request.reuse == "if_failed" and ended is not None and _may_have_failed(state, ended):
        run_again = find(state, run_id)
        if run_again is None and run_id not in state.unknown:
            waits.recall(state, run_id, request)
        elif run_again is not None and run_again.state in (FAILED, CANCELLED):
            runs.retry(state, run_again, "started again")
            _reply(state, request.request, {"run_id": run_id, "state": run_again.state, "is_new": True})
        else:
            _reply(state, request.request, {"run_id": run_id, "state": DONE, "is_new": False})
    else:
        joined = find(state, run_id) if ended and ended.next_run_id else None
        is_state = known.state if known else joined.state if joined else ended.state if ended else ""
        # Without an id of its own, only the same request has this run_id: it has made the run.
        is_new = id is None and joined is None
        _reply(state, request.request, {"run_id": run_id, "state": is_state, "is_new": is_new})


def _may_have_failed(state: KeeperState, ended: requests.EndedRun) -> bool:
    """Whether a run that has ended may be retried: itself, or the one that its start has joined."""
    return ended.state in (FAILED, CANCELLED) or (ended.next_run_id is not None and ended.next_run_id not in state.runs)


def _keys_computed(state: KeeperState, request: requests.KeysComputed) -> None:
    run = state.runs.get(request.run_id)
    if run is None or run.state != QUEUED or run.cause != KEY:
        return
    if request.is_missing:
        admission.change(state, run, QUEUED, MISSING_CODE, reason=run.first.flow)
    elif request.demands is None:
        runs.keys_failed(state, run, request.error or "its keys cannot be computed")
    else:
        runs.keys_known(state, run, request.demands)


def _queues_configured(state: KeeperState, request: requests.QueuesConfigured) -> None:
    known = state.admission.queues
    for queue in sorted({*known, *request.slots}):
        slots = request.slots.get(queue)
        if slots != (known[queue].configured if queue in known else None):
            write(state, QueueRow(queue, state.number + 1, state.now, slots, "configuration"))


def _queue_requested(state: KeeperState, request: requests.QueueRequested) -> None:
    write(state, QueueRow(request.queue, state.number + 1, state.now, request.slots, "set"))
    admission.settle(state)
    _reply(state, request.request, answers.of_queue(state, request.queue))


def _wait_closed(state: KeeperState, request: requests.WaitClosed) -> None:
    run = state.runs.get(request.run_id)
    wait = run.waits.get(request.place) if run else None
    if run is None or wait is None or wait.state != OPEN:
        return
    runs.close(state, wait, "lost")
    if run.state == WAITING and not run.open:
        admission.change(state, run, RUNNING, "wake")  # its evaluation goes on: else it would have ended


def _run_parked(state: KeeperState, request: requests.RunParked) -> None:
    run = state.runs.get(request.run_id)
    if run is None or not request.places or not (run.state == RUNNING or (run.state == ENDING and run.held)):
        return
    known = [run.waits.get(place) for place in request.places]
    if all(wait is not None and wait.state == OPEN for wait in known):
        runs.park(state, run)


def _run_ended(state: KeeperState, request: requests.RunEnded) -> None:
    run = state.runs.get(request.run_id)
    if run is None or run.state in (SCHEDULED, QUEUED):
        return
    if request.missing:
        runs.miss_code(state, run, request.missing)
    elif run.state == ENDING:
        runs.end_stopped(state, run, run.reason)
    elif request.is_cancelled:
        runs.end(state, run, CANCELLED, runs.CANCEL, request.outcome, error=request.error)
    else:
        to = DONE if request.error is None else FAILED
        runs.end(state, run, to, "end", request.outcome, error=request.error)


def _emit_requested(state: KeeperState, request: requests.EmitRequested) -> None:
    row = EventRow(request.event_id, 0, 0, request.name, request.key, request.data, request.data_hash, request.due_at)
    known = state.events.get(request.event_id)
    strict = state.strict.get(request.event_id)
    if known is not None:
        if known.row.data_hash != request.data_hash:
            _refuse(state, request.request, "EventConflict", waits.conflict_text(request.event_id))
        else:
            _reply(state, request.request, answers.of_event(state, known))
    elif not request.strict:
        _reply(state, request.request, answers.of_event(state, events.accept(state, row)))
    elif strict is not None:
        strict.requests.append(request)
    else:
        lacking = events.subscribed(state, row)
        state.strict[request.event_id] = StrictEmit([request], set(lacking))
        for flow in lacking:
            events.ask_for_root(state, row, flow)
        _accept_strict(state, request.event_id)


def _bound_arguments(state: KeeperState, request: requests.BoundArguments) -> None:
    event = state.events.get(request.event_id)
    if event is not None:
        events.bound(state, event, request)
    strict = state.strict.get(request.event_id)
    if strict is not None and request.flow in strict.lacking:
        strict.lacking.discard(request.flow)
        strict.bound[request.flow] = request
        _accept_strict(state, request.event_id)


def _accept_strict(state: KeeperState, event_id: str) -> None:
    """Accept or refuse a strict event, if all its subscribers have said whether it fits."""
    strict = state.strict[event_id]
    if strict.lacking:
        return
    del state.strict[event_id]
    wrong = [f"{flow}: {answer.error}" for flow, answer in sorted(strict.bound.items()) if answer.error is not None]
    for request in strict.requests:
        if wrong and event_id not in state.events:
            text = f"event {event_id!r} does not fit {len(wrong)} of its subscribers:\n" + "\n".join(wrong)
            _refuse(state, request.request, "EventRefused", text)
            continue
        if event_id not in state.events:
            row = EventRow(event_id, 0, 0, request.name, request.key, request.data, request.data_hash, request.due_at)
            events.accept(state, row, strict.bound)
        _emit_requested(state, request)


def _answer_requested(state: KeeperState, request: requests.AnswerRequested) -> None:
    run = find(state, request.run_id)
    if run is None or run.has_ended:
        text = f"run {request.run_id} waits for no answer: it has ended, or never was"
        _refuse(state, request.request, "NoOpenAsk", text)
        return
    given = run.waits.get(request.place or b"")
    asks = [wait for wait in run.open_waits() if wait.opened.kind == "ask"]
    meant = [wait for wait in asks if request.place in (None, wait.opened.place)]
    if given is not None and given.state == RESOLVED and given.outcome == request.outcome:
        meant = [given]  # the same answer again
    elif len(meant) == 1:
        runs.resolve(state, meant[0], request.outcome, "answer")
    if len(meant) == 1:
        _reply(state, request.request, {"run_id": run.run_id, "place": meant[0].opened.place.hex()})
        return
    listed = "".join([f"\n  {wait.opened.place.hex()}  {wait.opened.name or ''}" for wait in asks])
    text = f"run {run.run_id} has no open ask" + (f" at this place, but {len(asks)} others:{listed}" if asks else "")
    if meant:
        text = f"run {run.run_id} has {len(asks)} open asks: say by its place which is meant:{listed}"
    _refuse(state, request.request, "NoOpenAsk", text)


def _cancel_requested(state: KeeperState, request: requests.CancelRunRequested) -> None:
    run = _found(state, request)
    if run is not None:
        _reply(state, request.request, not run.has_ended)
        runs.stop(state, run, runs.CANCEL, request.reason or None, is_again=request.ends_cleanup)


def _retry_requested(state: KeeperState, request: requests.RetryRequested) -> None:
    run = _found(state, request)
    if run is None:
        return
    if run.state in (FAILED, CANCELLED):
        runs.retry(state, run, request.reason or None)
        _reply(state, request.request, {"run_id": run.run_id, "state": run.state})
    else:
        text = f"run {run.run_id} is {run.state}: only a run that has failed or was cancelled can be retried"
        _refuse(state, request.request, "RunConflict", text)


def _found(state: KeeperState, request: requests.CancelRunRequested | requests.RetryRequested) -> KeptRun | None:
    """The run that a request names, or the one in which its chain goes on. If it is not at hand, the store is asked,
    and the request comes again."""
    run_id = request.run_id
    run = find(state, run_id)
    if run is not None and run.end is not None and run.end.next_run_id is not None:
        run_id, run = run.end.next_run_id, None
    if run is None and run_id in state.unknown:
        _refuse(state, request.request, "NotFound", f"there is no run {run_id} in this store")
    elif run is None:
        waits.recall(state, run_id, request._replace(run_id=run_id))
    return run


def _recalled(state: KeeperState, request: requests.Recalled) -> None:
    askers = state.recalls.pop(request.run_id, [])
    if request.run_id not in state.runs:
        run = rebuilt(request.runs, request.waits)
        if run is None:
            state.unknown.add(request.run_id)
        else:
            state.gone[request.run_id] = run
    for asker in askers:
        if isinstance(asker, KeptWait):
            if state.runs.get(asker.opened.run_id) is not None:
                waits.look_for_target(state, asker)
        else:
            _take(state, asker)


def _schedule_asked(
    change: Callable[[KeeperState, Any], tuple[str, str] | None],
) -> Callable[[KeeperState, Any], None]:
    """The function for a request that changes a schedule and is answered by what the schedule is then."""

    def handle(state: KeeperState, request: Any) -> None:
        refusal = change(state, request)
        if refusal is not None:
            _refuse(state, request.request, *refusal)
        else:
            _reply(state, request.request, answers.of_schedule(state, state.schedules[request.schedule]))

    return handle


def _firings_wanted(state: KeeperState, request: requests.TriggerRequested | requests.BackfillRequested) -> None:
    refusal = schedules.ask_for_firings(state, request)
    if refusal is not None:
        _refuse(state, request.request, *refusal)


def _time_came(state: KeeperState, request: requests.TimeCame) -> None:
    """The timers that have come are fired before each request. The alarm is over, also if it came too early."""
    state.alarm = None


_HANDLERS: Mapping[type, Callable[[KeeperState, Any], None]] = {
    requests.Recovered: _recovered,
    requests.FlowsKnown: _flows_known,
    requests.StartRequested: _start_requested,
    requests.WaitOpened: waits.open_wait,
    requests.WaitClosed: _wait_closed,
    requests.RunParked: _run_parked,
    requests.RunEnded: _run_ended,
    requests.EmitRequested: _emit_requested,
    requests.BoundArguments: _bound_arguments,
    requests.KeysComputed: _keys_computed,
    requests.QueuesConfigured: _queues_configured,
    requests.QueueRequested: _queue_requested,
    requests.AnswerRequested: _answer_requested,
    requests.CancelRunRequested: _cancel_requested,
    requests.RetryRequested: _retry_requested,
    requests.Recalled: _recalled,
    requests.PutScheduleRequested: _schedule_asked(schedules.put),
    requests.PauseRequested: _schedule_asked(schedules.pause),
    requests.DeleteScheduleRequested: _schedule_asked(schedules.delete),
    requests.TriggerRequested: _firings_wanted,
    requests.BackfillRequested: _firings_wanted,
    requests.FiringsRecalled: schedules.recalled,
    requests.BoundFiring: schedules.bound,
    requests.TimeCame: _time_came,
}
