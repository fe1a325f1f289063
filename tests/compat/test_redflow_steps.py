"""The steps that wait, emit and start runs, with redflow's names, under a clock that stands still."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rayflow.compat.redflow import (
    CanceledError,
    EventTrigger,
    RedflowError,
    TimeoutError,
    WorkflowDefinition,
    WorkflowHandlerContext,
    define_workflow,
    workflow,
)
from rayflow.compat.redflow.run_views import steps_of
from rayflow.errors import Cancelled, EventConflict
from rayflow.testing import Rehearsal, RehearsedRun

pytestmark = pytest.mark.usefixtures("workflows")


def moment(rehearsal: Rehearsal, **later: float) -> datetime:
    return datetime.fromtimestamp(rehearsal.clock.now() / 1e6, UTC) + timedelta(**later)


def echo(name: str, **settings: Any) -> WorkflowDefinition:
    """A workflow that gives its input back."""

    async def handler(ctx: WorkflowHandlerContext[Any]) -> Any:
        return ctx.input

    return define_workflow(name, handler=handler, **settings)


def waiting(name: str) -> WorkflowDefinition:
    """A workflow that waits ten hours."""

    async def handler(ctx: WorkflowHandlerContext[Any]) -> str:
        await ctx.step.wait_for("long", "10h")
        return "waited"

    return define_workflow(name, handler=handler)


def states(rehearsal: Rehearsal, definition: WorkflowDefinition) -> list[str]:
    return [run.state() for run in rehearsal.runs(definition.flow)]


# --- time -------------------------------------------------------------------------------------------------------------


def test_a_wait_holds_until_its_time_and_not_longer(rehearsal: Rehearsal) -> None:
    run = rehearsal.start(waiting("waits").flow())
    rehearsal.skip("9h")
    assert run.state() == "waiting"
    rehearsal.skip("2h")
    assert run.state() == "done"


def test_a_wait_that_is_longer_than_its_timeout_fails_then(rehearsal: Rehearsal) -> None:
    @workflow("waits", max_attempts=1)
    async def handler(ctx: WorkflowHandlerContext[str]) -> str:
        await ctx.step.wait_for("wait", ctx.input, timeout_ms=60_000)
        return "waited"

    assert rehearsal.start(handler.flow("30s")).result("31s") == "waited"
    with pytest.raises(TimeoutError, match="wait"):
        rehearsal.start(handler.flow("1d")).result("61s")


def test_a_wait_until_a_moment_that_has_passed_ends_at_once(rehearsal: Rehearsal) -> None:
    @workflow("waits")
    async def handler(ctx: WorkflowHandlerContext[None]) -> str:
        await ctx.step.wait_for("until", datetime(2001, 1, 1))
        return "at once"

    assert rehearsal.start(handler.flow()).result("0s") == "at once"


# --- events -----------------------------------------------------------------------------------------------------------


def test_an_event_resolves_a_wait_of_exactly_its_name_and_key(rehearsal: Rehearsal) -> None:
    @workflow("approved")
    async def handler(ctx: WorkflowHandlerContext[str]) -> Any:
        return await ctx.step.wait_for_event("approval", "approval", ctx.input, "30m")

    run = rehearsal.start(handler.flow("order 1"))
    rehearsal.emit("approval", {"by": "ada"}, key="order 2")
    rehearsal.emit("refusal", {"by": "ada"}, key="order 1")
    rehearsal.emit("approval", {"by": "ada"})
    assert run.state() == "waiting"
    rehearsal.emit("approval", {"by": "grace"}, key="order 1", id="approval 1")
    got = run.result("0s")
    assert (got["id"], got["name"], got["data"]) == ("approval 1", "approval", {"by": "grace"})
    assert got["ts"] == rehearsal.service.now() // 1000


def test_an_event_that_comes_before_the_wait_of_a_run_is_not_lost(rehearsal: Rehearsal) -> None:
    @workflow("late")
    async def handler(ctx: WorkflowHandlerContext[None]) -> Any:
        await ctx.step.wait_for("first", "1h")
        got = await ctx.step.wait_for_event("approval", "approval", "order 1", "30m")
        return got and got["data"]

    run = rehearsal.start(handler.flow())
    rehearsal.emit("approval", "early", key="order 1")
    assert run.result("61m") == "early"


@pytest.mark.parametrize("is_moment", [False, True])
def test_a_wait_for_an_event_gives_none_when_its_time_is_over(rehearsal: Rehearsal, is_moment: bool) -> None:
    until = moment(rehearsal, minutes=30) if is_moment else "30m"

    @workflow("approved")
    async def handler(ctx: WorkflowHandlerContext[None]) -> Any:
        return await ctx.step.wait_for_event("approval", "approval", "order", until)

    run = rehearsal.start(handler.flow())
    rehearsal.skip("29m")
    assert run.state() == "waiting"
    rehearsal.skip("2m")
    assert (run.state(), run.result()) == ("done", None)


def test_an_emitted_event_starts_a_run_of_each_workflow_that_is_subscribed(rehearsal: Rehearsal) -> None:
    first = echo("first", event=[EventTrigger(name="order.created"), EventTrigger(name="order.changed")])
    second = echo("second", event=[EventTrigger(name="order.created", id="mine")])
    other = echo("other", event=[EventTrigger(name="order.deleted")])

    @workflow("emits")
    async def handler(ctx: WorkflowHandlerContext[Any]) -> list[str]:
        return await ctx.step.emit_event("tell", "order.created", ctx.input)

    ids = rehearsal.start(handler.flow({"n": 1})).result()
    started = [*rehearsal.runs(first.flow), *rehearsal.runs(second.flow)]
    assert sorted(ids) == sorted(run.id for run in started) and len(ids) == 2
    assert [run.result() for run in started] == [{"n": 1}, {"n": 1}]
    assert rehearsal.runs(other.flow) == []


def test_events_without_an_id_are_events_of_their_own_in_each_run_and_step(rehearsal: Rehearsal) -> None:
    hearer = echo("hears", event=[EventTrigger(name="due")])

    @workflow("emits")
    async def handler(ctx: WorkflowHandlerContext[None]) -> list[str]:
        return [*await ctx.step.emit_event("one", "due", 1), *await ctx.step.emit_event("two", "due", 1)]

    ids = [*rehearsal.start(handler.flow()).result(), *rehearsal.start(handler.flow()).result()]
    assert sorted(ids) == sorted(run.id for run in rehearsal.runs(hearer.flow)) and len({*ids}) == 4


def test_an_event_that_nobody_is_subscribed_to_starts_nothing(rehearsal: Rehearsal) -> None:
    @workflow("emits")
    async def handler(ctx: WorkflowHandlerContext[None]) -> list[str]:
        return await ctx.step.emit_event("tell", "order.created", None)

    assert rehearsal.start(handler.flow()).result() == []


def test_an_emitted_event_resolves_the_wait_of_another_run(rehearsal: Rehearsal) -> None:
    @workflow("waits")
    async def waits(ctx: WorkflowHandlerContext[None]) -> Any:
        got = await ctx.step.wait_for_event("wait", "news", "key", "1h")
        return got and got["data"]

    @workflow("emits")
    async def emits(ctx: WorkflowHandlerContext[None]) -> list[str]:
        return await ctx.step.emit_event("tell", "news", [1], correlation_key="key", event_id="mine")

    run = rehearsal.start(waits.flow())
    assert rehearsal.start(emits.flow()).result() == []
    assert run.result("0s") == [1]


def test_an_event_is_delivered_at_its_moment(rehearsal: Rehearsal) -> None:
    hearer = echo("hears", event=[EventTrigger(name="due")])
    at = moment(rehearsal, hours=2)

    @workflow("emits")
    async def handler(ctx: WorkflowHandlerContext[None]) -> list[str]:
        return await ctx.step.emit_event("later", "due", 5, emit_at=at)

    [id] = rehearsal.start(handler.flow()).result("0s")
    rehearsal.skip("1h")
    assert rehearsal.runs(hearer.flow) == []
    rehearsal.skip("2h")
    [run] = rehearsal.runs(hearer.flow)
    assert (run.id, run.result()) == (id, 5)


@pytest.mark.parametrize("name", ["event_id", "idempotency_key"])
def test_events_of_one_id_are_one_event(rehearsal: Rehearsal, name: str) -> None:
    hearer = echo("hears", event=[EventTrigger(name="due")])

    @workflow("emits", max_attempts=1)
    async def handler(ctx: WorkflowHandlerContext[Any]) -> list[str]:
        how: dict[str, Any] = {name: "the same"}
        return await ctx.step.emit_event("tell", "due", ctx.input, **how)

    first = rehearsal.start(handler.flow(1)).result()
    assert rehearsal.start(handler.flow(1)).result() == first
    assert states(rehearsal, hearer) == ["done"]
    with pytest.raises(EventConflict):
        rehearsal.start(handler.flow(2)).result()


def test_an_event_has_a_name(rehearsal: Rehearsal) -> None:
    @workflow("emits", max_attempts=1)
    async def handler(ctx: WorkflowHandlerContext[None]) -> None:
        await ctx.step.emit_event("tell", " ", None)

    with pytest.raises(ValueError, match="event_name"):
        rehearsal.start(handler.flow()).result()


# --- runs of other workflows ------------------------------------------------------------------------------------------


def parent(child: WorkflowDefinition | str, **how: Any) -> WorkflowDefinition:
    """A workflow that runs another one, which gets its input."""

    async def handler(ctx: WorkflowHandlerContext[Any]) -> Any:
        return await ctx.step.run_workflow("child", child, ctx.input, **how)

    return define_workflow("parent", handler=handler, max_attempts=1)


def starter(child: WorkflowDefinition | str, **how: Any) -> WorkflowDefinition:
    """A workflow that starts another one, gives the id of its run, and ends an hour later."""

    async def handler(ctx: WorkflowHandlerContext[Any]) -> str:
        id = await ctx.step.emit_workflow("start", child, ctx.input, **how)
        await ctx.step.wait_for("a little", "1h")
        return id

    return define_workflow("starter", handler=handler)


@pytest.mark.parametrize("by_name", [False, True])
def test_a_child_is_a_run_of_its_own_and_its_output_comes_back(rehearsal: Rehearsal, by_name: bool) -> None:
    child = echo("child")
    assert rehearsal.start(parent("child" if by_name else child).flow([1])).result() == [1]
    assert states(rehearsal, child) == ["done"]


def test_the_failure_of_a_child_is_a_redflow_error_with_the_childs_own_error_as_its_cause(rehearsal: Rehearsal) -> None:
    async def fails(ctx: WorkflowHandlerContext[Any]) -> None:
        raise LookupError("gone")

    child = define_workflow("child", handler=fails, max_attempts=2)

    @workflow("parent", max_attempts=1)
    async def catches(ctx: WorkflowHandlerContext[None]) -> list[str]:
        try:
            await ctx.step.run_workflow("child", child)
        except RedflowError as error:
            return [str(error), repr(error.__cause__)]
        return []

    assert rehearsal.start(catches.flow()).result() == ["Run failed: LookupError: gone", "LookupError('gone')"]


def test_a_child_that_takes_too_long_is_cancelled(rehearsal: Rehearsal) -> None:
    child = waiting("child")
    run = rehearsal.start(parent(child, timeout_ms=60_000).flow())
    with pytest.raises(TimeoutError, match="child"):
        run.result("61s")
    assert states(rehearsal, child) == ["cancelled"]


def test_a_child_that_gives_none_in_time_has_not_taken_too_long(rehearsal: Rehearsal) -> None:
    assert rehearsal.start(parent(echo("child"), timeout_ms=60_000).flow()).result("0s") is None


def test_a_child_that_was_cancelled_is_a_canceled_error(rehearsal: Rehearsal) -> None:
    child = waiting("child")
    run = rehearsal.start(parent(child).flow())
    assert rehearsal.runs(child.flow)[0].cancel("enough")
    assert run.end().state == "cancelled"
    with pytest.raises(Cancelled, match="enough"):
        run.result()
    assert not issubclass(CanceledError, TimeoutError)


@pytest.mark.parametrize("make", [parent, starter])
def test_the_cancel_of_a_run_cancels_the_runs_that_its_steps_have_started(rehearsal: Rehearsal, make: Any) -> None:
    child = waiting("child")
    middle = parent(child)
    top = make(middle) if make is starter else middle
    run = rehearsal.start(top.flow())
    assert states(rehearsal, child) == ["waiting"]
    assert run.cancel()
    assert states(rehearsal, child) == ["cancelled"]


def test_a_started_run_goes_on_by_itself(rehearsal: Rehearsal) -> None:
    child = waiting("child")
    run = rehearsal.start(starter(child).flow())
    id = run.result("1h")
    [started] = rehearsal.runs(child.flow)
    assert (started.id, started.state()) == (id, "waiting")
    assert started.result() == "waited"


@pytest.mark.parametrize("method", ["run_workflow", "emit_workflow"])
def test_a_run_of_one_key_is_made_once(rehearsal: Rehearsal, method: str) -> None:
    child = echo("child")

    async def twice(ctx: WorkflowHandlerContext[Any]) -> Any:
        begin = getattr(ctx.step, method)
        return [await begin(name, child, ctx.input, idempotency_key="the same") for name in ("one", "two")]

    first, second = rehearsal.start(define_workflow("twice", handler=twice).flow(1)).result()
    assert first == second
    assert states(rehearsal, child) == ["done"]


@pytest.mark.parametrize("make", [parent, starter])
def test_a_run_begins_at_its_moment(rehearsal: Rehearsal, make: Any) -> None:
    entered: list[Any] = []

    async def handler(ctx: WorkflowHandlerContext[Any]) -> str:
        await ctx.step.run("enter", entered.append, ctx.input)
        return "done"

    child = define_workflow("child", handler=handler)
    run: RehearsedRun = rehearsal.start(make(child, run_at=moment(rehearsal, hours=3)).flow(7))
    rehearsal.skip("2h")
    assert entered == []
    rehearsal.skip("2h")
    assert entered == [7]
    assert run.state() == "done"


def test_the_text_of_a_step_is_read_whatever_its_name_is_and_however_long(rehearsal: Rehearsal) -> None:
    names = ["it's \"quoted\", (name='x')", "two\nlines", "x" * 300, "attempt=9, number=9)", "ends in ..."]

    @workflow("named")
    async def handler(ctx: WorkflowHandlerContext[None]) -> None:
        for name in names:
            await ctx.step.run(name, dict, attempt=5, number=6)
        await ctx.step.wait_for_event("e" * 30, "event" * 9, "key" * 99, "1h")

    run = rehearsal.start(handler.flow())
    steps = steps_of(run.history())
    assert [step["seq"] for step in steps] == [1, 2, 3, 4, 5, 6]
    told = [step["name"] for step in steps]
    assert [*told[:2], *told[3:5]] == [*names[:2], *names[3:]]
    assert told[2].startswith("x" * 40) and "..." in told[2]
    assert "correlation_key" not in steps[-1]["wait"] or steps[-1]["wait"]["correlation_key"].startswith("key")
    assert steps[-1]["wait_until_at"] == steps[-1]["started_at"] + 3_600_000
