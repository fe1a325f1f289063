"""What calls are called where they are shown: scripts after their callers, prints behind the call that prints."""

from __future__ import annotations

from typing import Any

import pytest

from rayflow import Scheduler, script
from rayflow.errors import BadArguments, BadOption, ScriptFailed
from rayflow.runtime.output.printing import LONGEST_ARGUMENT, call_label
from rayflow.runtime.protocol.reports import Silent

FLOW = """
from rayflow import File, script, seq, task

@task
def align(sample, name=None):
    return script(f"echo {sample}", name=name)

@task
def measure(text):
    print("measuring")
    return len(text)

@task
def main(sample):
    return measure(script(f"echo {sample}; echo more"))

@task
def broken():
    return script("exit 3")

@task
def relabelled(n):
    return [measure.options(label=f"step {i}")("x" * i) for i in range(n)]

@task
def loud(**given):
    print("loud")
"""


class Heard(Silent):
    """A reporter that keeps what it hears."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.summary: Any = None

    def printed(self, call: str, stream: str, text: str) -> None:
        self.calls.append(call)

    def ended(self, summary: Any) -> None:
        self.summary = summary


@pytest.fixture
def flow(project: Any) -> Any:
    project.write("flow.py", FLOW)
    return project.load("flow")


def run(flow: Any, project: Any, expr: Any) -> tuple[Any, Heard, list[str]]:
    """The value, what was heard, and the names under which the jobs are shown."""
    heard = Heard()
    with Scheduler(store=project.path / ".rayflow", inline=True, reporter=heard) as scheduler:
        try:
            value = scheduler.run(expr)
        except ScriptFailed as error:
            value = error
        latest = "execution_id = (select max(execution_id) from executions)"
        query = f"select coalesce(label, task_name) from jobs where {latest} order by 1"
        names = [name for (name,) in scheduler.sql(query).fetchall()]
    return value, heard, names


@pytest.mark.parametrize(
    ("task", "arguments", "name", "label"),
    [
        ("align", ("a",), "flow.align:script", "align(sample='a', name=None): script"),
        ("align", ("a", "bwa mem"), "bwa mem", "align(sample='a', name='bwa mem'): bwa mem"),
        ("main", ("a",), "flow.main:script", "main(sample='a'): script"),
        ("broken", (), "flow.broken:script", None),
    ],
)
def test_a_script_is_called_after_the_task_that_calls_it_or_as_it_is_named(
    flow: Any, project: Any, task: str, arguments: tuple[str, ...], name: str, label: str | None
) -> None:
    value, heard, names = run(flow, project, getattr(flow, task)(*arguments))
    assert name in names and "rayflow.script" not in names
    assert name in heard.summary.by_task
    if label is None:
        assert heard.summary.failures[0][1] == name and f"  {name}(command=" in "\n".join(value.__notes__)
    else:
        assert label in heard.calls


def test_a_script_that_no_task_calls_is_the_task_of_all_scripts(flow: Any, project: Any) -> None:
    _, heard, names = run(flow, project, script("echo a"))
    assert names == ["rayflow.script"] and heard.calls == ["script"]


def test_a_name_does_not_count_for_the_cache_and_forgetting_by_it_forgets_no_other_script(
    flow: Any, project: Any
) -> None:
    run(flow, project, [flow.align("a", "one"), flow.align("b", "two")])
    assert run(flow, project, script("echo a", name="other"))[1].summary.counts["cached"] == 1
    with Scheduler(store=project.path / ".rayflow", inline=True, reporter=Heard()) as scheduler:
        store = scheduler._driver.store
        assert store.forget(at=10**18, task_name="one") > 0
    again = run(flow, project, [script("echo a"), script("echo b")])[1].summary.counts
    assert (again["computed"], again["cached"]) == (2, 1)  # the root, which is no call, and the script called "one"


def test_any_call_can_be_labelled_and_only_a_call_can(flow: Any, project: Any) -> None:
    _, heard, names = run(flow, project, flow.relabelled(3))
    assert names == ["flow.relabelled", "step 0", "step 1", "step 2"]
    assert heard.calls == ["step 0", "step 1", "step 2"]
    with pytest.raises(BadOption, match="belongs to a call"):
        Scheduler(store=":memory:", inline=True).run(flow.align("a"), options={"label": "x"})
    with pytest.raises(BadOption, match="empty"):
        script("true", name="")
    with pytest.raises(BadArguments, match="Did you mean 'name'"):
        script("true", nam="x")


@pytest.mark.parametrize(
    ("given", "label"),
    [
        ({}, "loud"),
        ({"n": 3}, "loud(given={'n': 3})"),
    ],
)
def test_prints_stand_behind_the_call_that_prints_them(flow: Any, project: Any, given: Any, label: str) -> None:
    _, heard, _ = run(flow, project, flow.loud(**given))
    assert heard.calls == [label]


@pytest.mark.parametrize("value", ["x" * 10_000, "a\nb\x1b[31m\x1f", list(range(10_000)), b"\0" * 999, object()])
def test_a_label_is_short_and_stays_on_its_line(value: Any) -> None:
    label = call_label("flow.step", {"first": value, "second": value, "third": value, "fourth": value})
    assert label.startswith("step(first=") and len(label) <= 60 and len(label.splitlines()) == 1
    assert LONGEST_ARGUMENT < 60
