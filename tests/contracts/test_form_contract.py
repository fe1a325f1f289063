"""The contract of rules: a good one passes, and each way to break it is found out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from rayflow import Become, Fail, Failed, Need, form
from rayflow.errors import BadForm
from rayflow.lang.terms.expressions import TaskCall
from rayflow.testing.contracts import check_form

ARGS = (TaskCall("lab.f", (1,)), [TaskCall("lab.f", (2,)), 3], 7)
OUTCOMES = (1, 0, [2], ValueError("no"), KeyError("lacking"))


@form
def first_good(args: Any, seen: Any) -> Any:
    """One after the other, up to the first that does not fail."""
    if seen and not isinstance(seen[-1], Failed):
        return Become([seen[-1], args[1]])
    return Fail(seen[0]) if len(seen) == len(args) else Need([args[len(seen)]])


@form
def at_once(args: Any, seen: Any) -> Any:
    """All at once."""
    if not seen:
        return Need(args)
    return Fail(RuntimeError("none")) if all(isinstance(each, Failed) for each in seen) else Become(seen[0] == 1)


@pytest.mark.parametrize("make", [first_good, at_once])
def test_a_good_rule_passes(make: Any) -> None:
    check_form(make, ARGS, OUTCOMES)


def test_a_rule_that_depends_on_more_than_it_is_given_is_found_out() -> None:
    numbers: Iterator[int] = count()
    with pytest.raises(AssertionError, match="differently"):
        check_form(form(lambda args, seen: Become(next(numbers))), ARGS, OUTCOMES)


def test_a_rule_that_never_ends_is_found_out() -> None:
    with pytest.raises(AssertionError, match="end"):
        check_form(form(lambda args, seen: Need([args[0]])), ARGS, OUTCOMES)


@pytest.mark.parametrize("answer", [None, Need(()), Fail("no error")])
def test_an_answer_that_is_none_is_found_out(answer: Any) -> None:
    with pytest.raises(BadForm):
        check_form(form(lambda args, seen: answer), ARGS, OUTCOMES)


def test_a_rule_that_does_not_expect_a_failure_is_found_out() -> None:
    with pytest.raises(BadForm, match="TypeError"):
        check_form(form(lambda args, seen: Become(seen[0] + 1) if seen else Need([args[0]])), ARGS, OUTCOMES)
