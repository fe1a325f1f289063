"""The flow behind a workflow: one attempt of its handler, and what follows from how it ends.

In: a workflow's settings and its handler. Out: the flow, whose calls are its runs. Never: retries a step by itself: the
attempt that a step has failed is followed by another attempt, which finds the values of the steps that were done.

An attempt is the body of one call. What follows a failed attempt is the term that the body returns: a delay, then the
call of the next attempt. So it is decided once, and what a handler has done in an earlier attempt is never looked at
again.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from typing import Any

from rayflow.compat.redflow import inline_runs
from rayflow.compat.redflow.admission import admission_of
from rayflow.compat.redflow.durations import milliseconds_until
from rayflow.compat.redflow.errors import (
    CanceledError,
    InputValidationError,
    OutputSerializationError,
    RetryAfterError,
    UnknownWorkflowError,
    WaitForInputError,
)
from rayflow.compat.redflow.handler_context import WorkflowHandlerContext, WorkflowResumeContext
from rayflow.compat.redflow.inline_runs import InlineRunResult
from rayflow.compat.redflow.registry import NAMESPACE, task_name
from rayflow.compat.redflow.step_calls import StepCall
from rayflow.compat.redflow.steps import StepApi
from rayflow.compat.redflow.streams import WorkflowStreamWriter
from rayflow.compat.redflow.types import (
    DefineWorkflowOptions,
    OnFailureContext,
    RetryPolicyContext,
    RetryPolicyRunContext,
    RunContext,
)
from rayflow.errors import Cancelled, NonRetriable
from rayflow.lang.builtins import throw
from rayflow.lang.combinators import seq
from rayflow.lang.durable import waits
from rayflow.lang.durable.effects import effect
from rayflow.lang.durable.flows import event, flow
from rayflow.lang.parameters.job_info import JobInfo
from rayflow.lang.tasks import Task
from rayflow.values.encoding.previews import preview

rayflow_namespace = "redflow.attempt"

Handler = Callable[..., Any]

_HERE = JobInfo()

_FINAL = (
    InputValidationError, UnknownWorkflowError, OutputSerializationError, CanceledError, NonRetriable,
)  # fmt: skip
"""Errors after which a run is not tried again."""


def flow_behind(options: DefineWorkflowOptions, handler: Handler) -> Task[..., Any]:
    """The flow of a workflow. Its calls take the run's input, and what earlier attempts have left."""

    async def attempted(input: Any = None, passed: Any = None, job: JobInfo = _HERE) -> Any:
        return await _attempted(options, handler, made, input, passed or {}, job)

    name = task_name(options.name)
    # The flow is of the handler's module. Its name is the workflow's, whatever the handler has captured.
    attempted.__module__, attempted.__qualname__, attempted.__doc__ = handler.__module__, name, handler.__doc__
    # Each run enters its handler, whatever other runs have come to: the code needs no hash.
    settings = {**admission_of(options), "cache": False, "version": "1", "load_module": _module_of_definition()}
    settings["on"] = [event(trigger.name) for trigger in options.event]
    made: Task[..., Any] = flow(name=name, namespace=NAMESPACE, **settings)(attempted)
    return made


def _module_of_definition() -> str | None:
    """The module whose import makes a workflow, so that a worker can do the same; None for one that a program makes
    itself, or a function that it calls: that is sent."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    name = frame.f_globals.get("__name__")
    return name if frame.f_code.co_name == "<module>" and name != "__main__" and name in sys.modules else None


async def _attempted(
    options: DefineWorkflowOptions, handler: Handler, flow: Task[..., Any], input: Any, passed: Mapping[str, Any],
    job: JobInfo,
) -> Any:  # fmt: skip
    """One attempt. passed: begins_at: when the run begins. inline: the token of a run of `run_inline`. attempt: its
    number. known: the values of the steps that are done. form: what a person has filled in."""
    if "inline" in passed:
        await _inline(options, handler, input, passed["inline"], job)
        return None
    if "begins_at" in passed:
        return seq([waits.sleep_until(passed["begins_at"]), flow(input)])[1]
    attempt = passed.get("attempt", 1)
    run = RunContext(job.execution_id, options.name, options.queue, attempt, options.most_attempts)
    steps = StepApi(options.name, run.id, attempt, passed.get("known") or {})
    try:
        return await handled(options, handler, input, run, steps, plain_form(passed.get("form")))
    except WaitForInputError as pause:
        await steps.settle()
        return _filled_in(flow, pause, {"attempt": attempt, "known": steps.done})
    except CanceledError as error:
        raise Cancelled(str(error)) from error
    except Exception as error:
        try:
            following = await _following(options, error, input, run)
        except Exception as of_policy:
            if options.on_failure is None:
                raise
            error, following = of_policy, None
        if following is None:
            if options.on_failure is None:
                raise
            about = OnFailureContext(error, input, run)
            hook = StepCall(run.id, attempt, "on_failure", options.on_failure, (about,), {})
            return seq([call_on_failure(attempt, hook), throw(error)])
        await steps.settle()
        again = {"attempt": attempt + 1, "known": steps.done}
        return seq([pause_between(attempt, _summary(error), following), flow(input, again)])[1]


async def _inline(
    options: DefineWorkflowOptions, handler: Handler, input: Any, token: str, job: JobInfo
) -> None:
    """The one attempt of a run of `run_inline`, which gets all that happens."""
    told = inline_runs.entered(token)
    run = RunContext(told.run_id, options.name, options.queue, told.attempt, told.max_attempts)
    steps = StepApi(options.name, job.execution_id, told.attempt, told.overrides, told.result)
    try:
        told.result.output = await handled(options, handler, input, run, steps, told=told.result)
    except Exception as error:
        told.result.error = error


async def handled(
    options: DefineWorkflowOptions,
    handler: Handler,
    input: Any,
    run: RunContext,
    steps: StepApi,
    form: Any = None,
    told: InlineRunResult | None = None,
) -> Any:
    """What the handler returns for an input. told: gets what it writes to its stream. Raises InputValidationError for
    an input that does not fit the schema."""
    context = WorkflowHandlerContext(
        input=validated(options.input_schema, input),
        run=run,
        step=steps,
        resume=None if form is None else WorkflowResumeContext(form),
        stream=WorkflowStreamWriter(run.attempt, told) if options.stream else None,
    )
    value = handler(context)
    return await value if isinstance(value, Awaitable) else value


def validated(schema: Any, input: Any) -> Any:
    """An input as its schema makes it: a class with `model_validate`, as pydantic's. Raises InputValidationError."""
    if schema is None:
        return input
    try:
        return schema.model_validate(input)
    except Exception as error:  # the user's own checks, which may raise anything
        raise InputValidationError(f"Workflow input validation failed: {error}", error) from error


# --- the next attempt -------------------------------------------------------------------------------------------------


async def _following(
    options: DefineWorkflowOptions, error: Exception, input: Any, run: RunContext
) -> int | None:
    """The milliseconds after which another attempt follows; None when none does. Raises the errors of the policy's own
    functions."""
    if isinstance(error, _FINAL) or run.attempt >= run.max_attempts:
        return None
    policy = options.retries
    about = RetryPolicyContext(
        error,
        input,
        RetryPolicyRunContext(run.attempt, run.id, run.max_attempts, run.attempt + 1, run.queue, run.workflow),
    )
    if policy is not None and policy.should_retry is not None and not await _now(policy.should_retry(about)):
        return None
    if isinstance(error, RetryAfterError):
        return error.retry_after_ms
    if policy is None or policy.delay is None:
        return min(30_000, 250 << min(run.attempt - 1, 8)) + random.randrange(100)
    given = await _now(policy.delay(about)) if callable(policy.delay) else policy.delay
    found = milliseconds_until(given, datetime.now(UTC))
    if found is None:
        raise ValueError(
            f'retries.delay of workflow {run.workflow} gives milliseconds, a text such as "5s", or a datetime, not '
            f"{preview(given)}."
        )
    return found


async def _now(value: Any) -> Any:
    return await value if isinstance(value, Awaitable) else value


def _summary(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


@effect(version="1")
def pause_between(attempt: int, error: str, milliseconds: int) -> Any:
    """The delay after an attempt that has failed. The history shows its error."""
    return waits.sleep(milliseconds / 1000)


@effect(version="1")
async def call_on_failure(attempt: int, hook: StepCall) -> None:
    """Call `on_failure`. What it raises is printed, and changes nothing."""
    try:
        await _now(hook.function(*hook.args))
    except Exception as failed:
        print(f"{hook.preview()} has failed: {_summary(failed)}")


# --- a person fills in a form -----------------------------------------------------------------------------------------


def _filled_in(flow: Task[..., Any], pause: WaitForInputError, passed: Mapping[str, Any]) -> Any:
    """The rest of a run that waits for a person: the same attempt, with the input and the form of the answer."""
    form = Any if pause.schema is None else pause.schema
    answer = waits.ask(pause.input_message, tuple[Any, form])  # type: ignore[valid-type]  # a class at runtime
    return flow(answer[0], {**passed, "form": answer[1]})


def plain_form(form: Any) -> Any:
    """A form as plain data, as its handler reads it."""
    dump = getattr(form, "model_dump", None)
    if dump is not None:
        return dump(mode="json")
    return asdict(form) if is_dataclass(form) and not isinstance(form, type) else form
