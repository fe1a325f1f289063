"""Clean-ups of what was left or cancelled: they run to their end, in this life or in the next one."""

from __future__ import annotations

from typing import Any

import pytest
from lives import TABLE, Life, begun, paused

from rayflow.evaluator.commands import RunOperation
from rayflow.lang.terms.expressions import Form, Operation, Term
from rayflow.testing.playbook import call, cancelled, failure, lost, operated, raised, task, task_value
from rayflow.values.refs import ValueRef


def sleep(seconds: float) -> Form:
    return Form("sleep", (seconds,))


def seq(*terms: Term) -> Form:
    return Form("seq", terms)


def finally_(term: Term, cleanup: Term) -> Form:
    return Form("finally_", (term, cleanup))


def first(*terms: Term) -> Form:
    return Form("first", terms)


def charged(life: Life) -> list[int]:
    """The arguments of the effects that were sent, in order."""
    return [each.arguments["x"] for each in life.names("charge")]


CLEANUP = seq(call("charge", 8), sleep(3.0), call("charge", 9))


def again(life: Life, **given: Any) -> Life:
    """The next life, by what is recorded."""
    later = Life(call("main", 1), life.rows, resolved=life.resolved, **given)
    later.resolved |= life.resolved
    return later


# --- losers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_below", [False, True])
@pytest.mark.parametrize("kind", ["first", "any_of", "within"])
def test_the_cleanup_of_a_loser_is_taken_up_again_wherever_it_was(kind: str, is_below: bool) -> None:
    loser: Term = finally_(seq(call("charge", 1), sleep(60.0)), CLEANUP)
    race = call("sub", 1) if is_below else loser
    given = (race, 1.0, 0) if kind == "within" else (race, sleep(1.0))
    life = begun([Form(kind, given), sleep(9.0)])
    if is_below:
        life.give("sub", loser)
    life.give("charge", "one", x=1)
    life.resolve("sleep", seconds=1.0)
    assert charged(life) == [1, 8]

    second = again(life)
    assert charged(second) == [8]  # its outcome was not recorded
    second.resolve("sleep", seconds=9.0)
    assert second.outcome is None
    second.give("charge", "eight")

    third = again(second)
    assert charged(third) == []
    assert [wait.given["seconds"] for wait in third.waits.values()] == [3.0]
    third.resolve("sleep", seconds=3.0)

    fourth = again(third)
    assert charged(fourth) == [9]
    assert fourth.outcome is None
    fourth.give("charge", "nine")
    assert fourth.outcome == [0 if kind == "within" else None, None]
    assert not fourth.evaluator.executions
    assert again(fourth).outcome == fourth.outcome


def test_a_cleanup_of_a_loser_that_has_ended_is_not_looked_at_again() -> None:
    life = begun([first(finally_(call("charge", 1), call("charge", 9)), sleep(1.0)), sleep(9.0)])
    life.resolve("sleep", seconds=1.0)
    life.give("charge", "nine", x=9)
    later = again(life)
    assert charged(later) == []
    later.resolve("sleep")
    assert later.outcome == [None, None]


def test_a_loser_that_was_not_entered_has_no_cleanup_in_any_life() -> None:
    race = first(seq(sleep(60.0), finally_(call("charge", 1), call("charge", 9))), sleep(1.0))
    life = begun([race, finally_(sleep(9.0), call("charge", 7))])
    life.resolve("sleep", seconds=1.0)
    later = again(life)
    later.resolve("sleep", seconds=9.0)
    later.give("charge", "seven")
    assert later.outcome == [None, None]
    assert charged(later) == [7]


def test_a_cleanup_that_has_begun_before_its_race_was_lost_runs_to_its_end() -> None:
    life = begun(first(finally_(call("pure", 1), seq(call("charge", 8), call("charge", 9))), sleep(1.0)))
    life.give("pure", "value")
    life.resolve("sleep")
    assert life.outcome is None
    assert life.evaluator.executions
    later = again(life)
    for each in (life, later):
        each.give("charge", "eight", x=8)
        each.give("charge", "nine", x=9)
        assert not each.evaluator.executions


def test_nested_cleanups_of_a_loser_run_from_the_inside_out() -> None:
    inner = finally_(sleep(60.0), call("charge", 1))
    life = begun(first(finally_(seq(inner, call("charge", 5)), call("charge", 2)), sleep(1.0)))
    life.resolve("sleep", seconds=1.0)
    assert charged(life) == [1]
    later = again(life)
    for each in (life, later):
        each.give("charge", "one", x=1)
        assert charged(each) == [1, 2]
        each.give("charge", "two", x=2)
        assert not each.evaluator.executions


def test_what_a_loser_and_its_cleanup_share_is_one_effect() -> None:
    once = call("charge", 1)
    life = begun(first(call("sub", 1), sleep(1.0)))
    life.give("sub", finally_(seq(once, sleep(60.0)), call("charge", once)))
    life.give("charge", 7, x=1)
    life.resolve("sleep", seconds=1.0)
    assert charged(life) == [1, 7]
    assert charged(again(life)) == [7]


def test_a_cleanup_waits_for_an_effect_of_the_loser_only_if_it_needs_it() -> None:
    once = call("charge", 1)
    life = begun(first(finally_(once, [call("charge", once), call("charge", 5)]), sleep(1.0)))
    life.resolve("sleep")
    assert charged(life) == [1, 5]
    life.give("charge", 7, x=1)
    assert charged(life) == [1, 5, 7]
    life.give("charge", 0, x=7)
    life.give("charge", 0, x=5)
    assert not life.evaluator.executions


def test_nothing_but_cleanups_begins_in_a_loser() -> None:
    recover = task("recover", "error")
    risky = Form("catch", (sleep(60.0), ("builtins.Exception",), task_value("recover")))
    life = begun(
        first(finally_(seq(risky, call("charge", 1)), call("charge", 9)), sleep(1.0)), table=(*TABLE, recover)
    )
    life.resolve("sleep", seconds=1.0)
    assert charged(life) == [9]
    assert not life.names("recover")


def test_a_shared_pure_call_that_a_loser_has_stopped_runs_for_the_term_that_needs_it_later() -> None:
    once = call("pure", 1)
    life = begun(seq(first(once, sleep(1.0)), once))
    life.resolve("sleep")
    life.send(lost(life.names("pure")[0].job))
    life.give("pure", "again", x=1)
    assert life.outcome == [None, "again"]


def test_an_effect_that_has_lost_and_is_needed_after_all_is_tried_again() -> None:
    table = (task("charge", "x", effect=True, retries=3), *TABLE[1:])
    once = call("charge", 1)
    life = begun(seq(first(once, sleep(1.0)), once), table=table)
    life.resolve("sleep")
    life.send(raised(life.open("charge").job))
    life.give("charge", "paid")
    assert life.outcome == [None, "paid"]
    assert len(life.names("charge")) == 2


def test_a_loser_inside_a_cancelled_execution_is_cleaned_up_in_the_next_life() -> None:
    life = begun([first(finally_(sleep(60.0), CLEANUP), sleep(1.0)), sleep(9.0)])
    life.resolve("sleep", seconds=1.0)
    life.send(cancelled())
    later = again(life, cancelled_by="")
    later.give("charge", "eight", x=8)
    later.resolve("sleep", seconds=3.0)
    later.give("charge", "nine", x=9)
    assert later.outcome.is_cancelled
    assert charged(later) == [8, 9]


def test_a_second_cancel_ends_the_cleanup_of_a_loser() -> None:
    life = begun([first(finally_(sleep(60.0), CLEANUP), sleep(1.0)), sleep(9.0)])
    life.resolve("sleep", seconds=1.0)
    life.send(cancelled())
    assert life.evaluator.executions
    life.send(cancelled())
    life.send(lost(life.open("charge").job))
    assert not life.evaluator.executions
    assert not life.waits


def test_the_failure_of_a_cleanup_of_a_loser_changes_nothing_and_is_listed() -> None:
    life = begun(first(finally_(sleep(60.0), call("charge", 9)), seq(sleep(1.0))))
    life.resolve("sleep", seconds=1.0)
    life.send(raised(life.open("charge").job, failure("ValueError", "no clean-up")))
    assert life.outcome == [None]
    assert not life.evaluator.executions


def test_a_loser_of_a_race_in_a_loser_is_cleaned_up_too() -> None:
    inner = first(finally_(sleep(50.0), call("charge", 1)), finally_(sleep(60.0), call("charge", 2)))
    life = begun(first(seq(inner), sleep(1.0)))
    life.resolve("sleep", seconds=1.0)
    later = again(life)
    for each in (life, later):
        assert sorted(charged(each)) == [1, 2]
        each.give("charge", 0, x=1)
        assert each.evaluator.executions
        each.give("charge", 0, x=2)
        assert not each.evaluator.executions


# --- bodies that await ------------------------------------------------------------------------------------------------


def cleaning_body(*, is_loser: bool) -> Life:
    """An execution in which a body awaits a term with a clean-up."""
    term = finally_(seq(call("charge", 1), sleep(60.0)), CLEANUP)
    life = Life(call("main", 1))
    if is_loser:
        life.give("main", [first(call("sub", 1), sleep(1.0)), sleep(9.0)])
        paused(life, body="sub", a=term)
    else:
        paused(life, a=term)
    life.give("charge", "one", x=1)
    return life



def test_a_cancelled_body_that_awaits_a_cleanup_is_entered_for_it_in_the_next_life() -> None:
    life = cleaning_body(is_loser=False)
    stopped = again(life, cancelled_by="a person")
    assert [each.entry.name for each in stopped.sent] == ["main"]
    paused(stopped, body="main", a=finally_(seq(call("charge", 1), sleep(60.0)), CLEANUP))
    stopped.give("charge", "eight", x=8)
    later = again(stopped, cancelled_by="a person")
    paused(later, body="main", a=finally_(seq(call("charge", 1), sleep(60.0)), CLEANUP))
    later.resolve("sleep", seconds=3.0)
    later.give("charge", "nine", x=9)
    assert later.outcome.is_cancelled
    assert charged(stopped) + charged(later) == [8, 9]


def test_a_cancelled_body_that_awaits_no_cleanup_is_not_entered() -> None:
    life = Life(call("main", 1))
    paused(life, body="main", a=seq(call("charge", 1), sleep(60.0)))
    life.give("charge", "one", x=1)
    stopped = again(life, cancelled_by="a person")
    assert stopped.outcome.is_cancelled
    assert not stopped.sent


def test_a_body_that_lost_while_it_awaited_a_cleanup_is_entered_for_it_in_the_next_life() -> None:
    life = cleaning_body(is_loser=True)
    life.resolve("sleep", seconds=1.0)
    assert charged(life) == [1, 8]
    life.give("charge", "eight", x=8)
    later = again(life)
    assert [each.entry.name for each in later.sent] == ["sub"]
    later.resolve("sleep", seconds=9.0)
    assert later.evaluator.executions
    paused(later, body="sub", a=finally_(seq(call("charge", 1), sleep(60.0)), CLEANUP))
    later.resolve("sleep", seconds=3.0)
    later.give("charge", "nine", x=9)
    assert later.outcome == [None, None]
    assert charged(later) == [9]


def test_a_body_that_is_entered_for_its_cleanup_alone_does_nothing_else() -> None:
    life = cleaning_body(is_loser=False)
    for answer in ("raises", "returns", "asks"):
        stopped = again(life, cancelled_by="")
        attempt = stopped.open("main")
        if answer == "raises":
            stopped.send(raised(attempt.job))
        elif answer == "returns":
            stopped.give("main", call("charge", 5))
        else:
            paused(stopped, body="main", a=call("charge", 5))
        assert stopped.outcome.is_cancelled, answer
        assert not charged(stopped), answer


# --- cancelled --------------------------------------------------------------------------------------------------------


def test_a_cleanup_is_found_below_an_argument_that_cannot_be_made_any_more() -> None:
    big = Form("seq", (call("pure", 1),))
    life = begun(call("sub", big))
    life.give("pure", 1, x=1)
    life.give("sub", finally_(sleep(60.0), call("charge", 9)))
    stopped = again(life, cancelled_by="")
    assert charged(stopped) == [9]


def test_an_operation_that_a_cleanup_needs_is_made_though_another_has_asked_for_it_first() -> None:
    part = Operation("getitem", (ValueRef(b"t" * 20, "pandas.DataFrame", 1 << 30, "arrow"), "k"))
    same = Operation("getitem", part._args)
    life = begun([part, finally_(sleep(60.0), call("charge", same))])
    life.send(cancelled())
    (asked,) = [each for each in life.commands if isinstance(each, RunOperation)]
    life.send(operated(asked.asker, 5))
    assert charged(life) == [5]
    life.give("charge", "five")
    assert life.outcome.is_cancelled
