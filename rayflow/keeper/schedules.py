"""Schedules: when the clock starts runs.

In: the state, and what somebody asks of a schedule, or the time. Out: rows; commands that make the runs of firings.
Never: reads a clock or a zone from outside: the moments follow from the text of the timetable (`timetables`).

A schedule has decided all its moments up to one. When the next ones have come, it decides each of them: a firing has a
run now, or is queued, skipped or missed. Moments are decided once, whatever the clock does, because the keeper's time
never goes back, and what is decided is recorded. The run of a firing has an id that follows from schedule and moment.

Moments that come together, and a single one that comes late, are *made up*: no service was up for them. A firing that
is made up, or backfilled, is never skipped because of another one: it waits for its turn.
"""

from __future__ import annotations

from collections.abc import Mapping

from rayflow.keeper.commands import BindFiring, RecallFirings, RequestReply
from rayflow.keeper.folding import write
from rayflow.keeper.ids import derived_run_id, firing_id
from rayflow.keeper.requests import (
    BackfillRequested,
    BoundFiring,
    DeleteScheduleRequested,
    FiringsRecalled,
    FlowSpec,
    PauseRequested,
    PutScheduleRequested,
    TriggerRequested,
)
from rayflow.keeper.run_states import check_move
from rayflow.keeper.runs import CANCEL, begin, new_row
from rayflow.keeper.schedule_states import (
    ACTIVE,
    BACKFILL,
    DELETED,
    FAILED_FIRING,
    GONE,
    MISSED,
    PAUSED,
    PENDING_FIRING,
    QUEUED_FIRING,
    SCHEDULE_MOVES,
    SKIPPED,
    STARTED,
    TIME,
    TRIGGER,
)
from rayflow.keeper.state import KeeperState, KeptSchedule, WantedFirings
from rayflow.lang.events.moments import moment_of
from rayflow.lang.events.timetables import Timetable, from_text, moments_between, previous_moment
from rayflow.records import FiringRow, ScheduleRow

LATE_US = 60_000_000
"""A firing that is late by no more than this is on time, however short its catch-up is: a service was restarted."""

MOST_MADE_UP = 1_000
"""No more firings than these are made up at once; earlier ones are missed."""

MOST_COUNTED = 10_000
"""Moments of a series are counted up to here; and a backfill has no more."""

SKIP, QUEUE, ALLOW, CANCEL_PREVIOUS = "skip", "queue", "allow", "cancel_previous"
"""What a firing does while a run of its schedule has not ended."""


# --- the time has come ------------------------------------------------------------------------------------------------


def fire_due(state: KeeperState, kept: KeptSchedule) -> None:
    """Decide the moments of a schedule that have come."""
    table = from_text(kept.row.timetable)
    horizon = state.now - max(kept.row.catch_up_us, LATE_US)
    due = _latest(table, max(kept.decided, horizon - 1), state.now)
    _record_series(state, kept, table, due[0] - 1 if due else state.now, MISSED, "late")
    is_made_up = len(due) > 1 or (bool(due) and state.now - due[0] > LATE_US)
    for moment in due:
        if moment in kept.ahead:
            _write(state, kept, moment, SKIPPED, TIME, cause=TRIGGER, last_moment=moment, many=1)
        else:
            _decide(state, kept, moment, TIME, is_made_up)


def _latest(table: Timetable, after: int, last: int) -> list[int]:
    """The latest moments after one, up to another, but no more than are made up at once."""
    found = moments_between(table, after, last, MOST_MADE_UP + 1)
    if len(found) <= MOST_MADE_UP:
        return found
    found = []
    at = previous_moment(table, last + 1)
    while at is not None and len(found) < MOST_MADE_UP:
        found.append(at)
        at = previous_moment(table, at)
    return found[::-1]


def _record_series(state: KeeperState, kept: KeptSchedule, table: Timetable, last: int, to: str, cause: str) -> None:
    """Record that the moments that are not decided, up to one, start nothing."""
    found = moments_between(table, kept.decided, last, MOST_COUNTED + 1)
    if not found:
        return
    many = len(found) if len(found) <= MOST_COUNTED else None
    final = found[-1] if many is not None else previous_moment(table, last + 1)
    _write(state, kept, found[0], to, TIME, cause=cause, last_moment=final, many=many)


def _decide(state: KeeperState, kept: KeptSchedule, moment: int, kind: str, is_made_up: bool) -> None:
    """Let a firing start its run, or wait for another, or start nothing."""
    overlap = QUEUE if is_made_up and kept.row.overlap in (SKIP, CANCEL_PREVIOUS) else kept.row.overlap
    if overlap == ALLOW or not is_occupied(state, kept):
        _make(state, kept, moment, kind)
    elif overlap == QUEUE:
        _write(state, kept, moment, QUEUED_FIRING, kind, cause="overlap")
    elif overlap == SKIP:
        _write(state, kept, moment, SKIPPED, kind, cause="overlap")
    else:
        _cancel_previous(state, kept, moment)
        _make(state, kept, moment, kind)


def is_occupied(state: KeeperState, kept: KeptSchedule) -> bool:
    """Whether a run of a schedule has not ended, or is being made. (Else no firing waits for its turn.)"""
    return kept.row.schedule in state.scheduled or bool(kept.pending)


def _cancel_previous(state: KeeperState, kept: KeptSchedule, moment: int) -> None:
    name = kept.row.schedule
    for row in list(kept.pending.values()):
        _drop(state, kept, row, "overlap")
    why = f"schedule {name} has fired again, for {moment_of(moment).isoformat()}"
    state.stops.extend((run_id, CANCEL, why, False) for run_id in state.scheduled.get(name, ()))


def _drop(state: KeeperState, kept: KeptSchedule, row: FiringRow, cause: str) -> None:
    """Let a firing that waits start nothing."""
    _write(state, kept, row.moment, SKIPPED, row.kind, cause=cause)
    for request in state.triggers.pop((row.schedule, row.moment), []):
        why = f"schedule {row.schedule} starts nothing for this moment ({cause})"
        state.out.append(RequestReply(request, None, ("RunConflict", why)))


def _make(state: KeeperState, kept: KeptSchedule, moment: int, kind: str, cause: str | None = None) -> None:
    """Ask for the root term of the run of a firing."""
    _write(state, kept, moment, PENDING_FIRING, kind, cause=cause)
    _ask(state, kept, moment)


def _ask(state: KeeperState, kept: KeptSchedule, moment: int) -> None:
    row = kept.row
    previous = previous_moment(from_text(row.timetable), moment)
    state.out.append(BindFiring(row.schedule, moment, row.flow, row.arguments, previous))


def _write(
    state: KeeperState, kept: KeptSchedule, moment: int, to: str, kind: str, *, cause: str | None = None,
    run_id: str | None = None, error: str | None = None, last_moment: int | None = None, many: int | None = None,
) -> None:  # fmt: skip
    name, number = kept.row.schedule, state.number + 1
    write(state, FiringRow(name, moment, number, state.now, to, kind, cause, run_id, error, last_moment, many))


# --- the runs of firings ----------------------------------------------------------------------------------------------


def bound(state: KeeperState, answer: BoundFiring) -> None:
    """The root term of the run of a firing is there, or cannot be made; or its code is missing."""
    kept = state.schedules.get(answer.schedule)
    row = kept.pending.get(answer.moment) if kept is not None else None
    if kept is None or row is None:
        return
    id = firing_id(answer.schedule, answer.moment)
    run_id = derived_run_id(id)
    if answer.error is not None:
        _write(state, kept, answer.moment, FAILED_FIRING, row.kind, error=answer.error)
        state.freed.append(answer.schedule)
    elif answer.root is not None:
        _write(state, kept, answer.moment, STARTED, row.kind, run_id=run_id)
        for asked, wanted in state.backfills.items():
            if asked.schedule == answer.schedule:
                wanted.started.add(answer.moment)
        begin(
            state,
            new_row(run_id, "schedule")._replace(
                id=id, flow=kept.row.flow, root=answer.root, input_hash=answer.input_hash, arguments=answer.arguments,
                link="schedule", schedule=answer.schedule, moment=answer.moment,
            ),
            None,
        )  # fmt: skip
    for request in state.triggers.pop((answer.schedule, answer.moment), []):
        if answer.error is not None:
            state.out.append(RequestReply(request, None, ("BadArguments", answer.error)))
        elif answer.root is None:
            why = f"the loaded code lacks {kept.row.flow}: the firing waits for it"
            state.out.append(RequestReply(request, None, ("NoSuchTask", why)))
        else:
            state.out.append(RequestReply(request, _triggered(answer.schedule, answer.moment, is_new=True)))


def bind_again(state: KeeperState) -> None:
    """Ask again for the root terms of all firings that are pending."""
    for kept in state.schedules.values():
        for moment in kept.pending:
            _ask(state, kept, moment)


def go_on(state: KeeperState, name: str) -> None:
    """Something of a schedule has ended: let the next firing have its turn."""
    kept = state.schedules.get(name)
    if kept is None or not kept.queued or kept.pending or name in state.scheduled:
        return
    row = next(iter(kept.queued.values()))
    _make(state, kept, row.moment, row.kind)


# --- what the code says -----------------------------------------------------------------------------------------------


def follow_code(state: KeeperState, flows: Mapping[str, FlowSpec]) -> None:
    """Let the schedules in the code be those of the loaded code. Moments that a changed one has missed are decided by
    the timetable that it had then."""
    for name, kept in state.schedules.items():
        if kept.row.is_of_code and kept.row.state in (ACTIVE, PAUSED) and not _has_schedule(flows, name):
            _end(state, kept, GONE, "code")
    for name in sorted(flows):
        spec = flows[name].schedule
        if spec is None:
            continue
        known = state.schedules.get(name)
        row = ScheduleRow(
            name, 0, 0, ACTIVE, "code", name, spec.timetable, spec.overlap, spec.catch_up_us, 0, is_of_code=True
        )
        if known is not None and known.row.state in (ACTIVE, PAUSED) and known.row.is_of_code and _is_same(known, row):
            continue
        _change(state, known, row, is_paused=known is not None and bool(known.row.is_paused))


def _has_schedule(flows: Mapping[str, FlowSpec], name: str) -> bool:
    return name in flows and flows[name].schedule is not None


def _is_same(kept: KeptSchedule, row: ScheduleRow) -> bool:
    names = ("flow", "timetable", "overlap", "catch_up_us", "arguments")
    return all(getattr(kept.row, name) == getattr(row, name) for name in names)


def _change(state: KeeperState, known: KeptSchedule | None, row: ScheduleRow, *, is_paused: bool) -> None:
    """Make a schedule, or change it. Its moments from now on count."""
    if known is not None and known.next_at is not None and known.next_at <= state.now:
        fire_due(state, known)
    if known is not None and known.row.state == PAUSED:
        _record_series(state, known, from_text(known.row.timetable), state.now, SKIPPED, PAUSED)
    _write_schedule(
        state, known, row._replace(state=PAUSED if is_paused else ACTIVE, is_paused=is_paused, moments_after=state.now)
    )


def _end(state: KeeperState, kept: KeptSchedule, to: str, cause: str) -> None:
    """End a schedule: its firings that wait start nothing."""
    _write_schedule(state, kept, kept.row._replace(state=to, cause=cause, moments_after=state.now))
    for row in [*kept.queued.values(), *kept.pending.values()]:
        _drop(state, kept, row, to)


def _write_schedule(state: KeeperState, known: KeptSchedule | None, row: ScheduleRow) -> None:
    check_move(SCHEDULE_MOVES, None if known is None else known.row.state, row.state, f"schedule {row.schedule}")
    write(state, row._replace(number=state.number + 1, at=state.now))


# --- what somebody asks -----------------------------------------------------------------------------------------------

Refusal = tuple[str, str]
"""The class of an error, and what it says."""


def put(state: KeeperState, request: PutScheduleRequested) -> Refusal | None:
    """Make or change a schedule."""
    known = state.schedules.get(request.schedule)
    if _is_of_code(state, request.schedule):
        return "RunConflict", f"the schedule {request.schedule} stands in the code: change it there"
    spec = request.spec
    row = ScheduleRow(
        request.schedule, 0, 0, ACTIVE, "put", request.flow, spec.timetable, spec.overlap, spec.catch_up_us, 0,
        request.arguments, is_of_code=False,
    )  # fmt: skip
    if known is None or known.row.state not in (ACTIVE, PAUSED) or not _is_same(known, row):
        is_paused = known is not None and known.row.state != DELETED and bool(known.row.is_paused)
        _change(state, known, row, is_paused=is_paused)
    return None


def _is_of_code(state: KeeperState, name: str) -> bool:
    known = state.schedules.get(name)
    is_kept = known is not None and bool(known.row.is_of_code) and known.row.state in (ACTIVE, PAUSED)
    return is_kept or _has_schedule(state.flows or {}, name)


def pause(state: KeeperState, request: PauseRequested) -> Refusal | None:
    """Pause a schedule, or have it go on."""
    kept = _open(state, request.schedule)
    if kept is None:
        return _unknown(request.schedule)
    if request.is_paused and kept.row.state == ACTIVE:
        row = kept.row._replace(state=PAUSED, cause="pause", is_paused=True, moments_after=state.now)
        _write_schedule(state, kept, row)
    elif not request.is_paused and kept.row.state == PAUSED:
        _record_series(state, kept, from_text(kept.row.timetable), state.now, SKIPPED, PAUSED)
        row = kept.row._replace(state=ACTIVE, cause="resume", is_paused=False, moments_after=state.now)
        _write_schedule(state, kept, row)
    return None


def delete(state: KeeperState, request: DeleteScheduleRequested) -> Refusal | None:
    """Delete a schedule that was put."""
    kept = state.schedules.get(request.schedule)
    if kept is None or kept.row.state == GONE:
        return _unknown(request.schedule)
    if kept.row.is_of_code:
        return "RunConflict", f"the schedule {request.schedule} stands in the code: take it out there, or pause it"
    if kept.row.state != DELETED:
        _end(state, kept, DELETED, "delete")
    return None


def _open(state: KeeperState, name: str) -> KeptSchedule | None:
    kept = state.schedules.get(name)
    return kept if kept is not None and kept.row.state in (ACTIVE, PAUSED) else None


def _unknown(name: str) -> Refusal:
    return "NotFound", f"there is no schedule {name!r}: `rayflow schedules` lists them"


def ask_for_firings(state: KeeperState, request: BackfillRequested | TriggerRequested) -> Refusal | None:
    """Ask the store which firings there are: what is wanted may have come about."""
    if _open(state, request.schedule) is None:
        return _unknown(request.schedule)
    if isinstance(request, TriggerRequested):
        first = last = request.moment
        if last > state.now + LATE_US:
            return "BadArguments", f"a trigger is for a moment that has come, and not for {moment_of(last).isoformat()}"
    else:
        first, last = request.first, state.now if request.last is None else request.last
        if last > state.now or first > last:
            return "BadArguments", "a backfill goes from one time to a later one, and no further than to now"
    asked = RecallFirings(request.schedule, first, last)
    if asked not in state.backfills:
        state.backfills[asked] = WantedFirings()
        state.out.append(asked)
    state.backfills[asked].requests.append(request)
    return None


def recalled(state: KeeperState, answer: FiringsRecalled) -> None:
    """Start what was asked for, if there is none of it yet."""
    wanted = state.backfills.pop(RecallFirings(answer.schedule, answer.first, answer.last), None)
    if wanted is None:
        return
    started = wanted.started | {row.moment for row in answer.firings if row.state == STARTED}
    for request in wanted.requests:
        kept = _open(state, request.schedule)
        if kept is None:
            state.out.append(RequestReply(request.request, None, _unknown(request.schedule)))
        elif isinstance(request, TriggerRequested):
            _trigger(state, kept, request, started)
        else:
            _backfill(state, kept, request, answer.last, started)


def _trigger(state: KeeperState, kept: KeptSchedule, request: TriggerRequested, started: set[int]) -> None:
    name, moment = request.schedule, request.moment
    if moment in started:
        state.out.append(RequestReply(request.request, _triggered(name, moment, is_new=False)))
        return
    state.triggers.setdefault((name, moment), []).append(request.request)
    if moment in kept.queued:
        _make(state, kept, moment, kept.queued[moment].kind, TRIGGER)
    elif moment not in kept.pending:
        _make(state, kept, moment, TRIGGER)


def _backfill(state: KeeperState, kept: KeptSchedule, request: BackfillRequested, last: int, started: set[int]) -> None:
    found = moments_between(from_text(kept.row.timetable), request.first - 1, last, MOST_COUNTED + 1)
    if len(found) > MOST_COUNTED:
        why = f"there are more than {MOST_COUNTED:,} moments in this time: backfill it in several parts"
        state.out.append(RequestReply(request.request, None, ("BadArguments", why)))
        return
    known = started | kept.pending.keys() | kept.queued.keys()
    new = [at for at in found if at not in known]
    for moment in new:
        _decide(state, kept, moment, BACKFILL, is_made_up=True)
    said = {"schedule": request.schedule, "moments": new, "known": len(found) - len(new)}
    state.out.append(RequestReply(request.request, said))


def _triggered(name: str, moment: int, *, is_new: bool) -> dict[str, object]:
    run_id = derived_run_id(firing_id(name, moment))
    return {"schedule": name, "moment": moment, "run_id": run_id, "is_new": is_new}
