"""The data that `rayflow.compat.redflow` takes and gives.

In: nothing. Out: classes of settings, and of plain data about runs and events, with redflow's names and fields. Times
are milliseconds since the epoch. Never: reads or writes anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypedDict

from rayflow.compat.redflow.durations import Target

RunStatus: TypeAlias = Literal["scheduled", "queued", "running", "succeeded", "failed", "canceled"]
StepStatus: TypeAlias = Literal["running", "succeeded", "failed", "canceled"]
EventDeliveryStatus: TypeAlias = Literal["pending", "delivered", "failed"]
EventFanoutStatus: TypeAlias = Literal["pending", "completed", "partial", "failed", "no-subscribers"]

ALL_STATUSES: tuple[RunStatus, ...] = ("scheduled", "queued", "running", "succeeded", "failed", "canceled")
TERMINAL_STATUSES: frozenset[RunStatus] = frozenset({"succeeded", "failed", "canceled"})

DEFAULT_MAX_ATTEMPTS = 3
"""How often a run is tried unless its workflow says otherwise."""


# --- settings of a workflow -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EventTrigger:
    """An event that starts a run of a workflow, with the event's data as its input. id: of the trigger, for people."""

    name: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class CronTrigger:
    """When the clock starts a run of a workflow: an expression of cron, by the clocks of a timezone (UTC by default).

    input: of those runs. id: part of the schedule's name; by default the trigger's number.
    """

    expression: str
    timezone: str | None = None
    input: Any = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class RunContext:
    """What a handler knows of its run. attempt: from 1."""

    id: str
    workflow: str
    queue: str
    attempt: int
    max_attempts: int


@dataclass(slots=True)
class OnFailureContext:
    """What `on_failure` gets: the error that ended the run, the run's input, and the run."""

    error: Any
    input: Any
    run: RunContext


@dataclass(frozen=True, slots=True)
class RetryPolicyRunContext:
    """The run that a retry policy decides about. attempt: the one that has failed."""

    attempt: int
    id: str
    max_attempts: int
    next_attempt: int
    queue: str
    workflow: str


@dataclass(frozen=True, slots=True)
class RetryPolicyContext:
    """What the functions of a retry policy get: the error of an attempt, the run's input, and the run."""

    error: Any
    input: Any
    run: RetryPolicyRunContext


RetryDelayResolver: TypeAlias = Callable[[RetryPolicyContext], Target | Awaitable[Target]]
ShouldRetryResolver: TypeAlias = Callable[[RetryPolicyContext], bool | Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class WorkflowRetryPolicy:
    """Whether a failed attempt is followed by another one.

    delay: before the next attempt, in milliseconds, as a text, as a moment, or as a function that gives one; by default
    0.25 s, twice as long after each attempt, at most 30 s. max_attempts: counts the first one. should_retry: False ends
    the run.
    """

    delay: Target | RetryDelayResolver | None = None
    max_attempts: int | None = None
    should_retry: ShouldRetryResolver | None = None


@dataclass(frozen=True, slots=True)
class WorkflowRateLimitOptions:
    """So many runs with one key in a period: milliseconds, or a text such as "1m". key: a function of the input."""

    key: Callable[[Any], str]
    limit: int
    period: int | str


@dataclass(frozen=True, slots=True)
class WorkflowDebounceOptions:
    """Starts with one key become one run, which has the input of the last one.

    key: a function of the input. period: the run begins when no start has come for so long. timeout: it begins at the
    latest so long after the first one. Both are milliseconds, or texts such as "30s".
    """

    key: Callable[[Any], str]
    period: int | str
    timeout: int | str | None = None


@dataclass(slots=True)
class DefineWorkflowOptions:
    """The settings of a workflow, as `define_workflow` was given them."""

    name: str
    queue: str = "default"
    max_concurrency: int = 1
    max_attempts: int | None = None
    cron: list[CronTrigger] = field(default_factory=list)
    event: list[EventTrigger] = field(default_factory=list)
    debounce: WorkflowDebounceOptions | None = None
    on_failure: Callable[[OnFailureContext], Awaitable[None] | None] | None = None
    mutex: Callable[[Any], str] | None = None
    rate_limit: WorkflowRateLimitOptions | None = None
    retries: WorkflowRetryPolicy | None = None
    stream: bool = False
    throttle: WorkflowRateLimitOptions | None = None
    input_schema: Any | None = None

    @property
    def most_attempts(self) -> int:
        """How often a run is tried."""
        policy = self.retries.max_attempts if self.retries is not None else None
        return next((int(each) for each in (policy, self.max_attempts) if each is not None and each > 0), 3)


# --- runs -------------------------------------------------------------------------------------------------------------


class AwaitedEvent(TypedDict):
    """The event that a step has waited for. ts: when it was accepted."""

    data: Any
    id: str
    name: str
    ts: int


ReceivedEvent: TypeAlias = AwaitedEvent
"""redflow's name of it."""


class RunState(TypedDict, total=False):
    """A run. available_at: when it goes on by itself, if it waits."""

    id: str
    workflow: str
    queue: str
    status: RunStatus
    input: Any
    output: Any
    error: Any
    attempt: int
    max_attempts: int
    created_at: int
    available_at: int
    started_at: int
    finished_at: int
    cancel_requested_at: int
    cancel_reason: str
    parent_run_id: str


class WaitInfo(TypedDict, total=False):
    """The event that a step waits for. Long texts are shortened."""

    kind: Literal["event"]
    event: str
    correlation_key: str


class StepState(TypedDict, total=False):
    """A step of a run, as it was tried last. seq: its number in the order of the beginnings, from 1."""

    attempt: int
    name: str
    seq: int
    status: StepStatus
    started_at: int
    finished_at: int
    output: Any
    error: Any
    wait: WaitInfo
    wait_until_at: int


class AttemptTrace(TypedDict, total=False):
    """An attempt of a run, with its steps."""

    attempt: int
    error: Any
    finished_at: int
    started_at: int
    status: str
    steps: list[StepState]


class ListedRun(TypedDict, total=False):
    """A run in a list. cursor: for the next page."""

    id: str
    workflow: str
    queue: str
    status: RunStatus
    error: Any
    created_at: int
    cursor: str
    available_at: int
    finished_at: int
    parent_run_id: str


@dataclass(frozen=True, slots=True)
class ListRunsParams:
    """Which runs to list. cursor: that of the last run of the page before."""

    status: RunStatus | None = None
    workflow: str | None = None
    cursor: str | None = None
    limit: int = 50
    sort: Literal["asc", "desc"] = "desc"


@dataclass(frozen=True, slots=True)
class SearchRunsParams:
    """Which runs to look for. query: a part of the run's id, workflow, status or error. created_after, created_before:
    milliseconds since the epoch."""

    status: RunStatus | None = None
    workflow: str | None = None
    queue: str | None = None
    parent_run_id: str | None = None
    query: str | None = None
    created_after: int | None = None
    created_before: int | None = None
    cursor: str | None = None
    limit: int = 50
    sort: Literal["asc", "desc"] = "desc"


class SearchRunsResult(TypedDict):
    """The runs that were found. scanned: how many were looked at."""

    runs: list[ListedRun]
    scanned: int


class RunStats(TypedDict):
    """How many runs of workflows there are, in all and by status."""

    total: int
    by_status: dict[RunStatus, int]


class WorkflowCronMeta(TypedDict, total=False):
    """A schedule of a workflow. next_run_at: when it starts the next run."""

    expression: str
    timezone: str
    input: Any
    id: str
    next_run_at: int


class WorkflowEventMeta(TypedDict):
    """An event that starts runs of a workflow."""

    name: str


class WorkflowMeta(TypedDict, total=False):
    """A workflow that a worker has loaded. queue, max_concurrency, max_attempts: only where this process has defined
    it, too."""

    name: str
    queue: str
    max_concurrency: int
    max_attempts: int
    cron: list[WorkflowCronMeta]
    event: list[WorkflowEventMeta]


class RunStreamRecord(TypedDict):
    """What a handler has written to its stream. attempt: of the run. ts: when it was written."""

    attempt: int
    ts: int
    value: Any


@dataclass(frozen=True, slots=True)
class RunStreamChunk:
    """A record of a stream. cursor_id: where a later reader goes on behind it; None for a reader without."""

    record: RunStreamRecord
    cursor_id: str | None = None


# --- events -----------------------------------------------------------------------------------------------------------


class EventDelivery(TypedDict, total=False):
    """What has become of an event at one subscribed workflow."""

    subscriber_event_id: str
    workflow: str
    status: EventDeliveryStatus
    run_id: str
    error: Any


class ListedEvent(TypedDict, total=False):
    """An event in a list."""

    id: str
    name: str
    ts: int
    data: Any
    correlation_key: str
    parent_run_id: str


class EventRecord(TypedDict, total=False):
    """An event, the runs that it has started, and the waits that it has resolved."""

    id: str
    name: str
    ts: int
    data: Any
    correlation_key: str
    parent_run_id: str
    next_process_at: int
    subscriber_count: int
    resumed_run_count: int
    delivery_count: int
    failed_delivery_count: int
    fanout_status: EventFanoutStatus
    deliveries: list[EventDelivery]
    resumed_run_ids: list[str]


@dataclass(frozen=True, slots=True)
class ListEventsParams:
    """Which events to list. cursor: the id of the last event of the page before."""

    name: str | None = None
    cursor: str | None = None
    limit: int = 50
    sort: Literal["asc", "desc"] = "desc"
