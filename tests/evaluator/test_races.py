"""Races and clean-ups: decided once, in every life; what has lost is left."""

from __future__ import annotations

import pytest
from lives import TABLE, Life, begun

from rayflow.evaluator.commands import CloseWait, Stop
from rayflow.lang.terms.expressions import Form, Term
from rayflow.testing.playbook import call, cancelled, failure, lost, raised, returned, task


def sleep(seconds: float) -> Form:
    return Form("sleep", (seconds,))


def seq(*terms: Term) -> Form:
    return Form("seq", terms)


def test_the_first_term_that_settles_counts_and_the_waits_of_the_others_close() -> None:
    life = begun(Form("first", (call("charge", 1), sleep(5.0), seq(sleep(7.0), call("charge", 2)))))
    life.give("charge", "paid")
    assert life.outcome == "paid"
    assert not life.waits
    assert sum(isinstance(each, CloseWait) for each in life.commands) == 2
    failing = begun(Form("first", (call("charge", 1), sleep(5.0))))
    failing.send(raised(failing.open("charge").job))
    assert failing.outcome.message == "no"


def test_any_of_leaves_failures_out_until_all_have_failed() -> None:
    life = begun(Form("any_of", (call("charge", 1), call("charge", 2))))
    life.send(raised(life.open("charge", x=1).job))
    assert life.outcome is None
    life.give("charge", "two", x=2)
    assert life.outcome == "two"
    failing = begun(Form("any_of", (call("charge", 1), call("charge", 2))))
    failing.send(raised(failing.open("charge", x=2).job, failure("ValueError", "second")))
    failing.send(raised(failing.open("charge", x=1).job, failure("ValueError", "first")))
    assert failing.outcome.message == "first"


def test_within_gives_the_default_when_the_time_is_over_and_evaluates_it_only_then() -> None:
    term = Form("within", (call("charge", 1), 5.0, call("pure", 1)))
    late = begun(term)
    late.resolve("sleep")
    late.give("pure", "late")
    assert late.outcome == "late"
    early = begun(term)
    early.give("charge", "early")
    assert early.outcome == "early"
    assert not early.names("pure")
    assert not early.waits


@pytest.mark.parametrize("winner", [0, 1])
def test_a_decision_holds_for_all_lives(winner: int) -> None:
    race = Form("first", (seq(sleep(1.0), call("pure", 1)), seq(sleep(2.0), call("pure", 2))))
    life = begun([race, sleep(9.0)])
    life.resolve("sleep", seconds=1.0 + winner)
    life.give("pure", "won")
    again = Life(call("main", 1), life.rows, resolved=life.resolved)
    assert [wait.given["seconds"] for wait in again.waits.values()] == [9.0]
    again.resolve("sleep")
    assert again.outcome == [[None, "won"], None]
    assert not again.sent


def test_a_default_that_has_won_is_not_raced_again() -> None:
    life = begun([Form("within", (call("charge", 1), 5.0, call("charge", 2))), sleep(9.0)])
    life.resolve("sleep", seconds=5.0)
    again = Life(call("main", 1), life.rows, resolved=life.resolved)
    assert [each.arguments["x"] for each in again.names("charge")] == [2]


def test_all_that_failed_in_any_of_fail_again_in_a_later_life() -> None:
    caught = Form("catch", (Form("any_of", (call("charge", 1), call("charge", 2))), ("builtins.KeyError",), None))
    life = begun(Form("catch_all", ([caught, sleep(1.0)],)))
    for number in (1, 2):
        life.send(raised(life.open("charge", x=number).job, failure("ValueError", str(number))))
    again = Life(call("main", 1), life.rows)
    again.resolve("sleep")
    assert again.outcome.message == "1"
    assert not again.sent


def test_a_pure_call_that_only_the_loser_needs_is_stopped_and_one_that_others_share_goes_on() -> None:
    race = Form("first", (seq(call("pure", 1), call("charge", 9)), seq(call("pure", 2)), sleep(1.0)))
    life = begun([race, call("sub", call("pure", 2))])
    life.resolve("sleep")
    stopped = [each.job for each in life.commands if isinstance(each, Stop)]
    assert stopped == [life.open("pure", x=1).job]
    life.give("pure", 2, x=2)
    life.give("sub", "shared")
    assert life.outcome == [None, "shared"]
    assert not life.names("charge")


def test_an_equal_call_that_comes_after_the_loser_was_stopped_runs() -> None:
    life = begun(seq(Form("first", (call("pure", 1), sleep(1.0))), call("pure", 1)))
    life.resolve("sleep")
    life.give("pure", "again", x=1)
    assert life.outcome == [None, "again"]
    assert len(life.names("pure")) == 2


def test_an_effect_that_has_lost_is_left_running_and_its_outcome_is_recorded_as_late() -> None:
    life = begun(seq(Form("first", (call("charge", 1), sleep(1.0))), sleep(2.0)))
    life.resolve("sleep")
    assert not any(isinstance(each, Stop) for each in life.commands)
    life.give("charge", "late", x=1)
    assert [row.name for row in life.of("late")] == ["charge"]
    life.resolve("sleep")
    assert life.outcome == [None, None]


def test_an_effect_that_says_so_is_killed_when_it_has_lost() -> None:
    table = (task("charge", "x", effect=True, on_cancel="kill"), *TABLE[1:])
    life = begun(seq(Form("first", (call("charge", 1), sleep(1.0))), sleep(2.0)), table=table)
    life.resolve("sleep")
    assert [each.job for each in life.commands if isinstance(each, Stop)] == [life.open("charge").job]


def test_a_late_effect_is_not_tried_again() -> None:
    table = (task("charge", "x", effect=True, retries=3), *TABLE[1:])
    life = begun(seq(Form("first", (call("charge", 1), sleep(1.0))), sleep(2.0)), table=table)
    life.resolve("sleep")
    life.send(raised(life.open("charge").job))
    assert len(life.names("charge")) == 1


# --- clean-ups --------------------------------------------------------------------------------------------------------


def test_a_cleanup_runs_after_a_value_and_after_a_failure() -> None:
    term = Form("finally_", (call("pure", 1), call("charge", 9)))
    good = begun(term)
    good.give("pure", "value")
    assert good.outcome is None
    good.give("charge", "clean")
    assert good.outcome == "value"
    bad = begun(term)
    bad.send(raised(bad.open("pure").job))
    bad.give("charge", "clean")
    assert bad.outcome.message == "no"


def test_a_cleanup_that_fails_fails_the_whole_and_tells_of_the_failure_before() -> None:
    life = begun(Form("finally_", (call("pure", 1), call("charge", 9))))
    life.send(raised(life.open("pure").job, failure("ValueError", "first")))
    life.send(raised(life.open("charge").job, failure("KeyError", "then")))
    assert life.outcome.message == "then"
    assert life.outcome.related[0].summary == "ValueError: first"


def test_a_cancel_ends_everything_but_cleanups_and_a_second_one_ends_these() -> None:
    term = [Form("finally_", (call("pure", 1), seq(call("charge", 8), sleep(3.0), call("charge", 9)))), sleep(7.0)]
    life = begun(term)
    life.send(cancelled())
    life.send(lost(life.open("pure").job))
    life.give("charge", "cleaning", x=8)
    life.resolve("sleep", seconds=3.0)
    life.give("charge", "clean", x=9)
    assert life.outcome.is_cancelled
    assert {row.arguments for row in life.of("started") if row.name == "charge"} == {"charge(x=8)", "charge(x=9)"}
    twice = begun(term)
    twice.send(cancelled())
    twice.send(lost(twice.open("pure").job))
    twice.give("charge", "cleaning", x=8)
    twice.send(cancelled())
    assert twice.outcome.is_cancelled
    assert not twice.waits


def test_the_cleanup_of_a_loser_runs_and_the_execution_ends_after_it() -> None:
    life = begun(Form("first", (Form("finally_", (call("pure", 1), call("charge", 9))), sleep(1.0))))
    life.resolve("sleep")
    assert life.outcome is None
    assert life.evaluator.executions
    life.give("charge", "clean")
    assert not life.evaluator.executions


def test_a_term_whose_value_is_there_is_cancelled_all_the_same_while_its_cleanup_runs() -> None:
    life = begun(Form("finally_", (call("pure", 1), call("charge", 9))))
    life.give("pure", "value")
    life.send(cancelled())
    attempt = life.open("charge")
    life.send(returned(attempt.job, "clean", attempt.attempt))
    assert life.outcome.is_cancelled


def test_a_cancelled_execution_that_is_taken_up_again_does_nothing_but_its_cleanups() -> None:
    cleanup = seq(call("charge", 8), call("charge", 9))
    term = [Form("finally_", (seq(call("charge", 1), call("charge", 2)), cleanup)), sleep(7.0), call("charge", 3)]
    life = begun(call("sub", 1))
    life.give("sub", term)
    life.give("charge", "one", x=1)
    life.send(cancelled())
    life.send(lost(life.open("charge", x=2).job), lost(life.open("charge", x=3).job))
    life.give("charge", "eight", x=8)
    again = Life(call("main", 1), life.rows, cancelled_by="SIGTERM")
    assert [each.arguments["x"] for each in again.sent] == [9]
    assert not again.waits
    again.give("charge", "nine", x=9)
    assert again.outcome.message == "the execution was cancelled by SIGTERM"


def test_a_cleanup_that_was_not_entered_before_the_cancel_does_not_run() -> None:
    life = begun(seq(call("charge", 1), Form("finally_", (call("pure", 1), call("charge", 9)))))
    life.send(cancelled())
    life.send(lost(life.open("charge").job))
    assert life.outcome.is_cancelled
    again = Life(call("main", 1), life.rows, cancelled_by="")
    assert again.outcome.is_cancelled
    assert not again.sent
