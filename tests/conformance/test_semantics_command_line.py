"""D6, F1 and K: dry runs, stopping at the first failure, running again, ids, tags and filters."""

from __future__ import annotations

import json
from typing import Any

import pytest
from evaluations import Flow
from projects import Project

from rayflow import Scheduler
from rayflow.__main__ import main

FLOW = """
from rayflow import catch, task

@task
def get_planet():
    return "World"

@task
def greeter(greet, thing):
    return f"{greet}, {thing}!"

@task
def main(greet="Hello"):
    return greeter(greet, get_planet())

@task
def fail(i):
    raise ValueError(i)

@task
def mend(error):
    return "mended"

@task
def several(n):
    return [fail(i) for i in range(n)]

@task
def caught():
    return [catch(fail(1), ValueError, mend), greeter("Hi", "all")]
"""


@pytest.fixture
def flow(project: Project) -> Flow:
    made = Flow(project)
    made.write(FLOW)
    return made


def planned(flow: Flow, *args: Any) -> list[tuple[str, str, bool]]:
    with Scheduler(inline=True, read_only=True) as scheduler:
        found = scheduler.dry_run(flow.module.main(*args))  # type: ignore[union-attr]
    return [(call.task_name.rpartition(".")[2], call.verdict, call.is_predicted) for call in found.calls]


def test_d6_a_dry_run_says_hit_or_miss_for_what_it_can_reach(flow: Flow) -> None:
    assert planned(flow) == [("main", "runs", False)]
    flow.call("main")
    assert planned(flow) == []
    flow.edit('return f"{greet}, {thing}!"', 'return f"{greet} {thing}"')
    assert planned(flow) == [("greeter", "runs", False)]


def test_d6_a_dry_run_goes_beyond_the_first_miss_by_recorded_children(flow: Flow) -> None:
    flow.call("main")
    flow.edit('return "World"', 'return "Venus"')
    assert planned(flow, "Hi") == [
        ("main", "runs", False),
        ("greeter", "perhaps", True),
        ("get_planet", "runs", True),
    ]


def test_d6_a_dry_run_runs_nothing(flow: Flow) -> None:
    planned(flow)
    assert not (flow.project.path / ".rayflow").exists()


@pytest.mark.parametrize("fail_fast", [False, True])
def test_f1_everything_else_goes_on_until_done_or_stops_at_once(flow: Flow, fail_fast: bool) -> None:
    with Scheduler(inline=True, reporter=flow.watching) as scheduler, pytest.raises(ValueError):
        scheduler.run(flow.module.several(5), fail_fast=fail_fast)  # type: ignore[union-attr]
    [summary] = flow.watching.summaries
    assert len(summary.failures) == (1 if fail_fast else 5)
    assert summary.counts["cancelled"] == (4 if fail_fast else 0)


def test_f1_a_failure_that_is_caught_stops_nothing(flow: Flow) -> None:
    with Scheduler(inline=True, reporter=flow.watching) as scheduler:
        assert scheduler.run(flow.module.caught(), fail_fast=True) == ["mended", "Hi, all!"]  # type: ignore[union-attr]


def test_k_what_ran_is_run_again_by_its_id(flow: Flow) -> None:
    flow.call("main", "Hi")
    with Scheduler(inline=True, reporter=flow.watching) as scheduler:
        assert scheduler.rerun("-") == "Hi, World!"
        [job] = flow.project.sql("select job_id from jobs where task_name = 'flow.greeter' limit 1")
        assert scheduler.rerun(job[0][:10], cache=False) == "Hi, World!"


def test_k_ids_are_a_prefix_a_dash_or_a_number_of_steps_back(flow: Flow, capsys: pytest.CaptureFixture[str]) -> None:
    flow.call("main")
    flow.call("main", "Hi")
    [(first,), (last,)] = flow.project.sql("select execution_id from executions order by started_at")
    for text, meant in (("-", last), ("~1", first), (first[:18], first)):
        assert main(["log", text, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["execution"]["execution_id"] == meant


def test_k_tags_are_set_and_asked_for(flow: Flow, capsys: pytest.CaptureFixture[str]) -> None:
    flow.call("main")
    assert main(["tag", "add", "-", "kept=yes"]) == 0
    flow.call("main", "Hi")
    capsys.readouterr()
    assert main(["log", "--tag", "kept=yes", "--json"]) == 0
    assert [row["arguments"] for row in json.loads(capsys.readouterr().out)] == ["main()"]
