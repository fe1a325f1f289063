"""Everything that goes into the keeper.

In: nothing. Out: the request classes, and the plain data that they carry. Never: logic.

A request says what somebody wants, or what has happened, and when: `at` is in microseconds since the epoch, from the
shell's clock. The keeper's own time never goes back: a request with an earlier time counts as of the keeper's time.

request: names the request, so that its `RequestReply` finds who asked; empty if nobody waits for an answer.
request_id: the id that the client has given to what it asks for, if it may ask again. What was done under an id is not
done again: the same id gets the same answer, also after a crash. (An emit has the id of its event for that.)
Terms and outcomes are packed (`rayflow.lang.terms`): the keeper passes them on and does not look inside, except into
the data and conditions of events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from rayflow.keeper.demands import Demands
from rayflow.records import (
    ChargeRow,
    DeliveryRow,
    EventRow,
    FiringRow,
    PlaceRow,
    QueueRow,
    RequestRow,
    RunRow,
    ScheduleRow,
    WaitRow,
)


class EndedRun(NamedTuple):
    """What the keeper has to know of a run that has ended and to which its starter gave an id: nobody may start another
    one under this id. parent_run_id: the run that started it by child or spawn. next_run_id: the run that its start has
    joined, if its flow has a debounce."""

    id: str
    run_id: str
    input_hash: bytes
    state: str
    parent_run_id: str | None = None
    next_run_id: str | None = None


class Recovered(NamedTuple):
    """The keeper begins with these rows of the store. It comes once, after the first `FlowsKnown` and before all else.

    runs, waits: all rows of the runs that have not ended. (Waits that are resolved count, too: a run meets them again
    when it is taken up again.) events, deliveries: those that are protected by retention. Each in the order of their
    numbers. ended: the runs that have ended and have an id of their own. latest_number, latest_at: the greatest number
    and time recorded. schedules: the last row of each. firings: of those without a run yet, the last row; of each
    schedule, that of the latest moment by the clock; and those whose moments had not come when they were made.
    requests: the latest `MOST_ANSWERED` ones. queues: all rows. charges: those that still count. rounds: queue,
    priority and round of the runs that were admitted in the latest round of each, with the fairness key of each.
    """

    at: int
    runs: Sequence[RunRow] = ()
    waits: Sequence[WaitRow] = ()
    events: Sequence[EventRow] = ()
    deliveries: Sequence[DeliveryRow] = ()
    ended: Sequence[EndedRun] = ()
    latest_number: int = 0
    latest_at: int = 0
    schedules: Sequence[ScheduleRow] = ()
    firings: Sequence[FiringRow] = ()
    requests: Sequence[RequestRow] = ()
    queues: Sequence[QueueRow] = ()
    charges: Sequence[ChargeRow] = ()
    rounds: Sequence[tuple[str, int, int, str]] = ()


class FlowsKnown(NamedTuple):
    """The flows of the code that the service has loaded, by full name. It comes first, before `Recovered`, and again
    when other code is loaded. Runs that waited for code are taken up again, and deliveries that did are made."""

    at: int
    flows: Mapping[str, FlowSpec]


class FlowSpec(NamedTuple):
    """What the keeper needs to know of a flow.

    on: the events that start a run, by name; each with the packed condition on the event's data, or None.
    timeout_us: how long a run may take. on_failure, on_cancel: full names of flows that are started when a run fails,
    or is cancelled. schedule: when the clock starts a run. demands: what it asks of admission. has_keys: whether that
    depends on the arguments of a run; then it is asked for each run that comes without.
    """

    name: str
    on: tuple[tuple[str, bytes | None], ...] = ()
    timeout_us: int | None = None
    on_failure: str | None = None
    on_cancel: str | None = None
    schedule: ScheduleSpec | None = None
    demands: Demands | None = None
    has_keys: bool = False


class ScheduleSpec(NamedTuple):
    """When the clock starts runs. timetable: as text (see `timetables`). overlap: skip, queue, allow or
    cancel_previous. catch_up_us: how late a firing may be."""

    timetable: str
    overlap: str = "skip"
    catch_up_us: int = 0


class StartRequested(NamedTuple):
    """Somebody wants a run of this root term.

    run_id: a new id for the run, if one is made and has no id (else it is `derived_run_id(id)`). id: the starter's own
    id, which makes repeated requests one run. input_hash: of the root term: the same id with another one is a conflict.
    reuse: "return", "reject" or "if_failed" (a failed or cancelled run is retried): what an id means that has a run
    already. flow: full name of the root task; arguments: as text, for people. tags: as JSON. timeout_us: None for that
    of the flow. forked_run_id: the run that a fork comes from; places, waits: what it keeps of that run: what has
    happened at its places, and the rows of its resolved waits. queue, priority: None for those of the flow. demands:
    what the flow asks of admission for these arguments; None if it does not depend on them.

    The answer: `run_id`, `state`, and `is_new`; of a start that has joined another one, those of that run. Errors:
    RunConflict, RateLimited.
    """

    at: int
    request: str
    run_id: str
    root: bytes
    input_hash: bytes
    flow: str | None = None
    arguments: str | None = None
    id: str | None = None
    reuse: str = "return"
    due_at: int | None = None
    queue: str | None = None
    priority: int | None = None
    tags: str | None = None
    timeout_us: int | None = None
    request_id: str | None = None
    forked_run_id: str | None = None
    places: tuple[PlaceRow, ...] = ()
    waits: tuple[WaitRow, ...] = ()
    demands: Demands | None = None


class WaitOpened(NamedTuple):
    """A run has met a wait. A wait that is open already changes nothing (a run that is taken up again meets its waits
    again); if it is resolved, it is resolved again with the same outcome. But in a later generation of the run, a wait
    that was closed or has failed is opened anew.

    kind: sleep, sleep_until, event, ask, emit, child, spawn, join or continue_as. The fields that a kind does not use
    are None. given: the arguments as a packed term, for people. deadline_at, delay_us: when it resolves by itself, as a
    time or from now on (sleep: the end; others: the timeout). default: the packed outcome then; if there is none, a
    sleep, event and ask give None, a child and a join fail with TaskTimeout. name, key, data, data_hash: of the event
    that it waits for or emits; name is also the prompt of an ask. A wait without a key takes an event with any key.
    where: the packed condition on the event (see `conditions`). since: "run", "now", "any", or a number of microseconds
    as text. take: "shared" or "exclusive". root, input_hash, flow, arguments, queue, tags: of the run that child, spawn
    or continue_as starts. target: the id of the run that a join waits for. id: the id that the user gave to the run or
    event. due_at: when the run starts, or the event is delivered. tie: whether the run, or the runs that the event
    starts, are cancelled with this one. is_cleanup: whether the clean-up of a `finally_` has met it: then a first
    cancel leaves it open.

    Values of the outcomes: sleep None; event a dict of id, name, key, data, time (in microseconds) and number; emit the
    event's id, spawn the run's id; child and join the outcome of the run.
    """

    at: int
    run_id: str
    place: bytes
    kind: str
    given: bytes | None = None
    deadline_at: int | None = None
    delay_us: int | None = None
    default: bytes | None = None
    name: str | None = None
    key: str | None = None
    data: bytes | None = None
    data_hash: bytes | None = None
    where: bytes | None = None
    since: str = "run"
    take: str = "shared"
    root: bytes | None = None
    input_hash: bytes | None = None
    flow: str | None = None
    arguments: str | None = None
    target: str | None = None
    id: str | None = None
    due_at: int | None = None
    queue: str | None = None
    tags: str | None = None
    tie: bool = False
    is_cleanup: bool = False


class WaitClosed(NamedTuple):
    """Nothing in the run needs this wait any more: it has lost a `first`, an `any_of` or a `within`."""

    at: int
    run_id: str
    place: bytes


class RunParked(NamedTuple):
    """Nothing of a run is in flight: it waits for its open waits alone. A later Resolve wakes it.

    places: the waits that the evaluation knows as open. If the keeper has resolved one of them, that outcome is on its
    way to the evaluation, and the run is not parked.
    """

    at: int
    run_id: str
    places: tuple[bytes, ...]


class RunEnded(NamedTuple):
    """The evaluation of a run has ended. outcome: packed. error: type and message; None for a value. is_cancelled:
    whether the only reason is that it was cancelled. missing: names of tasks that the loaded code lacks, if that is why
    it could not go on; then the run waits for code, and its evaluation is to be dropped. If the run has ended before,
    nothing changes."""

    at: int
    run_id: str
    outcome: bytes
    error: str | None = None
    is_cancelled: bool = False
    missing: tuple[str, ...] = ()


class EmitRequested(NamedTuple):
    """Somebody emits an event. Its id with another content is a conflict. strict: refuse it if it does not fit one of
    its subscribers.

    The answer: what `Keeper.event` says. Errors: EventConflict, EventRefused.
    """

    at: int
    request: str
    event_id: str
    name: str
    key: str | None
    data: bytes | None
    data_hash: bytes
    due_at: int | None = None
    strict: bool = False


class BoundArguments(NamedTuple):
    """The shell's answer to `BindEvent`: the root term of the run that an event starts, or why the event's data do not
    fit the flow's parameter. demands: as in `StartRequested`."""

    at: int
    event_id: str
    flow: str
    root: bytes | None = None
    input_hash: bytes | None = None
    arguments: str | None = None
    error: str | None = None
    demands: Demands | None = None


class KeysComputed(NamedTuple):
    """The shell's answer to `ComputeKeys`: what the run asks of admission, or why that cannot be said. is_missing: the
    loaded code lacks the flow."""

    at: int
    run_id: str
    demands: Demands | None = None
    error: str | None = None
    is_missing: bool = False


class QueuesConfigured(NamedTuple):
    """The slots of the queues, as the service was started with. It comes after `Recovered`. A number counts if it is
    another one than at the last start: else what was set since stays."""

    at: int
    slots: Mapping[str, int]


class QueueRequested(NamedTuple):
    """Somebody sets the slots of a queue. slots: None for any number.

    The answer: what `Keeper.queues` says of it.
    """

    at: int
    request: str
    queue: str
    slots: int | None


class AnswerRequested(NamedTuple):
    """Somebody answers an `ask` of a run. The shell has checked the answer's form. place: None if the run has only one
    open ask. outcome: packed.

    The answer: `run_id` and `place`; the same for the same answer to the same place. Errors: NoOpenAsk.
    """

    at: int
    request: str
    run_id: str
    place: bytes | None
    outcome: bytes
    request_id: str | None = None


class CancelRunRequested(NamedTuple):
    """Somebody cancels a run. A second cancel ends its clean-up, too, if `ends_cleanup` says so.

    The answer: whether it had not ended. Errors: NotFound.
    """

    at: int
    request: str
    run_id: str
    reason: str = ""
    request_id: str | None = None
    ends_cleanup: bool = True


class RetryRequested(NamedTuple):
    """Somebody wants a failed or cancelled run to go on: failures that reached the root are cleared.

    The answer: `run_id` and `state`. Errors: NotFound, RunConflict.
    """

    at: int
    request: str
    run_id: str
    reason: str = ""
    request_id: str | None = None


class Recalled(NamedTuple):
    """The shell's answer to `Recall`: all rows of this run in the store, in the order of their numbers."""

    at: int
    run_id: str
    runs: Sequence[RunRow] = ()
    waits: Sequence[WaitRow] = ()


class PutScheduleRequested(NamedTuple):
    """Somebody wants a schedule of this name, or another timetable for it. Its moments from now on count; it stays
    paused if it is. flow: full name of the task. arguments: as JSON by name; None for the defaults.

    The answer: what `Keeper.schedule` says. Errors: RunConflict for the schedule of a flow in the code.
    """

    at: int
    request: str
    schedule: str
    flow: str
    spec: ScheduleSpec
    arguments: str | None = None


class PauseRequested(NamedTuple):
    """Somebody pauses a schedule, or has it go on. The moments in between are skipped.

    The answer: what `Keeper.schedule` says. Errors: NotFound.
    """

    at: int
    request: str
    schedule: str
    is_paused: bool


class DeleteScheduleRequested(NamedTuple):
    """Somebody deletes a schedule that was put. Its firings that wait are skipped; its runs go on.

    The answer: what `Keeper.schedule` says. Errors: NotFound; RunConflict for the schedule of a flow in the code.
    """

    at: int
    request: str
    schedule: str


class TriggerRequested(NamedTuple):
    """Somebody wants a run of a schedule for this moment, whatever runs, and though it may be paused. The same moment
    again is the same firing.

    The answer: `schedule`, `moment`, `run_id`, and `is_new`. Errors: NotFound.
    """

    at: int
    request: str
    schedule: str
    moment: int


class BackfillRequested(NamedTuple):
    """Somebody wants the runs of all moments of a schedule from one to another that have had none. last: None for now.

    The answer: `schedule`, `moments` (of those that are fired), and `known` (how many had a run, or are to have one).
    Errors: NotFound, BadArguments for a time that has not come, and for too many moments.
    """

    at: int
    request: str
    schedule: str
    first: int
    last: int | None = None


class FiringsRecalled(NamedTuple):
    """The shell's answer to `RecallFirings`, after all that was written before it is committed: the last row of each
    firing of a schedule between two moments."""

    at: int
    schedule: str
    first: int
    last: int
    firings: Sequence[FiringRow] = ()


class BoundFiring(NamedTuple):
    """The shell's answer to `BindFiring`: the root term of the run of a firing; or why the task does not take the
    arguments. With neither, the loaded code lacks the task."""

    at: int
    schedule: str
    moment: int
    root: bytes | None = None
    input_hash: bytes | None = None
    arguments: str | None = None
    error: str | None = None


class TimeCame(NamedTuple):
    """The time of the last `SetAlarm` has come (or any later time)."""

    at: int


Request: TypeAlias = (
    Recovered
    | FlowsKnown
    | StartRequested
    | WaitOpened
    | WaitClosed
    | RunParked
    | RunEnded
    | EmitRequested
    | BoundArguments
    | KeysComputed
    | QueuesConfigured
    | QueueRequested
    | AnswerRequested
    | CancelRunRequested
    | RetryRequested
    | Recalled
    | PutScheduleRequested
    | PauseRequested
    | DeleteScheduleRequested
    | TriggerRequested
    | BackfillRequested
    | FiringsRecalled
    | BoundFiring
    | TimeCame
)
