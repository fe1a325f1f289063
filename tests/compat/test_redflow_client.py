"""A worker keeps runs in this process, and a client asks for them, with redflow's names."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel

from rayflow import aconnect
from rayflow.compat.redflow import (
    CanceledError,
    CronTrigger,
    EventTrigger,
    InputValidationError,
    ListEventsParams,
    ListRunsParams,
    RateLimitExceededError,
    RedflowClient,
    RedflowError,
    RunHandle,
    SearchRunsParams,
    StartWorkerOptions,
    TimeoutError,
    UnknownWorkflowError,
    WorkerHandle,
    WorkflowHandlerContext,
    WorkflowRateLimitOptions,
    WorkflowRetryPolicy,
    create_client,
    define_workflow,
    set_default_client,
    start_worker,
    wait_for_input,
)
from rayflow.compat.redflow import __unstable_reset_default_registry_for_tests as forget_workflows
from rayflow.errors import LeaseHeld, NotFound, RunConflict

SECONDS = 60
"""The tests wait so long, on a loaded machine."""


# --- the workflows ----------------------------------------------------------------------------------------------------


class Order(BaseModel):
    id: str


class Approval(BaseModel):
    by: str


async def give_back(ctx: WorkflowHandlerContext[Any]) -> Any:
    return await ctx.step.run("give back", dict, given=ctx.input)


async def flaky(ctx: WorkflowHandlerContext[Any]) -> int:
    await ctx.step.run("count", len, ctx.input)
    await ctx.step.run(f"part {ctx.run.attempt}", str, ctx.run.attempt)
    if ctx.run.attempt == 1:
        raise ConnectionError("lost")
    return ctx.run.attempt


async def fails(ctx: WorkflowHandlerContext[Any]) -> None:
    raise LookupError(f"no {ctx.input}")


async def waits(ctx: WorkflowHandlerContext[Any]) -> Any:
    got = await ctx.step.wait_for_event("approval", "approved", ctx.input["order"], "10h")
    return got and got["data"]


async def asks(ctx: WorkflowHandlerContext[Any]) -> Any:
    if ctx.resume is None:
        raise wait_for_input("Who?", Approval)
    return [ctx.input, ctx.resume.form]


async def tells(ctx: WorkflowHandlerContext[Any]) -> int:
    assert ctx.stream is not None
    for number in range(ctx.input):
        record = await ctx.stream.write({"part": number})
        assert (record["attempt"], record["value"]) == (1, {"part": number})
    got = await ctx.step.wait_for_event("go on", "go on", ctx.run.id, "10h")
    assert got is not None
    await ctx.stream.write("last")
    return int(ctx.input)


async def starts(ctx: WorkflowHandlerContext[Any]) -> str:
    return await ctx.step.emit_workflow("start", "waits", {"order": "of a child"})


TICKS = [
    CronTrigger("0 9 * * *", timezone="Europe/Oslo", input={"source": "cron"}, id="daily"),
    CronTrigger("30 4 1 1 *"),
]


def define() -> None:
    """The workflows of this module."""
    forget_workflows()
    hears = [EventTrigger("order.created", id="mine")]
    define_workflow("give-back", handler=give_back, event=hears, queue="fast")
    define_workflow("also hears", handler=give_back, event=[EventTrigger("order.created")])
    define_workflow("checked", handler=give_back, input_schema=Order)
    define_workflow("flaky", handler=flaky, retries=WorkflowRetryPolicy(delay=1))
    define_workflow("fails", handler=fails, max_attempts=1)
    define_workflow("waits", handler=waits)
    define_workflow("tells", handler=tells, stream=True)
    define_workflow("ticks", handler=give_back, cron=TICKS, max_attempts=4)
    define_workflow("asks", handler=asks)
    define_workflow("starts", handler=starts)
    limit = WorkflowRateLimitOptions(key=str, limit=1, period="1h")
    define_workflow("limited", handler=give_back, rate_limit=limit)


class Kept:
    """A store with a worker in this process."""

    def __init__(self, folder: Path) -> None:
        self.store = str(folder / "store")
        self.worker: WorkerHandle = asyncio.run(start_worker(self.options()))

    def options(self, **how: Any) -> StartWorkerOptions:
        return StartWorkerOptions(app="tests", url=self.store, inline=True, **how)

    def close(self) -> None:
        asyncio.run(self.worker.stop())


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    """One worker for the tests of this module."""
    folder = tmp_path_factory.mktemp("redflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYFLOW_HOME", str(folder / "home"))
        patch.chdir(folder)
        define()
        made = Kept(folder)
        yield made
        made.close()
        forget_workflows()


def asking(test: Callable[[RedflowClient], Awaitable[None]]) -> Callable[[Kept], None]:
    """A test that asks a client, in a loop of its own."""

    @functools.wraps(test)
    def run(kept: Kept) -> None:
        async def main() -> None:
            client = create_client(url=kept.store)
            set_default_client(client)
            try:
                await test(client)
            finally:
                set_default_client(None)
                await client.close()

        asyncio.run(main())

    del run.__dict__["__wrapped__"]  # pytest is to see the fixture
    return run


async def status(handle: RunHandle, wanted: str, *fields: str) -> Any:
    """The state of a run, when it has this status, and these fields."""
    end = time.monotonic() + SECONDS
    while True:
        found = await handle.get_state()
        if found is not None and found["status"] == wanted and {*fields} <= {*found}:
            return found
        assert time.monotonic() < end, found
        await asyncio.sleep(0.02)


# --- starting ---------------------------------------------------------------------------------------------------------


@asking
async def test_a_run_is_started_by_its_definition_and_its_output_comes_back(client: RedflowClient) -> None:
    from rayflow.compat.redflow import get_default_registry

    definition: Any = get_default_registry().get("give-back")
    handle = await definition.run({"n": 1})
    assert await handle.result() == {"given": {"n": 1}}


@asking
async def test_a_run_is_started_by_its_name(client: RedflowClient) -> None:
    for start in (client.emit_workflow, client.run_by_name):
        assert await (await start("give-back", [1, None, "x"])).result() == {"given": [1, None, "x"]}
    with pytest.raises(UnknownWorkflowError, match="nobody's"):
        await client.emit_workflow("nobody's", {})


@asking
async def test_an_input_that_does_not_fit_its_schema_fails_the_run_and_is_refused_by_its_definition(
    client: RedflowClient,
) -> None:
    from rayflow.compat.redflow import get_default_registry

    handle = await client.run_by_name("checked", {"id": 1})
    with pytest.raises(RedflowError) as raised:
        await handle.result()
    assert isinstance(raised.value.__cause__, InputValidationError)
    state = await handle.get_state()
    assert state is not None and (state["attempt"], state["error"]["kind"]) == (1, "validation")
    definition: Any = get_default_registry().get("checked")
    with pytest.raises(InputValidationError):
        await definition.run({"id": 1})


@asking
async def test_a_key_makes_one_run_of_several_starts(client: RedflowClient) -> None:
    first = await client.run_by_name("give-back", 1, idempotency_key="only")
    again = await client.run_by_name("give-back", 1, idempotency_key="only")
    other = await client.run_by_name("checked", {"id": "1"}, idempotency_key="only")
    assert first.id == again.id != other.id
    with pytest.raises(RunConflict):
        await client.run_by_name("give-back", 2, idempotency_key="only")


@asking
async def test_a_run_is_scheduled_until_its_moment(client: RedflowClient) -> None:
    at = datetime.now() + timedelta(hours=1)
    handle = await client.run_by_name("give-back", 1, run_at=at)
    state = await status(handle, "scheduled")
    assert state["available_at"] == pytest.approx(at.timestamp() * 1000, abs=1)
    assert (state["attempt"], "started_at" in state) == (0, False)
    assert await client.cancel_run(handle.id)
    past = await client.run_by_name("give-back", 2, run_at=datetime.now() - timedelta(hours=1))
    assert await past.result() == {"given": 2}


@asking
async def test_a_start_above_a_rate_limit_is_refused_and_told_when_there_is_room(client: RedflowClient) -> None:
    await client.run_by_name("limited", "one key")
    with pytest.raises(RateLimitExceededError) as raised:
        await client.run_by_name("limited", "one key")
    assert 0 < raised.value.retry_after_ms <= 3_600_000


@asking
async def test_a_start_may_name_another_queue(client: RedflowClient) -> None:
    handle = await client.run_by_name("give-back", 1, queue_override="slow")
    assert await handle.result() == {"given": 1}
    state = await handle.get_state()
    assert state is not None and state["queue"] == "slow"


# --- results and cancels ----------------------------------------------------------------------------------------------


@asking
async def test_a_failed_run_raises_with_its_own_error_as_the_cause(client: RedflowClient) -> None:
    handle = await client.run_by_name("fails", "bread")
    with pytest.raises(RedflowError, match="LookupError: no bread") as raised:
        await handle.result()
    assert repr(raised.value.__cause__) == "LookupError('no bread')"
    state = await handle.get_state()
    assert state is not None
    assert (state["status"], state["error"]["name"], state["error"]["message"]) == ("failed", "LookupError", "no bread")


@asking
async def test_a_wait_for_a_result_ends_at_its_timeout_and_the_run_goes_on(client: RedflowClient) -> None:
    handle = await client.run_by_name("waits", {"order": "slow"})
    with pytest.raises(TimeoutError, match=handle.id):
        await handle.result(timeout_ms=50)
    await client.emit_event("approved", "late", correlation_key="slow")
    assert await client.make_run_handle(handle.id).result() == "late"


@asking
async def test_a_cancelled_run_tells_why_and_a_second_cancel_is_told_that_it_had_ended(client: RedflowClient) -> None:
    handle = await client.run_by_name("waits", {"order": "none"})
    assert await client.cancel_run(handle.id, reason="enough") is True
    with pytest.raises(CanceledError, match="enough"):
        await handle.result()
    state = await status(handle, "canceled")
    assert state["cancel_reason"] == "enough"
    assert state["created_at"] <= state["cancel_requested_at"] <= state["finished_at"]
    assert await client.cancel_run(handle.id) is False
    assert await client.cancel_run("no such run") is False


@asking
async def test_a_run_that_there_is_not_has_no_state_and_no_result(client: RedflowClient) -> None:
    assert await client.get_run("no such run") is None
    assert await client.get_run_steps("no such run") == []
    assert await client.get_run_attempts("no such run") == []
    with pytest.raises(NotFound):
        await client.wait_for_result("no such run")


# --- questions about runs ---------------------------------------------------------------------------------------------


@asking
async def test_a_run_tells_its_input_output_attempts_and_times(client: RedflowClient) -> None:
    before = time.time() * 1000
    handle = await client.run_by_name("flaky", [1, 2, 3])
    assert await handle.result() == 2
    state = await status(handle, "succeeded")
    assert (state["id"], state["workflow"], state["queue"]) == (handle.id, "flaky", "default")
    assert (state["input"], state["output"], state["attempt"], state["max_attempts"]) == ([1, 2, 3], 2, 2, 3)
    times = [state["created_at"], state["started_at"], state["finished_at"]]
    assert before - 1000 <= times[0] and times == sorted(times)


@asking
async def test_the_steps_and_attempts_of_a_run_are_told(client: RedflowClient) -> None:
    handle = await client.run_by_name("flaky", [1, 2, 3])
    await handle.result()
    steps = await client.get_run_steps(handle.id)
    assert [(step["name"], step["status"], step["attempt"], step["output"]) for step in steps] == [
        ("count", "succeeded", 1, 3), ("part 1", "succeeded", 1, "1"), ("part 2", "succeeded", 2, "2"),
    ]  # fmt: skip
    assert [step["seq"] for step in steps] == [1, 2, 2]
    first, second = await client.get_run_attempts(handle.id)
    assert (first["attempt"], first["status"], first["error"]["message"]) == (1, "failed", "lost")
    assert (second["attempt"], second["status"], "error" in second) == (2, "succeeded", False)
    assert [step["name"] for step in first["steps"]] == ["count", "part 1"]
    assert first["finished_at"] <= second["started_at"]


@asking
async def test_a_run_that_waits_for_an_event_tells_what_it_waits_for(client: RedflowClient) -> None:
    handle = await client.run_by_name("waits", {"order": "order 7"})
    state = await status(handle, "scheduled", "available_at")
    [step] = await client.get_run_steps(handle.id)
    assert step["status"] == "running"
    assert step["wait"] == {"kind": "event", "event": "approved", "correlation_key": "order 7"}
    assert state["available_at"] == pytest.approx(step["wait_until_at"], abs=1000)
    assert await client.cancel_run(handle.id)


@asking
async def test_runs_are_listed_by_page_and_found_by_what_they_are(client: RedflowClient) -> None:
    handles = [await client.run_by_name("fails", f"searched {number}") for number in range(3)]
    for handle in handles:
        await status(handle, "failed")
    newest = [handle.id for handle in reversed(handles)]
    page = await client.list_runs(ListRunsParams(workflow="fails", limit=2))
    assert [run["id"] for run in page] == newest[:2]
    following = await client.list_runs(ListRunsParams(workflow="fails", limit=1, cursor=page[-1]["cursor"]))
    assert [run["id"] for run in following] == newest[2:]
    oldest = await client.list_runs(ListRunsParams(sort="asc", limit=1))
    assert oldest[0]["created_at"] <= page[0]["created_at"]
    found = await client.search_runs(SearchRunsParams(status="failed", query="SEARCHED 1", workflow="fails"))
    assert [run["id"] for run in found["runs"]] == [handles[1].id]
    assert found["scanned"] >= 3
    nothing = await client.search_runs(SearchRunsParams(status="succeeded", workflow="fails"))
    assert nothing["runs"] == []
    on_queue = await client.search_runs(SearchRunsParams(queue="fast", limit=500))
    assert {run["workflow"] for run in on_queue["runs"]} <= {"give-back"}


@asking
async def test_the_runs_that_a_run_has_started_are_found(client: RedflowClient) -> None:
    parent = await client.run_by_name("starts")
    id = await parent.result()
    found = await client.search_runs(SearchRunsParams(parent_run_id=parent.id))
    assert [(run["id"], run["workflow"], run["parent_run_id"]) for run in found["runs"]] == [(id, "waits", parent.id)]
    assert await client.cancel_run(id)


@asking
async def test_runs_are_counted_by_status(client: RedflowClient) -> None:
    before = await client.get_stats()
    await (await client.run_by_name("give-back", 1)).result()
    await status(await client.run_by_name("fails", 1), "failed")
    after = await client.get_stats()
    assert after["total"] == before["total"] + 2
    gained = {each: after["by_status"][each] - before["by_status"][each] for each in after["by_status"]}
    assert gained == {"scheduled": 0, "queued": 0, "running": 0, "succeeded": 1, "failed": 1, "canceled": 0}


# --- workflows and their schedules ------------------------------------------------------------------------------------


@asking
async def test_the_workflows_of_the_worker_are_told(client: RedflowClient) -> None:
    names = await client.list_workflows()
    assert names == sorted(names) and {"also hears", "give-back", "ticks"} <= {*names}
    hears = await client.get_workflow_meta("give-back")
    assert hears == {
        "name": "give-back", "queue": "fast", "max_concurrency": 1, "max_attempts": 3, "cron": [],
        "event": [{"name": "order.created"}],
    }  # fmt: skip
    assert await client.get_workflow_meta("nobody's") is None


@asking
async def test_a_cron_trigger_is_a_schedule_whose_runs_have_its_input(client: RedflowClient) -> None:
    meta = await client.get_workflow_meta("ticks")
    assert meta is not None
    first, second = sorted(meta["cron"], key=lambda each: each["expression"])
    assert (first["id"], first["expression"], first["timezone"], first["input"]) == (
        "daily", "0 9 * * *", "Europe/Oslo", {"source": "cron"},
    )  # fmt: skip
    assert (second["id"], second["expression"], second["timezone"], second["input"]) == ("2", "30 4 1 1 *", "UTC", None)
    next_run = datetime.fromtimestamp(first["next_run_at"] / 1000, ZoneInfo("Europe/Oslo"))
    assert (next_run.hour, next_run.minute) == (9, 0)
    async with aconnect(store=client.store) as plain:
        run = await plain.schedules.trigger("redflow:ticks:daily")
        assert await client.wait_for_result(run.id) == {"given": {"source": "cron"}}
    state = await client.get_run(run.id)
    assert state is not None and (state["workflow"], state["input"]) == ("ticks", {"source": "cron"})


# --- streams ----------------------------------------------------------------------------------------------------------


@asking
async def test_a_stream_is_read_while_its_handler_writes_and_ends_with_the_run(client: RedflowClient) -> None:
    handle = await client.run_by_name("tells", 3)
    reader = await client.read_stream(handle.id, resumable=True)
    assert reader is not None
    chunks = [await anext(reader) for _ in range(3)]
    assert [chunk.record["value"] for chunk in chunks] == [{"part": 0}, {"part": 1}, {"part": 2}]
    await reader.aclose()
    await client.emit_event("go on", correlation_key=handle.id)
    again = await client.read_stream(handle.id, resumable=chunks[1].cursor_id)
    assert again is not None
    assert [chunk.record["value"] async for chunk in again][-1] == "last"
    records = await client.get_run_stream(handle.id)
    assert records[-1]["value"] == "last" and {record["attempt"] for record in records} == {1}
    assert [record["value"] for record in await client.get_run_stream(handle.id, limit=1)] == [{"part": 0}]
    plain = await client.read_stream(handle.id, drain=True)
    assert plain is not None
    assert (await anext(plain)).cursor_id is None
    assert await client.read_stream("no such run") is None
    assert await client.get_run_stream("no such run") == []


# --- events -----------------------------------------------------------------------------------------------------------


@asking
async def test_an_event_starts_the_subscribed_workflows_once_for_its_id(client: RedflowClient) -> None:
    data = {"id": "order 1"}
    handles = await client.emit_event("order.created", data, event_id="created 1")
    outputs = await asyncio.gather(*(handle.result() for handle in handles))
    assert outputs == [{"given": data}, {"given": data}]
    again = await client.emit_event_detailed("order.created", data, event_id="created 1")
    assert [handle.id for handle in again["handles"]] == [handle.id for handle in handles]
    assert (again["event_id"], again["resumed_run_ids"]) == ("created 1", [])
    with pytest.raises(ValueError, match="created 1"):
        await client.emit_event("order.created", {"id": "other"}, event_id="created 1")
    keyed = [await client.emit_event("order.created", 1, idempotency_key="k") for _ in range(2)]
    assert [handle.id for handle in keyed[0]] == [handle.id for handle in keyed[1]]


@asking
async def test_an_event_resumes_the_run_that_waits_for_its_key(client: RedflowClient) -> None:
    handle = await client.run_by_name("waits", {"order": "order 9"})
    await status(handle, "scheduled")
    told = await client.emit_event_detailed("approved", {"by": "grace"}, correlation_key="order 9")
    assert (told["handles"], told["resumed_run_ids"]) == ([], [handle.id])
    assert await handle.result() == {"by": "grace"}
    record = await client.get_event(told["event_id"])
    assert record is not None
    assert (record["resumed_run_count"], record["resumed_run_ids"]) == (1, [handle.id])
    assert (record["correlation_key"], record["fanout_status"]) == ("order 9", "no-subscribers")


@asking
async def test_the_record_of_an_event_tells_its_deliveries(client: RedflowClient) -> None:
    handles = await client.emit_event("order.created", 5, event_id="recorded")
    record = await client.get_event("recorded")
    assert record is not None
    assert (record["id"], record["name"], record["data"], record["fanout_status"]) == (
        "recorded", "order.created", 5, "completed",
    )  # fmt: skip
    counts = [record["subscriber_count"], record["delivery_count"], record["failed_delivery_count"]]
    assert counts == [2, 2, 0]
    assert [each["workflow"] for each in record["deliveries"]] == ["also hears", "give-back"]
    assert [each["run_id"] for each in record["deliveries"]] == [handle.id for handle in handles]
    assert [each["subscriber_event_id"] for each in record["deliveries"]] == ["also hears:order.created", "mine"]
    assert await client.get_event("no such event") is None


@asking
async def test_an_event_for_later_tells_the_runs_that_it_will_start(client: RedflowClient) -> None:
    at = datetime.now() + timedelta(hours=1)
    handles = await client.emit_event("order.created", 5, event_id="later", emit_at=at)
    record = await client.get_event("later")
    assert record is not None
    assert record["fanout_status"] == "pending"
    assert record["next_process_at"] == pytest.approx(at.timestamp() * 1000, abs=1)
    assert [await handle.get_state() for handle in handles] == [None] * len(handles)


@asking
async def test_events_are_listed_by_page(client: RedflowClient) -> None:
    for number in range(3):
        await client.emit_event("listed", number, event_id=f"listed {number}")
    newest = await client.list_events(ListEventsParams(name="listed", limit=2))
    assert [(event["id"], event["data"]) for event in newest] == [("listed 2", 2), ("listed 1", 1)]
    following = await client.list_events(ListEventsParams(name="listed", cursor="listed 1"))
    assert [event["id"] for event in following] == ["listed 0"]
    oldest = await client.list_events(ListEventsParams(name="listed", sort="asc", limit=1))
    assert [event["id"] for event in oldest] == ["listed 0"]


@pytest.mark.parametrize("how", [{"event_name": " "}, {"correlation_key": " "}, {"event_id": ""}])
def test_an_event_has_a_name_and_its_key_and_id_are_not_empty(kept: Kept, how: dict[str, Any]) -> None:
    given: dict[str, Any] = {"event_name": "news", "input": 1, **how}
    with pytest.raises(ValueError, match=next(iter(how))):
        asyncio.run(create_client(url=kept.store).emit_event(**given))


# --- a person, restarts -----------------------------------------------------------------------------------------------


@asking
async def test_a_run_that_waits_for_input_is_resumed_with_an_input_and_a_form(client: RedflowClient) -> None:
    handle = await client.run_by_name("asks", {"n": 1})
    await status(handle, "scheduled")
    with pytest.raises(InputValidationError):
        await client.resume_run(handle.id, {"n": 2}, form={"by": None})
    resumed = await client.resume_run(handle.id, {"n": 2}, form={"by": "grace"})
    assert resumed is not None
    assert await resumed.result() == [{"n": 2}, {"by": "grace"}]
    assert await client.resume_run(handle.id, {"n": 3}) is None
    assert await client.resume_run("no such run", {}) is None


def test_a_second_worker_of_a_store_is_refused_and_told_who_keeps_it(kept: Kept) -> None:
    with pytest.raises(LeaseHeld, match="tests"):
        asyncio.run(start_worker(kept.options()))


def test_a_run_waits_on_over_the_end_of_its_worker_and_the_client_finds_the_next_one(kept: Kept) -> None:
    async def main() -> None:
        client = create_client(url=kept.store)
        handle = await client.run_by_name("waits", {"order": "restart"})
        await status(handle, "scheduled")
        await kept.worker.stop()
        define_workflow("ticks", handler=give_back, cron=[TICKS[0]], max_attempts=4)
        kept.worker = await start_worker(kept.options(standby_ms=SECONDS * 1000))
        await client.emit_event("approved", 7, correlation_key="restart")
        assert await handle.result() == 7
        meta = await client.get_workflow_meta("ticks")
        assert meta is not None
        assert [each["id"] for each in meta["cron"]] == ["daily"]  # the trigger that is gone starts nothing any more
        async with aconnect(store=kept.store) as plain:
            told = await plain.schedules.show("redflow:ticks:daily")
        assert [each["cause"] for each in told["changes"]] == ["put"]  # the one that stays is as it was
        await client.close()

    asyncio.run(main())
