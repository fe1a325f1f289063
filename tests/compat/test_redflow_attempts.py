"""A failed attempt of a workflow is followed by another one, which does not do again what was done."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from rayflow.compat.redflow import (
    CanceledError,
    InputValidationError,
    NonRetriableError,
    OnFailureContext,
    OutputSerializationError,
    RetryAfterError,
    TimeoutError,
    UnknownWorkflowError,
    WorkflowHandlerContext,
    WorkflowRetryPolicy,
    define_workflow,
    wait_for_input,
    workflow,
)
from rayflow.compat.redflow.run_views import steps_of
from rayflow.compat.redflow.types import RetryPolicyContext
from rayflow.errors import BadArguments, Cancelled
from rayflow.testing import Rehearsal, RehearsedRun

pytestmark = pytest.mark.usefixtures("workflows")

DONE: list[Any] = []
"""What the handlers and steps of a test have done."""


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    DONE.clear()


async def note(what: Any) -> Any:
    DONE.append(what)
    return what


def delays(run: RehearsedRun) -> list[float]:
    """The seconds between the attempts of a run."""
    pauses = [row for row in run.history() if row["what"].endswith("pause_between") and row["state"] != "term"]
    began = [row["at"] for row in pauses if row["state"] == "started"]
    ended = [row["at"] for row in pauses if row["state"] == "outcome"]
    return [(end - begin) / 1e6 for begin, end in zip(began, ended, strict=True)]


def failing(name: str, error: Exception | Sequence[Exception], **settings: Any) -> Any:
    """A workflow whose handler notes its attempt and fails: always, or with the errors of a list first."""
    errors = [error] * 100 if isinstance(error, Exception) else error

    async def handler(ctx: WorkflowHandlerContext[Any]) -> str:
        await ctx.step.run(f"attempt {ctx.run.attempt}", note, ctx.run.attempt)
        if ctx.run.attempt <= len(errors):
            raise errors[ctx.run.attempt - 1]
        return f"after {ctx.run.attempt}"

    return define_workflow(name, handler=handler, **settings)


def test_another_attempt_takes_the_values_of_the_steps_that_were_done(rehearsal: Rehearsal) -> None:
    @workflow("flaky")
    async def flaky(ctx: WorkflowHandlerContext[int]) -> list[Any]:
        got = await asyncio.gather(*(ctx.step.run(f"part {n}", note, n) for n in range(ctx.input)))
        await ctx.step.wait_for("pause", "10m")
        if ctx.run.attempt == 1:
            raise ConnectionError("lost")
        return [ctx.run.attempt, *got]

    assert rehearsal.start(flaky.flow(3)).result() == [2, 0, 1, 2]
    assert DONE == [0, 1, 2]


def test_a_step_that_failed_is_done_again_and_those_beside_it_are_not(rehearsal: Rehearsal) -> None:
    async def breaks(times: list[int]) -> str:
        await note("breaks")
        if DONE.count("breaks") < 2:
            raise ConnectionError("lost")
        return "held"

    @workflow("one-breaks")
    async def handler(ctx: WorkflowHandlerContext[None]) -> list[Any]:
        return list(await asyncio.gather(ctx.step.run("breaks", breaks, []), ctx.step.run("holds", note, "holds")))

    assert rehearsal.start(handler.flow()).result() == ["held", "holds"]
    assert sorted(DONE) == ["breaks", "breaks", "holds"]


def test_a_step_that_is_open_when_its_handler_fails_is_waited_for_and_not_done_again(rehearsal: Rehearsal) -> None:
    @workflow("leaves")
    async def handler(ctx: WorkflowHandlerContext[None]) -> Any:
        step = asyncio.ensure_future(ctx.step.run("left", note, "left"))
        await asyncio.sleep(0)
        if ctx.run.attempt == 1:
            raise ConnectionError("lost")
        return [await step, ctx.run.attempt]

    run = rehearsal.start(handler.flow())
    assert run.result() == ["left", 2]
    assert [(step["attempt"], step["status"]) for step in steps_of(run.history())] == [(1, "succeeded")]
    assert DONE == ["left"]


def test_each_run_enters_its_handler_also_when_another_had_the_same_input(rehearsal: Rehearsal) -> None:
    @workflow("no-steps")
    async def handler(ctx: WorkflowHandlerContext[int]) -> None:
        DONE.append(ctx.input)

    for _ in range(2):
        rehearsal.start(handler.flow(5)).result()
    assert DONE == [5, 5]


def test_three_attempts_are_made_and_the_last_error_ends_the_run(rehearsal: Rehearsal) -> None:
    with pytest.raises(ValueError, match="third"):
        rehearsal.start(failing("fails", [ValueError(each) for each in ("first", "second", "third")]).flow()).result()
    assert DONE == [1, 2, 3]


@pytest.mark.parametrize(
    ("settings", "many"),
    [
        ({"max_attempts": 1}, 1),
        ({"max_attempts": 5}, 5),
        ({"max_attempts": 5, "retries": WorkflowRetryPolicy(max_attempts=2)}, 2),
        ({"max_attempts": 5, "retries": WorkflowRetryPolicy(delay="1s")}, 5),
        ({"retries": WorkflowRetryPolicy()}, 3),
    ],
)
def test_the_policy_counts_attempts_before_the_workflow_does(
    rehearsal: Rehearsal, settings: dict[str, Any], many: int
) -> None:
    definition = failing("counts", ValueError("always"), **settings)
    with pytest.raises(ValueError, match="always"):
        rehearsal.start(definition.flow()).result()
    assert [*range(1, many + 1)] == DONE
    assert definition.options.most_attempts == many


def test_the_delay_doubles_after_each_attempt(rehearsal: Rehearsal) -> None:
    run = rehearsal.start(failing("doubles", ValueError("again"), max_attempts=10).flow())
    with pytest.raises(ValueError, match="again"):
        run.result()
    least = [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]
    assert delays(run) == [pytest.approx(each + 0.05, abs=0.06) for each in least]


@pytest.mark.parametrize(
    ("delay", "after"),
    [
        (1500, 1.5),
        ("5s", 5),
        ("2h", 7200),
        (lambda about: "5s" if about.run.next_attempt == 2 else "1d", 5),
        (lambda about: datetime.now(UTC) - timedelta(hours=1), 0),
    ],
)
def test_a_policy_says_how_long_the_delay_is(rehearsal: Rehearsal, delay: Any, after: float) -> None:
    again = failing("delayed", [ValueError("once")], retries=WorkflowRetryPolicy(delay=delay))
    run = rehearsal.start(again.flow())
    assert run.result() == "after 2"
    assert delays(run) == [after]


@pytest.mark.parametrize("delay", ["soon", -1, None, object()])
def test_a_delay_that_is_no_time_fails_the_run_and_says_so(rehearsal: Rehearsal, delay: Any) -> None:
    policy = WorkflowRetryPolicy(delay=lambda about: delay)
    with pytest.raises(ValueError, match=r"retries\.delay of workflow delayed"):
        rehearsal.start(failing("delayed", ValueError("once"), retries=policy).flow()).result()


def test_a_policy_may_look_at_the_error_and_at_the_input_and_end_the_run(rehearsal: Rehearsal) -> None:
    seen = []

    async def should_retry(about: RetryPolicyContext) -> bool:
        seen.append((str(about.error), about.input, about.run.attempt, about.run.workflow, about.run.max_attempts))
        return about.run.attempt < 2

    policy = WorkflowRetryPolicy(should_retry=should_retry)
    definition = failing("looks", ValueError("no"), max_attempts=9, retries=policy)
    with pytest.raises(ValueError, match="no"):
        rehearsal.start(definition.flow({"a": 1})).result()
    assert seen == [("no", {"a": 1}, 1, "looks", 9), ("no", {"a": 1}, 2, "looks", 9)]
    assert DONE == [1, 2]


class Order(BaseModel):
    id: str


def test_errors_that_another_attempt_would_meet_again_end_the_run_at_once(rehearsal: Rehearsal) -> None:
    async def unkept(ctx: WorkflowHandlerContext[None]) -> None:
        await ctx.step.run(f"unkept {ctx.run.attempt}", note, f"unkept {ctx.run.attempt}")
        await ctx.step.run("unkept", open, "/dev/null")

    async def unknown(ctx: WorkflowHandlerContext[None]) -> None:
        await ctx.step.run(f"unknown {ctx.run.attempt}", note, f"unknown {ctx.run.attempt}")
        await ctx.step.run_workflow("unknown", "nobody's")

    async def never(ctx: WorkflowHandlerContext[None]) -> None: ...

    ends = (
        (failing("gives-up", NonRetriableError("never")), None, NonRetriableError),
        (define_workflow("checked", handler=never, input_schema=Order), {"id": 1}, InputValidationError),
        (define_workflow("unkept", handler=unkept), None, OutputSerializationError),
        (define_workflow("unknown", handler=unknown), None, UnknownWorkflowError),
    )
    for definition, input, error in ends:
        with pytest.raises(error):
            rehearsal.start(definition.flow(input)).result()
    assert DONE == [1, "unkept 1", "unknown 1"]


@pytest.mark.parametrize(
    ("retry_after", "after"), [(1500, 1.5), ("30s", 30), (datetime.now(UTC) - timedelta(hours=1), 0)]
)
def test_an_error_says_after_which_delay_the_next_attempt_follows(
    rehearsal: Rehearsal, retry_after: Any, after: float
) -> None:
    busy = [RetryAfterError("busy", retry_after)]
    run = rehearsal.start(failing("busy", busy, retries=WorkflowRetryPolicy(delay="1d")).flow())
    assert run.result() == "after 2"
    assert delays(run) == [after]


def test_a_timeout_of_a_step_is_followed_by_another_attempt(rehearsal: Rehearsal) -> None:
    async def slow() -> str:
        DONE.append("slow")
        await asyncio.sleep(60 if len(DONE) == 1 else 0)
        return "in time"

    @workflow("slow")
    async def handler(ctx: WorkflowHandlerContext[None]) -> Any:
        return await ctx.step.run("slow", slow, timeout_ms=20)

    assert rehearsal.start(handler.flow()).result() == "in time"
    assert DONE == ["slow", "slow"]


# --- when a run has failed for good -----------------------------------------------------------------------------------


def test_on_failure_is_called_once_when_the_run_has_failed_for_good(rehearsal: Rehearsal) -> None:
    told: list[OnFailureContext] = []

    async def tell(context: OnFailureContext) -> None:
        told.append(context)

    run = rehearsal.start(failing("fails", ValueError("always"), queue="q", on_failure=tell).flow({"n": 1}))
    with pytest.raises(ValueError, match="always"):
        run.result()
    [context] = told
    assert (repr(context.error), context.input) == ("ValueError('always')", {"n": 1})
    told_run = (context.run.id, context.run.workflow, context.run.queue, context.run.attempt, context.run.max_attempts)
    assert told_run == (run.id, "fails", "q", 3, 3)


def test_what_on_failure_raises_changes_nothing(rehearsal: Rehearsal) -> None:
    def tell(context: OnFailureContext) -> None:
        raise OSError("nobody to tell")

    with pytest.raises(ValueError, match="always"):
        rehearsal.start(failing("fails", ValueError("always"), on_failure=tell).flow()).result()


def test_on_failure_is_not_called_for_a_run_that_was_cancelled_or_goes_on(rehearsal: Rehearsal) -> None:
    def tell(context: OnFailureContext) -> None:
        DONE.append(context)

    @workflow("waits", on_failure=tell)
    async def waits(ctx: WorkflowHandlerContext[None]) -> None:
        await ctx.step.wait_for("long", "10h")

    flaky = failing("flaky", [ValueError("once")], on_failure=tell)
    run = rehearsal.start(waits.flow())
    assert run.cancel("enough")
    with pytest.raises(Cancelled, match="enough"):
        run.result()
    assert rehearsal.start(flaky.flow()).result() == "after 2"
    assert DONE == [1, 2]


def test_a_handler_that_raises_canceled_error_ends_its_run_as_cancelled(rehearsal: Rehearsal) -> None:
    run = rehearsal.start(failing("cancels", CanceledError("by itself")).flow())
    with pytest.raises(Cancelled, match="by itself"):
        run.result()
    assert DONE == [1]


# --- a person fills in a form -----------------------------------------------------------------------------------------


class Approval(BaseModel):
    by: str
    amount: float


def test_a_run_waits_for_a_person_and_goes_on_in_the_same_attempt(rehearsal: Rehearsal) -> None:
    @workflow("approved")
    async def handler(ctx: WorkflowHandlerContext[dict[str, Any]]) -> list[Any]:
        price = await ctx.step.run("price", note, "price")
        if ctx.resume is None:
            raise wait_for_input("Approve it", Approval)
        return [ctx.run.attempt, price, ctx.input, ctx.resume.form]

    run = rehearsal.start(handler.flow({"n": 1}))
    assert run.state() == "waiting"
    assert "Approve it" in run.explain()
    with pytest.raises(BadArguments, match="amount"):
        run.answer([{"n": 1}, {"by": "grace", "amount": "much"}])
    run.answer([{"n": 2}, {"by": "grace", "amount": 5}])
    assert run.result() == [1, "price", {"n": 2}, {"by": "grace", "amount": 5.0}]
    assert DONE == ["price"]


def test_a_step_may_ask_for_a_person_too(rehearsal: Rehearsal) -> None:
    def ask() -> None:
        raise wait_for_input("  ")

    @workflow("asks")
    async def handler(ctx: WorkflowHandlerContext[Any]) -> Any:
        if ctx.input == "before":
            await ctx.step.run("ask", ask)
        return [ctx.input, ctx.resume]

    run = rehearsal.start(handler.flow("before"))
    assert "Waiting for input" in run.explain()
    run.answer(["after", None])
    assert run.result() == ["after", None]


# --- crashes ----------------------------------------------------------------------------------------------------------


def test_no_step_is_done_twice_wherever_the_service_is_killed(rehearsal: Rehearsal) -> None:
    @workflow("order", retries=WorkflowRetryPolicy(delay="1s"))
    async def order(ctx: WorkflowHandlerContext[int]) -> list[Any]:
        part = await ctx.step.run("a", note, "a")
        told = await ctx.step.wait_for_event("told", "news", "key", "1h")
        if ctx.run.attempt == 1:
            raise ConnectionError("lost")
        return [part, told and told["data"], await ctx.step.run("b", note, "b")]

    def tell(rehearsal: Rehearsal, run: Any) -> None:
        rehearsal.emit("news", 5, key="key", id="news 5")

    assert rehearsal.crash_everywhere(order.flow(1), tell) > 10


def test_a_timeout_has_redflows_name_and_not_that_of_the_standard_library() -> None:
    assert not issubclass(TimeoutError, OSError)
