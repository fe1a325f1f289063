"""Section D, calls that every execution makes anew: what stands above them does not hide them."""

from __future__ import annotations

import pytest
from evaluations import Flow
from projects import Project

CALLS = """
    from rayflow import gather, no_prov, subrun, task

    @task(ANEW)
    def probe(x):
        return x + 1

    @task
    def steady(x):
        return x + 1

    @task
    def between(x):
        return [probe(x), steady(x)]

    @task(OUTER)
    async def awaits(x):
        return await between(x)

    @task
    async def above(x):
        return await gather(awaits(x))

    @task
    def evaluates(x):
        return subrun(between(x))

    @task(prov=False)
    def unrecorded(x):
        return between(x)
"""

ANEW = ["cache=False", 'cache_scope="CSE"', 'cache_scope="NONE"', "cache_for=0"]


@pytest.fixture
def flow(project: Project) -> Flow:
    return Flow(project)


def write(flow: Flow, anew: str, outer: str = "") -> None:
    flow.write(CALLS.replace("ANEW", anew).replace("OUTER", outer))


@pytest.mark.parametrize("anew", ANEW)
def test_a_body_that_awaits_runs_with_a_call_below_that_is_made_anew(flow: Flow, anew: str) -> None:
    write(flow, anew)
    for _ in range(2):
        assert flow.call("above", 1) == [2, 2]
    assert flow.computed() == {"above": 1, "awaits": 1, "probe": 1}
    assert flow.counts("cached") == {"between": 1, "steady": 1}


@pytest.mark.parametrize("anew", ANEW)
def test_a_subrun_is_done_again_for_a_call_in_it_that_is_made_anew(flow: Flow, anew: str) -> None:
    write(flow, anew)
    for _ in range(2):
        assert flow.call("evaluates", 1) == [2, 2]
    assert flow.computed() == {"subrun": 1, "probe": 1}
    assert flow.counts("cached") == {"evaluates": 1, "between": 1, "steady": 1}


@pytest.mark.parametrize("anew", ANEW)
def test_what_records_nothing_below_is_done_again_for_a_call_there_that_is_made_anew(flow: Flow, anew: str) -> None:
    write(flow, anew)
    for _ in range(2):
        assert flow.call("unrecorded", 1) == [2, 2]
    progress = flow.watching.summaries[-1].by_task
    assert {name for name, row in progress.items() if row["computed"]} == {"flow.between", "flow.probe", "flow.steady"}


@pytest.mark.parametrize("anew", ANEW)
def test_a_body_with_check_valid_shallow_is_taken_whole_and_so_is_what_awaits_it(flow: Flow, anew: str) -> None:
    write(flow, anew, 'check_valid="shallow"')
    for _ in range(2):
        assert flow.call("above", 1) == [2, 2]
    assert flow.computed() == {}
    assert flow.counts("cached") == {"above": 1}


def test_a_body_that_is_made_anew_itself_does_not_outlive_its_call(flow: Flow) -> None:
    write(flow, "", "cache=False")
    for _ in range(2):
        assert flow.call("above", 1) == [2, 2]
    assert flow.computed() == {"above": 1, "awaits": 1}


def test_a_body_that_is_answered_for_a_while_is_taken_whole_for_that_while(flow: Flow) -> None:
    write(flow, "", 'cache_for="1d"')
    for _ in range(2):
        assert flow.call("awaits", 1) == [2, 2]
    assert flow.computed() == {}


def test_a_body_is_made_anew_with_a_call_that_only_its_twin_has_made(flow: Flow) -> None:
    write(flow, "cache=False")
    twins = flow.module
    assert twins is not None
    for _ in range(2):
        assert flow.run([twins.awaits(1), twins.above(1)]) == [[2, 2], [2, 2]]
    assert flow.computed() == {"above": 1, "awaits": 1, "probe": 1}
