"""`rayflow log` with filters: which executions and which jobs fit."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest


def jobs(rayflow: Any, *words: str) -> list[str]:
    """The calls of the jobs that fit, without the module's name."""
    out = rayflow("log", "--jobs", *words).out
    return [found[1] for line in out.splitlines() if (found := re.search(r"\.(\w+\(.*\))(?: [=!] |  )", line))]


def executions(rayflow: Any, *words: str) -> list[str]:
    return [row["arguments"].rpartition(".")[2] for row in json.loads(rayflow("log", *words, "--json").out)]


@pytest.fixture
def told(rayflow: Any) -> Any:
    """A store with four executions."""
    rayflow.run("main")
    rayflow.run("wide", "--n", "3")
    rayflow.run("several", "--n", "2")
    rayflow.run("main", "--greet", "Hi")
    return rayflow


def test_executions_by_task_status_and_time(told: Any) -> None:
    assert executions(told) == ["main('Hi')", "several(2)", "wide(3)", "main()"]
    assert executions(told, "--task", "main") == ["main('Hi')", "main()"]
    assert executions(told, "--task", f"{told.namespace}.wide") == ["wide(3)"]
    assert executions(told, "--failed") == executions(told, "--status", "failed") == ["several(2)"]
    assert executions(told, "--status", "done", "--limit", "1") == ["main('Hi')"]
    assert executions(told, "--since", "1h", "--until", "2099-01-01") == executions(told)
    assert executions(told, "--until", "1h") == executions(told, "--since", "2099-01-01 10:00") == []
    assert told("log", "--until", "1h").out == "No execution fits.\n"


def test_executions_by_argument_and_result_of_their_root(told: Any) -> None:
    assert executions(told, "--arg", "greet=Hi") == ["main('Hi')"]
    assert executions(told, "--arg", "n=3") == ["wide(3)"]
    assert executions(told, "--arg", "n=2") == ["several(2)"]  # it failed: what its call said counts
    assert executions(told, "--result", "[0, 1, 2]") == ["wide(3)"]
    assert executions(told, "--result", "Hello, World!") == ["main()"]


def test_jobs_of_all_executions_or_of_one(told: Any) -> None:
    assert jobs(told, "--task", "leaf") == ["leaf(i=2)", "leaf(i=1)", "leaf(i=0)"]
    assert jobs(told, "--failed") == ["fail(i=1)", "fail(i=0)", "several(n=2)"]
    assert jobs(told, "--status", "cached") == ["get_planet()"]
    assert jobs(told, "~1", "--status", "done") == []
    assert len(jobs(told, "-")) == 3
    assert told("log", "-", "--status", "computed").out.count("\n") == 2
    assert told("log", "leaf", "--arg", "i=1").out.count("leaf(i=1) = 1") == 1


def test_jobs_by_argument_and_result(told: Any) -> None:
    assert jobs(told, "--arg", "thing=World", "--arg", "greet=Hi") == ["greeter(greet='Hi', thing='World')"]
    assert jobs(told, "--arg", "i=1") == ["fail(i=1)", "leaf(i=1)"]
    assert jobs(told, "--result", "2") == ["leaf(i=2)"]
    [value] = told.ids(f"select value_hash from calls where task_name = '{told.namespace}.get_planet'")
    assert jobs(told, "--result", value[:12]) == ["get_planet()", "get_planet()"]
    assert jobs(told, "--arg", f"thing={value}") == [
        "greeter(greet='Hi', thing='World')",
        "greeter(greet='Hello', thing='World')",
    ]


def test_jobs_as_records(told: Any) -> None:
    rows = json.loads(told("log", "--jobs", "--task", "leaf", "--limit", "2", "--json").out)
    assert [row["task_name"] for row in rows] == [f"{told.namespace}.leaf"] * 2


def test_executions_and_jobs_by_tag(told: Any) -> None:
    told("tag", "add", "-", "reviewed=yes", "n=3")
    [job] = told.ids(f"select job_id from jobs where task_name = '{told.namespace}.several'")
    told("tag", "add", job, "n=4")
    told("tag", "add", "leaf", "owner=ada")
    assert executions(told, "--tag", "reviewed") == executions(told, "--tag", "n=3") == ["main('Hi')"]
    assert executions(told, "--tag", "reviewed=no") == executions(told, "--tag", "reviewed", "--tag", "x") == []
    assert jobs(told, "--tag", "n=4") == ["several(n=2)"]
    assert jobs(told, "--tag", "owner=ada", "--arg", "i=0") == ["leaf(i=0)"]
    told("tag", "rm", "-", "n")
    assert executions(told, "--tag", "n") == []


def test_a_lost_execution_is_not_a_running_one(told: Any) -> None:
    assert executions(told, "--status", "running") == executions(told, "--status", "lost") == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--since", "soon"], "'soon' is not a time: write how long ago"),
        (["--arg", "n"], "'n' is not an argument: write name=value"),
        (["--tag", "=3"], "'=3' is not a tag"),
        (["--failed", "--status", "done"], "contradict"),
        (["--status", "cached"], "add --jobs"),
        (["--jobs", "--status", "lost"], "A job has no status 'lost'"),
        (["--status", "odd"], "'odd' is not one of"),
    ],
)
def test_what_does_not_read_is_said(told: Any, words: list[str], message: str) -> None:
    done = told("log", *words)
    assert done.code == 1 and message in done.err


def test_only_jobs_of_executions_and_tasks_are_filtered(told: Any) -> None:
    [value] = told.ids(f"select value_hash from calls where task_name = '{told.namespace}.get_planet'")
    done = told("log", value, "--failed")
    assert done.code == 1 and "is a value" in done.err
