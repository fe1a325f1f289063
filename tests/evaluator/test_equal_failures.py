"""A retry makes again what has reached the root, and not what was caught, also where both have failed alike."""

from __future__ import annotations

import pytest
from lives import TABLE, Life, begun, paused

from rayflow.evaluator.commands import RunOperation
from rayflow.lang.terms.expressions import Form, TaskCall, Term
from rayflow.testing.playbook import call, failure, operated, raised, returned, task, task_value

RECOVER = task("recover", "error")
TABLE_HERE = (*TABLE, RECOVER)


def caught(term: Term) -> Form:
    return Form("catch", (term, ("builtins.ValueError",), task_value("recover")))


def fails(life: Life, task_name: str, nth: int = -1) -> None:
    """An attempt of this task raises the same as all others."""
    life.send(raised(life.names(task_name)[nth].job, failure("ValueError", "closed")))


def recovers(life: Life) -> None:
    restored = [each for each in life.commands if isinstance(each, RunOperation)][-1]
    life.send(operated(restored.asker, "an error"))
    life.give("recover", "mended")


def again(life: Life, generation: int) -> Life:
    later = Life(call("main", 1), life.rows, TABLE_HERE, generation=generation, resolved=life.resolved)
    later.resolved |= life.resolved
    return later


@pytest.mark.parametrize("is_first_caught", [True, False])
@pytest.mark.parametrize("kind", ["effect", "caller of an effect"])
def test_of_two_equal_failures_the_caught_one_is_not_made_again(kind: str, is_first_caught: bool) -> None:
    def one() -> TaskCall:
        return call("charge", 1) if kind == "effect" else call("sub", 1)

    terms = [caught(one()), one()] if is_first_caught else [one(), caught(one())]
    life = begun(terms, table=TABLE_HERE)
    for attempt in life.names("sub"):
        life.send(returned(attempt.job, call("charge", 1), attempt.attempt))
        life.give("sub", call("charge", 1))  # the equal call, which goes on by itself
    charges = life.names("charge")
    assert len(charges) == 2
    for attempt in charges:
        life.send(raised(attempt.job, failure("ValueError", "closed")))
    recovers(life)
    assert life.outcome.message == "closed"

    retried = again(life, 1)
    (once,) = retried.names("charge")
    begun_again = [row.place for row in retried.of("started") if row.generation == 1]
    assert begun_again == [row.place for row in retried.of("cleared") if row.name == "charge"]
    recovers_if_asked(retried)
    retried.give("charge", "paid", x=once.arguments["x"])
    assert retried.outcome == (["mended", "paid"] if is_first_caught else ["paid", "mended"])


def recovers_if_asked(life: Life) -> None:
    """The recovery of an earlier life is recorded as an outcome, or asks for its error once more."""
    asked = [each for each in life.commands if isinstance(each, RunOperation)]
    if asked:
        life.send(operated(asked[-1].asker, "an error"))


def test_a_race_that_an_equal_failure_has_decided_is_not_decided_again_if_that_was_caught() -> None:
    race = Form("first", (call("charge", 1), Form("sleep", (60.0,))))
    life = begun([caught(race), call("charge", 1)], table=TABLE_HERE)
    fails(life, "charge", 0)
    fails(life, "charge", 1)
    recovers(life)
    assert life.outcome.message == "closed"
    retried = again(life, 1)
    assert len(retried.names("charge")) == 1
    assert not retried.waits
    recovers_if_asked(retried)
    retried.give("charge", "paid")
    assert retried.outcome == ["mended", "paid"]


def test_a_body_that_awaits_makes_again_only_the_one_that_it_has_passed_on() -> None:
    life = Life(call("main", 1), table=TABLE_HERE)
    paused(life, a=call("charge", 1))
    fails(life, "charge")  # the body catches this one
    paused(life, b=call("charge", 1))
    fails(life, "charge")
    known = life.open("main").known
    assert known is not None
    life.send(raised(life.open("main").job, known[b"b"], life.open("main").attempt))
    assert life.outcome.message == "closed"
    retried = again(life, 1)
    assert list(retried.open("main").known or ()) == [b"a"]
    paused(retried, b=call("charge", 1))
    assert len(retried.names("charge")) == 1
