"""Workflows: `@workflow("name")` and `define_workflow`.

In: a handler and settings. Out: `WorkflowDefinition`, and the flow behind it. Never: runs a handler.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rayflow.compat.redflow.attempts import Handler, flow_behind, validated
from rayflow.compat.redflow.client import RunHandle
from rayflow.compat.redflow.default import get_default_client
from rayflow.compat.redflow.handler_context import WorkflowHandlerContext, WorkflowResumeContext
from rayflow.compat.redflow.registry import get_default_registry
from rayflow.compat.redflow.schedules import timetable_of_trigger
from rayflow.compat.redflow.types import (
    CronTrigger,
    DefineWorkflowOptions,
    EventTrigger,
    OnFailureContext,
    WorkflowDebounceOptions,
    WorkflowRateLimitOptions,
    WorkflowRetryPolicy,
)
from rayflow.lang.tasks import Task


@dataclass(frozen=True, slots=True, eq=False)
class WorkflowDefinition:
    """A workflow. options: its settings. handler: its function. flow: the flow behind it, for rayflow's own names, such
    as `child(definition.flow(input))`."""

    options: DefineWorkflowOptions
    handler: Handler
    flow: Task[..., Any]

    @property
    def name(self) -> str:
        """The workflow's name."""
        return self.options.name

    async def run(
        self,
        input: Any = None,
        *,
        idempotency_key: str | None = None,
        run_at: datetime | None = None,
        queue_override: str | None = None,
    ) -> RunHandle:
        """Start a run by the default client. The arguments and errors are those of `RedflowClient.run_by_name`, and
        InputValidationError for an input that does not fit the schema."""
        validated(self.options.input_schema, input)
        client = get_default_client()
        return await client.run_by_name(
            self.name, input, idempotency_key=idempotency_key, run_at=run_at, queue_override=queue_override
        )


def define_workflow(
    name: str,
    *,
    handler: Handler,
    queue: str = "default",
    max_concurrency: int = 1,
    max_attempts: int | None = None,
    cron: list[CronTrigger] | None = None,
    event: list[EventTrigger] | None = None,
    debounce: WorkflowDebounceOptions | None = None,
    mutex: Callable[[Any], str] | None = None,
    rate_limit: WorkflowRateLimitOptions | None = None,
    retries: WorkflowRetryPolicy | None = None,
    throttle: WorkflowRateLimitOptions | None = None,
    on_failure: Callable[[OnFailureContext], Awaitable[None] | None] | None = None,
    input_schema: Any | None = None,
    stream: bool = False,
) -> WorkflowDefinition:
    """Make a workflow of a handler: `async def handler(ctx)`.

    queue: whose slots the runs take (`rayflow queues`). max_concurrency: how many run at a time; a run that waits does
    not count. mutex: a function of the input: one run with its key at a time. throttle: runs above this rate wait.
    rate_limit: starts above this rate are refused with RateLimitExceededError. debounce: starts that come shortly after
    one another become one run. max_attempts, retries: how often, and when, a failed run is tried again.
    cron: when the clock starts a run, while a worker keeps the runs; none is started while the one before has not
    ended. event: the events that start a run. on_failure: is called once a run has failed for good, and not when it was
    cancelled. input_schema: a class with `model_validate`, such as a pydantic model. stream: whether the handler has
    `ctx.stream`. Another workflow of this name is replaced. Raises BadArguments for a wrong expression or timezone,
    BadOption for wrong settings.
    """
    for trigger in cron or []:
        timetable_of_trigger(trigger)
    options = DefineWorkflowOptions(
        name=name,
        queue=queue,
        max_concurrency=max_concurrency,
        max_attempts=max_attempts,
        cron=cron or [],
        event=event or [],
        debounce=debounce,
        on_failure=on_failure,
        mutex=mutex,
        rate_limit=rate_limit,
        retries=retries,
        stream=stream,
        throttle=throttle,
        input_schema=input_schema,
    )
    made = WorkflowDefinition(options, handler, flow_behind(options, handler))
    get_default_registry().register(made)
    return made


def workflow(name: str, **settings: Any) -> Callable[[Handler], WorkflowDefinition]:
    """The same as a decorator: `@workflow("send-email", max_attempts=5)`. The settings are those of
    `define_workflow`."""

    def make(handler: Handler) -> WorkflowDefinition:
        return define_workflow(name, handler=handler, **settings)

    return make


__all__ = [
    "WorkflowDefinition", "WorkflowHandlerContext", "WorkflowResumeContext", "define_workflow", "workflow",
]  # fmt: skip
