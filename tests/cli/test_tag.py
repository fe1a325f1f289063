"""`rayflow tag`: set, list and remove what people say about things."""

from __future__ import annotations

import json
from typing import Any

import pytest


def tags(rayflow: Any, *words: str) -> list[list[Any]]:
    return [[row["key"], json.loads(row["value"])] for row in json.loads(rayflow("tag", "list", *words, "--json").out)]


def test_tags_are_added_updated_and_removed_and_the_history_keeps_all(rayflow: Any) -> None:
    rayflow.run("main")
    own = tags(rayflow, "-")  # what the run itself has set
    done = rayflow("tag", "add", "-", "reviewed=yes", "n=3", "reviewer=ada", "reviewer=bob", "seen")
    assert done.code == 0 and "reviewer=ada, reviewer=bob" in done.out
    assert rayflow("tag", "update", "-", "reviewed=no", "reviewer=cleo").code == 0
    assert rayflow("tag", "rm", "-", "n").code == 0
    now = [each for each in tags(rayflow, "-") if each not in own]
    assert now == [["reviewed", "no"], ["reviewer", "cleo"], ["seen", True]]
    told = rayflow("tag", "list", "-", "--history", "--key", "reviewer").out
    assert [line.split()[1::3] for line in told.splitlines()[1:]] == [
        ["ada", "set"], ["bob", "set"], ["ada", "removed"], ["bob", "removed"], ["cleo", "set"]
    ]  # fmt: skip
    assert "reviewed=no, reviewer=cleo, seen=true" in rayflow("log", "-").out


def test_a_removed_tag_can_be_set_again(rayflow: Any) -> None:
    rayflow.run("main")
    for verb in ("add", "rm", "add", "add"):
        assert rayflow("tag", verb, "-", "a=1").code == 0
    assert tags(rayflow, "-", "--key", "a") == [["a", 1]]
    assert tags(rayflow, "-", "--key", "a", "--history") == [["a", 1]] * 3


@pytest.mark.parametrize("kind", ["job", "call", "value", "task"])
def test_everything_that_has_an_id_can_be_tagged(rayflow: Any, kind: str) -> None:
    rayflow.run("main")
    column, table = ("job_id", "jobs") if kind == "job" else (f"{kind}_hash", "calls")
    [found] = rayflow.ids(f"select {column} from {table} where task_name = '{rayflow.namespace}.greeter'")
    assert rayflow("tag", "add", found[:10], "note=good one").code == 0
    assert tags(rayflow, found) == [["note", "good one"]]
    assert "tags" in rayflow("log", found[:12]).out and "note=good one" in rayflow("log", found[:12]).out
    everywhere = json.loads(rayflow("tag", "list", "--key", "note=good one", "--json").out)
    assert [(row["entity"], row["entity_id"]) for row in everywhere] == [(kind, found)]


def test_a_task_is_tagged_by_its_name(rayflow: Any) -> None:
    rayflow.run("main")
    assert rayflow("tag", "add", "greeter", "owner=ada").code == 0
    [found] = rayflow.ids(f"select task_hash from calls where task_name = '{rayflow.namespace}.greeter'")
    assert tags(rayflow, found) == tags(rayflow, f"{rayflow.namespace}.greeter") == [["owner", "ada"]]


def test_all_tags_are_listed_with_what_has_them(rayflow: Any) -> None:
    rayflow.run("main")
    rayflow("tag", "add", "-", "a=1")
    lines = [line.split() for line in rayflow("tag", "list", "--key", "a").out.splitlines()]
    assert lines[0] == ["of", "id", "key", "value", "at"] and lines[1][0] == "execution" and lines[1][2:4] == ["a", "1"]
    assert rayflow("tag", "list", "--key", "none").out == "There are no such tags.\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["add", "zz", "a=1"], "Nothing in the store is called 'zz'"),
        (["add", "-", "=1"], "'=1' is no tag"),
        (["add", "-"], "Missing argument"),
        (["update", "-", "a=1", "a=2"], "The tag a was given twice"),
        (["rm", "-", "a"], "has no tag a"),
        (["list", "--history"], "Name what the history is wanted of"),
    ],
)
def test_wrong_words_are_an_error_of_the_users(rayflow: Any, words: list[str], message: str) -> None:
    rayflow.run("main")
    done = rayflow("tag", *words)
    assert done.code == 1 and message in done.err
