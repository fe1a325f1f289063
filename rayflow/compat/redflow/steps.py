"""`ctx.step`: the steps of a handler, as effects and waits whose key is the step's name.

In: a step's name, and what it is to do. Out: its value, which is awaited. Never: does a step that an earlier attempt of
the run has done.

Each step is one effect. Its body does the work of the step, or returns the wait that the step is. So each step has a
place that its name gives, and the history lists all of them.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from rayflow.compat.redflow.durations import Target, milliseconds_of, moment_in_zone
from rayflow.compat.redflow.errors import CanceledError, OutputSerializationError, RedflowError, TimeoutError
from rayflow.compat.redflow.inline_runs import InlineRunResult, InlineStepResult
from rayflow.compat.redflow.registry import flow_of, subscribers_of
from rayflow.compat.redflow.step_calls import StepCall
from rayflow.compat.redflow.types import ReceivedEvent
from rayflow.errors import Cancelled, NotSerializable, RunCancelled, TaskTimeout
from rayflow.keeper.ids import derived_run_id, event_run_id
from rayflow.lang.builtins import throw
from rayflow.lang.combinators import cond, get_context, seq
from rayflow.lang.durable import waits
from rayflow.lang.durable.effects import effect
from rayflow.lang.events.event_values import Event
from rayflow.lang.tasks import Task, task
from rayflow.values.encoding.previews import preview

rayflow_namespace = "redflow.step"

DRAIN_SECONDS = 1.0
"""How long a step's function may take to end when its time is over."""

SUBSCRIBERS = "redflow.subscribers"
"""Where the context of a worker's runs has the names of the flows that each event starts."""

_step_around: ContextVar[str | None] = ContextVar("step_around", default=None)
"""The name of the step whose function runs."""

_TARGET = 'milliseconds, a text such as "5m", or a datetime'


class StepApi:
    """The steps of one attempt. Each method is awaited, and takes the name of the step first: a name stands once in an
    attempt. Raises RedflowError for a name that stands twice.

    run_id, attempt: of the run. known: the values of the steps that earlier attempts have done, by name. inline: gets
    each step, when it has ended.
    """

    def __init__(
        self, workflow: str, run_id: str, attempt: int, known: Mapping[str, Any], inline: InlineRunResult | None = None
    ) -> None:
        self._inline = inline
        self._workflow = workflow
        self._run_id = run_id
        self._attempt = attempt
        self._used: set[str] = set()
        self._open: set[asyncio.Future[Any]] = set()
        self.done = dict(known)
        """The values of the steps that are done, by name: of earlier attempts, and of this one."""

    def __reduce__(self) -> tuple[Any, ...]:
        # A step's function may have captured it, with the context: no step can be begun there.
        return type(self), (self._workflow, self._run_id, self._attempt, {})

    async def run(
        self, name: str, fn: Callable[..., Any], *args: Any, timeout_ms: int | None = None, **kwargs: Any
    ) -> Any:
        """Do something once: the value of `fn(*args, **kwargs)`, awaited if it is awaitable.

        A function that takes `signal` gets an asyncio.Event, which is set when the time of the step is over. Raises the
        function's own error; TimeoutError when it takes longer than timeout_ms; OutputSerializationError for a value
        that cannot be kept.
        """
        limit = timeout_ms / 1000 if timeout_ms is not None and timeout_ms > 0 else None
        options: dict[str, Any] = {}
        if limit is not None and not _is_async(fn):
            options["timeout"] = limit  # it cannot be left while it runs: its attempt is ended
        call = StepCall(self._run_id, self._attempt, name, fn, args, kwargs)
        try:
            return await self._step(name, run_step.options(**options), call, limit)
        finally:
            if name in self.done:
                call.forget()

    async def wait_for(self, name: str, target: Target, *, timeout_ms: int | None = None) -> None:
        """Wait for milliseconds, a duration as text, or a moment. Raises TimeoutError when that takes longer than
        timeout_ms; RedflowError for what is no time."""
        await self._step(name, wait_for_step, *_until(target, "step.wait_for"), _limit(timeout_ms))

    async def wait_for_event(
        self, name: str, event_name: str, correlation_key: str, timeout: Target
    ) -> ReceivedEvent | None:
        """Wait for the event of this name and key. None when the time is over first. Raises ValueError for an empty
        name or key, RedflowError for what is no time."""
        event = _filled(event_name, "step.wait_for_event", "event_name")
        key = _filled(correlation_key, "step.wait_for_event", "correlation_key")
        seconds, at = _until(timeout, "step.wait_for_event")
        found: ReceivedEvent | None = await self._step(
            name, wait_for_event_step, seconds, event, key, at
        )
        return found

    async def emit_event(
        self,
        name: str,
        event_name: str,
        input: Any,
        *,
        correlation_key: str | None = None,
        emit_at: datetime | None = None,
        event_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> list[str]:
        """Emit an event once, and give the ids of the runs that it starts, now or at emit_at.

        The event has the id event_id, else one that follows from idempotency_key, else from the run and the step.
        Raises ValueError for an empty name, EventConflict for an id that another event has.
        """
        event = _filled(event_name, "step.emit_event", "event_name")
        id = event_id or (f"{event}:{idempotency_key}" if idempotency_key else f"redflow:{self._run_id}:{name}")
        at = None if emit_at is None else moment_in_zone(emit_at)
        key = None if correlation_key is None else _filled(correlation_key, "step.emit_event", "correlation_key")
        found: list[str] = await self._step(name, emit_event_step, event, input, key, at, id)
        return found

    async def run_workflow(
        self,
        name: str,
        workflow: Any,
        input: Any = None,
        *,
        timeout_ms: int | None = None,
        run_at: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> Any:
        """Run a workflow as a run of its own, and give its output. It is cancelled with this run.

        workflow: its definition or its name. run_at: it begins then. idempotency_key: such a run of this one is made
        once. Raises RedflowError when the run has failed, with its error as the cause; CanceledError when it was
        cancelled; TimeoutError, when it takes longer than timeout_ms; UnknownWorkflowError.
        """
        flow = flow_of(workflow)
        id = None if idempotency_key is None else run_key(flow, idempotency_key)
        at = None if run_at is None else moment_in_zone(run_at)
        return await self._step(name, run_workflow_step, flow, input, at, id, _limit(timeout_ms), is_child=True)

    async def emit_workflow(
        self,
        name: str,
        workflow: Any,
        input: Any = None,
        *,
        run_at: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """Start a workflow as a run of its own, and give the run's id at once. It is cancelled with this run, and goes
        on when this run has ended.

        Arguments and errors are those of `run_workflow`.
        """
        flow = flow_of(workflow)
        id = run_key(flow, idempotency_key) if idempotency_key else f"redflow:{self._run_id}:{name}"
        at = None if run_at is None else moment_in_zone(run_at)
        found: str = await self._step(name, emit_workflow_step, flow, input, at, id)
        return found

    # --- one step -----------------------------------------------------------------------------------------------------

    async def _step(
        self,
        name: str,
        step: Task[..., Any],
        *arguments: Any,
        is_child: bool = False,
    ) -> Any:
        around = _step_around.get()
        if around is not None:
            raise RedflowError(
                f"Step {name!r} of workflow {self._workflow!r} is begun inside its step {around!r}. Begin it in the "
                "handler, before or after that one."
            )
        if name in self._used:
            raise RedflowError(
                f"Duplicate step name '{name}' in workflow '{self._workflow}'. Step names must be unique within a run."
            )
        self._used.add(name)
        if name in self.done:
            self._note(name, self.done[name])
            return self.done[name]
        call = step.options(key=name)(self._attempt, len(self._used), name, *arguments)
        waiting = asyncio.ensure_future(self._outcome(name, call, is_child))
        self._open.add(waiting)
        waiting.add_done_callback(self._open.discard)
        try:
            value = await waiting
        except Exception as error:
            if self._inline is not None:
                self._inline.steps.append(InlineStepResult(name, "failed", error=error))
            raise
        self._note(name, value)
        return value

    def _note(self, name: str, value: Any) -> None:
        if self._inline is not None:
            self._inline.steps.append(InlineStepResult(name, "succeeded", value))

    async def _outcome(self, name: str, call: Any, is_child: bool) -> Any:
        try:
            value = await call
        except NotSerializable as error:
            raise OutputSerializationError(f"The output of step {name!r} cannot be kept: {error}", error) from error
        except TaskTimeout as error:
            raise TimeoutError(f"Step timed out: {name}") from error
        except (Cancelled, RunCancelled) as error:
            raise CanceledError(str(error)) from error
        except Exception as error:
            if is_child and not isinstance(error, TimeoutError):
                raise RedflowError(f"Run failed: {type(error).__name__}: {error}") from error
            raise
        self.done[name] = value
        return value

    async def settle(self) -> None:
        """Wait for the steps that are begun, so that the next attempt has their values."""
        while self._open:
            await asyncio.wait(self._open)


def run_key(flow: Task[..., Any], key: str) -> str:
    """The id of the run of a workflow that is made once for a key."""
    return f"{flow.fullname}:{key}"


def _filled(text: str, where: str, what: str) -> str:
    found = text.strip()
    if not found:
        raise ValueError(f"{where} requires a non-empty {what}")
    return found


def _limit(timeout_ms: int | None) -> float | None:
    return timeout_ms / 1000 if timeout_ms is not None and timeout_ms > 0 else None


def _until(target: Any, where: str) -> tuple[float | None, datetime | None]:
    """The seconds to wait, or the moment to wait for."""
    if isinstance(target, datetime):
        return None, moment_in_zone(target)
    found = milliseconds_of(target)
    if found is None:
        raise RedflowError(f"{where} takes {_TARGET}, not {preview(target)}.")
    return found / 1000, None


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(inspect.unwrap(function)) or inspect.iscoroutinefunction(function)


# --- the effects ------------------------------------------------------------------------------------------------------
# The first arguments of each are the attempt, the step's number in it, and its name: the history shows them, and has
# room for some more.


@effect(name="run", version="1", on_cancel="kill")
async def run_step(attempt: int, number: int, name: str, call: StepCall, seconds: float | None) -> Any:
    """Call a step's function. seconds: how long it may take."""
    _step_around.set(name)
    signal = asyncio.Event()
    given = {} if "signal" in call.kwargs or not _takes_signal(call.function) else {"signal": signal}
    value = call.function(*call.args, **call.kwargs, **given)
    if not isinstance(value, Awaitable):
        return value
    work = asyncio.ensure_future(value)
    try:
        done, _ = await asyncio.wait({work}, timeout=seconds)
        if done:
            return work.result()
    finally:
        if not work.done():
            signal.set()
            await asyncio.sleep(0)
            work.cancel()
            await asyncio.wait({work}, timeout=DRAIN_SECONDS)
    raise TimeoutError(f"Step timed out: {name}")


def _takes_signal(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # built in
        return False
    return "signal" in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())


@effect(name="wait_for", version="1")
def wait_for_step(
    attempt: int, number: int, name: str, seconds: float | None, moment: datetime | None, limit: float | None
) -> Any:
    """Wait for seconds, or for a moment. limit: seconds after which that has failed."""
    until: Any = waits.sleep(seconds) if seconds is not None else waits.sleep_until(_given(moment))
    if limit is None:
        return until
    is_over = waits.within(seq([until, True])[1], limit, False)
    return cond(is_over, None, throw(TimeoutError(f"Step timed out: {name}")))


@effect(name="wait_for_event", version="1")
def wait_for_event_step(
    attempt: int, number: int, name: str, seconds: float | None, event: str, key: str, moment: datetime | None
) -> Any:
    """Wait for an event, for so long or until a moment."""
    if seconds is not None:
        return received(waits.wait_for_event(event, key=key, timeout=seconds))
    end = seq([waits.sleep_until(_given(moment)), None])[1]
    return received(waits.first(waits.wait_for_event(event, key=key), end))


@task(version="1", cache=False)
def received(event: Event | None) -> ReceivedEvent | None:
    """An event as redflow tells it."""
    if event is None:
        return None
    return {"id": event.id, "name": event.name, "data": event.data, "ts": int(event.time.timestamp() * 1000)}


@effect(name="emit_event", version="1")
def emit_event_step(
    attempt: int,
    number: int,
    name: str,
    event: str,
    data: Any,
    key: str | None,
    at: datetime | None,
    id: str,
    subscribers: Any = get_context(SUBSCRIBERS),  # noqa: B008  lazy
) -> Any:
    """Emit an event, and give the ids of the runs that it starts."""
    flows = subscribers_of(event) if subscribers is None else subscribers.get(event, [])
    runs = [derived_run_id(event_run_id(id, each)) for each in flows]
    return seq([waits.emit(event, data, key=key, at=at, id=id), runs])[1]


@effect(name="run_workflow", version="1")
def run_workflow_step(
    attempt: int,
    number: int,
    name: str,
    flow: Task[..., Any],
    data: Any,
    at: datetime | None,
    id: str | None,
    limit: float | None,
) -> Any:
    """Run a workflow as a child. limit: seconds after which it is cancelled."""
    run: Any = waits.child(_call(flow, data, at), id=id)
    if limit is None:
        return run
    found: Any = waits.within(seq([True, run]), limit)
    return cond(found, found[1], throw(TimeoutError(f"Step timed out: {name}")))


@effect(name="emit_workflow", version="1")
def emit_workflow_step(
    attempt: int, number: int, name: str, flow: Task[..., Any], data: Any, at: datetime | None, id: str
) -> Any:
    """Start a workflow as a run of its own."""
    ref: Any = waits.spawn(_call(flow, data, at), id=id, tie=True)
    return ref.id


def _call(flow: Task[..., Any], data: Any, at: datetime | None) -> Any:
    """The call of a workflow's flow, which begins now or at a moment."""
    return flow(data) if at is None else flow(data, {"begins_at": at})


def _given(moment: datetime | None) -> datetime:
    assert moment is not None
    return moment

