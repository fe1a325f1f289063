"""Final values that stand for calls below: of async bodies, subruns, and calls of which nothing below is recorded.

By default (`check_valid="full"`) they hold only while every File below is as it was, also one that is no part of the
value; with `"shallow"` files between are not looked at (table D, scenario A4).
"""

from __future__ import annotations

import pytest
from evaluations import Flow
from projects import Project

from rayflow.evaluator import witnessing

TASKS = """
    from rayflow import File, no_prov, subrun, task

    @task
    def count(f):
        return len(f.read())

    @task
    def outer():
        return count(File("in.txt"))

    @task
    def make(n):
        made = File("made.txt")
        made.write("x" * n)
        return made

    @task
    def by_default(f=File("in.txt")):
        return len(f.read())

    @task
    async def awaits():
        return await count(File("in.txt"))

    @task
    async def awaits_deep():
        return await outer()

    @task
    async def awaits_made():
        made = await make(3)
        return len(made.read())

    @task
    async def awaits_awaits():
        return await awaits_made()

    @task
    async def awaits_subrun():
        return await subrun(outer())

    @task
    async def awaits_default():
        return await by_default()

    @task
    async def awaits_unasked():
        return await unasking()

    @task(check_valid="shallow")
    def unasking():
        return outer()

    @task(check_valid="shallow")
    async def shallow():
        return await outer()

    @task
    def runs_below():
        return subrun(outer())

    @task
    def runs_twice_below():
        return subrun(subrun([outer(), make(2)]))[0]

    @task(prov=False)
    def unrecorded():
        return outer()

    @task
    def unrecorded_form():
        return no_prov(outer())

    @task
    def pair():
        return [outer(), awaits_deep()]
"""

LOOKS_BELOW = [
    "awaits", "awaits_deep", "awaits_subrun", "awaits_default", "runs_below", "runs_twice_below", "unrecorded",
    "unrecorded_form",
]  # fmt: skip


@pytest.fixture
def flow(project: Project, monkeypatch: pytest.MonkeyPatch) -> Flow:
    monkeypatch.chdir(project.path)
    project.write("in.txt", "12345")
    made = Flow(project)
    made.write(TASKS)
    return made


def fresh(flow: Flow) -> None:
    """Load the module again, as the next process would."""
    flow.module = flow.project.load("flow")


@pytest.mark.parametrize("name", LOOKS_BELOW)
def test_a_file_below_that_has_changed_is_seen_and_an_unchanged_one_runs_nothing(name: str, flow: Flow) -> None:
    assert flow.call(name) == 5
    fresh(flow)
    assert flow.call(name) == 5
    assert flow.computed() == {}
    flow.project.write("in.txt", "1234567")
    fresh(flow)
    assert flow.call(name) == 7
    fresh(flow)
    assert flow.call(name) == 7
    assert flow.computed() == {}


@pytest.mark.parametrize("name", ["awaits_made", "awaits_awaits"])
def test_a_file_between_that_was_altered_is_made_again(name: str, flow: Flow) -> None:
    assert flow.call(name) == 3
    assert flow.call(name) == 3
    assert flow.computed() == {}
    flow.project.write("made.txt", "altered")
    assert flow.call(name) == 3
    assert flow.computed()["make"] == 1
    assert (flow.project.path / "made.txt").read_text() == "xxx"


def test_what_an_equal_call_elsewhere_relies_on_counts_too(flow: Flow) -> None:
    assert flow.call("pair") == [5, 5]
    flow.project.write("in.txt", "1234567")
    assert flow.call("awaits_deep") == 7


def test_what_a_value_from_the_cache_relies_on_counts_too(flow: Flow) -> None:
    assert flow.call("awaits_deep") == 5
    assert flow.run(flow.module.runs_below()) == 5
    assert flow.call("awaits_subrun") == 5
    assert flow.computed() == {"awaits_subrun": 1}
    flow.project.write("in.txt", "1234567")
    assert flow.call("awaits_subrun") == 7


@pytest.mark.parametrize("name", ["shallow", "unasking", "awaits_unasked"])
def test_asked_for_a_shallow_check_files_between_are_not_looked_at(name: str, flow: Flow) -> None:
    assert flow.call(name) == 5
    flow.project.write("in.txt", "1234567")
    assert flow.call(name) == 5
    assert flow.computed() == {}


def test_a_value_that_was_kept_for_shallow_checks_answers_no_full_one(flow: Flow) -> None:
    assert flow.call("shallow") == 5
    flow.project.write("in.txt", "1234567")
    assert flow.run(flow.module.shallow.options(check_valid="full")()) == 7


def test_of_what_relies_on_very_many_files_the_calls_are_looked_up_one_by_one(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witnessing, "MOST_WITNESSES", 1)
    assert flow.call("runs_twice_below") == 5
    assert flow.call("runs_twice_below") == 5
    assert flow.computed() == {"subrun": 2}
    flow.project.write("in.txt", "1234567")
    assert flow.call("runs_twice_below") == 7


@pytest.mark.parametrize("name", ["awaits", "shallow", "runs_below", "unrecorded"])
def test_a_final_value_is_as_old_as_the_oldest_that_it_was_made_from(name: str, flow: Flow) -> None:
    flow.call("outer")
    flow.call(name)
    oldest, first, last = flow.project.sql("""
        select (select max(since) from reductions where kind <> 'single'),
            max(recorded_at) filter (execution_id = earliest), max(recorded_at)
        from reductions, (select min(execution_id) as earliest from executions)
    """)[0]
    assert oldest <= first < last
