"""`rayflow run --rerun`: what was recorded, once more, with the code of today."""

from __future__ import annotations

import json
from typing import Any

import pytest

MORE = '''
from dataclasses import dataclass
from rayflow import get_context, task

@dataclass
class Point:
    x: int
    y: list

@task
def move(point, by=1, *more, scale=1, **names):
    return [point.x + by * scale + sum(more), sorted(names), len(point.y)]

@task
def check(point, big):
    if point.x < 10:
        raise ValueError(f"too small: {point.x}")
    return len(big)

@task
def main(n=1):
    return check(Point(n, []), list(range(10000)))

@task
def far():
    return move(Point(1, list(range(5000))), 2, 3, 4, scale=5, a=1, b=2)

@task
def where(host=get_context("host", "nowhere")):
    return host
'''


def edit(rayflow: Any, old: str, new: str) -> None:
    rayflow.project.edit(rayflow.file, old, new)
    rayflow.project.forget()


def job(rayflow: Any, name: str) -> str:
    return str(rayflow.ids(f"select job_id from jobs where task_name = '{rayflow.namespace}.{name}' limit 1")[0])


def test_an_execution_is_evaluated_again_with_its_arguments(rayflow: Any) -> None:
    rayflow.run("main", "--greet", "Hi")
    rayflow.run("leaf", "--i", "1")
    again = rayflow("run", "--rerun", "~1", "--inline")
    assert again.out == "'Hi, World!'\n" and "3 cached" in again.err
    edit(rayflow, 'return f"{greet}, {thing}!"', 'return f"{greet} {thing}"')
    again = rayflow("run", "--inline", "--rerun", rayflow.ids("select min(execution_id) from executions")[0])
    assert again.out == "'Hi World'\n" and "1 computed, 2 cached" in again.err
    assert [row["arguments"].rpartition(".")[2] for row in json.loads(rayflow("log", "--json").out)] == [
        "main('Hi')", "main('Hi')", "leaf(1)", "main('Hi')"
    ]  # fmt: skip


def test_a_job_is_called_again_with_its_arguments(rayflow: Any) -> None:
    rayflow.path.write_text(MORE)
    assert rayflow.run("far", "--json").out == "[18, [\"a\", \"b\"], 5000]\n"
    again = rayflow("run", "--rerun", job(rayflow, "move")[:10], "--inline", "--json")
    assert again.out == "[18, [\"a\", \"b\"], 5000]\n" and "1 cached" in again.err
    again = rayflow("run", "--rerun", job(rayflow, "move"), "--inline", "--json", "--no-cache")
    assert "1 computed" in again.err


def test_a_job_that_failed_is_called_again_with_its_arguments(rayflow: Any) -> None:
    rayflow.path.write_text(MORE)
    rayflow.run("main", "--n", "3")
    found = job(rayflow, "check")
    assert "too small: 3" in rayflow("run", "--rerun", found, "--inline").err
    edit(rayflow, "< 10", "< 2")
    again = rayflow("run", rayflow.file, "--rerun", found, "--inline")
    assert (again.code, again.out) == (0, "10000\n")


def test_its_options_and_its_context_count_again_below_those_given_now(rayflow: Any) -> None:
    rayflow.path.write_text(MORE)
    rayflow.run("where", "--context", "host=lab", "--option", "retries=2", "--tag", "a=1")
    again = rayflow("run", "--rerun", "-", "--inline", "--tag", "b=2")
    assert again.out == "'lab'\n"
    rows = json.loads(rayflow("log", "--json").out)
    assert [json.loads(row["options"])["retries"] for row in rows] == [2, 2]
    assert rayflow("run", "--rerun", "-", "--inline", "--context", "host=barn").out == "'barn'\n"
    keys = [row["key"] for row in json.loads(rayflow("tag", "list", "~1", "--json").out)]
    assert "b" in keys and "a" not in keys


def test_it_takes_the_code_from_where_it_was(rayflow: Any) -> None:
    rayflow.run("main")
    rayflow.project.forget()
    assert rayflow("run", "--inline", "--rerun", "-").out == "'Hello, World!'\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rerun", "zz"], "Nothing in the store is called 'zz'"),
        (["--rerun", "-", "FILE", "main"], "--rerun takes no task: that of the record is meant"),
        (["FILE", "--rerun", "-", "--gret", "Hi"], "has no argument --gret. Did you mean --greet?"),
        (["--rerun", "-", "--inlin"], "has no argument --inlin. Did you mean --inline?"),
        (["--rerun", "-", "--dry-run"], "--rerun has nothing to do: leave one out"),
    ],
)
def test_wrong_words_are_one_error(rayflow: Any, words: list[str], message: str) -> None:
    rayflow.run("main")
    done = rayflow("run", *(rayflow.file if word == "FILE" else word for word in words))
    assert (done.code, done.out) == (1, "")
    assert message in done.err


def test_a_task_or_a_parameter_that_is_gone_is_named(rayflow: Any) -> None:
    rayflow.run("leaf", "--i", "1")
    found = job(rayflow, "leaf")
    edit(rayflow, "def leaf(i: int):\n    return i", "def leaf(k: int):\n    return k")
    done = rayflow("run", "--inline", "--rerun", found)
    assert done.code == 1 and "was called with 'i', and has no such parameter now" in done.err
    edit(rayflow, "@task\ndef leaf(k: int)", "def leaf(k: int)")
    done = rayflow("run", "--inline", "--rerun", found)
    assert done.code == 1 and "there is no such task now" in done.err


def test_arguments_that_are_given_replace_those_recorded(rayflow: Any) -> None:
    rayflow.run("greeter", "--greet", "Hello", "--thing", "Mars")
    greeted = job(rayflow, "greeter")
    assert rayflow("run", "--inline", "--rerun", "-", "--thing", "Venus").out == "'Hello, Venus!'\n"
    assert rayflow("run", "--inline", rayflow.file, "--rerun", greeted, "--greet=Bye").out == "'Bye, Mars!'\n"
    rayflow.project.write("args.json", '{"thing": "Pluto"}')
    assert rayflow("run", "--inline", "--rerun", greeted, "--input", "args.json").out == "'Hello, Pluto!'\n"
    rayflow.run("add", "--n", "1", "--xs", "1", "2", "--a", "3")
    found = rayflow("run", "--inline", "--rerun", "-", "--n", "5", "--a", "4", "--json")
    assert json.loads(found.out) == {"n": 5, "xs": [1.0, 2.0], "verbose": False, "a": 4}
    found = rayflow("run", "--inline", "--rerun", "-", "--n", "five")
    assert (found.code, "--n: 'five' is not an int" in found.err) == (1, True), found.err


def test_python_replaces_arguments_too(rayflow: Any) -> None:
    from rayflow.api import Scheduler
    from rayflow.errors import BadArguments

    rayflow.run("greeter", "--greet", "Hello", "--thing", "Mars")
    with Scheduler(inline=True) as scheduler:
        assert scheduler.rerun("-", arguments={"thing": "Venus"}) == "Hello, Venus!"
        with pytest.raises(BadArguments, match="has no parameter 'what'"):
            scheduler.rerun("-", arguments={"what": 1})
