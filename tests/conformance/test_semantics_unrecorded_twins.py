"""Equal calls of which one is recorded and one is not: bodies run once, and no later run computes them again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from projects import Project

from rayflow import config
from rayflow.api import Scheduler
from rayflow.runtime.protocol.reports import Silent

FLOW = """
    from rayflow import fork_thread, get_context, join_thread, map_, no_prov, seq, subrun, task

    def ran(*what):
        with open("ran.txt", "a") as file:
            file.write(repr(what) + "\\n")

    @task
    def leaf(x):
        ran("leaf", x)
        return x

    @task
    def middle(x):
        ran("middle", x)
        return [leaf(x), leaf(x + 1)]

    @task
    def top(x):
        ran("top", x)
        return [middle(x), middle(x + 1)]

    @task
    async def awaiting(x):
        ran("awaiting", x)
        return [await leaf(x), x]

    @task
    def placed(x, where=get_context("place", "nowhere")):
        ran("placed", x, where)
        return [leaf(x), where]

    @task(prov=False)
    def wide(x):
        ran("wide", x)
        return top(x)

    @task(check_valid="shallow")
    def shallow(x):
        ran("shallow", x)
        return middle(x)

    def evaluated(x):
        return subrun(middle(x))

    CALLS = {
        "a leaf": leaf, "a call with calls below": middle, "a deep call": top, "a coroutine": awaiting,
        "a call that reads the context": placed, "a shallow call": shallow, "a subrun": evaluated,
    }

    @task
    def first_unrecorded(name, x):
        return seq([no_prov(CALLS[name](x)), CALLS[name](x)])

    @task
    def first_recorded(name, x):
        return seq([CALLS[name](x), no_prov(CALLS[name](x))])

    @task
    def first_without(name, x):
        return seq([top.options(prov=False)(x), top(x)])

    @task
    def first_at_once(name, x):
        return [top.options(prov=False)(x), top(x), no_prov(top(x)), top(x)]

    @task
    def at_once(name, x):
        return [no_prov(CALLS[name](x)), CALLS[name](x), no_prov([CALLS[name](x), leaf(x)]), leaf(x)]

    @task
    def between(name, x):
        return [wide(x), CALLS[name](x), wide(x + 1), CALLS[name](x + 1)]

    @task
    def mapped(name, x):
        return [no_prov(map_(CALLS[name], [x, x + 1, x + 2])), map_(CALLS[name], [x, x + 1, x + 2])]

    @task
    def begun(name, x):
        return [no_prov(CALLS[name](x)), join_thread(fork_thread(CALLS[name](x)))]

    @task
    def under_contexts(name, x):
        there = placed.update_context(place="there")
        return seq([no_prov([placed(x), there(x)]), placed(x), there(x)])
"""

CALLS = (
    "a leaf", "a call with calls below", "a deep call", "a coroutine", "a call that reads the context",
    "a shallow call", "a subrun",
)  # fmt: skip
WAYS = ("first_unrecorded", "first_recorded", "at_once", "between", "mapped", "begun", "under_contexts")


@pytest.fixture(params=["inline", pytest.param("ray", marks=pytest.mark.ray)])
def scheduler(project: Project, request: pytest.FixtureRequest) -> Iterator[Scheduler]:
    address = request.getfixturevalue("ray_cluster") if request.param == "ray" else None
    settings = config.load(str(project.path), address=address, inline=request.param == "inline")
    with Scheduler(config=settings, reporter=Silent()) as made:
        yield made


def test_who_is_recorded_and_who_is_not_does_not_matter_to_what_runs(project: Project, scheduler: Scheduler) -> None:
    project.write("flow.py", FLOW)
    flow = project.load("flow")
    noted = project.path / "ran.txt"

    def ran() -> Counter[str]:
        noted.touch()
        lines = noted.read_text().splitlines()
        noted.write_text("")
        return Counter(lines)

    number = 0
    for name in CALLS:
        for way in WAYS:
            number += 100
            call = getattr(flow, way)(name, number)
            first = scheduler.run(call)
            bodies = ran()
            if name != "a subrun":  # equal calls in several evaluations are not shared while they run
                often = {line: count for line, count in bodies.items() if count > 1 and "awaiting" not in line}
                assert not often, f"{way} of {name} ran {often}"
            for _ in range(2):
                assert scheduler.run(call) == first
                assert not ran(), f"{way} of {name} ran again"


def test_the_calls_below_are_recorded_whichever_came_first(project: Project, scheduler: Scheduler) -> None:
    project.write("flow.py", FLOW)
    flow = project.load("flow")
    recorded = {}
    noted = project.path / "ran.txt"
    for way in ("first_unrecorded", "first_recorded", "first_without", "first_at_once"):
        noted.write_text("")
        scheduler.run(getattr(flow, way)("a deep call", 1), cache=False)
        ran = noted.read_text().splitlines()
        assert len(ran) == len(set(ran)), "no body runs twice"
        recorded[way] = project.sql(
            "select p.task_name, c.task_name, count(*) from jobs c join jobs p on c.parent_job_id = p.job_id "
            "where c.execution_id = (select execution_id from executions order by started_at desc limit 1) "
            "and c.task_name not like '%first%' and p.task_name not like '%first%' group by all order by all"
        )
    assert [recorded["first_recorded"]] * 2 == [recorded["first_unrecorded"], recorded["first_without"]]
    assert {row[:2] for row in recorded["first_at_once"]} == {row[:2] for row in recorded["first_recorded"]}
    assert ("flow.middle", "flow.leaf", 4) in recorded["first_recorded"]
