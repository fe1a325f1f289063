"""Task options: what is accepted, refused, read from text and merged."""

from __future__ import annotations

from typing import Any

import pytest

from rayflow.errors import BadOption
from rayflow.lang.expressions import TaskCall
from rayflow.lang.options import (
    OPTIONS,
    check_context,
    check_options,
    class_names,
    merge,
    merge_context,
    parse_bytes,
    parse_option,
    parse_seconds,
    scope_of,
)


def test_an_unknown_option_names_the_nearest_known_one() -> None:
    with pytest.raises(BadOption, match="Did you mean 'retries'"):
        check_options({"retrys": 1}, where="f")
    with pytest.raises(BadOption, match="The options are: cache"):
        check_options({"zzzzzz": 1}, where="f")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("retries", "2", "takes int"), ("retries", True, "takes int"), ("retries", -1, "negative"),
        ("cache_scope", "NO", "one of 'NONE'"), ("check_valid", "deep", "one of"), ("memory", "4 parsecs", "no size"),
        ("cache_for", "soon", "no duration"), ("tags", ["a"], "takes dict"), ("retry_on", [3], "no exception class"),
        ("timeout", -1, "negative"), ("nout", -1, "negative"), ("version", 1.5, "takes str or int"),
        ("limits", {"db": "two"}, "takes a number"), ("limits", {"db": -1}, "0 or more"),
        ("limits", [["db"]], "by a text"),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_is_refused_with_what_is_right(name: str, value: Any, says: str) -> None:
    with pytest.raises(BadOption, match=says):
        check_options({name: value}, where="f")


def test_every_option_accepts_its_own_default() -> None:
    for name, option in OPTIONS.items():
        assert name in check_options({name: option.default}, where="f", at_call=not option.many)


def test_what_belongs_to_the_definition_is_refused_at_the_call() -> None:
    with pytest.raises(BadOption, match=r"set it in @task\(version=...\)"):
        check_options({"version": 2}, where="f.options", at_call=True)


def test_an_expression_is_accepted_before_its_value_is_known() -> None:
    lazy = TaskCall("lab.f")
    assert check_options({"memory": lazy}, where="f")["memory"] is lazy


def test_exception_classes_travel_by_name() -> None:
    assert check_options({"retry_on": (OSError, "lab.OwnError")}, where="f")["retry_on"] == (
        "builtins.OSError", "lab.OwnError"
    )  # fmt: skip
    assert class_names(KeyError) == ("builtins.KeyError",)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("retries=2", "retries", 2), ("retry-delay=0.5", "retry_delay", 0.5), ("cache=no", "cache", False),
        ("cache_scope=CSE", "cache_scope", "CSE"), ("memory=4GiB", "memory", "4GiB"), ("bundle=8", "bundle", 8),
        ('limits={"db": 2}', "limits", {"db": 2}), ("tags={}", "tags", {}), ("num_cpus = 2", "num_cpus", 2),
    ],
)  # fmt: skip
def test_an_option_is_read_from_text(text: str, name: str, value: Any) -> None:
    assert parse_option(text) == (name, value)


@pytest.mark.parametrize(
    ("text", "says"),
    [("retries", "name=value"), ("retrys=2", "retries"), ("limits=db", "JSON"), ("retries=many", "takes int")],
)
def test_text_that_is_no_option_says_why(text: str, says: str) -> None:
    with pytest.raises(BadOption, match=says):
        parse_option(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90m", 5400), ("1d", 86400), ("12 h", 43200), ("5", 5), (2.5, 2.5), ("1.5s", 1.5)]
)
def test_durations_are_read_as_seconds(text: Any, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"), [("4GiB", 4 << 30), ("500MB", 500_000_000), ("1k", 1024), (10, 10), ("1.5 KiB", 1536)]
)
def test_sizes_are_read_as_bytes(text: Any, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("memory", [4, 0.5, "8", -1, "-2"])
def test_gigabytes_without_a_unit_are_not_taken_for_bytes(memory: Any) -> None:
    with pytest.raises(BadOption, match=r"Give the unit: memory=\"4GiB\"|is no size"):
        check_options({"memory": memory}, where="f")
    assert check_options({"memory": 0}, where="f") == {"memory": 0}


@pytest.mark.parametrize("text", ["1.2.3", ".", "GiB", ""])
def test_a_number_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadOption):
        parse_bytes(text)
    with pytest.raises(BadOption):
        parse_seconds(text)


def test_a_later_level_wins_name_by_name() -> None:
    assert merge({"a": 1, "b": 1}, None, {"b": 2}, {}) == {"a": 1, "b": 2}


def test_no_cache_lowers_the_scope_and_never_raises_it() -> None:
    assert scope_of({}) == "BACKEND"
    assert scope_of({"cache": False}) == "CSE"
    assert scope_of({"cache": False, "cache_scope": "NONE"}) == "NONE"


@pytest.mark.parametrize(
    ("lower", "higher", "both"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"a": {"b": 3, "c": 2}}),
        ({"a": {"b": 1}}, {"a": 5}, {"a": 5}),
        ({"a": 5}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": [1]}, {"a": [2]}, {"a": [2]}),
    ],
)
def test_a_context_over_another_keeps_what_it_does_not_name(lower: Any, higher: Any, both: Any) -> None:
    before = repr((lower, higher))
    assert merge_context(lower, higher) == both
    assert repr((lower, higher)) == before, "neither of them is changed"


def test_a_context_that_is_nested_without_end_is_refused() -> None:
    deep: dict[str, Any] = {"end": 1}
    for _ in range(50):
        deep = {"a": deep}
    check_context(deep, where="run")
    deep["a"]["a"]["a"]["more"] = deep
    with pytest.raises(BadOption, match="50 dicts deep"):
        check_context(deep, where="run")


def test_collections_of_names_add_up_from_level_to_level() -> None:
    lower = {"tags": {"a": 1}, "export_options": {"retries": 1, "tags": {"x": 1}}, "limits": {"db": 1}}
    higher = {"tags": {"b": 2}, "export_options": {"priority": 2, "tags": {"y": 2}}, "limits": {"api": 1}}
    assert merge(lower, higher) == {
        "tags": {"a": 1, "b": 2},
        "export_options": {"retries": 1, "priority": 2, "tags": {"x": 1, "y": 2}},
        "limits": {"api": 1},
    }


def test_exported_options_are_checked_as_any() -> None:
    with pytest.raises(BadOption, match=r"there is no task option 'retires'. Did you mean 'retries'"):
        check_options({"export_options": {"retires": 1}}, where="f")
    with pytest.raises(BadOption, match=r"'version' belongs to the task's definition"):
        check_options({"export_options": {"version": "1"}}, where="f")
    kept = check_options({"export_options": {"retry_on": ValueError, "executor": "p"}}, where="f")
    assert kept == {"export_options": {"retry_on": ("builtins.ValueError",), "profile": "p"}}
