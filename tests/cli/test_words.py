"""Words behind a task's name become the arguments of its call."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from rayflow.cli.parsing.words import help_of, take_own
from rayflow.errors import BadArguments
from rayflow.lang.arguments.from_words import arguments_of, call_of, option_names
from rayflow.lang.parameters.job_info import JobInfo
from rayflow.lang.parameters.kept import Kept
from rayflow.lang.registry import forget_tasks
from rayflow.lang.tasks import Task, task

_NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """Tasks whose module cannot be imported would be sent along by every later run of this process."""
    yield
    forget_tasks(["words"])


def _task(source: str) -> Task[..., Any]:
    space: dict[str, Any] = {"__name__": "words", "Path": Path, "Literal": Literal, "Any": Any}
    exec(f"def f({source}): ...", space)
    return task(name=f"words{next(_NUMBERS)}")(space["f"])


def _given(source: str, *words: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    call = call_of(_task(source), words)
    return call._args, call._kwargs or {}


@pytest.mark.parametrize(
    ("source", "words", "args", "kwargs"),
    [
        ("n: int", ["--n", "3"], (3,), {}),
        ("n: int", ["--n=3"], (3,), {}),
        ("n: int", ["--n", "-3"], (-3,), {}),
        ("n: int", ["3"], (3,), {}),
        ("n: str", ["--", "--x"], ("--x",), {}),
        ("n: str", ["--n=--x"], ("--x",), {}),
        ("n: str", ["--n="], ("",), {}),
        ("a, b=2, c=3", ["1", "--c", "4"], (1,), {"c": 4}),
        ("min_size: int", ["--min-size", "3"], (3,), {}),
        ("min_size: int", ["--min_size", "3"], (3,), {}),
        ("flag: bool", ["--flag"], (True,), {}),
        ("flag: bool", ["--no-flag"], (False,), {}),
        ("flag: bool", ["--flag", "false"], (False,), {}),
        ("flag: bool", ["--flag=no"], (False,), {}),
        ("n: int, flag: bool = False", ["--flag", "7"], (7, True), {}),
        ("flag=True", ["--no-flag"], (False,), {}),
        ("xs: list[int]", ["--xs", "1", "2"], ([1, 2],), {}),
        ("xs: list[int]", ["--xs", "1", "--xs", "2"], ([1, 2],), {}),
        ("xs: list[int]", ["--xs", "[1, 2]"], ([1, 2],), {}),
        ("xs: list[int]", ["--xs"], ([],), {}),
        ("xs: list[int]", ["1", "2"], ([1, 2],), {}),
        ("xs: list[int], n: int", ["--xs", "1", "2", "--n", "3"], ([1, 2], 3), {}),
        ("t: tuple[int, str]", ["--t", "1", "a"], ((1, "a"),), {}),
        ("d: dict[str, int]", ["--d", "a=1", "b=2"], ({"a": 1, "b": 2},), {}),
        ("x: int, /, y: int", ["--x", "1", "--y", "2"], (1, 2), {}),
        ("*, k: int", ["--k", "1"], (), {"k": 1}),
        ("a: int, *rest: int", ["1", "2", "3"], (1, 2, 3), {}),
        ("a: int, *rest: int", ["--a", "1", "--rest", "2", "3"], (1, 2, 3), {}),
        ("a: int = 1, *rest: str", ["--rest", "x", "y"], (1, "x", "y"), {}),
        ("a: int = 1, *rest: str", [], (), {}),
        ("**more: int", ["--first-one", "1", "--b=2"], (), {"first_one": 1, "b": 2}),
        ("**more", ["--quiet", "--x", "y"], (), {"quiet": True, "x": "y"}),
        ("n", ["--n", "3"], (3,), {}),
        ("n", ["--n", "abc"], ("abc",), {}),
        ("p: Path", ["--p", "a/b"], (Path("a/b"),), {}),
        ("how: Literal['fast', 'slow']", ["--how", "slow"], ("slow",), {}),
        ("no_cache: int", ["--no-cache", "1"], (1,), {}),
    ],
)
def test_words_become_arguments(source: str, words: list[str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    assert _given(source, *words) == (args, kwargs)


@pytest.mark.parametrize(
    ("source", "words", "message"),
    [
        ("count: int", ["--cuont", "3"], "has no argument --cuont. Did you mean --count?"),
        ("count: int", ["--zzz"], "It takes --count."),
        ("", ["--zzz"], "It takes none."),
        ("n: int", [], "needs --n (int)."),
        ("n: int, s: str", [], "needs --n (int) and --s (str)."),
        ("n: int", ["--n"], "--n needs a value (int)."),
        ("n: int, s: str", ["--n", "--s", "x"], "--n needs a value (int)."),
        ("n: int", ["--n", "1", "--n", "2"], "--n was given twice."),
        ("n: int", ["--n", "x"], "--n: 'x' is not an int."),
        ("n: int", ["1", "2"], "takes at most 1 values without a name; '2' is one too many."),
        ("*, n: int", ["1"], "takes no values without a name"),
        ("xs: list[int]", ["--xs", "1", "b"], "--xs: 'b' is not an int."),
        ("how: Literal['fast']", ["--how", "fats"], "did you mean fast?"),
        ("flag: bool", ["--no-flag=x"], "has no argument --no-flag. Did you mean --flag?"),
        ("**more: int", ["--x"], "--x needs a value (int)."),
    ],
)
def test_words_that_do_not_fit_are_one_clear_line(source: str, words: list[str], message: str) -> None:
    with pytest.raises(BadArguments) as caught:
        _given(source, *words)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_may_be_meant_for_the_run() -> None:
    with pytest.raises(BadArguments, match="Did you mean --inline"):
        call_of(_task("n: int = 1"), ["--inlin"], others=["--inline"])


def test_the_runs_own_options_are_told_from_the_tasks() -> None:
    own = {"--inline": False, "--store": True, "--json": False}
    words = ["--n", "1", "--store", "x", "--inline", "--json", "--", "--inline"]
    mine, others = take_own(words, own, frozenset({"--json"}))
    assert mine == ["--store", "x", "--inline"]
    assert others == ["--n", "1", "--json", "--", "--inline"]
    assert take_own(["--store=x", "y"], own, frozenset()) == (["--store=x"], ["y"])


def test_help_says_what_each_argument_takes() -> None:
    found = _task("min_size: int, how: Literal['fast', 'slow'] = 'fast', *rest: str, flag: bool = False, **more: float")
    shown = help_of(found, target="flow.py", own=[("--json", "Print JSON."), ("--flag", "hidden")], others=["other"])
    assert "--min-size VALUE" in shown and "int; required" in shown
    assert "one of: fast, slow; default: 'fast'" in shown
    assert "list[str]; any number" in shown and "float; any number" in shown
    assert "--flag/--no-flag" in shown and "bool; default: False" in shown
    assert "Print JSON." in shown and "hidden" not in shown
    assert "Other tasks of flow.py: other" in shown


def test_nobody_is_asked_for_what_is_filled_in_with_the_job() -> None:
    space: dict[str, Any] = {"JobInfo": JobInfo, "Kept": Kept}
    exec("def f(n: int, job: JobInfo = JobInfo(), *, model=Kept(int), m=2): ...", space)
    made = task(name=f"words{next(_NUMBERS)}")(space["f"])
    assert [argument.name for argument in arguments_of(made)] == ["n", "m"]
    assert call_of(made, ["1", "--m", "3"])._kwargs == {"m": 3}


def test_arguments_know_whether_they_have_to_be_given() -> None:
    required = {argument.option: argument.is_required for argument in arguments_of(_task("a, b=1, *c, d, **e"))}
    assert required == {"--a": True, "--b": False, "--c": False, "--d": True, "--e": False}
    assert {"--flag", "--no-flag", "--n"} <= option_names(_task("flag: bool, n: int"))
