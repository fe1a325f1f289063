"""Code that comes to a task by way of tables that others fill, and of attributes that are set later."""

from __future__ import annotations

import os

import pytest
from evaluations import Flow
from projects import Project

from rayflow import Scheduler
from rayflow.errors import BadModule

TABLE = """
    WAYS = {}

    def way(function):
        WAYS[function.__name__] = function
        return function
"""

WORK = """
    from rayflow import task
    from table import WAYS

    @task
    def work(x):
        return WAYS["double"](x)
"""

FLOW = """
    import table
    from rayflow import task
    from work import work

    class Config:
        factor = 1

    Config.factor = 3

    def scale(x):
        return scale.by * x

    scale.by = 10

    @table.way
    def double(x):
        return 2 * x

    @task
    def main():
        return work(1)

    class Other:
        factor = 100

    @task
    def other(x):
        return x + Other.factor

    @task
    def scaled(x):
        return scale(x) + Config.factor
"""


@pytest.fixture
def flow(project: Project) -> Flow:
    project.write("table.py", TABLE)
    project.write("work.py", WORK)
    made = Flow(project)
    made.write(FLOW)
    return made


@pytest.mark.parametrize(
    ("name", "arguments", "old", "new", "before", "after"),
    [
        ("main", [], "2 * x", "4 * x", 2, 4),
        ("scaled", [1], "scale.by = 10", "scale.by = 20", 13, 23),
        ("scaled", [1], "Config.factor = 3", "Config.factor = 4", 13, 14),
    ],
)
def test_what_is_set_or_registered_after_a_definition_counts(
    flow: Flow, name: str, arguments: list[int], old: str, new: str, before: int, after: int
) -> None:
    assert flow.call(name, *arguments) == before
    assert flow.call(name, *arguments) == before
    assert flow.computed() == {}
    flow.edit(old, new)
    assert flow.call(name, *arguments) == after


def test_a_worker_has_what_other_modules_have_registered(flow: Flow, ray_cluster: str) -> None:
    assert flow.module is not None
    store = str(flow.project.path / ".rayflow")
    with Scheduler(store=store, address=ray_cluster, reporter=flow.watching) as scheduler:
        assert scheduler.run(flow.module.work(1)) == 2


def test_a_value_that_differs_from_process_to_process_is_named(flow: Flow, ray_cluster: str) -> None:
    flow.write(
        """
        import os
        from rayflow import task

        PROCESS = os.getpid()

        class Config:
            process = os.getpid()

        @task
        def main():
            return Config.process > 0

        @task
        def named():
            return PROCESS
        """
    )
    assert flow.module is not None
    store = str(flow.project.path / ".rayflow")
    with Scheduler(store=store, address=ray_cluster, reporter=flow.watching) as scheduler:
        assert scheduler.run(flow.module.main()) is True
        with pytest.raises(BadModule, match=rf"What differs: flow.PROCESS \(was {os.getpid()}, here \d+\)"):
            scheduler.run(flow.module.named())


def test_what_a_program_sets_between_two_runs_counts(flow: Flow) -> None:
    assert flow.module is not None
    assert flow.call("scaled", 1) == 13
    flow.module.Config.factor = 5
    assert flow.call("scaled", 1) == 15
    assert flow.call("other", 1) == 101
    flow.module.Other.factor = 200
    assert flow.call("other", 1) == 201
    flow.module.scale = lambda x: 7 * x
    assert flow.call("scaled", 1) == 12
    assert flow.call("scaled", 1) == 12
    assert flow.computed() == {}
