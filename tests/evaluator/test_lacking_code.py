"""Calls of tasks that the loaded code lacks: a run waits for the code, and anything else fails."""

from __future__ import annotations

from typing import Any

import pytest
from lives import TABLE, Life

from rayflow.evaluator.commands import Parked, Stop
from rayflow.evaluator.messages import Forget
from rayflow.lang.terms.expressions import Form, Term
from rayflow.testing.playbook import EXECUTION, call, cancelled, task

LATER = task("later", "x")


def sleep(seconds: float) -> Form:
    return Form("sleep", (seconds,))


def begun(term: Term, **given: Any) -> Life:
    life = Life(call("main", 1), is_run=True, **given)
    life.give("main", term)
    return life


def parked(life: Life) -> list[tuple[str, ...]]:
    return [each.missing for each in life.commands if isinstance(each, Parked)]


def test_what_can_go_on_does_and_then_the_run_says_which_tasks_it_lacks() -> None:
    life = begun([call("later", 1), call("charge", 1), Form("seq", (call("charge", 2), call("other", 2)))])
    assert not parked(life)
    life.give("charge", "one", x=1)
    assert not parked(life)
    life.give("charge", "two", x=2)
    assert parked(life) == [("later", "other")]
    assert life.outcome is None
    life.send(Forget(0, EXECUTION))
    assert not life.evaluator.executions


def test_it_goes_on_from_there_when_the_code_has_come() -> None:
    life = begun([call("charge", call("later", 1)), call("charge", 5)])
    life.give("charge", "five")
    later = Life(call("main", 1), life.rows, (*TABLE, LATER), is_run=True)
    later.give("later", 3)
    later.give("charge", "three", x=3)
    assert later.outcome == ["three", "five"]
    assert [each.arguments["x"] for each in later.names("charge")] == [3]


def test_open_waits_do_not_hide_that_code_is_missing() -> None:
    life = begun([sleep(60.0), call("later", 1)])
    assert parked(life) == [("later",)]
    life.resolve("sleep")
    assert parked(life)[-1] == ("later",)


def test_a_call_that_loses_a_race_or_is_cancelled_waits_no_longer() -> None:
    life = begun(Form("first", (call("later", 1), sleep(1.0))))
    life.resolve("sleep")
    assert life.outcome == [None] or life.outcome is None
    assert not life.evaluator.executions
    stopped = begun([call("later", 1), Form("finally_", (sleep(60.0), call("charge", 9)))])
    stopped.send(cancelled())
    stopped.give("charge", "nine")
    assert stopped.outcome.is_cancelled
    assert not any(isinstance(each, Stop) for each in stopped.commands)


@pytest.mark.parametrize("is_cleanup", [True, False])
def test_elsewhere_it_is_a_failure(is_cleanup: bool) -> None:
    if is_cleanup:
        life = begun(Form("finally_", (sleep(60.0), call("later", 1))))
        life.send(cancelled())
        assert not life.evaluator.executions
    else:
        life = Life(call("main", 1))
        life.give("main", call("later", 1))
        assert life.outcome.type_name == "rayflow.errors.NoSuchTask"
