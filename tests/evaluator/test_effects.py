"""Effects: made once at their place, taken up from what was pinned, whatever the order of answers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
from lives import CHARGE, MAIN, PURE, TABLE, Life, awaiting, begun, paused

from rayflow.evaluator.commands import (
    LookUp,
    LookUpVector,
    RunOperation,
    RunVector,
    SetTimer,
)
from rayflow.evaluator.messages import LookedUpVector, Paused, ReturnedVector
from rayflow.lang.task_table import TaskEntry
from rayflow.lang.terms.codec import dumps
from rayflow.lang.terms.expressions import Form, Term
from rayflow.records import PlaceRow
from rayflow.testing.playbook import (
    START,
    call,
    cost,
    failure,
    lost,
    operated,
    raised,
    returned,
    task,
    task_value,
)
from rayflow.values.failures import Failure

# --- places -----------------------------------------------------------------------------------------------------------


def test_two_equal_calls_are_two_effects_with_a_key_each() -> None:
    entry = task("charge", "x", "job", defaults={"job": None}, effect=True)
    entry = TaskEntry(**{**vars(entry), "job_info": ("job",), "defaults": None})
    life = begun([call("charge", 1), call("charge", 1)], table=(entry, MAIN))
    infos = [each.arguments["job"] for each in life.names("charge")]
    keys = {info.parts[-1] for info in infos}
    assert len(keys) == 2
    assert "" not in keys


def test_one_expression_in_two_places_of_a_term_is_one_effect() -> None:
    charge = call("charge", 1)
    life = begun([charge, {"again": charge}])
    life.give("charge", 7)
    assert life.outcome == [7, {"again": 7}]
    assert len(life.names("charge")) == 1


def test_a_key_names_one_effect_and_refuses_another_one() -> None:
    same = begun([call("charge", 1, options={"key": "k"}), call("charge", 1, options={"key": "k"})])
    same.give("charge", 7)
    assert same.outcome == [7, 7]
    other = begun([call("charge", 1, options={"key": "k"}), call("charge", 2, options={"key": "k"})])
    other.give("charge", 7)
    assert "A key names one effect" in other.outcome.message


def place_of(term: Term, chosen: Callable[[PlaceRow], bool] = lambda row: row.name == "charge") -> bytes:
    life = begun(term)
    for name in ("pure", "sub"):
        for each in life.names(name):
            life.send(returned(each.job, call("charge", 5) if name == "sub" else 5, each.attempt))
    return next(row.place for row in life.of("started") if chosen(row))


PLAIN = place_of(call("charge", 5))


@pytest.mark.parametrize(
    ("term", "stays"),
    [
        ([call("charge", 9), call("charge", 5)], True),  # another call before it
        ({"deep": [call("charge", 5)]}, True),  # elsewhere in the term
        (Form("cond", (True, call("charge", 5), 0)), True),  # in a branch
        (call("charge", x=5), True),  # by keyword
        (call("charge", call("pure", 1)), True),  # an argument that is computed
        (call("charge", 6), False),  # other arguments
        (call("sub", 1), False),  # a task put in between
        (call("charge", 5, options={"key": "k"}), False),  # a key
    ],
)
def test_what_moves_the_place_of_an_effect(term: Term, stays: bool) -> None:
    assert (place_of(term, lambda row: row.name == "charge" and "9" not in (row.arguments or "")) == PLAIN) is stays


def test_an_equal_call_before_it_moves_a_place_and_a_key_keeps_it() -> None:
    alone = begun([call("charge", 5)]).of("started")
    both = begun([call("charge", 5), call("charge", 5)]).of("started")
    assert both[0].place == alone[0].place
    assert both[1].place != alone[0].place
    keyed = begun([call("charge", 5), call("charge", 5, options={"key": "mine"})]).of("started")
    assert keyed[1].place == begun([call("charge", 5, options={"key": "mine"})]).of("started")[0].place


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("second", list(permutations(range(3))))
def test_places_do_not_depend_on_the_order_of_answers_in_a_later_life(
    order: tuple[int, ...], second: tuple[int, ...]
) -> None:
    term = [call("charge", call("pure", number)) for number in range(3)]
    life = begun(term)
    for number in order:
        life.give("pure", 5, x=number)  # the calls become equal, one after the other
    life.send(returned(life.names("charge")[0].job, "first"))
    again = Life(call("main", 1), life.rows[:-1])  # the outcome was not committed
    for each in (again.names("charge")[number] for number in second):
        again.send(returned(each.job, each.job_id.hex(), each.attempt))
    places = {row.place: row.job_id for row in again.of("started")}
    assert len(places) == len(set(places.values())) == 3
    assert sorted(again.outcome) == sorted(each.job_id.hex() for each in life.names("charge"))
    third = Life(call("main", 1), [row for row in again.rows if row.name != "main" or row.kind == "term"])
    assert third.outcome == again.outcome


# --- taken up again ---------------------------------------------------------------------------------------------------


def test_what_has_an_outcome_is_not_made_again_and_what_has_none_is() -> None:
    life = begun([call("charge", 1), call("pure", 2), call("charge", 3)])
    life.give("charge", "one", x=1)
    life.give("pure", "two", x=2)
    again = Life(call("main", 1), life.rows)
    assert [(each.arguments["x"], each.attempt) for each in again.sent] == [(3, 2)]
    again.give("charge", "three", x=3)
    assert again.outcome == ["one", "two", "three"]


def test_a_pinned_caller_goes_on_without_its_task_or_with_another_signature() -> None:
    life = begun([call("charge", 1), call("charge", 2)])
    life.give("charge", "one", x=1)
    for table in ((CHARGE,), (CHARGE, task("main", "other", "more")), (CHARGE, task("main", "n", code=2))):
        again = Life(call("main", 1), life.rows, table)
        again.give("charge", "two", x=2)
        assert again.outcome == ["one", "two"]
        assert not again.names("main")


def test_an_ended_execution_ends_at_once_with_its_outcome() -> None:
    life = begun([call("charge", 1)])
    life.give("charge", "one")
    again = Life(call("main", 1), life.rows)
    assert again.outcome == ["one"]
    assert not again.sent


def test_equal_callers_of_an_effect_each_make_their_own() -> None:
    life = begun([call("sub", 1), call("sub", 1)])
    life.give("sub", call("charge", 1))
    if len(life.names("sub")) > 1:  # the store has answered with nothing, so the body runs again
        life.give("sub", call("charge", 1))
    assert len(life.names("charge")) == 2
    later = begun(Form("seq", (call("sub", 1), call("sub", 1))))
    later.give("sub", call("charge", 1))
    later.give("charge", 5)
    later.give("sub", call("charge", 1))
    later.give("charge", 6)
    assert later.outcome == [5, 6]


def test_an_unknown_outcome_is_made_again_or_fails_as_it_was_told() -> None:
    careful = task("charge", "x", effect=True, on_unknown="fail")
    for table, says in ((TABLE, None), ((careful, MAIN), "nobody knows")):
        life = begun(call("charge", 1), table=table)
        again = Life(call("main", 1), life.rows, table)
        if says is None:
            assert again.open("charge").attempt == 2
        else:
            assert says in again.outcome.message
        gone = begun(call("charge", 1), table=table)
        gone.send(lost(gone.open("charge").job))
        assert (gone.outcome is None) is (says is None)


def test_unknown_ends_count_as_lost_workers() -> None:
    fragile = task("charge", "x", effect=True, max_worker_losses=1)
    life = begun(call("charge", 1), table=(fragile, MAIN))
    second = Life(call("main", 1), life.rows, (fragile, MAIN))
    assert second.open("charge").attempt == 2
    third = Life(call("main", 1), second.rows, (fragile, MAIN))
    assert third.outcome.type_name == "rayflow.errors.WorkerLost"


def test_an_attempt_that_is_known_to_have_raised_is_not_unknown() -> None:
    careful = task("charge", "x", effect=True, on_unknown="fail", retries=1, retry_delay=60)
    life = begun(call("charge", 1), table=(careful, MAIN))
    life.send(raised(life.open("charge").job))
    again = Life(call("main", 1), life.rows, (careful, MAIN))
    timers = [each for each in again.commands if isinstance(each, SetTimer) and each.seconds > 1]
    assert not again.sent
    assert 59 < timers[0].seconds < 61


def test_a_term_that_an_effect_has_returned_is_reduced_and_the_effect_is_not_made_again() -> None:
    life = begun(call("charge", 1))
    life.give("charge", [call("pure", 1), call("charge", 2)], x=1)
    again = Life(call("main", 1), life.rows)
    assert [each.arguments["x"] for each in again.names("charge")] == [2]
    again.give("charge", "b", x=2)
    again.give("pure", "a", x=1)
    assert again.outcome == ["a", "b"]


def test_a_pinned_value_whose_file_is_gone_fails_what_needs_it() -> None:
    life = begun([call("charge", 1), call("charge", 2)])
    life.give("charge", "one", x=1)
    place = life.of("outcome")[0].place
    again = Life(call("main", 1), life.rows, gone={place: "receipt.txt is gone"})
    again.give("charge", "two", x=2)
    assert again.outcome.type_name == "rayflow.errors.FileGone"


# --- what an effect is not --------------------------------------------------------------------------------------------


def test_an_effect_is_neither_looked_up_nor_bundled_nor_put_into_a_vector() -> None:
    life = begun([call("charge", number) for number in range(20)])
    assert len(life.names("charge")) == 20
    assert all(each.options["bundle"] is False for each in life.names("charge"))
    looked_up = [each for each in life.commands if isinstance(each, LookUp)]
    assert len(looked_up) == 1  # main's


@pytest.mark.parametrize(
    ("options", "says"),
    [({"prov": False}, "prov=False"), ({"check_valid": "shallow"}, 'check_valid="shallow"')],
)
def test_an_effect_is_refused_where_it_cannot_be_kept(options: dict[str, Any], says: str) -> None:
    life = begun(call("sub", 1, options=options))
    life.give("sub", call("charge", 1))
    assert life.outcome.type_name == "rayflow.errors.EffectMisplaced"
    assert says in life.outcome.message
    assert not life.names("charge")


def test_an_effect_that_awaits_expressions_fails() -> None:
    life = begun(call("charge", 1))
    asked = dumps(((), {b"k": call("pure", 1)}))
    life.send(Paused(0, life.open("charge").job, 1, asked, cost()))
    assert "awaits an expression" in life.outcome.message


def test_many_plain_calls_beside_an_effect_are_pinned_one_by_one_as_they_end() -> None:
    life = begun([call("charge", 1), *(call("pure", number) for number in range(3))])
    [asked] = [each for each in life.commands if isinstance(each, LookUpVector)]
    life.send(LookedUpVector(0, asked.first, {}))
    [sent] = [each for each in life.commands if isinstance(each, RunVector)]
    for job, value in zip(sent.jobs[:2], (10, 11), strict=True):
        life.send(ReturnedVector(0, [job], [dumps(value)], [START], [0.1], [0.1], [None]))
    life.give("charge", "one")
    again = Life(call("main", 1), life.rows)
    assert [each.arguments["x"] for each in again.sent] == [2]
    again.give("pure", 12)
    assert again.outcome == ["one", 10, 11, 12]


# --- awaiting bodies --------------------------------------------------------------------------------------------------


def test_a_body_that_awaits_is_entered_again_with_all_it_has_awaited() -> None:
    life = awaiting()
    again = Life(call("main", 1), life.rows)
    assert again.open("main").known == {b"a": 10, b"b": "one"}
    paused(again, c=call("charge", 2))
    assert again.open("charge").attempt == 2
    again.give("charge", "two", x=2)
    again.give("main", "done")
    assert again.outcome == "done"


@pytest.mark.parametrize(
    ("on_changed", "sends", "gets"),
    [("again", 1, None), ("keep", 0, "one"), ("fail", 0, "rayflow.errors.EffectChanged")],
)
def test_an_edited_body_that_asks_for_an_effect_in_other_words_does_as_it_was_told(
    on_changed: str, sends: int, gets: Any
) -> None:
    table = (task("charge", "x", effect=True, on_changed=on_changed), task("main", "n", code=2), PURE)
    again = Life(call("main", 1), awaiting().rows, table)
    paused(again, missed=(b"b",), d=call("charge", 100), c=call("charge", 2))
    assert sum(each.arguments["x"] == 100 for each in again.names("charge")) == sends
    again.give("charge", "two", x=2)
    if sends:
        again.give("charge", "hundred", x=100)
    known = again.open("main").known
    assert known is not None
    answer = known[b"d"]
    assert (answer.type_name if isinstance(answer, Failure) else answer) == (gets or "hundred")


def test_an_edited_body_that_awaits_finds_its_effects_by_their_places() -> None:
    life = Life(call("main", 1))
    asked: Any = [call("charge", 1), call("sub", 1)]
    paused(life, a=asked)
    life.give("sub", call("charge", 2))
    life.give("charge", "one", x=1)
    table = (*TABLE[:1], task("main", "n", code=2), PURE, task("sub", "n"))
    again = Life(call("main", 1), life.rows, table)
    other: Any = [call("sub", 1), call("charge", 1), call("pure", 1)]
    paused(again, b=other)
    assert [(each.arguments["x"], each.attempt) for each in again.names("charge")] == [(2, 2)]
    again.give("charge", "two", x=2)
    again.give("pure", 3)
    assert again.open("main").known == {b"b": ["two", "one", 3]}


def test_a_body_as_it_was_is_never_asked_about_its_effects() -> None:
    again = Life(call("main", 1), awaiting().rows)
    paused(again, missed=(b"b",), d=call("charge", 100))
    assert not again.waits
    assert again.open("charge").arguments["x"] == 100


# --- retries ----------------------------------------------------------------------------------------------------------


def test_a_retry_clears_what_reached_the_root_and_not_what_was_caught() -> None:
    recover = task("recover", "error")
    table = (*TABLE, recover)
    caught = Form("catch", (call("charge", 1), ("builtins.ValueError",), task_value("recover")))
    life = Life(call("main", 1), table=table)
    life.give("main", [caught, call("charge", 2)])
    life.send(raised(life.open("charge", x=1).job, failure("ValueError", "caught")))
    restored = next(each for each in life.commands if isinstance(each, RunOperation))
    life.send(operated(restored.asker, "an error"))
    life.give("recover", "mended")
    key = life.open("charge", x=2)
    life.send(raised(key.job, failure("ValueError", "reached")))
    assert life.outcome.message == "reached"
    same = Life(call("main", 1), life.rows, table)
    assert same.outcome.message == "reached"
    assert not same.sent
    again = Life(call("main", 1), life.rows, table, generation=1)
    assert [each.arguments["x"] for each in again.names("charge")] == [2]
    crashed = Life(call("main", 1), again.rows, table, generation=1)
    assert [each.arguments["x"] for each in crashed.names("charge")] == [2]
    restored = next(each for each in crashed.commands if isinstance(each, RunOperation))
    crashed.send(operated(restored.asker, "an error"))
    crashed.give("charge", "two", x=2)
    assert crashed.outcome == ["mended", "two"]


def keys_of(life: Life) -> list[str]:
    return [each.arguments["job"].parts[-1] for each in life.names("charge")]


@pytest.mark.parametrize(("is_known", "is_same"), [(True, False), (False, True)])
def test_a_retry_has_another_idempotency_key_only_where_the_failure_is_known(is_known: bool, is_same: bool) -> None:
    entry = task("charge", "x", "job", defaults={"job": None}, effect=True, on_unknown="fail")
    entry = TaskEntry(**{**vars(entry), "job_info": ("job",), "defaults": None})
    table = (entry, MAIN)
    life = begun(call("charge", 1), table=table)
    number = life.open("charge").job
    life.send(raised(number) if is_known else lost(number))
    again = Life(call("main", 1), life.rows, table, generation=1)
    assert (keys_of(again) == keys_of(life)) is is_same
