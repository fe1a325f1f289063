"""redflow's names, on rayflow's runs: `from rayflow.compat.redflow import workflow, start_worker, create_client`.

In: workflows that were written for redflow, with their import changed. Out: runs that a rayflow service keeps in a
store, without a Redis. Never: another kind of run: `rayflow runs`, `rayflow.connect()` and SQL see the same ones.

A handler's attempt is the body of a flow. `ctx.step.run(name, ...)` is an effect whose key is the step's name.
`start_worker` keeps the runs in this process, `create_client` asks for them, and `run_inline` rehearses a workflow.
"""

from __future__ import annotations

from rayflow.compat.redflow.client import RedflowClient, RunHandle, create_client, is_terminal_status
from rayflow.compat.redflow.default import get_default_client, set_default_client
from rayflow.compat.redflow.errors import (
    CanceledError,
    InputValidationError,
    NonRetriableError,
    OutputSerializationError,
    RateLimitExceededError,
    RedflowError,
    RetryAfterError,
    TimeoutError,
    UnknownWorkflowError,
    WaitForInputError,
    wait_for_input,
)
from rayflow.compat.redflow.registry import (
    WorkflowRegistry,
    __unstable_reset_default_registry_for_tests,
    get_default_registry,
)
from rayflow.compat.redflow.streams import RunStreamReader, WorkflowStreamWriter
from rayflow.compat.redflow.testing import InlineRunResult, InlineStepResult, run_inline
from rayflow.compat.redflow.types import (
    AttemptTrace,
    CronTrigger,
    DefineWorkflowOptions,
    EventDelivery,
    EventRecord,
    EventTrigger,
    ListedEvent,
    ListedRun,
    ListEventsParams,
    ListRunsParams,
    OnFailureContext,
    RunState,
    RunStats,
    RunStatus,
    RunStreamChunk,
    RunStreamRecord,
    SearchRunsParams,
    SearchRunsResult,
    StepState,
    WaitInfo,
    WorkflowDebounceOptions,
    WorkflowMeta,
    WorkflowRateLimitOptions,
    WorkflowRetryPolicy,
)
from rayflow.compat.redflow.worker import StartWorkerOptions, WorkerHandle, start_worker
from rayflow.compat.redflow.workflow import (
    WorkflowDefinition,
    WorkflowHandlerContext,
    WorkflowResumeContext,
    define_workflow,
    workflow,
)

__all__ = [
    "AttemptTrace",
    "CanceledError",
    "CronTrigger",
    "DefineWorkflowOptions",
    "EventDelivery",
    "EventRecord",
    "EventTrigger",
    "InlineRunResult",
    "InlineStepResult",
    "InputValidationError",
    "ListEventsParams",
    "ListRunsParams",
    "ListedEvent",
    "ListedRun",
    "NonRetriableError",
    "OnFailureContext",
    "OutputSerializationError",
    "RateLimitExceededError",
    "RedflowClient",
    "RedflowError",
    "RetryAfterError",
    "RunHandle",
    "RunState",
    "RunStats",
    "RunStatus",
    "RunStreamChunk",
    "RunStreamReader",
    "RunStreamRecord",
    "SearchRunsParams",
    "SearchRunsResult",
    "StartWorkerOptions",
    "StepState",
    "TimeoutError",
    "UnknownWorkflowError",
    "WaitForInputError",
    "WaitInfo",
    "WorkerHandle",
    "WorkflowDebounceOptions",
    "WorkflowDefinition",
    "WorkflowHandlerContext",
    "WorkflowMeta",
    "WorkflowRateLimitOptions",
    "WorkflowRegistry",
    "WorkflowResumeContext",
    "WorkflowRetryPolicy",
    "WorkflowStreamWriter",
    "__unstable_reset_default_registry_for_tests",
    "create_client",
    "define_workflow",
    "get_default_client",
    "get_default_registry",
    "is_terminal_status",
    "run_inline",
    "set_default_client",
    "start_worker",
    "wait_for_input",
    "workflow",
]
