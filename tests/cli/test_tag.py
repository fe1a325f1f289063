"""`rayflow tag`: set, list and remove what people say about things."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rayflow.api import Scheduler
from rayflow.errors import BadOption
from rayflow.lang.options.tags import tag_text
from rayflow.lang.tasks import task


def tags(rayflow: Any, *words: str) -> list[list[Any]]:
    rows = json.loads(rayflow("tag", "list", *words, "--json").out)
    return [[row["key"], json.loads(row["value_json"])] for row in rows]


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


VALUES = [
    1, "1", True, "true", None, "null", 1.5, "1.5", "", " a b ", '"q"', "é😀", "a=b", [1, "1"], {"k": "v"}, "[1]",
    "-", "NaN",
]  # fmt: skip


def test_values_of_every_type_are_told_apart_and_what_is_shown_sets_them_again(rayflow: Any) -> None:
    rayflow.run("main")
    assert rayflow("tag", "add", "-", *(f"k={json.dumps(value)}" for value in VALUES)).code == 0
    assert sorted(tags(rayflow, "-", "--key", "k"), key=repr) == sorted((["k", value] for value in VALUES), key=repr)
    rows = json.loads(rayflow("tag", "list", "-", "--key", "k", "--json").out)
    texts = [value if isinstance(value, str) else json.dumps(value) for value in VALUES]
    assert sorted(row["value"] for row in rows) == sorted(texts)
    shown = [tag_text(row["value_json"]) for row in rows]
    assert len(set(shown)) == len(VALUES) and all(text in rayflow("tag", "list", "-").out for text in shown)
    assert {"1", '"1"', "true", '"true"', "", '"[1]"'} <= set(shown)
    rayflow("tag", "add", "~0", *(f"again={text}" for text in shown))
    again = [value for _, value in tags(rayflow, "-", "--key", "again")]
    assert sorted(again, key=repr) == sorted(VALUES, key=repr)


def test_values_of_one_key_are_removed_one_by_one_or_together(rayflow: Any) -> None:
    rayflow.run("main")
    rayflow("tag", "add", "-", "k=1", 'k="1"', "k=a", "k=b", "k=c")
    left = ["1", 1, "a", "b", "c"]
    for text, value in (("k=b", "b"), ("k=1", 1), ("k=1", "1"), ("k=a", "a")):
        assert rayflow("tag", "rm", "-", text).code == 0
        left = [each for each in left if not (type(each) is type(value) and each == value)]
        assert [each for _, each in tags(rayflow, "-", "--key", "k")] == left
    rayflow("tag", "update", "-", "k=x", "k=y")
    assert [each for _, each in tags(rayflow, "-", "--key", "k")] == ["x", "y"]
    rayflow("tag", "rm", "-", "k")
    assert tags(rayflow, "-", "--key", "k") == []


MANY = """
from rayflow import apply_tags, task

@task(tags={tags})
def main():
    return apply_tags(below.options(tags={tags})(), {tags}, job_tags={tags}, execution_tags={tags})

@task
def below():
    return 5
"""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("{'k': 1, 'n': [1, 2]}", [["k", 1], ["n", [1, 2]]]),
        ("[('k', 1), ('k', 'a'), ('n', None)]", [["k", 1], ["k", "a"], ["n", None]]),
        ("['k=1', 'k=a', 'n']", [["k", 1], ["k", "a"], ["n", True]]),
        ("(('k', 1), 'k=1')", [["k", 1]]),
    ],
)
def test_tags_are_taken_in_every_form_in_every_place(rayflow: Any, given: str, expected: list[Any]) -> None:
    rayflow.path.write_text(MANY.format(tags=given))
    words = [f"{key}={json.dumps(value)}" for key, value in expected]
    assert rayflow.run("main", *(part for word in words for part in ("--tag", word.replace("k=", "run=")))).code == 0
    rows = json.loads(rayflow("tag", "list", "--json").out)
    known = {(row["entity"], row["key"], row["value_json"]) for row in rows if row["key"] in ("k", "n", "run")}
    for entity in ("task", "job", "value", "execution"):
        found = {(key, value) for kind, key, value in known if kind == entity and key != "run"}
        assert found == {(key, json.dumps(value)) for key, value in expected}, entity
    assert {value for _, key, value in known if key == "run"} == {json.dumps(v) for k, v in expected if k == "k"}
    for word in words:
        assert "No execution fits" not in rayflow("log", "--tag", word).out
        assert "below" in rayflow("log", "--jobs", "--tag", word).out
    with Scheduler(inline=True) as scheduler:
        task = rayflow.project.load(rayflow.namespace).main
        scheduler.run(task(), tags=eval(given))
    assert [each for each in tags(rayflow, "-") if each[0] in ("k", "n")] == expected


@pytest.mark.parametrize("given", [5, "k=1", [5], [("a",)], [(1, 2)], {"": 1}, {1: 2}, ["=1"]])
def test_what_is_no_tag_is_an_error_that_says_how_to_write_one(given: Any) -> None:
    with pytest.raises(BadOption, match=r"tag"):
        Scheduler(inline=True, store=":memory:").run(1, tags=given)
    with pytest.raises(BadOption, match=r"tag"):
        task(tags=given)(lambda: 1)


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
        (["add", "-", "=1"], "'=1' is not a tag"),
        (["add", "-"], "Missing argument"),
        (["rm", "-", "a"], "has no tag a"),
        (["list", "--history"], "Name what the history is wanted of"),
    ],
)
def test_wrong_words_are_an_error_of_the_users(rayflow: Any, words: list[str], message: str) -> None:
    rayflow.run("main")
    done = rayflow("tag", *words)
    assert done.code == 1 and message in done.err
