"""`run_inline` runs one attempt of a workflow's handler in this process, with redflow's names."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from rayflow.compat.redflow import (
    InlineRunResult,
    InputValidationError,
    NonRetriableError,
    RedflowError,
    TimeoutError,
    WorkflowDefinition,
    WorkflowHandlerContext,
    define_workflow,
    run_inline,
    workflow,
)

pytestmark = pytest.mark.usefixtures("workflows")

DONE: list[Any] = []
"""What the steps of a test have done."""


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    DONE.clear()


def inline(definition: WorkflowDefinition, input: Any = None, **how: Any) -> InlineRunResult:
    return asyncio.run(run_inline(definition, input=input, **how))


async def double(number: int) -> int:
    DONE.append(number)
    return number * 2


def test_an_output_and_the_steps_in_the_order_of_their_ends_come_back() -> None:
    @workflow("sum")
    async def total(ctx: WorkflowHandlerContext[dict[str, int]]) -> int:
        first: int = await ctx.step.run("first", double, ctx.input["n"])
        second: int = await ctx.step.run("second", double, number=first)
        return first + second

    result = inline(total, {"n": 2})
    assert (result.succeeded, result.output, result.error) == (True, 12, None)
    assert [(step.name, step.status, step.output) for step in result.steps] == [
        ("first", "succeeded", 4), ("second", "succeeded", 8),
    ]  # fmt: skip
    assert DONE == [2, 4]


def test_an_overridden_step_is_not_done() -> None:
    @workflow("overridden")
    async def handler(ctx: WorkflowHandlerContext[None]) -> list[Any]:
        return [await ctx.step.run("done", double, 1), await ctx.step.run("overridden", double, 2)]

    result = inline(handler, step_overrides={"overridden": "value"})
    assert result.output == [2, "value"]
    assert DONE == [1]
    assert [step.name for step in result.steps] == ["done", "overridden"]


@pytest.mark.parametrize("given", [{"id": "e", "name": "news", "data": 1, "ts": 5}, None])
def test_a_wait_for_an_event_is_overridden_by_an_event_or_by_none(given: Any) -> None:
    @workflow("waits")
    async def handler(ctx: WorkflowHandlerContext[None]) -> Any:
        return await ctx.step.wait_for_event("wait", "news", "key", "1h")

    assert inline(handler, step_overrides={"wait": given}).output == given


def test_the_failure_of_a_step_is_the_error_of_the_run() -> None:
    def fail() -> None:
        raise LookupError("gone")

    @workflow("fails")
    async def handler(ctx: WorkflowHandlerContext[None]) -> None:
        await ctx.step.run("look", fail)

    result = inline(handler)
    assert not result.succeeded
    assert repr(result.error) == "LookupError('gone')"
    assert [(step.name, step.status) for step in result.steps] == [("look", "failed")]


def test_a_handler_may_catch_the_failure_of_a_step() -> None:
    def fail() -> None:
        raise LookupError("gone")

    @workflow("catches")
    async def handler(ctx: WorkflowHandlerContext[None]) -> Any:
        try:
            await ctx.step.run("look", fail)
        except LookupError as error:
            return await ctx.step.run("instead", double, len(str(error)))

    assert inline(handler).output == 8


def test_one_attempt_is_run_and_none_follows() -> None:
    @workflow("once", max_attempts=5)
    async def handler(ctx: WorkflowHandlerContext[None]) -> None:
        DONE.append(ctx.run.attempt)
        raise ValueError("again")

    assert isinstance(inline(handler).error, ValueError)
    assert DONE == [1]


def test_a_handler_is_told_of_its_run_and_input() -> None:
    @workflow("told/of it", queue="slow")
    async def handler(ctx: WorkflowHandlerContext[Any]) -> list[Any]:
        run = ctx.run
        return [ctx.input, run.id, run.workflow, run.queue, run.attempt, run.max_attempts, ctx.resume]

    assert inline(handler, [1]).output == [[1], "test-run-1", "told/of it", "slow", 1, 3, None]
    told = inline(handler, run_id="mine", attempt=2, max_attempts=7).output
    assert told == [None, "mine", "told/of it", "slow", 2, 7, None]


def test_a_plain_function_may_be_a_step_and_a_handler() -> None:
    def handler(ctx: WorkflowHandlerContext[str]) -> str:
        return ctx.input.upper()

    async def steps(ctx: WorkflowHandlerContext[str]) -> Any:
        return await ctx.step.run("upper", str.upper, ctx.input)

    assert inline(define_workflow("plain", handler=handler), "a").output == "A"
    assert inline(define_workflow("with-step", handler=steps), "b").output == "B"


def test_steps_that_are_gathered_run_beside_each_other() -> None:
    @workflow("beside")
    async def handler(ctx: WorkflowHandlerContext[None]) -> Any:
        return await asyncio.gather(*(ctx.step.run(f"double-{number}", double, number) for number in range(5)))

    assert inline(handler).output == [0, 2, 4, 6, 8]


def test_a_function_that_takes_a_signal_gets_one_and_others_get_none() -> None:
    async def named(*, signal: asyncio.Event | None = None) -> str:
        return type(signal).__name__

    async def open(**rest: Any) -> list[str]:
        return sorted(rest)

    async def closed() -> str:
        return "nothing"

    @workflow("signals")
    async def handler(ctx: WorkflowHandlerContext[None]) -> list[Any]:
        assert not ctx.signal.is_set()
        return [await ctx.step.run(function.__name__, function) for function in (named, open, closed)]

    assert inline(handler).output == ["Event", ["signal"], "nothing"]


def test_a_step_that_takes_too_long_fails_with_a_timeout_and_its_signal_is_set() -> None:
    async def slow(signal: asyncio.Event) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            DONE.append(signal.is_set())

    @workflow("slow")
    async def handler(ctx: WorkflowHandlerContext[None]) -> None:
        await ctx.step.run("slow", slow, timeout_ms=20)

    error = inline(handler).error
    assert isinstance(error, TimeoutError) and error.kind == "timeout"
    assert "slow" in str(error)
    assert DONE == [True]


def test_a_plain_function_that_takes_too_long_fails_with_a_timeout_too() -> None:
    @workflow("slow")
    async def handler(ctx: WorkflowHandlerContext[None]) -> None:
        await ctx.step.run("slow", time.sleep, 0.2, timeout_ms=50)

    assert isinstance(inline(handler).error, TimeoutError)


@pytest.mark.parametrize("second", ["run", "wait_for", "wait_for_event", "emit_event", "run_workflow", "emit_workflow"])
def test_a_name_stands_once_in_a_run_whatever_the_steps_are(second: str) -> None:
    arguments: dict[str, tuple[Any, ...]] = {
        "run": (double, 1), "wait_for": (1,), "wait_for_event": ("news", "key", 1), "emit_event": ("news", 1),
        "run_workflow": ("other",), "emit_workflow": ("other",),
    }  # fmt: skip

    @workflow("other")
    async def other(ctx: WorkflowHandlerContext[None]) -> None: ...

    @workflow("twice")
    async def handler(ctx: WorkflowHandlerContext[None]) -> None:
        await ctx.step.run("same", double, 1)
        await getattr(ctx.step, second)("same", *arguments[second])

    error = inline(handler).error
    assert isinstance(error, RedflowError)
    assert "'same'" in str(error) and "'twice'" in str(error)


def test_a_step_cannot_be_begun_inside_another_step() -> None:
    @workflow("nested")
    async def handler(ctx: WorkflowHandlerContext[None]) -> None:
        async def outer() -> None:
            await ctx.step.run("inner", double, 1)

        await ctx.step.run("outer", outer)

    result = inline(handler)
    assert isinstance(result.error, RedflowError)
    assert "'inner'" in str(result.error) and "'outer'" in str(result.error)
    assert DONE == []


@pytest.mark.parametrize(
    "target",
    [1, 1.5, "250ms", "30s", "5m", "2h", "1d", datetime.now() - timedelta(hours=1), datetime.now() + timedelta(days=2)],
)
def test_a_wait_takes_milliseconds_a_text_or_a_datetime_and_is_skipped(target: Any) -> None:
    @workflow("pauses")
    async def handler(ctx: WorkflowHandlerContext[None]) -> str:
        await ctx.step.wait_for("pause", target)
        return "after"

    result = inline(handler)
    assert (result.output, result.error) == ("after", None)
    assert [(step.name, step.output) for step in result.steps] == [("pause", None)]


@pytest.mark.parametrize("target", ["soon", "", "5 weeks", -1, None, True, float("nan")])
def test_a_wait_for_what_is_no_time_fails(target: Any) -> None:
    @workflow("pauses")
    async def handler(ctx: WorkflowHandlerContext[None]) -> None:
        await ctx.step.wait_for("pause", target)

    error = inline(handler).error
    assert isinstance(error, RedflowError)
    assert "step.wait_for" in str(error)


@pytest.mark.parametrize(("event", "key"), [("", "key"), ("news", ""), ("  ", "key")])
def test_a_wait_for_an_event_has_a_name_and_a_key(event: str, key: str) -> None:
    @workflow("waits")
    async def handler(ctx: WorkflowHandlerContext[None]) -> None:
        await ctx.step.wait_for_event("wait", event, key, "1s")

    assert isinstance(inline(handler).error, ValueError)


class Order(BaseModel):
    id: str
    amount: float = 1.0


def test_an_input_is_what_its_schema_makes_of_it() -> None:
    async def handler(ctx: WorkflowHandlerContext[Order]) -> list[Any]:
        return [type(ctx.input).__name__, ctx.input.id, ctx.input.amount]

    orders = define_workflow("orders", handler=handler, input_schema=Order)
    assert inline(orders, {"id": "a"}).output == ["Order", "a", 1.0]
    error = inline(orders, {"amount": "much"}).error
    assert isinstance(error, InputValidationError)
    assert error.issues is not None and "amount" in str(error)


def test_a_child_is_run_also_by_its_name() -> None:
    @workflow("child")
    async def child(ctx: WorkflowHandlerContext[int]) -> Any:
        return await ctx.step.run("double", double, ctx.input)

    @workflow("parent")
    async def parent(ctx: WorkflowHandlerContext[None]) -> list[Any]:
        return [await ctx.step.run_workflow("one", child, 1), await ctx.step.run_workflow("two", "child", 2)]

    assert inline(parent).output == [2, 4]


def test_an_attempt_that_takes_too_long_ends_with_a_timeout() -> None:
    @workflow("endless")
    async def handler(ctx: WorkflowHandlerContext[None]) -> None:
        await asyncio.sleep(1)

    result = inline(handler, timeout_s=0.05)
    assert type(result.error).__name__ == "TimeoutError"


def test_an_error_of_the_handler_is_given_back_as_it_is() -> None:
    @workflow("gives-up")
    async def handler(ctx: WorkflowHandlerContext[None]) -> None:
        raise NonRetriableError("never")

    error = inline(handler).error
    assert isinstance(error, NonRetriableError) and error.kind == "non_retriable"


def test_what_a_handler_writes_to_its_stream_comes_back_and_a_workflow_without_has_none() -> None:
    @workflow("tells", stream=True)
    async def tells(ctx: WorkflowHandlerContext[None]) -> None:
        assert ctx.stream is not None
        await ctx.stream.write("first")
        await ctx.step.run("double", double, 1)
        await ctx.stream.write({"n": ctx.stream.attempt})

    @workflow("silent")
    async def silent(ctx: WorkflowHandlerContext[None]) -> bool:
        return ctx.stream is None

    written = inline(tells, attempt=2).stream
    assert [(record["attempt"], record["value"]) for record in written] == [(2, "first"), (2, {"n": 2})]
    assert inline(silent).output is True
