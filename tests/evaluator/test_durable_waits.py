"""Waits: open once, resolved once from outside, taken up again where they were."""

from __future__ import annotations

from typing import Any

import pytest
from lives import TABLE, Life, awaiting, begun, paused

from rayflow.evaluator.commands import CloseWait, Finish, OpenWait, Parked, RunOperation
from rayflow.evaluator.forms import WAITS
from rayflow.evaluator.messages import Forget, Resolved
from rayflow.keeper.conditions import holds
from rayflow.lang.durable.flows import event
from rayflow.lang.durable.waits import (
    ask,
    child,
    continue_as,
    emit,
    join,
    now,
    sleep,
    spawn,
    uuid,
    wait_for_event,
)
from rayflow.lang.packing.pack import pack
from rayflow.lang.terms.codec import children
from rayflow.lang.terms.expressions import Form, Quoted, TaskCall, Term
from rayflow.lang.terms.outcomes import pack_outcome
from rayflow.testing.playbook import EXECUTION, call, cancelled, failure, operated, returned, task
from rayflow.values.failures import Failure


def symbolic(term: Term) -> Term:
    return pack(term, lambda *_: None)


def released(quoted: Quoted) -> Term:
    (term,) = children(quoted)
    return term


def parks(life: Life) -> int:
    return sum(isinstance(each, Parked) for each in life.commands)


def test_a_sleep_opens_once_parks_and_gives_nothing() -> None:
    life = begun([symbolic(sleep("5s")), 1])
    [wait] = life.waits.values()
    assert (wait.kind, wait.given) == ("sleep", {"seconds": 5.0})
    assert parks(life) == 1
    life.resolve("sleep")
    assert life.outcome == [None, 1]


def test_a_wait_that_was_resolved_is_not_opened_again_and_an_open_one_is_at_the_same_place() -> None:
    term = [symbolic(sleep(5)), symbolic(sleep(5)), symbolic(sleep(7))]
    life = begun(term)
    first = list(life.waits)
    life.resolve("sleep", seconds=5.0)
    again = Life(call("main", 1), life.rows, resolved=life.resolved)
    assert list(again.waits) == first[1:]
    again.resolve("sleep")
    again.resolve("sleep")
    assert again.outcome == [None, None, None]


def test_an_outcome_that_comes_before_the_wait_is_met_again_is_kept() -> None:
    life = begun(symbolic(sleep(5)))
    [place] = life.waits
    again = Life(call("main", 1), life.rows, resolved={place: pack_outcome(None)})
    again.send(Resolved(0, EXECUTION, place, pack_outcome("another")))
    assert again.outcome is None
    assert any(isinstance(each, Finish) for each in again.commands)


def test_the_first_outcome_of_a_wait_counts() -> None:
    life = begun([Form("event", ("e", None, None, None, None, "run", "shared")), symbolic(sleep(9))])
    place = next(place for place, wait in life.waits.items() if wait.kind == "event")
    for value in (1, 2):
        life.send(Resolved(0, EXECUTION, place, pack_outcome(value)))
    life.resolve("sleep")
    assert life.outcome == [1, None]


def test_a_failure_of_a_wait_is_the_failure_of_its_term() -> None:
    life = begun(symbolic(child(TaskCall("sub", (1,)))))
    life.resolve("child", failure("ValueError", "the child has failed"))
    assert isinstance(life.outcome, Failure)
    assert life.outcome.message == "the child has failed"


def test_it_parks_each_time_that_only_waits_are_left_and_is_forgotten_only_then() -> None:
    life = begun(Form("seq", (symbolic(sleep(1)), call("charge", 1), symbolic(sleep(2)))))
    assert parks(life) == 1
    life.resolve("sleep")
    life.send(Forget(0, EXECUTION))  # an effect runs
    assert life.evaluator.executions
    life.give("charge", 5)
    assert parks(life) == 2
    life.send(Forget(0, EXECUTION))
    assert not life.evaluator.executions
    assert life.outcome is None
    again = Life(call("main", 1), life.rows, resolved=life.resolved)
    again.resolve("sleep")
    assert again.outcome == [None, 5, None]


def test_a_cancel_closes_the_waits() -> None:
    life = begun([symbolic(sleep(1)), symbolic(sleep(2))])
    life.send(cancelled())
    assert sum(isinstance(each, CloseWait) for each in life.commands) == 2
    assert life.outcome.is_cancelled


def test_lazy_parts_of_a_condition_are_reduced_before_the_wait_opens() -> None:
    lazy = TaskCall("pure", (1,))
    where = (event.data["amount"] > lazy) & (event.key == "k")
    key: Any = TaskCall("pure", (2,))
    life = begun(symbolic(wait_for_event("paid", key=key, timeout="1m", where=where)))
    assert not life.waits
    life.give("pure", 100, x=1)
    life.give("pure", "k", x=2)
    [wait] = life.waits.values()
    assert (wait.given["name"], wait.given["key"], wait.given["timeout"]) == ("paid", "k", 60.0)
    condition = released(wait.given["where"])
    assert holds(condition, {"data": {"amount": 101}, "key": "k"})
    assert not holds(condition, {"data": {"amount": 100}, "key": "k"})


def test_a_lazy_default_is_reduced_only_when_it_is_needed() -> None:
    life = begun(symbolic(wait_for_event("paid", timeout=1, default=TaskCall("charge", (1,)))))
    default = next(iter(life.waits.values())).given["default"]
    assert isinstance(default, Quoted)
    assert not life.names("charge")
    life.resolve("event", default)
    life.give("charge", "paid otherwise")
    assert life.outcome == "paid otherwise"


@pytest.mark.parametrize("make", [child, spawn, continue_as])
def test_the_call_of_another_run_has_its_arguments_reduced_here(make: Any) -> None:
    life = begun(symbolic(make(TaskCall("sub", (TaskCall("pure", (1,)),)))))
    assert not life.waits
    life.give("pure", 3, x=1)
    [wait] = life.waits.values()
    assert wait.kind == make.__name__
    assert repr(released(wait.given["expr"])) == "sub(3)"
    assert not life.names("sub")


MADE: dict[str, Any] = {
    "sleep": sleep(1),
    "event": wait_for_event("a"),
    "ask": ask("Is it?", bool),
    "emit": emit("a", {"b": 1}, key="k"),
    "child": child(TaskCall("sub", (1,))),
    "spawn": spawn(TaskCall("sub", (1,)), tie=True),
    "join": join("a-run"),
    "continue_as": continue_as(TaskCall("sub", (1,))),
}


@pytest.mark.parametrize("kind", MADE)
def test_every_wait_tells_the_shell_what_it_was_made_with(kind: str) -> None:
    life = begun(symbolic(MADE[kind]))
    [wait] = life.waits.values()
    assert wait.kind == kind
    assert set(wait.given) == set(WAITS[kind])


def test_the_time_and_a_uuid_are_the_same_in_every_life() -> None:
    lives = [begun([symbolic(uuid()), symbolic(now()), call("charge", 1)])]
    lives.append(Life(call("main", 1), lives[0].rows, at=lives[0].rows[0].at + 10**9))
    for life in lives:
        [operation] = [each for each in life.commands if isinstance(each, RunOperation)]
        life.send(operated(operation.asker, operation.args[0]))
        life.give("charge", 0)
    assert lives[0].outcome == lives[1].outcome
    text, at, _ = lives[0].outcome
    assert len(text) == 36
    assert at == lives[0].of("outcome")[0].at


@pytest.mark.parametrize("options", [{"prov": False}, {"check_valid": "shallow"}])
def test_a_wait_is_refused_where_it_cannot_be_kept(options: dict[str, Any]) -> None:
    life = begun(call("sub", 1, options=options))
    life.give("sub", symbolic(sleep(1)))
    assert life.outcome.type_name == "rayflow.errors.EffectMisplaced"


def test_a_wait_in_an_execution_without_effects_works_as_well() -> None:
    life = Life(call("main", 1), table=[each for each in TABLE if not each.is_effect])
    life.give("main", [call("pure", 1), Form("seq", (call("pure", 2), symbolic(sleep(1)), call("pure", 3)))])
    life.give("pure", 1, x=1)
    life.give("pure", 2, x=2)
    life.resolve("sleep")
    life.give("pure", 3, x=3)
    assert life.outcome == [1, [2, None, 3]]
    assert any(isinstance(each, OpenWait) for each in life.commands)


def test_a_changed_effect_stops_until_a_person_has_spoken() -> None:
    before = awaiting()
    for said, outcome in (("keep", "one"), ("again", "hundred")):
        life = Life(call("main", 1), before.rows, (*TABLE[:1], task("main", "n", code=2), *TABLE[2:]))
        paused(life, missed=(b"b",), d=call("charge", 100))
        [wait] = life.waits.values()
        assert wait.kind == "ask"
        assert wait.given["prompt"].startswith("changed effect: charge(x=1) is done in this run")
        assert parks(life) == 1
        life.resolve("ask", said)
        for attempt in life.names("charge"):
            life.send(returned(attempt.job, "hundred", attempt.attempt))
        assert life.open("main").known[b"d"] == outcome  # type: ignore[index]  # it has awaited
