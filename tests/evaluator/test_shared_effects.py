"""One expression in several places of a term is one effect in all lives, whichever of its places is met first."""

from __future__ import annotations

from lives import Life, begun, paused

from rayflow.lang.terms.expressions import Form, TaskCall, Term
from rayflow.testing.playbook import call


def seq(*terms: Term) -> Form:
    return Form("seq", terms)


def sleep(seconds: float) -> Form:
    return Form("sleep", (seconds,))


def again(life: Life) -> Life:
    later = Life(call("main", 1), life.rows, resolved=life.resolved)
    later.resolved |= life.resolved
    return later


def shared() -> TaskCall:
    return call("charge", 1)


def test_the_answers_come_in_another_order_than_the_places_stand() -> None:
    once = shared()
    life = begun([seq(call("pure", 1), once), seq(call("pure", 2), once), sleep(5.0)])
    life.give("pure", "second", x=2)
    life.give("charge", "paid")
    life.give("pure", "first", x=1)
    later = again(life)
    assert not later.names("charge")
    later.resolve("sleep")
    assert later.outcome == [["first", "paid"], ["second", "paid"], None]


def test_it_was_met_in_a_term_that_has_lost() -> None:
    once = shared()
    life = begun([Form("first", (once, sleep(1.0))), seq(sleep(2.0), once), sleep(9.0)])
    life.resolve("sleep", seconds=1.0)
    life.resolve("sleep", seconds=2.0)
    life.give("charge", "paid")
    later = again(life)
    assert not later.names("charge")
    later.resolve("sleep", seconds=9.0)
    assert later.outcome == [None, [None, "paid"], None]


def test_what_stands_inside_a_shared_expression_is_found_again_too() -> None:
    once = seq(call("charge", 1), call("charge", 2))
    life = begun([seq(call("pure", 1), once), seq(call("pure", 2), once)])
    life.give("pure", "second", x=2)
    life.give("charge", "one", x=1)
    life.give("pure", "first", x=1)
    later = again(life)
    assert [each.arguments["x"] for each in later.names("charge")] == [2]


def test_a_body_that_awaits_a_shared_expression_finds_it_again() -> None:
    once = shared()
    life = Life(call("main", 1))
    asked = [seq(call("pure", 1), once), seq(call("pure", 2), once)]
    paused(life, a=asked)
    life.give("pure", "second", x=2)
    life.give("charge", "paid")
    life.give("pure", "first", x=1)
    assert len(life.open("main").known or ()) == 1
    later = again(life)
    assert not later.names("charge")


def test_an_effect_that_an_earlier_life_has_begun_in_a_loser_runs_for_who_needs_it() -> None:
    once = shared()
    loser = Form("finally_", (seq(once, sleep(60.0)), call("charge", 9)))
    life = begun([Form("first", (loser, sleep(1.0))), seq(sleep(2.0), once)])
    life.resolve("sleep", seconds=1.0)
    later = again(life)
    assert [each.arguments["x"] for each in later.names("charge")] == [9]
    later.resolve("sleep", seconds=2.0)
    assert [each.arguments["x"] for each in later.names("charge")] == [9, 1]
    assert len({row.place for row in later.of("started") if row.name == "charge"}) == 2
    later.give("charge", "paid", x=1)
    later.give("charge", "cleaned", x=9)
    assert later.outcome == [None, [None, "paid"]]
