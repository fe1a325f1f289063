"""Events: accepted once, taken by waits, delivered to flows."""

from __future__ import annotations

import pytest
from keeper_talks import (
    SECOND,
    KeeperTalk,
    at_place,
    binds,
    bound,
    cancels,
    closes,
    emits,
    ends,
    evaluates,
    later,
    opens,
    parks,
    refuses,
    replies,
    resolves,
    start,
    stops,
    value_of,
)

from rayflow.keeper.commands import ForgetRun, Resolve
from rayflow.keeper.conditions import is_fulfilled
from rayflow.keeper.ids import child_id, derived_run_id, event_run_id
from rayflow.keeper.requests import FlowSpec
from rayflow.lang.terms.codec import dumps
from rayflow.lang.terms.expressions import Form, Operation
from rayflow.records import DeliveryRow, EventRow, RunRow
from rayflow.testing.patterns import Like
from rayflow.testing.playbook import START, fails
from rayflow.values.refs import TaggedTree

EVENT = Form("this_event", ())
AMOUNT = Operation("getattr", (EVENT, "data"))["amount"]
LARGE = dumps(AMOUNT > 100)


def begun(*run_ids: str, flows: tuple[FlowSpec, ...] = ()) -> KeeperTalk:
    """A conversation in which runs have started."""
    talk = KeeperTalk(*flows)
    for run_id in run_ids:
        assert talk >> start(run_id, root=run_id) << evaluates(run_id) << replies("start")
    return talk


def takes(run_id: str, place: str, event_id: str) -> Like:
    """A Resolve with this event."""
    return Like(
        Resolve,
        f"takes {event_id}",
        run_id=run_id,
        place=at_place(place),
        outcome=lambda packed: value_of(packed)["id"] == event_id,
    )


# --- waits ------------------------------------------------------------------------------------------------------------


def test_a_wait_takes_an_event_of_its_name_and_key() -> None:
    talk = begun("a")
    assert (
        talk
        >> opens("a", "w", "event", name="paid", key="7")
        >> parks("a", "w")
        >> emits("e1", "paid", "8")
        << replies("emit", lambda answer: answer["status"] == "no subscribers")
        >> emits("e2", "sent", "7")
        << replies("emit")
        >> emits("e3", "paid", "7", {"amount": 5})
        << resolves(
            "a",
            "w",
            {"id": "e3", "name": "paid", "key": "7", "data": {"amount": 5}, "time": talk.at + 5_000, "number": 6},
        )
        << replies("emit", lambda answer: answer["status"] == "delivered")
    )


def test_a_wait_without_a_key_takes_any() -> None:
    talk = begun("a")
    assert (
        talk
        >> opens("a", "w", "event", name="paid")
        >> emits("e1", key="8")
        << takes("a", "w", "e1")
        << replies("emit")
    )
    assert talk >> opens("a", "v", "event", name="paid", key="8") >> emits("e2") << replies("emit")


def test_an_event_that_came_before_the_wait_is_seen_since_the_start_of_the_run() -> None:
    talk = KeeperTalk()
    assert talk >> emits("early") << replies("emit") >> start("a") << evaluates("a") << replies("start")
    assert talk >> emits("e1") << replies("emit") >> emits("e2") << replies("emit")
    assert (
        talk
        >> opens("a", "now", "event", name="paid", since="now")
        >> opens("a", "w1", "event", name="paid")
        << takes("a", "w1", "e1")
        >> opens("a", "w2", "event", name="paid")
        << takes("a", "w2", "e2")
        >> opens("a", "w3", "event", name="paid")
        >> opens("a", "any", "event", name="paid", since="any")
        << takes("a", "any", "early")
        >> emits("e3")
        << takes("a", "now", "e3")
        << replies("emit")
        >> emits("e4")
        << takes("a", "w3", "e4")
        << replies("emit")
    )


def test_since_a_duration_sees_what_is_as_young() -> None:
    talk = KeeperTalk()
    assert talk >> emits("old") << replies("emit") >> later(10) >> emits("young") << replies("emit")
    assert (
        talk
        >> later(12)
        >> start("a")
        << evaluates("a")
        << replies("start")
        >> opens("a", "w", "event", name="paid", since=str(5 * SECOND))
        << takes("a", "w", "young")
        >> opens("a", "v", "event", name="paid", since=str(99 * SECOND))
        << takes("a", "v", "old")
        >> opens("a", "u", "event", name="paid", since="1")
    )


def test_each_run_has_an_event_once_by_order_of_opening() -> None:
    talk = begun("a", "b")
    assert (
        talk
        >> opens("b", "w", "event", name="paid")
        >> opens("a", "w", "event", name="paid")
        >> opens("a", "v", "event", name="paid")
        >> emits("e1")
        << takes("b", "w", "e1")
        << takes("a", "w", "e1")
        << replies("emit")
        >> emits("e2")
        << takes("a", "v", "e2")
        << replies("emit")
    )


def test_an_exclusive_wait_shares_with_shared_ones_alone() -> None:
    talk = begun("a", "b", "c")
    assert (
        talk
        >> opens("a", "w", "event", name="paid", take="exclusive")
        >> opens("b", "w", "event", name="paid", take="exclusive")
        >> opens("c", "w", "event", name="paid")
        >> emits("e1")
        << takes("a", "w", "e1")
        << takes("c", "w", "e1")
        << replies("emit")
        >> opens("a", "v", "event", name="paid", take="exclusive")
        >> emits("e2")
        << takes("b", "w", "e2")
        << replies("emit")
        >> emits("e3")
        << takes("a", "v", "e3")
        << replies("emit")
    )


def test_a_closed_wait_takes_nothing_and_gives_nothing_back() -> None:
    talk = begun("a")
    assert (
        talk
        >> opens("a", "w", "event", name="paid")
        >> closes("a", "w")
        >> emits("e1")
        << replies("emit")
        >> opens("a", "v", "event", name="paid")
        << takes("a", "v", "e1")
        >> opens("a", "u", "event", name="paid")
    )


def test_what_comes_before_the_deadline_wins() -> None:
    talk = begun("a")
    assert (
        talk
        >> opens("a", "w", "event", name="paid", delay_us=SECOND)
        >> emits("e1")
        << takes("a", "w", "e1")
        << replies("emit")
    )
    assert talk >> later(2) >> opens("a", "v", "event", name="paid", delay_us=SECOND) >> later(3)
    late = emits("e2")._replace(at=START + 4 * SECOND)
    assert talk >> late << resolves("a", "v", None) << replies("emit")


def test_a_deadline_counts_even_if_no_alarm_has_come() -> None:
    talk = begun("a")
    assert talk >> opens("a", "w", "event", name="paid", deadline_at=START + SECOND)
    assert talk >> emits("e1")._replace(at=START + SECOND) << resolves("a", "w", None) << replies("emit")


def test_a_child_sees_what_its_root_could() -> None:
    talk = begun("a")
    child = derived_run_id(child_id("a", at_place("c")))
    assert talk >> emits("e1") << replies("emit") >> opens("a", "c", "child", root="c") << evaluates(child)
    assert talk >> opens(child, "w", "event", name="paid") << takes(child, "w", "e1")
    assert talk >> opens("a", "w", "event", name="paid") << takes("a", "w", "e1")


def test_a_chain_takes_an_event_once() -> None:
    talk = begun("a")
    second = derived_run_id("next:a")
    assert talk >> emits("e1") << replies("emit") >> emits("e2") << replies("emit")
    assert talk >> opens("a", "w", "event", name="paid") << takes("a", "w", "e1")
    assert talk >> opens("a", "go on", "continue_as", root="2") << ForgetRun("a") << evaluates(second)
    assert talk >> opens(second, "w", "event", name="paid") << takes(second, "w", "e2")


# --- conditions -------------------------------------------------------------------------------------------------------


def test_a_wait_takes_only_what_its_condition_holds_of() -> None:
    talk = begun("a")
    assert (
        talk
        >> opens("a", "w", "event", name="paid", where=LARGE)
        >> emits("e1", data={"amount": 5})
        << replies("emit")
        >> emits("e2", data={"price": 500})
        << replies("emit")
        >> emits("e3", data="nothing")
        << replies("emit")
        >> emits("e4", data={"amount": 500})
        << takes("a", "w", "e4")
        << replies("emit")
        >> opens("a", "v", "event", name="paid", where=dumps(Operation("not", (AMOUNT > 100,))))
        << takes("a", "v", "e1")
    )


ROW = EventRow("e", 1, START, "paid", "k", dumps({"amount": 7, "tags": ["x", "y"], "none": None}), b"h")
TAGS = Operation("getattr", (EVENT, "data"))["tags"]


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (AMOUNT == 7, True),
        (AMOUNT != 7, False),
        ((AMOUNT > 6) & (AMOUNT < 8), True),
        ((AMOUNT > 7) | (AMOUNT < 7), False),
        ((AMOUNT >= 7) | Operation("getattr", (EVENT, "data"))["no"], True),
        (Operation("getattr", (EVENT, "data"))["no"] | (AMOUNT >= 7), True),
        (Operation("getattr", (EVENT, "data"))["no"] & (AMOUNT >= 7), False),
        (Operation("not", (Operation("getattr", (EVENT, "data"))["no"],)), False),
        (TAGS[0] == "x", True),
        (TAGS == ["x", "y"], True),
        (Operation("len", (TAGS,)) == 2, True),
        (TAGS[5] == "x", False),
        (Operation("getattr", (EVENT, "data")) == {"amount": 7}, False),
        (Operation("getattr", (EVENT, "name")) == "paid", True),
        (Operation("getattr", (EVENT, "key")) == "k", True),
        (Operation("getattr", (EVENT, "id")) == "e", True),
        (Operation("getattr", (EVENT, "time")) == START, True),
        (Operation("getattr", (EVENT, "secret")) == START, False),
        (Operation("getattr", (AMOUNT, "real")) == 7, False),
        (AMOUNT > "text", False),
        (Operation("add", (AMOUNT, 1)) == 8, False),
        (Form("other", ()) == 1, False),
        (Operation("eq", ({"k": EVENT}, 1)), False),
        (Operation("eq", ({"k": AMOUNT}, {"k": 7})), True),
        (Operation("truth", (Operation("getattr", (EVENT, "data"))["none"],)), False),
        (EVENT, False),
        (True, True),
        (TaggedTree("dataclass", ("Order",), (7,)), False),
    ],
    ids=lambda each: str(each) if isinstance(each, bool) else "",
)
def test_a_condition_holds_only_if_it_has_an_answer(condition: object, holds: bool) -> None:
    assert is_fulfilled(dumps(condition), ROW) is holds


def test_a_condition_may_be_as_deep_as_one_likes() -> None:
    condition = AMOUNT == 0
    for number in range(1, 20_000):
        condition = condition | (number == AMOUNT)
    assert is_fulfilled(dumps(condition), ROW)


# --- flows ------------------------------------------------------------------------------------------------------------

SHIP = FlowSpec("lab.ship", on=(("paid", None),))
CHECK = FlowSpec("lab.check", on=(("paid", LARGE), ("sent", None)))
SHIPPED, CHECKED = (derived_run_id(event_run_id("e1", flow)) for flow in ("lab.ship", "lab.check"))


def test_an_event_starts_one_run_of_each_subscribed_flow() -> None:
    talk = begun(flows=(SHIP, CHECK))
    assert (
        talk
        >> emits("e1", data={"amount": 500})
        << binds("e1", "lab.check")
        << binds("e1", "lab.ship")
        << replies("emit", lambda answer: answer["status"] == "pending")
        >> bound("e1", "lab.ship")
        << evaluates(SHIPPED)
        >> bound("e1", "lab.ship")
        >> bound("e1", "lab.check", error="amount: not a Money")
        >> bound("e1", "lab.none")
        >> bound("e9", "lab.ship")
        >> emits("e1", data={"amount": 500})
        << replies("emit", lambda answer: answer["status"] == "partial")
    )
    assert {row.target: (row.state, row.error) for row in talk.rows(DeliveryRow)} == {
        "lab.ship": ("delivered", None),
        "lab.check": ("failed", "amount: not a Money"),
    }
    assert talk.keeper.run(SHIPPED)["event_id"] == "e1"


def test_a_run_does_not_see_the_event_that_has_started_it() -> None:
    talk = begun(flows=(SHIP,))
    assert (
        talk
        >> emits("e1")
        << binds("e1", "lab.ship")
        << replies("emit")
        >> emits("e2")
        << binds("e2", "lab.ship")
        << replies("emit")
        >> bound("e1", "lab.ship")
        << evaluates(SHIPPED)
        >> opens(SHIPPED, "w", "event", name="paid")
        << takes(SHIPPED, "w", "e2")
    )


def test_an_id_has_one_content() -> None:
    talk = begun(flows=(SHIP,))
    assert (
        talk
        >> emits("e1", data=1)
        << binds("e1", "lab.ship")
        << replies("emit")
        >> emits("e1", data=1)
        << replies("emit")
        >> emits("e1", data=2)
        << refuses("emit", "EventConflict", "'e1'")
        >> emits("e1", data=1, strict=True)
        << replies("emit")
    )
    assert len(talk.rows(EventRow)) == 1


def test_a_delayed_event_is_delivered_at_its_time_to_who_then_waits() -> None:
    talk = begun("a", flows=(SHIP,))
    assert (
        talk
        >> emits("e1", due_at=START + 5 * SECOND)
        << replies("emit", lambda answer: answer["status"] == "delayed")
        >> opens("a", "w", "event", name="paid", deadline_at=START + 5 * SECOND)
        >> later(6)
        << takes("a", "w", "e1")
        << binds("e1", "lab.ship")
    )


def test_a_delivery_waits_for_the_code_of_its_flow() -> None:
    talk = begun(flows=(SHIP,))
    assert talk >> emits("e1") << binds("e1", "lab.ship") << replies("emit")
    assert talk.crash() == []
    talk.knows(CHECK)
    assert talk.keeper.event("e1")["status"] == "pending"
    assert talk.keeper.event("e1")["deliveries"][0]["error"] == "missing code"
    talk.knows(SHIP)
    assert talk >> bound("e1", "lab.ship") << evaluates(SHIPPED)


def test_a_strict_event_is_accepted_only_if_it_fits_all() -> None:
    talk = begun(flows=(SHIP, CHECK))
    large = {"amount": 500}
    assert (
        talk
        >> emits("e1", data=large, strict=True)
        << binds("e1", "lab.check")
        << binds("e1", "lab.ship")
        >> bound("e1", "lab.ship")
        >> emits("e1", data=large, strict=True)
        >> bound("e1", "lab.check", error="amount: not a Money")
        << refuses("emit", "EventRefused", "lab.check: amount: not a Money")
        << refuses("emit", "EventRefused")
        >> emits("e1", data=large, strict=True)
        << binds("e1", "lab.check")
        << binds("e1", "lab.ship")
        >> emits("e1", data=3, strict=True)
        >> bound("e1", "lab.ship")
        >> bound("e1", "lab.check")
        << evaluates(CHECKED)
        << evaluates(SHIPPED)
        << replies("emit", lambda answer: answer["status"] == "delivered")
        << refuses("emit", "EventConflict")
        >> emits("e2", "other", strict=True)
        << replies("emit", lambda answer: answer["status"] == "no subscribers")
    )
    assert len(talk.rows(EventRow)) == 2


def test_a_strict_event_that_another_request_has_accepted_meanwhile_is_that_one() -> None:
    talk = begun(flows=(SHIP,))
    assert (
        talk
        >> emits("e1", strict=True)
        << binds("e1", "lab.ship")
        >> emits("e1")
        << binds("e1", "lab.ship")
        << replies("emit")
        >> bound("e1", "lab.ship")
        << evaluates(SHIPPED)
        << replies("emit", lambda answer: answer["status"] == "delivered")
    )


# --- emit -------------------------------------------------------------------------------------------------------------


def test_a_run_emits_an_event_once() -> None:
    talk = begun("a", "b", flows=(SHIP,))
    id = f"a:{at_place('e').hex()}"
    assert (
        talk
        >> opens("b", "w", "event", name="paid")
        >> opens("a", "e", "emit", name="paid", data=5)
        << resolves("a", "e", id)
        << takes("b", "w", id)
        << binds(id, "lab.ship")
        >> opens("a", "e", "emit", name="paid", data=5)
        << resolves("a", "e", id)
        >> opens("a", "f", "emit", name="paid", data=6, id="mine")
        << resolves("a", "f", "mine")
        << binds("mine", "lab.ship")
        >> opens("b", "f", "emit", name="paid", data=6, id="mine")
        << resolves("b", "f", "mine")
        >> opens("b", "g", "emit", name="paid", data=7, id="mine")
        << resolves("b", "g", fails("EventConflict", "'mine'"))
    )
    assert [(row.event_id, row.run_id) for row in talk.rows(EventRow)] == [(id, "a"), ("mine", "a")]


def test_runs_that_an_event_starts_go_on_without_its_emitter_unless_they_are_tied() -> None:
    talk = begun("a", flows=(SHIP,))
    assert (
        talk
        >> opens("a", "e", "emit", name="paid", id="e1", tie=True)
        << resolves("a", "e")
        << binds("e1", "lab.ship")
        >> bound("e1", "lab.ship")
        << evaluates(SHIPPED)
        >> opens("a", "f", "emit", name="paid", id="e2")
        << resolves("a", "f")
        << binds("e2", "lab.ship")
        >> bound("e2", "lab.ship")
        << evaluates(str)
        >> cancels("a")
        << replies("cancel")
        << stops("a")
        << stops(SHIPPED, by="parent")
    )


def test_a_tied_event_starts_no_run_once_its_emitter_was_cancelled() -> None:
    talk = begun("a", "b", flows=(SHIP,))
    assert (
        talk
        >> opens("a", "e", "emit", name="paid", id="e1", tie=True)
        << resolves("a", "e")
        << binds("e1", "lab.ship")
        >> opens("a", "f", "emit", name="paid", id="e2", tie=True, due_at=START + 9 * SECOND)
        << resolves("a", "f")
        >> cancels("a")
        << replies("cancel")
        << stops("a")
        >> bound("e1", "lab.ship")
        >> opens("b", "w", "event", name="paid", deadline_at=START + 20 * SECOND)
        << takes("b", "w", "e1")
        >> opens("b", "v", "event", name="paid", deadline_at=START + 20 * SECOND)
        >> later(10)
        << takes("b", "v", "e2")
    )
    assert talk.keeper.event("e1")["status"] == "partial"
    assert [row.run_id for row in talk.rows(RunRow) if row.link == "event"] == []


def test_a_tied_event_of_a_run_that_has_ended_well_starts_its_runs() -> None:
    talk = begun("a", flows=(SHIP,))
    assert (
        talk
        >> opens("a", "e", "emit", name="paid", id="e1", tie=True)
        << resolves("a", "e")
        << binds("e1", "lab.ship")
        >> ends("a", 1)
        >> bound("e1", "lab.ship")
        << evaluates(SHIPPED)
    )
