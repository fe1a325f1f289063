"""Task options: what is accepted, refused, read from text and merged."""

from __future__ import annotations

from typing import Any

import pytest

from rayflow.errors import BadOption
from rayflow.lang.options import runtime_environments
from rayflow.lang.options.option_values import check_context, parse_bytes, parse_seconds
from rayflow.lang.options.options import (
    OF_EFFECTS,
    OPTIONS,
    Option,
    check_options,
    class_names,
    merge,
    merge_context,
    parse_option,
    scope_of,
)
from rayflow.lang.terms.expressions import TaskCall
from rayflow.values.secrets import Secret


def test_an_unknown_option_names_the_nearest_known_one() -> None:
    with pytest.raises(BadOption, match="Did you mean 'retries'"):
        check_options({"retrys": 1}, where="f")
    with pytest.raises(BadOption, match="The options are: cache"):
        check_options({"zzzzzz": 1}, where="f")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("retries", "2", "takes int"), ("retries", True, "takes int"), ("retries", -1, "negative"),
        ("cache_scope", "NO", "one of 'none', 'execution', 'store', not 'NO'"),
        ("cache_scope", 3, "takes str"), ("check_valid", "deep", "one of"),
        ("memory", "4 parsecs", "not a size"),
        ("cache_for", "soon", "not a duration"), ("tags", 5, "takes dict or list"),
        ("retry_on", [3], "not an exception class"),
        ("timeout", -1, "0.001 or more"), ("nout", -1, "negative"), ("version", 1.5, "takes str or int"),
        ("limits", {"db": "two"}, "takes a number"), ("limits", {"db": -1}, "0 or more"),
        ("limits", [["db"]], "by a text"),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_is_refused_with_what_is_right(name: str, value: Any, says: str) -> None:
    with pytest.raises(BadOption, match=says):
        check_options({name: value}, where="f")


def test_every_option_accepts_its_own_default() -> None:
    for name, option in OPTIONS.items():
        of_effect = {"effect": True} if name in OF_EFFECTS else {}
        assert name in check_options({name: option.default, **of_effect}, where="f", at_call=not option.many)


def test_what_belongs_to_the_definition_is_refused_at_the_call() -> None:
    with pytest.raises(BadOption, match=r"set it in @task\(version=...\)"):
        check_options({"version": 2}, where="f.options", at_call=True)


@pytest.mark.parametrize(
    ("recorded", "words"),
    [
        ("NONE", ("none", "NONE", "None")),
        ("CSE", ("execution", "EXECUTION", "CSE", "cse")),
        ("BACKEND", ("store", "Store", "BACKEND", "backend")),
    ],
)
def test_a_cache_scope_is_recorded_as_it_always_was(recorded: str, words: tuple[str, ...]) -> None:
    for word in words:
        for levels in ({}, {"at_call": True}, {"at_call": True, "many": True}):
            assert check_options({"cache_scope": word}, where="f", **levels) == {"cache_scope": recorded}
        assert check_options({"export_options": {"cache_scope": word}}, where="f", at_call=True) == {
            "export_options": {"cache_scope": recorded}
        }
        assert parse_option(f"cache_scope={word}") == ("cache_scope", recorded)


def test_an_expression_is_accepted_before_its_value_is_known() -> None:
    lazy = TaskCall("lab.f")
    assert check_options({"memory": lazy}, where="f", at_call=True)["memory"] is lazy


@pytest.mark.parametrize("value", [TaskCall("lab.f"), {"a": TaskCall("lab.f")}, [TaskCall("lab.f")]])
def test_a_task_and_a_call_have_lazy_options_and_a_run_has_none(value: Any) -> None:
    name = {dict: "resources", list: "limits"}.get(type(value), "memory")
    assert check_options({name: value}, where="f") == {name: value}
    assert check_options({name: value}, where="f", at_call=True) == {name: value}
    assert check_options({"export_options": {name: value}}, where="f") == {"export_options": {name: value}}
    with pytest.raises(BadOption, match=rf"run: option '{name}' is lazy. Only a task or a call of it can"):
        check_options({name: value}, where="run", at_call=True, many=True, lazy=False)


@pytest.mark.parametrize("option", [each for each in OPTIONS.values() if each.many], ids=lambda o: o.name)
def test_an_option_that_says_what_a_task_is_cannot_be_lazy(option: Option) -> None:
    lazy: dict[str, Any] = {option.name: TaskCall("lab.f")}
    if option.name in OF_EFFECTS:
        lazy["effect"] = True
    if option.call and option.name != "tags":
        assert check_options(lazy, where="f") == lazy
    else:
        with pytest.raises(BadOption, match=f"f: option '{option.name}' is lazy. "):
            check_options(lazy, where="f")


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


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("memory", ["900TiB", "1PB", 1e30, 10**15, "9" * 400 + "GiB"], "more than any machine has|finite"),
        ("num_cpus", [1e6, 10**30], "100,000 or less"), ("num_gpus", [1e6, 1e300], "100,000 or less"),
        ("num_cpus", [1e-9, 0.00001], "smallest part"), ("num_gpus", [1e-5], "smallest part"),
        ("num_gpus", [1.5, 2.25], "whole number"),
        ("resources", [{"a": -1}, {"a": "x"}, {"a": True}, {"a": NAN}], "0 or more"),
        ("resources", [{"a": INF}], "finite"), ("resources", [{"a": 1e18}], "any node"),
        ("resources", [{"a": 1e-6}], "smallest part"), ("resources", [{"": 1}, {1: 1}, {" ": 1}], "not empty"),
        ("resources", [{"CPU": 1}, {"GPU": 1}, {"memory": 1}], "its own option is"),
        ("label_selector", [{"": "a"}, {1: "a"}], "not empty"),
        ("label_selector", [{"a": 1}, {"a": ""}, {"a": "in("}, {"a": "in()"}, {"a": "!!b"}], "!value"),
        ("runtime_env", [{"pipp": []}], "Did you mean 'pip'"), ("runtime_env", [{"zzz": 1}, {1: 2}], "There are: "),
        ("runtime_env", [{"env_vars": {"A": 1}}, {"env_vars": ["A"]}], "texts"),
        ("runtime_env", [{"env_vars": {"": "1"}}, {"env_vars": {1: "1"}}], "not empty"),
        ("runtime_env", [{"pip": ["a"], "uv": ["b"]}, {"pip": ["a"], "conda": "b"}], "cannot have both pip and"),
        ("runtime_env", [{"image_uri": "a", "pip": ["b"]}, {"image_uri": "a", "working_dir": "s3://b/c.zip"},
                         {"container": {"image": "a"}, "image_uri": "b"}], "cannot have .*beside an image"),
        ("runtime_env", [{"working_dir": "."}, {"working_dir": "/code"}, {"working_dir": "s3://b/code"},
                         {"working_dir": "ftp://h/x.zip"}, {"py_modules": ["lib"]}], "URL of a package.*for all tasks"),
        ("runtime_env", [{"worker_process_setup_hook": "m.f"}, {"excludes": ["a"]}], "is for all tasks"),
        ("runtime_env", [{"pip": 3}, {"uv": [3]}, {"pip": ""}, {"pip": ["a", None]}], "list of packages as texts"),
        ("runtime_env", [{"pip": {"pip_check": True}}], "without packages"),
        ("runtime_env", [{"conda": ["a"]}, {"conda": 3}], "a name, a file or a table"),
        ("runtime_env", [{"image_uri": ""}, {"py_executable": 3}, {"working_dir": " "}], "a text, and not empty"),
        ("runtime_env", [{"py_modules": "lib"}], "list of places"),
        ("runtime_env", [{"config": {"setup_timeout_seconds": n}} for n in (0, -2, "9", 1.5, True)], "whole number"),
        ("scheduling_strategy", ["NOPE", 3, object()], "DEFAULT, SPREAD or"),
        ("timeout", [0, -1, 1e-9], "0.001 or more"), ("timeout", [1e12], "or less"),
        ("retry_delay", [-0.1], "negative"), ("retry_delay", [1e12], "or less"),
        ("retry_backoff", [0, -1], "0.01 or more"), ("retries", [-1], "negative"),
        ("retry_on", [[], ()], "no exception"),
        ("max_worker_losses", [-1], "negative"), ("bundle", [0, -1], "at least one call"),
        ("cache_for", [-1, -0.5], "negative"), ("cache_for", ["9" * 400 + "d"], "finite"),
        ("limits", [{"": 1}, [""], [" "]], "not empty"), ("limits", [["a", "a"]], "twice"),
        ("limits", [{"a": INF}], "finite"), ("limits", [{"a": NAN}, {"a": True}], "0 or more"),
        ("tags", [{"": 1}, {1: 1}], "not empty"),
        *[(name, [NAN, INF, -INF], "finite") for name in (
            "memory", "num_cpus", "num_gpus", "timeout", "retry_delay", "retry_backoff", "priority", "cache_for",
        )],
        *[(name, [""], "empty text") for name in ("profile", "name", "load_module", "accelerator_type", "executor")],
    ],
)  # fmt: skip
def test_a_value_that_makes_no_sense_is_refused_wherever_it_is_said(name: str, values: list[Any], says: str) -> None:
    is_definitions = not OPTIONS[{"executor": "profile"}.get(name, name)].call
    for value in values:
        for levels in ({}, {"at_call": True}, {"at_call": True, "many": True}):
            if not (levels and is_definitions):
                with pytest.raises(BadOption, match=says):
                    check_options({name: value}, where="f", **levels)
        if not is_definitions:
            with pytest.raises(BadOption, match=says):
                check_options({"export_options": {name: value}}, where="f")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory", "256TiB"), ("memory", "0.001PiB"), ("num_cpus", 0), ("num_cpus", 0.0001), ("num_gpus", 0.5),
        ("num_gpus", 8.0), ("resources", {"a": 0.5, "b": 0}), ("timeout", 0.001), ("retry_backoff", 1),
        ("priority", -3), ("bundle", False), ("bundle", 1), ("retries", 10**30), ("cache_for", "99999d"),
        ("label_selector", {"a": "!in(b, c)", "d": "e", "f": "!g"}), ("runtime_env", {"env_vars": {"A": ""}}),
        ("runtime_env", {"working_dir": "S3://b/code.ZIP?version=3", "pip": {"packages": ["a"]}}),
        ("runtime_env", {"py_modules": ["https://h/a.whl"], "uv": [], "pip": ["a"]}),
        ("runtime_env", {"image_uri": "a", "env_vars": {}, "config": {"setup_timeout_seconds": -1}}),
        ("limits", {"a": 0}), ("scheduling_strategy", "SPREAD"), ("namespace", ""), ("version", ""),
    ],
)  # fmt: skip
def test_a_value_at_the_edge_is_accepted(name: str, value: Any) -> None:
    assert check_options({name: value}, where="f") == {name: value}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"cache": False, "cache_scope": "BACKEND"}, "contradict"),
        ({"cache": True, "cache_scope": "NONE"}, "contradict"),
        ({"cache": True, "cache_scope": "CSE"}, "contradict"),
        ({"cache": False, "cache_for": "1d"}, "has no effect"),
        ({"cache_scope": "NONE", "cache_for": 5}, "has no effect"),
        ({"cache_scope": "CSE", "cache_for": 5}, "has no effect"),
        ({"cache_scope": "execution", "cache_for": 5}, "no effect beside cache_scope='execution'"),
        ({"cache": True, "cache_scope": "execution"}, "cache_scope='execution' contradict"),
    ],
)  # fmt: skip
def test_options_of_one_level_that_contradict_each_other_are_refused(given: dict[str, Any], says: str) -> None:
    for levels in ({}, {"at_call": True}, {"at_call": True, "many": True}):
        with pytest.raises(BadOption, match=says):
            check_options(given, where="f", **levels)
    for name in given:
        check_options({name: given[name]}, where="f")


def test_a_scope_that_is_said_later_wins_over_a_cache_that_was_said_before() -> None:
    assert scope_of(merge({"cache": False}, {"cache_scope": "BACKEND"})) == "BACKEND"
    assert scope_of(merge({"cache_scope": "BACKEND"}, {"cache": False})) == "CSE"
    assert scope_of(merge({"cache_scope": "NONE"}, {"cache": False})) == "NONE"


def test_the_keys_of_a_runtime_environment_are_rays() -> None:
    from ray.runtime_env import RuntimeEnv

    known = {key.removeprefix("_") for key in RuntimeEnv.known_fields if not key.startswith(("_ray", "_inject"))}
    assert known == runtime_environments.KEYS


@pytest.mark.parametrize("memory", [4, 0.5, "8", -1, "-2"])
def test_gigabytes_without_a_unit_are_not_taken_for_bytes(memory: Any) -> None:
    with pytest.raises(BadOption, match=r"Give the unit: memory=\"4GiB\"|is not a size"):
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


@pytest.mark.parametrize("variables", [{"A": 31337}, ["31337"]])
def test_a_refused_variable_of_a_runtime_environment_is_told_without_its_value(variables: Any) -> None:
    with pytest.raises(BadOption) as refused:
        runtime_environments.check_for_all({"env_vars": variables}, "here")
    assert "31337" not in str(refused.value)


def test_a_secret_is_no_variable_and_the_error_says_where_it_is_read() -> None:
    with pytest.raises(BadOption, match=r"TOKEN is a \S*Secret\. Pass the secret to the task, whose body reads it"):
        runtime_environments.check_for_task({"env_vars": {"TOKEN": Secret("env:TOKEN")}}, "here")


NAMED = {"runtime_env": {"env_vars": ["A", "B"], "pip": ["x"]}, "export_options": {"runtime_env": {"env_vars": ["C"]}}}
VALUED = {
    "runtime_env": {"env_vars": {"A": "1", "B": "2"}, "pip": ["x"]},
    "export_options": {"runtime_env": {"env_vars": {"C": "3"}}},
}


def test_options_without_the_values_of_variables_get_them_again_by_name() -> None:
    assert runtime_environments.shown_in(VALUED) == runtime_environments.shown_in(NAMED) == NAMED
    more = {"runtime_env": {"env_vars": {"A": "1", "B": "2", "D": "4"}}, "export_options": VALUED["export_options"]}
    assert runtime_environments.with_variables(NAMED, more, "It") == VALUED
    assert runtime_environments.with_variables(VALUED, {}, "It") == VALUED
    for lacks in ({}, {**VALUED, "export_options": {}}, {"runtime_env": {"env_vars": {"A": "1", "C": "3"}}}):
        with pytest.raises(BadOption, match=r"It had values for (A, B|B|C) in"):
            runtime_environments.with_variables(NAMED, lacks, "It")


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ('runtime_env={"env_vars": {"A": "hush"}}', 'runtime_env={"env_vars": ["A"]}'),
        ('--option=runtime-env = {"env_vars":{"A":"hush"}}', '--option=runtime-env ={"env_vars": ["A"]}'),
        ('runtime_env={"env_vars": {"A": "hush"', "runtime_env=..."),
        ('export_options={"runtime_env": {"env_vars": {"A": "hush"}}}',
         'export_options={"runtime_env": {"env_vars": ["A"]}}'),
        ('runtime_env={"pip":["x"]}', 'runtime_env={"pip":["x"]}'), ("n=env_vars", "n=env_vars"),
    ],
)  # fmt: skip
def test_a_word_of_a_command_line_is_shown_without_the_values_of_variables(word: str, shown: str) -> None:
    assert runtime_environments.shown_words(["run", word]) == ["run", shown]
