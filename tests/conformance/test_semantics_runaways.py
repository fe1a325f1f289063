"""Programs without end: they are told of, by the calls that do not end, before they take all memory."""

from __future__ import annotations

import re

import pytest
from evaluations import Flow
from projects import Project

from rayflow.errors import TooDeep
from rayflow.evaluator import calls, graph


@pytest.fixture
def flow(project: Project) -> Flow:
    return Flow(project)


FLOW = """
    from rayflow import catch, cond, map_, no_prov, subrun, task

    @task
    def even(n):
        return odd(n + 1)

    @task
    def odd(n):
        return even(n + 1)

    @task
    def counting(n):
        return counting(n + 1)

    @task
    def chosen(n):
        return cond(n < 0, n, chosen(n + 1))

    @task
    def mapped(n):
        return map_(mapped, [n + 1])

    @task
    async def awaiting(n):
        return await awaiting(n + 1)

    @task
    def unrecorded(n):
        return no_prov(counting(n))

    @task
    def inside(n):
        return subrun(counting(n))

    @task
    def down(n):
        return n if n == 0 else down(n - 1)

    @task
    def caught(n):
        return catch(counting(n), RecursionError, message)

    @task
    def message(error):
        return str(error)

    @task
    def bounded(n):
        return own(n)

    @task(max_depth=20)
    def own(n):
        return own(n + 1)

    @task
    def lazily(n):
        return lazily.options(max_depth=add(19))(n + 1)

    @task
    def growing(n):
        return [n] if n > 100 else [growing(2 * n), growing(2 * n + 1)]

    @task
    def add(n):
        return n + 1
"""


@pytest.mark.parametrize("name", ["even", "counting", "chosen", "mapped", "awaiting", "unrecorded", "inside"])
def test_a_recursion_without_end_fails_with_the_calls_that_make_each_other(flow: Flow, name: str) -> None:
    module = flow.write(FLOW)
    with pytest.raises(TooDeep, match=r"are nested in each other, the last of them: flow\.") as caught:
        flow.run(getattr(module, name)(0), options={"max_depth": 50})
    assert "--option max_depth=500" in str(caught.value)
    if name == "even":
        assert "flow.odd(n=49) calls flow.even(n=50) calls flow.odd(n=51)" in str(caught.value)
    else:
        assert re.search(r"flow\.(\w+)\(n=\d+\) calls flow\.\1\(n=(49|5.)\)", str(caught.value))


def test_a_recursion_that_comes_too_deep_can_be_caught(flow: Flow) -> None:
    module = flow.write(FLOW)
    assert "calls flow.counting(n=" in flow.run(module.caught(0), options={"max_depth": 50})


def test_the_bound_is_an_option_of_a_task_of_the_configuration_and_of_the_run(flow: Flow) -> None:
    module = flow.write(FLOW)
    with pytest.raises(TooDeep, match=r"^21 calls are nested"):
        flow.run(module.bounded(0))
    with pytest.raises(TooDeep, match=r"^31 calls are nested"):
        flow.configured("options = { max_depth = 30 }\n", module.counting(0))
    assert flow.configured("options = { max_depth = 30 }\n", module.down(30)) == 0
    assert flow.configured("options = { max_depth = 30 }\n", module.down(40), options={"max_depth": 40}) == 0


def test_a_bound_that_a_call_computes_holds(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "DEEP", 10)
    module = flow.write(FLOW)
    with pytest.raises(TooDeep, match=r"^21 calls are nested"):
        flow.run(module.lazily(0))
    assert [each for each in flow.watching.warnings if "10 calls are nested in each other" in each]
    monkeypatch.setattr(calls, "MOST_DEPTH", 15)  # holds while the other is not known
    with pytest.raises(TooDeep, match=r"^16 calls are nested"):
        flow.run(module.lazily(100))


def test_calls_side_by_side_and_in_arguments_stand_in_no_other(flow: Flow) -> None:
    module = flow.write(FLOW)
    chain = 0
    for _ in range(200):
        chain = module.add(chain)
    assert flow.run([chain, *map(module.add, range(50))], options={"max_depth": 3})[0] == 200


def test_a_deep_recursion_and_a_wide_one_are_told_of_once(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "DEEP", 30)
    monkeypatch.setattr(graph, "CROWDED", 100)
    module = flow.write(FLOW)
    flow.run([module.down(60), module.down(1000)])
    (told,) = [each for each in flow.watching.warnings if "are nested in each other" in each]
    assert "flow.down(n=" in told and "max_depth=1200000" in told
    flow.watching.warnings.clear()
    flow.run([module.growing(1)], cache=False)
    told = "".join(flow.watching.warnings)
    assert "100 calls are open at a time (" in told and "of flow.growing" in told
