"""`rayflow diff` says where two executions begin to differ, and where that ends."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rayflow.store.history import execution_diff
from rayflow.store.history.history import History

FLOW = '''
from pathlib import Path

from rayflow import catch, task


@task
def get_planet() -> str:
    return "World"


@task
def greeter(greet: str, thing: str) -> str:
    return f"{greet}, {thing}!"


@task
def count(text: str) -> int:
    return len(text)


@task
def twice(n: int) -> int:
    return 2 * n


@task
def main(greet: str = "Hello"):
    greeting = greeter(greet, get_planet())
    return [greeting, twice(count(greeting))]


@task
async def awaiting(greet: str = "Hello"):
    greeting = await greeter(greet, get_planet())
    return [greeting, await twice(len(greeting))]


@task
def inconstant() -> str:
    return Path("number").read_text()


@task
def of_the_world():
    return greeter("Hello", inconstant())


@task
def recovered(error: Exception) -> str:
    return "recovered"


@task
def fragile() -> str:
    if Path("number").read_text() == "1":
        raise ValueError("one")
    return "whole"


@task
def careful():
    return catch(fragile(), ValueError, recovered)


@task
def again(n: int):
    return [greeter("Hello", get_planet()) for _ in range(n)]
'''


@pytest.fixture
def flow(rayflow: Any) -> Any:
    rayflow.path.write_text(FLOW)
    rayflow.project.write("number", "1")
    return rayflow


def compared(flow: Any, *words: str) -> dict[str, Any]:
    """The answer, with the calls by the short names of their tasks."""
    asked = flow("diff", *words, "--json")
    assert asked.code == 0, asked.err
    told: dict[str, Any] = json.loads(asked.out)
    told["by_name"] = {short(flow, call["name"]): call for call in told["calls"]}
    told["begins"] = {short(flow, call["name"]) for call in told["calls"] if not call["cause"]}
    told["ends"] = {short(flow, call["name"]) for call in told["calls"] if call["ends"]}
    told["lone"] = [(call["side"], short(flow, call["name"])) for call in told["alone"]]
    return told


def short(flow: Any, name: str) -> str:
    return name.removeprefix(f"{flow.namespace}.")


def edit(flow: Any, old: str, new: str) -> None:
    text = flow.path.read_text()
    assert old in text
    flow.path.write_text(text.replace(old, new))
    flow.project.forget()


def test_two_equal_executions_do_not_differ(flow: Any) -> None:
    flow.run("main")
    flow.run("main", "--no-cache")
    told = compared(flow)
    assert told["calls"] == told["alone"] == [] and told["left"] == 0
    assert all(task["jobs"] == task["other_jobs"] == task["same"] == task["other_same"] for task in told["tasks"])
    assert "5 calls the same, 0 calls differ" in flow("diff").out


def test_a_difference_begins_at_edited_code_and_ends_where_a_result_is_the_same(flow: Any) -> None:
    flow.run("main")
    edit(flow, '"World"', '"Venus"')
    flow.run("main")
    told = compared(flow)
    assert told["begins"] == {"get_planet"}
    assert told["by_name"]["get_planet"]["code"] == [f"{flow.namespace}.get_planet"]
    assert told["ends"] == {"count"}  # both greetings have thirteen letters
    assert dict(told["by_name"]["greeter"]["origins"]) == {"thing": f"{flow.namespace}.get_planet"}
    assert told["by_name"]["main"]["cause"] == "calls" and "twice" not in told["by_name"]
    text = flow("diff").out
    assert text.index("begins here") < text.index("get_planet") < text.index("ends here") < text.index("count")


def test_other_arguments_of_the_root_are_followed_down(flow: Any) -> None:
    flow.run("main")
    flow.run("main", "--greet", "Hi")
    told = compared(flow)
    assert told["begins"] == {"main"} and set(told["by_name"]) == {"main", "greeter", "count", "twice"}
    assert told["by_name"]["greeter"]["origins"] == {"greet": f"{flow.namespace}.main"}
    assert {each["what"] for each in told["settings"]} == {"arguments"}


def test_calls_below_a_job_that_the_cache_answered_are_compared_by_their_calls(flow: Any) -> None:
    flow.run("awaiting", "--greet", "Hello")
    flow.run("awaiting", "--greet", "Hi")
    flow.run("awaiting", "--greet", "Hello")
    last = "execution_id = (select max(execution_id) from executions)"
    assert flow.ids(f"select count(*) from jobs where how = 'cached' and {last}") == ["1"]  # it, and all below it
    told = compared(flow)
    assert told["begins"] == {"awaiting"} and not told["lone"]
    assert set(told["by_name"]) == {"awaiting", "greeter", "twice"}
    assert told["by_name"]["greeter"]["job_id"] and not told["by_name"]["greeter"]["other_job_id"]


def test_a_difference_begins_at_a_call_of_the_same_code_and_arguments_with_another_result(flow: Any) -> None:
    flow.run("of_the_world")
    flow.project.write("number", "2")
    flow.run("of_the_world", "--no-cache")
    told = compared(flow)
    assert told["begins"] == {"inconstant"} and told["by_name"]["inconstant"]["kinds"] == ["result"]
    assert told["by_name"]["greeter"]["origins"] == {"thing": f"{flow.namespace}.inconstant"}


def test_a_call_that_failed_is_paired_with_the_one_that_did_not(flow: Any) -> None:
    flow.run("careful")
    flow.project.write("number", "2")
    flow.run("careful")
    told = compared(flow)
    assert {"status", "result"} <= set(told["by_name"]["fragile"]["kinds"]) and "fragile" in told["begins"]
    assert told["lone"] == [(0, "recovered")]


def test_a_call_that_was_added_moves_no_other(flow: Any) -> None:
    flow.run("again", "--n", "1")
    edit(flow, "for _ in range(n)]", "for _ in range(n)] + [greeter('Hi', 'Mars')]")
    flow.run("again", "--n", "1")
    told = compared(flow)
    assert told["begins"] == {"again"} and told["lone"] == [(1, "greeter")]
    assert "only in +" in flow("diff").out


def test_equal_pairs_are_told_once_with_their_number(flow: Any) -> None:
    flow.run("again", "--n", "30")
    edit(flow, '"World"', '"Venus"')
    flow.run("again", "--n", "30")
    told = compared(flow)
    assert told["by_name"]["greeter"]["times"] == 30 and len(told["calls"]) == 3
    assert " x30" in flow("diff").out


def test_what_is_too_much_to_be_aligned_is_counted(flow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    flow.run("main")
    flow.run("main", "--greet", "Hi")
    monkeypatch.setattr(execution_diff, "MOST_JOBS", 2)
    told = compared(flow)
    assert told["left"] == 4 and len(told["calls"]) == 2
    monkeypatch.setattr(execution_diff, "MOST_CALLS", 1)
    assert [call["cause"] for call in compared(flow)["calls"]] == ["", "unknown"]


def test_executions_under_different_identities_of_values_are_not_compared(
    flow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow.run("main")
    flow.run("main", "--greet", "Hi")
    rows = History.execution
    monkeypatch.setattr(History, "execution", lambda self, text: {**rows(self, text), "meaning": text})
    answer = flow("diff")
    assert answer.code == 1 and "identify values differently" in answer.err


def test_what_is_no_execution_is_said(flow: Any) -> None:
    flow.run("main")
    assert flow("diff").code == 1  # there is none before the last one
    assert flow("diff", "nonsense", "-").code == 1
