"""Async tasks: bodies that await expressions, in this process and on Ray."""

from __future__ import annotations

import asyncio

import pytest
from evaluations import Flow
from projects import Project

from rayflow import Scheduler, gather
from rayflow.errors import LazyValueUsed, UnsteadyBody
from rayflow.runtime.worker import coroutines

CODE = """
    import asyncio
    import time
    from rayflow import gather, task

    @task
    def inc(x):
        return x + 1

    @task
    def bad(x):
        raise ValueError(f"bad {x}")

    @task
    async def chain(n):
        first = await inc(n)
        second = await inc(first)
        return first, second

    @task
    async def at_once():
        return await asyncio.gather(inc(1), inc(2), inc(3))

    @task
    async def group():
        async def one(n):
            return await inc(n)
        async with asyncio.TaskGroup() as tasks:
            made = [tasks.create_task(one(n)) for n in range(3)]
        return [each.result() for each in made]

    @task
    async def nested():
        return await gather({"a": inc(1), "b": [inc(2), {"c": inc(3) * 10}]})

    @task
    async def several():
        a, b = await gather(inc(1), inc(2))
        return await gather(inc(a) + b), await gather(5), await gather([1, 2])

    @task
    async def catching(n):
        try:
            return await bad(n)
        except ValueError as error:
            return f"caught {error}"

    @task
    async def failing(n):
        await inc(0)
        return await bad(n)

    @task
    async def with_everything():
        one = asyncio.ensure_future(asyncio.sleep(0.01, "slept"))
        two = asyncio.to_thread(time.sleep, 0.01)
        async def items():
            for n in range(3):
                yield n
        total = 0
        async for n in items():
            total += await inc(n)
        await two
        return total, await one

    @task
    async def lazy_result(n):
        return [await inc(n), inc(n + 10)]

    @task
    async def wild():
        import random
        return await inc(random.random())

    @task
    async def wild_with_a_ticker():
        import random
        async def tick():
            while True:
                await asyncio.sleep(0.005)
        ticking = asyncio.ensure_future(tick())
        return await inc(random.random())

    @task
    async def half_wild():
        import random
        return await asyncio.gather(inc(1), inc(random.random()))

    @task
    async def wild_at_last():
        import random
        await inc(1)
        return await inc(random.random())

    @task
    async def half_wild_with_a_ticker():
        import random
        async def tick():
            while True:
                await asyncio.sleep(0.005)
        ticking = asyncio.ensure_future(tick())
        return await asyncio.gather(inc(1), inc(random.random()))

    @task
    async def wasteful():
        inc(7)
        return await inc(8)

    @task
    async def tidy():
        try:
            print("in")
            return await inc(1)
        finally:
            print("out")

    @task
    async def large(n):
        text = await grown(n)
        return len(text) + len(await shouted(text))

    @task
    def grown(n):
        return "x" * n

    @task
    def shouted(text):
        return text.upper()

    @task(cache_scope="NONE")
    def roll():
        import sys
        sys.rolls = getattr(sys, "rolls", 0) + 1
        return sys.rolls

    @task
    async def two_rolls():
        return [await roll(), await roll()]

    @task
    async def one_roll():
        call = roll()
        return [await call, await call]

    @task
    async def with_a_timeout():
        async with asyncio.timeout(3600):
            first = await inc(1)
        return first, await asyncio.wait_for(gather(inc(2)), 3600)

    @task
    async def with_a_ticker():
        async def tick():
            while True:
                await asyncio.sleep(0.01)
        ticker = asyncio.ensure_future(tick())
        try:
            return await inc(1)
        finally:
            ticker.cancel()

    @task
    async def with_an_open_connection():
        import socket
        one, other = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=one)
        try:
            asyncio.ensure_future(reader.read(1))
            return await inc(1)
        finally:
            writer.close()
            other.close()

    @task
    async def waits_in_a_thread():
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor() as pool:
            async def slow():
                return await asyncio.get_running_loop().run_in_executor(pool, time.sleep, 0.05)
            await asyncio.gather(slow(), inc(1))
        return "both"
"""


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coroutines, "PATIENCE_SECONDS", 0.05)


@pytest.fixture
def flow(project: Project) -> Flow:
    made = Flow(project)
    made.write(CODE)
    return made


@pytest.mark.parametrize(
    ("name", "arguments", "value"),
    [
        ("chain", (1,), (2, 3)),
        ("at_once", (), [2, 3, 4]),
        ("group", (), [1, 2, 3]),
        ("nested", (), {"a": 2, "b": [3, {"c": 40}]}),
        ("several", (), (6, 5, [1, 2])),
        ("catching", (3,), "caught bad 3"),
        ("with_everything", (), (6, "slept")),
        ("lazy_result", (1,), [2, 12]),
        ("large", (9_000,), 18_000),
        ("waits_in_a_thread", (), "both"),
        ("with_a_timeout", (), (2, 3)),
        ("with_a_ticker", (), 2),
        ("with_an_open_connection", (), 2),
    ],
)
def test_a_body_may_await_expressions(flow: Flow, name: str, arguments: tuple, value) -> None:
    assert flow.call(name, *arguments) == value


def test_awaited_calls_that_stand_at_once_take_one_round(flow: Flow) -> None:
    flow.call("at_once")
    assert flow.project.sql("select max(attempts) from jobs where task_name = 'flow.at_once'") == [(2,)]


def test_an_error_that_is_not_caught_is_told_by_the_calls_that_led_to_it(flow: Flow) -> None:
    with pytest.raises(ValueError, match="bad 4") as raised:
        flow.call("failing", 4)
    (note,) = raised.value.__notes__
    assert "flow.failing(n=4)\n  flow.bad(x=4)" in note
    assert flow.watching.summaries[-1].counts["failed"] == 2


def test_a_body_that_awaits_is_cached_until_a_task_below_changes(flow: Flow) -> None:
    assert flow.call("chain", 1) == (2, 3)
    assert flow.computed() == {"chain": 1, "inc": 2}
    assert flow.call("chain", 1) == (2, 3)
    assert flow.counts("cached") == {"chain": 1}
    flow.edit("return x + 1", "return x + 2")
    assert flow.call("chain", 1) == (3, 5)
    assert flow.computed() == {"chain": 1, "inc": 2}


def test_a_body_that_awaited_and_returned_calls_is_cached_whole(flow: Flow) -> None:
    assert flow.call("lazy_result", 1) == [2, 12]
    assert flow.call("lazy_result", 1) == [2, 12]
    assert flow.counts("cached") == {"lazy_result": 1}


def test_a_body_that_caught_a_failure_is_tried_again_in_every_execution(flow: Flow) -> None:
    flow.call("catching", 3)
    flow.edit("raise ValueError", "return str")
    assert flow.call("catching", 3) == "bad 3"


def test_a_body_that_awaits_something_else_each_time_is_an_error(flow: Flow) -> None:
    with pytest.raises(UnsteadyBody, match=r"flow\.wild awaits other expressions"):
        flow.call("wild")


@pytest.mark.parametrize("name", ["wild_with_a_ticker", "half_wild", "wild_at_last", "half_wild_with_a_ticker"])
def test_nor_is_one_that_something_else_keeps_busy_or_steady_in_part_entered_for_ever(
    flow: Flow, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(coroutines, "PATIENCE_SECONDS", 0.005)
    with pytest.raises(UnsteadyBody, match=rf"flow\.{name} awaits other expressions"):
        flow.call(name)


def test_what_was_awaited_counts_as_used(flow: Flow) -> None:
    flow.call("wasteful")
    told = [line for line in flow.watching.lines if "created and not returned" in line]
    assert len(told) == 1
    assert "inc(7)" in told[0]
    assert "inc(8)" not in told[0]


def test_a_body_that_leaves_tidies_up(flow: Flow) -> None:
    assert flow.call("tidy") == 2
    assert "".join(flow.watching.lines).split() == ["in", "out", "in", "out"]


def test_two_calls_that_must_not_be_shared_are_two_and_one_call_awaited_twice_is_one(flow: Flow) -> None:
    assert flow.call("two_rolls") == [1, 2]
    assert flow.call("one_roll") == [3, 3]


def test_a_body_awaits_also_where_an_event_loop_is_running(flow: Flow) -> None:
    store = str(flow.project.path / ".rayflow")

    async def inside() -> object:
        with Scheduler(store=store, inline=True) as scheduler:
            return scheduler.run(flow.module.chain(1))

    assert asyncio.run(inside()) == (2, 3)


def test_an_expression_cannot_be_awaited_outside_of_a_body(flow: Flow) -> None:
    async def outside() -> object:
        return await flow.module.inc(1)

    async def outside_by_gather() -> object:
        return await gather(flow.module.inc(1))

    for awaiting in (outside, outside_by_gather):
        with pytest.raises(LazyValueUsed, match="cannot be awaited here"):
            asyncio.run(awaiting())


@pytest.mark.ray
def test_a_body_awaits_on_ray_and_holds_no_worker_meanwhile(project: Project, ray_cluster: str) -> None:
    module = Flow(project).write(
        """
        from rayflow import gather, task

        @task
        async def tree(depth):
            # More bodies wait at the same time than there are processors.
            if depth == 0:
                return len(await text())
            return sum(await gather([tree(depth - 1), other(depth - 1)]))

        @task
        async def other(depth):
            try:
                return await tree(depth)
            except ZeroDivisionError:
                return await bad()

        @task
        def text():
            return "x" * 10_000

        @task
        def bad():
            raise KeyError("no")

        @task
        async def failing():
            return await bad()
        """
    )
    with Scheduler(store=str(project.path / ".rayflow"), address=ray_cluster) as scheduler:
        assert scheduler.run(module.tree(4)) == 160_000
        with pytest.raises(KeyError, match="no"):
            scheduler.run(module.failing())
    assert project.sql("select attempts, status from jobs where task_name = 'flow.failing'") == [(2, "failed")]
