"""Labelled calls and scripts in the records: shown by their labels, looked up by their tasks, found by either."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rayflow import Scheduler, config
from rayflow.store.history.filters import Filter
from rayflow.store.open import open_store

FLOW = '''
from rayflow import script, task

@task
def size(n):
    return n * 2

@task
def align(sample):
    return script(f"echo {sample}", name=None)

@task
def sorted_reads(sample):
    return script(f"echo {sample} | sort", name="sort it")

@task
def failing():
    return script("exit 3", name="exits")

@task
def sizes(k: int):
    return [size.options(label=f"step {i}")(i + k) for i in range(2)]

@task
def looks_like_a_script(command, tempdir, shell):
    return command

@task
def main():
    return [align("a"), sorted_reads("b"), sizes(1), looks_like_a_script("x", "y", "z")]
'''


@pytest.fixture
def told(rayflow: Any) -> Any:
    """The command line after a run of a flow with labels."""
    rayflow.path.write_text(FLOW)
    assert rayflow.run("main").code == 0
    return rayflow


def job_of(told: Any, shown: str) -> str:
    [job] = told.ids(f"select job_id from jobs where coalesce(label, task_name) = '{shown}' order by queued_at limit 1")
    return str(job)


@pytest.fixture
def labels(told: Any) -> dict[str, str]:
    """The task of each label."""
    return {"sort it": "rayflow.script", f"{told.namespace}.align:script": "rayflow.script",
            "step 0": f"{told.namespace}.size", "step 1": f"{told.namespace}.size"}  # fmt: skip


def test_a_job_has_its_tasks_name_and_beside_it_its_label(told: Any, labels: dict[str, str]) -> None:
    rows = json.loads(told("log", "-", "--json").out)["jobs"]
    assert {row["label"]: row["task_name"] for row in rows if row["label"] is not None} == labels
    slowest = json.loads(told("sql", "select label, task_name from slowest where label is not null", "--json").out)
    assert {row["label"]: row["task_name"] for row in slowest} == labels
    assert told("log", "-").out.count("rayflow.script") == 0


def test_a_job_is_shown_by_its_label(told: Any, labels: dict[str, str]) -> None:
    views = [told("log", "-").out, told("log", "--jobs").out, told("viz", "-", "--format", "mermaid").out]
    for label, task in labels.items():
        job = job_of(told, label)
        assert all(f"{label}(" in shown for shown in views), (label, views)
        one = told("log", job).out
        assert f" {label}\n" in one and task in one, one
        assert told("why", job).out.startswith(f"{label}  job ")


def test_a_script_is_told_by_its_command_and_another_task_with_such_parameters_by_all(told: Any) -> None:
    shown = told("log", "-").out + told("viz", "-", "--format", "mermaid").out
    assert shown.count("sort it(command=") == 2 and "shell='bash" not in shown and "env=" not in shown
    assert "looks_like_a_script(command='x', tempdir='y', shell='z')" in shown


@pytest.mark.parametrize("label", ["sort it", "{}.align:script", "align:script", "step 0"])
def test_a_label_finds_its_calls_and_no_others(told: Any, labels: dict[str, str], label: str) -> None:
    name = label.format(told.namespace)
    full = next(each for each in labels if each.endswith(name))
    rows = json.loads(told("log", "--jobs", "--task", name, "--json").out)
    assert [row["label"] for row in rows] == [full]
    assert [row["label"] for row in json.loads(told("log", name, "--json").out)["jobs"]] == [full]
    assert told("why", name).out.startswith(f"{full}  job ")
    history = open_store(told.project.path / ".rayflow").history()
    assert len(history.calls(name)) == 1
    assert history.jobs(Filter(task=name))[0]["label"] == full
    assert told("forget", name).out.endswith("1 result counts no more.\n")


@pytest.mark.parametrize(("task", "many"), [("size", 2), ("script", 2), ("rayflow.script", 2)])
def test_a_task_finds_its_labelled_calls(told: Any, task: str, many: int) -> None:
    assert len(json.loads(told("log", "--jobs", "--task", task, "--json").out)) == many
    assert len(json.loads(told("log", task, "--json").out)["jobs"]) == many
    assert len(open_store(told.project.path / ".rayflow").history().calls(task)) == many
    assert f"{many} results count no more" in told("forget", task).out


def test_an_execution_is_found_by_the_label_of_its_root(told: Any) -> None:
    module = told.project.load(told.namespace)
    with Scheduler(config=config.load(str(told.project.path), inline=True)) as scheduler:
        scheduler.run(module.size.options(label="root call")(7))
    for name in ("root call", "size", f"{told.namespace}.size"):
        assert len(json.loads(told("log", "--task", name, "--json").out)) == 1, name


@pytest.mark.parametrize(
    ("label", "value"), [("sort it", "'b\\n'"), ("{}.align:script", "'a\\n'"), ("step 1", "4")]
)
def test_a_labelled_job_is_run_again(told: Any, label: str, value: str) -> None:
    job = job_of(told, label.format(told.namespace))
    told.project.forget()
    again = told("run", "--inline", "--rerun", job)
    assert (again.code, again.out) == (0, f"{value}\n"), again.err
    assert told("run", "--inline", "--rerun", "-").code == 0  # an execution whose root is a script, say


def test_a_failed_script_is_run_again_and_told_by_its_label(told: Any) -> None:
    failed = told.run("failing")
    assert "error: exits failed: " in failed.err
    assert "exits(command='exit 3'" in told("log", "-").out
    assert told.ids("select label from failures where task_name = 'rayflow.script'") == ["exits"]
    assert told("run", "--inline", "--rerun", job_of(told, "exits")).code == 1


def test_a_call_that_was_relabelled_is_compared_with_what_it_was_before(told: Any) -> None:
    text = told.path.read_text()
    told.path.write_text(text.replace('f"step {i}"', 'f"part {i}"').replace("i + k", "i + 10 * k"))
    told.project.forget()
    told.run("main")
    for number in (0, 1):
        assert f"n was {number + 1} and is {number + 10}" in told("why", f"part {number}").out


def test_a_call_is_compared_with_the_one_of_its_label_before_the_one_at_its_place(told: Any) -> None:
    text = told.path.read_text()
    told.path.write_text(text.replace("i + k", "i + 10 * k").replace("range(2)", "(1, 0)"))
    told.project.forget()
    told.run("main")
    for number in (0, 1):
        assert f"n was {number + 1} and is {number + 10}" in told("why", f"step {number}").out


def test_a_dry_run_knows_what_labelled_calls_took(told: Any) -> None:
    told.path.write_text(told.path.read_text().replace("return n * 2", "return 2 * n"))
    told.project.forget()
    found = json.loads(told.run("main", "--dry-run", "--json").out)
    calls = {call["label"]: call for call in found["calls"] if call["label"] is not None}
    assert {call["task_name"] for call in calls.values()} == {f"{told.namespace}.size"}
    assert set(calls) == {"step 0", "step 1"} and all(call["seconds"] is not None for call in calls.values())
    assert found["seconds"] is not None


TRIES = '''
import asyncio
from rayflow import task

@task
def one(n):
    return n

@task
async def waits(bad):
    first = await one(1)
    second = await one(2)
    if bad:
        raise ValueError("once")
    return first + second
'''


@pytest.mark.parametrize("is_bad", [False, True])
def test_a_body_that_awaits_is_entered_more_often_than_it_is_tried(rayflow: Any, is_bad: bool) -> None:
    rayflow.path.write_text(TRIES)
    rayflow.run("waits", "--bad", str(is_bad))
    [job] = json.loads(rayflow("log", "--jobs", "--task", "waits", "--json").out)
    shown = rayflow("log", "-").out + rayflow("log", "--jobs").out + rayflow("log", job["job_id"]).out
    assert job["attempts"] > 1 and " attempts)" not in shown and "of which" not in shown
