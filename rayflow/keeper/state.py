"""The state of the keeper: all data that a request may change.

In: nothing. Out: `KeeperState`, and what it holds. Never: decides anything.

What is recorded changes in one way only: a row is written, and `folding.apply` makes the change that the row says. So
the fold over the rows is the state. What is not recorded (alarms, questions to the store, strict events that are not
accepted yet) is lost in a crash, and asked for again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from rayflow.keeper.admission_state import AdmissionState, Bucket
from rayflow.keeper.commands import KeeperCommand, RecallFirings
from rayflow.keeper.demands import DEFAULT_QUEUE, NO_DEMANDS, Demands, from_text
from rayflow.keeper.lines import Need, Order
from rayflow.keeper.requests import (
    BackfillRequested,
    BoundArguments,
    CancelRunRequested,
    EmitRequested,
    EndedRun,
    FlowSpec,
    RetryRequested,
    StartRequested,
    TriggerRequested,
)
from rayflow.keeper.run_states import ENDED, OPEN
from rayflow.records import (
    ChargeRow,
    DeliveryRow,
    EventRow,
    FiringRow,
    QueueRow,
    RequestRow,
    RunRow,
    ScheduleRow,
    WaitRow,
)


@dataclass(slots=True, eq=False)
class KeptRun:
    """A run as the keeper knows it: its first row, and what later rows have changed.

    life, generation, timeout_at, reason: as in the rows. ends_by: what ends it (cancel, parent or timeout), while it is
    ending. stops: how often it was asked to end. waits: by place, those that are resolved or closed, too. open: how
    many of them are open. end: the row of its end.

    due_at: when it starts, or when its debounce is over. entered_at: when it came to its state and cause. begun: the
    generation in which it has run, if it has. held: the names of what it holds while something of it runs. has_mutex:
    whether it holds its mutex. order: its place in its queue, while it waits for slots. news: the places of its waits
    that were resolved while nothing of it could run. roots: those of the starts whose arguments it will have.
    """

    first: RunRow
    state: str
    cause: str
    life: int
    generation: int
    timeout_at: int | None
    reason: str | None
    ends_by: str | None = None
    stops: int = 0
    open: int = 0
    waits: dict[bytes, KeptWait] = field(default_factory=dict)
    end: RunRow | None = None
    due_at: int | None = None
    entered_at: int = 0
    begun: int | None = None
    held: tuple[str, ...] = ()
    has_mutex: bool = False
    order: Order | None = None
    news: list[bytes] | None = None
    roots: list[bytes] | None = None

    @property
    def demands(self) -> Demands:
        """What it asks of admission."""
        return NO_DEMANDS if self.first.demands is None else from_text(self.first.demands)

    @property
    def queue(self) -> str:
        """The name of its queue."""
        return self.first.queue or DEFAULT_QUEUE

    @property
    def goes_on(self) -> bool:
        """Whether it has run in this generation: it was admitted before."""
        return self.begun == self.generation

    def needs(self) -> tuple[Need, ...]:
        """What must have room before it is admitted, beside its queue. It is charged once."""
        demands = self.demands
        return demands.limits if self.begun is not None else (*demands.limits, *demands.throttles)

    @property
    def run_id(self) -> str:
        """Its id."""
        return self.first.run_id

    @property
    def has_ended(self) -> bool:
        """Whether it has ended."""
        return self.state in ENDED

    @property
    def chain(self) -> str:
        """The id of the first run of its chain."""
        return self.first.chain_run_id or self.first.run_id

    def open_waits(self) -> list[KeptWait]:
        """Its open waits, in the order in which they were opened."""
        if not self.open:
            return []
        return sorted([wait for wait in self.waits.values() if wait.state == OPEN], key=lambda wait: wait.opened.number)


@dataclass(slots=True, eq=False)
class KeptWait:
    """A wait as the keeper knows it.

    opened: the row that has opened it. generation: of the run, when the wait got its state. outcome, has_failed: of a
    resolved wait.
    """

    opened: WaitRow
    state: str
    generation: int
    outcome: bytes | None = None
    has_failed: bool = False


@dataclass(slots=True, eq=False)
class KeptEvent:
    """An accepted event.

    seen: the number from which on it is seen: its own, or that of the moment when it was due; None before that. takers:
    the chains of runs of which a wait has taken it. is_taken: whether an exclusive wait has. is_cut: whether it starts
    no more runs, because its emitter was cancelled. deliveries: the last row for each target.
    """

    row: EventRow
    seen: int | None = None
    takers: set[str] = field(default_factory=set)
    is_taken: bool = False
    is_cut: bool = False
    deliveries: dict[str, DeliveryRow] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class KeptSchedule:
    """A schedule as the keeper knows it.

    row: its last row. decided: the moments up to this one are decided. next_at: the moment after it; None while it is
    not active. queued: the firings that wait for the end of a run, in order; pending: those whose runs are being made;
    both by moment. ahead: moments after `decided` that have a run already.
    """

    row: ScheduleRow
    decided: int
    next_at: int | None = None
    queued: dict[int, FiringRow] = field(default_factory=dict)
    pending: dict[int, FiringRow] = field(default_factory=dict)
    ahead: set[int] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class WantedFirings:
    """Firings that are to start, as soon as the store has said which there are. started: moments whose runs have
    started since it was asked."""

    requests: list[BackfillRequested | TriggerRequested] = field(default_factory=list)
    started: set[int] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class StrictEmit:
    """An event that is accepted only if it fits all its subscribers.

    requests: who emits it, with equal content. lacking: the flows whose answer is missing. bound: the answers.
    """

    requests: list[EmitRequested]
    lacking: set[str]
    bound: dict[str, BoundArguments] = field(default_factory=dict)


Asker: TypeAlias = StartRequested | CancelRunRequested | RetryRequested | KeptWait
"""What needs the rows of a run that has ended."""

Timer: TypeAlias = tuple[int, int, int, KeptRun | KeptWait | KeptEvent | KeptSchedule | Bucket]
"""When, for what (see `timers`), the number of the row that has set it, and its owner."""


@dataclass(slots=True, eq=False)
class KeeperState:
    """The state of one keeper.

    now: the keeper's time. number: the greatest number of a row.
    runs: those that have not ended, by id. gone: those that ended, or were read again, in this turn. unknown: ids of
    which the store has no rows, in this turn. ids: the run of an id, for those in `runs`; ended: for those that have
    ended. chains: the open run of a chain that has gone on. children: the open runs that hang on a run.
    waiters: the open waits for the end of a run, by number. listening: the open waits for an event, by name, key (None
    for any) and number. asks: the open questions to people, by number. events: by id; by_name, by_key: those that are
    seen, in order. tied: events whose runs are tied to an open run. pending: the deliveries that wait for
    `BoundArguments` or for code, by event and flow.
    schedules: by name, those that have ended, too. scheduled: the open runs of a schedule.
    timers: a heap, with some that hold no more. timers_kept: how many it had when it was last cleared of these.
    admission: queues, mutexes, and what is in use. answered: the answers as JSON to the latest requests
    that have an id, by that id, in order.
    flows: what the loaded code has. has_begun: whether it has recovered. subscribers: flow and condition by the name of
    the event.
    recalls: what waits for `Recalled`. backfills: what waits for `FiringsRecalled`. triggers: what waits
    for the run of a firing, by schedule and moment. strict: events that are not accepted yet. alarm: the last alarm.
    stops: runs to be stopped in this turn: id, by what, reason, and whether a clean-up ends, too. freed: schedules of
    which something has ended in this turn.
    rows, out: the rows and the other commands of this turn.
    """

    now: int = 0
    number: int = 0
    runs: dict[str, KeptRun] = field(default_factory=dict)
    gone: dict[str, KeptRun] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    ids: dict[str, str] = field(default_factory=dict)
    ended: dict[str, EndedRun] = field(default_factory=dict)
    chains: dict[str, str] = field(default_factory=dict)
    children: dict[str, dict[str, None]] = field(default_factory=dict)
    waiters: dict[str, dict[int, KeptWait]] = field(default_factory=dict)
    listening: dict[str, dict[str | None, dict[int, KeptWait]]] = field(default_factory=dict)
    asks: dict[int, KeptWait] = field(default_factory=dict)
    events: dict[str, KeptEvent] = field(default_factory=dict)
    by_name: dict[str, list[KeptEvent]] = field(default_factory=dict)
    by_key: dict[tuple[str, str], list[KeptEvent]] = field(default_factory=dict)
    tied: dict[str, dict[str, None]] = field(default_factory=dict)
    pending: dict[tuple[str, str], None] = field(default_factory=dict)
    schedules: dict[str, KeptSchedule] = field(default_factory=dict)
    scheduled: dict[str, dict[str, None]] = field(default_factory=dict)
    timers: list[Timer] = field(default_factory=list)
    timers_kept: int = 0
    answered: dict[str, str] = field(default_factory=dict)
    admission: AdmissionState = field(default_factory=AdmissionState)
    flows: Mapping[str, FlowSpec] | None = None
    has_begun: bool = False
    subscribers: dict[str, list[tuple[str, bytes | None]]] = field(default_factory=dict)
    recalls: dict[str, list[Asker]] = field(default_factory=dict)
    backfills: dict[RecallFirings, WantedFirings] = field(default_factory=dict)
    triggers: dict[tuple[str, int], list[str]] = field(default_factory=dict)
    strict: dict[str, StrictEmit] = field(default_factory=dict)
    alarm: int | None = None
    stops: deque[tuple[str, str, str | None, bool]] = field(default_factory=deque)
    freed: deque[str] = field(default_factory=deque)
    rows: list[
        RunRow | WaitRow | EventRow | DeliveryRow | ScheduleRow | FiringRow | RequestRow | QueueRow | ChargeRow
    ] = field(default_factory=list)
    out: list[KeeperCommand] = field(default_factory=list)


def find(state: KeeperState, run_id: str) -> KeptRun | None:
    """The run of this id, or the one in which its chain goes on: the last one that the keeper has at hand."""
    last = None
    while True:
        run = state.runs.get(run_id) or state.runs.get(state.chains.get(run_id, "")) or state.gone.get(run_id)
        if run is None:
            return last
        if run.end is None or run.end.next_run_id is None:
            return run
        last, run_id = run, run.end.next_run_id
