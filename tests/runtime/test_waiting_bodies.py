"""Bodies that stay where they are while they await: entered a few times, however much they await one by one."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Sequence

import pytest
from evaluations import Flow
from projects import Project

from rayflow import Scheduler, subrun
from rayflow.errors import StoreUnavailable
from rayflow.record_columns import Columns
from rayflow.records import Row
from rayflow.runtime.worker import coroutines, waiting_bodies
from rayflow.store.store import Store
from rayflow.testing import Rehearsal

CODE = """
    import asyncio
    import time
    from rayflow import gather, task

    @task
    def inc(x):
        return x + 1

    @task
    def slow(x):
        time.sleep(0.15)
        return x

    @task
    def bad(x):
        raise ValueError(f"bad {x}")

    @task
    async def chain(n):
        print("in")
        try:
            x = 0
            for _ in range(n):
                x = await inc(x)
            print("through")
            return x
        finally:
            print("out")

    @task
    async def several(k):
        return await gather([chain(5 + i) for i in range(k)])

    @task
    async def at_once(n):
        totals = [0, 0]
        async def one(i):
            for _ in range(n):
                totals[i] = await inc(totals[i] + i)
        await asyncio.gather(one(0), one(1))
        return totals

    @task
    async def with_a_timeout(n):
        async with asyncio.timeout(0.4):
            for i in range(n):
                await slow(i)
        await asyncio.sleep(0.001)
        return n

    @task
    async def that_gives_up_waiting():
        first = asyncio.ensure_future(gather(inc(1)))
        await inc(0)
        await inc(2)
        waiting = asyncio.ensure_future(gather(inc(3)))
        await asyncio.wait([first, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        return await gather(inc(4)), await gather(inc(5))

    @task
    async def wasteful():
        inc(70)
        total = 0
        for i in range(4):
            inc(71 + i)
            total += await inc(i)
        return total

    @task
    async def catching():
        caught = []
        for i in range(4):
            try:
                await (bad(i) if i == 2 else inc(i))
            except ValueError as error:
                caught.append(str(error))
        await bad(9)

    @task
    async def doomed():
        await gather([chain(50), failing()])

    @task
    async def failing():
        await inc(100)
        await inc(101)
        await bad(1)

    class Point:
        def __init__(self, x):
            self.x = x

        def norm(self):
            return self.x

    @task
    def measure(point):
        return point

    @task
    async def norms(point):
        for i in range(3):
            await inc(i)
        return point.norm() + (await inc(7))
"""


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coroutines, "PATIENCE_SECONDS", 0.01)


@pytest.fixture
def flow(project: Project) -> Flow:
    made = Flow(project)
    made.write(CODE)
    return made


def words(flow: Flow) -> list[str]:
    """What the bodies have printed."""
    return "".join(flow.watching.lines).split()


def test_a_body_is_entered_again_only_when_it_knows_twice_as_much(flow: Flow) -> None:
    assert flow.call("chain", 20) == 20
    assert words(flow) == ["in", "out"] * 5 + ["in", "through", "out"]
    assert flow.project.sql("select attempts from jobs where task_name = 'flow.chain'") == [(21,)]
    printed = flow.project.sql("select attempt, text from logs where attempt > 8 order by attempt")
    assert printed == [(9, "in\n"), (16, "out\n"), (17, "in\n"), (21, "through\nout\n")]


def test_where_no_more_can_stay_the_others_are_entered_again(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_bodies, "MOST_BODIES", 2)
    assert flow.call("several", 4) == [5, 6, 7, 8]
    assert words(flow).count("in") == words(flow).count("out") > 8


def test_those_that_stay_leave_files_to_be_opened_by_others(flow: Flow) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = len(os.listdir("/dev/fd")) + 60  # forty bodies would take twice as many
    resource.setrlimit(resource.RLIMIT_NOFILE, (room, before[1]))
    try:
        assert flow.call("several", 40) == list(range(5, 45))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_several_parts_of_a_body_go_on_at_the_same_time(flow: Flow) -> None:
    assert flow.call("at_once", 5) == [5, 10]


def test_what_a_body_no_longer_waits_for_does_not_make_it_unsteady(flow: Flow) -> None:
    assert flow.call("that_gives_up_waiting") == (5, 6)


def test_the_time_of_other_tasks_does_not_count_for_a_bodys_own_timeout(flow: Flow) -> None:
    assert flow.call("with_a_timeout", 5) == 5


def test_a_body_that_stayed_is_told_once_of_the_calls_that_it_did_not_return(flow: Flow) -> None:
    assert flow.call("wasteful") == 10
    told = [line for line in flow.watching.lines if "created and not returned" in line]
    assert len(told) == 1
    assert "inc(70), inc(71), inc(72) and 2 more" in told[0].replace("flow.", "").replace("x=", "")


def test_errors_that_a_body_awaits_are_raised_where_it_stayed(flow: Flow) -> None:
    with pytest.raises(ValueError, match="bad 9") as raised:
        flow.call("catching")
    (note,) = raised.value.__notes__
    assert "flow.catching()\n  flow.bad(x=9)" in note
    assert flow.computed() == {"catching": 1, "inc": 3, "bad": 2}


def test_an_error_in_a_body_does_not_look_like_one_of_ours(flow: Flow) -> None:
    flow.edit("print(\"through\")", "raise ValueError('mine')")
    with pytest.raises(ValueError, match="mine") as raised:
        flow.call("chain", 2)
    assert "no running event loop" not in "".join(raised.value.__notes__)


def test_a_body_that_lost_its_worker_is_entered_again(project: Project) -> None:
    module = Flow(project).write(CODE)
    with Rehearsal() as rehearsal:
        assert rehearsal.run(module.chain(6)) == 6
        calm = [line for _, line in rehearsal.printed].count("in")
        rehearsal.forget_all()
        rehearsal.lose(module.chain, attempts=6)
        assert rehearsal.run(module.chain(6)) == 6
        assert [line for _, line in rehearsal.printed].count("in") == calm + 1
        rehearsal.restore()
        rehearsal.storm(module.several(3), seeds=range(4))


def test_a_body_that_nobody_wants_any_more_tidies_up(flow: Flow) -> None:
    with pytest.raises(ValueError, match="bad 1"):
        flow.run(flow.module.doomed(), fail_fast=True)
    assert words(flow).count("in") == words(flow).count("out") > 0


def test_bodies_of_an_execution_that_breaks_off_tidy_up_at_once(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    with Scheduler(store=":memory:", inline=True, reporter=flow.watching) as scheduler:
        submitted = scheduler.submit(flow.module.chain(50))
        append, said = Store.append, []

        def full(store: Store, rows: Sequence[Row], columns: Sequence[Columns] = ()) -> None:
            said.append(len(rows))
            if len(said) > 12:
                raise StoreUnavailable("The disk is full.")
            append(store, rows, columns)

        monkeypatch.setattr(Store, "append", full)
        with pytest.raises(StoreUnavailable):
            submitted.result()
        monkeypatch.undo()
        assert words(flow).count("in") == words(flow).count("out") > 0
        with pytest.raises(StoreUnavailable):
            submitted.result(timeout=10)


def test_a_body_stays_also_where_an_event_loop_is_running(flow: Flow) -> None:
    async def inside() -> object:
        with Scheduler(store=":memory:", inline=True, reporter=flow.watching) as scheduler:
            return scheduler.run(flow.module.chain(10))

    assert asyncio.run(inside()) == 10
    assert words(flow).count("in") == 5


def test_the_code_of_what_a_body_was_given_counts_although_it_stayed(flow: Flow) -> None:
    assert flow.run(flow.module.norms(flow.module.measure(flow.module.Point(3)))) == 11
    flow.edit("return self.x", "return -self.x")
    assert flow.run(flow.module.norms(flow.module.measure(flow.module.Point(3)))) == 5


@pytest.mark.ray
def test_a_body_stays_in_the_worker_of_a_subrun(project: Project, ray_cluster: str) -> None:
    module = Flow(project).write(CODE)
    with Scheduler(store=str(project.path / ".rayflow"), address=ray_cluster) as scheduler:
        assert scheduler.run(subrun(module.chain(20))) == 20
        assert scheduler.run(module.chain(6)) == 6
    printed = project.sql("select l.text from logs l join jobs j using (job_id) where j.task_name = 'flow.chain'")
    entered = "".join(text for (text,) in printed).split().count("in")
    assert entered == 6 + 7, "entered again for each await where other workers may do it"
