"""Waits: opened once, resolved once, closed for good."""

from __future__ import annotations

from typing import Any

from keeper_talks import (
    SECOND,
    KeeperTalk,
    answers,
    at_place,
    cancels,
    closes,
    ends,
    evaluates,
    later,
    opens,
    parks,
    recalled,
    refuses,
    replies,
    resolves,
    retries,
    start,
    stops,
)

from rayflow.keeper.commands import Recall
from rayflow.lang.terms.outcomes import pack_outcome
from rayflow.records import WaitRow
from rayflow.testing.playbook import START, failure


def begun(run_id: str = "a", **fields: Any) -> KeeperTalk:
    """A conversation in which a run has started."""
    talk = KeeperTalk()
    assert talk >> start(run_id, **fields) << evaluates(run_id) << replies("start")
    return talk


def test_a_wait_that_is_met_again_changes_nothing() -> None:
    talk = begun()
    nap = opens("a", "nap", "sleep", delay_us=5 * SECOND)
    assert talk >> nap >> later(3) >> nap >> later(6) << resolves("a", "nap")
    assert len(talk.rows(WaitRow)) == 2


def test_a_resolved_wait_that_is_met_again_has_the_same_outcome() -> None:
    talk = begun()
    nap = opens("a", "nap", "sleep", delay_us=SECOND)
    assert talk >> nap >> later(2) << resolves("a", "nap") >> nap << resolves("a", "nap")
    assert [row.state for row in talk.rows(WaitRow)] == ["open", "resolved"]


def test_a_closed_wait_takes_nothing_and_stays_closed() -> None:
    talk = begun()
    nap = opens("a", "nap", "sleep", delay_us=SECOND)
    assert talk >> nap >> closes("a", "nap") >> closes("a", "nap") >> closes("b", "nap") >> nap >> later(2)
    assert [row.state for row in talk.rows(WaitRow)] == ["open", "closed"]


def test_a_sleep_without_time_ends_at_once() -> None:
    assert begun() >> opens("a", "nap", "sleep", delay_us=0) << resolves("a", "nap", None)


def test_a_sleep_until_a_time_ends_then() -> None:
    talk = begun()
    assert (
        talk
        >> opens("a", "nap", "sleep_until", deadline_at=START + 3 * SECOND)
        >> later(2.9)
        >> later(3)
        << resolves("a", "nap", None)
    )


def test_deadlines_come_in_their_order_whatever_comes_first() -> None:
    talk = begun()
    assert (
        talk
        >> opens("a", "second", "sleep", delay_us=2 * SECOND)
        >> opens("a", "first", "sleep", delay_us=SECOND)
        >> opens("a", "third", "sleep", delay_us=3 * SECOND)
        >> later(9)
        << resolves("a", "first")
        << resolves("a", "second")
        << resolves("a", "third")
    )


def test_a_parked_run_is_woken_once_by_two_outcomes_of_one_turn() -> None:
    talk = begun()
    assert (
        talk
        >> opens("a", "one", "sleep", delay_us=SECOND)
        >> opens("a", "two", "sleep", delay_us=SECOND)
        >> parks("a", "one", "two")
        >> later(9)
        << resolves("a", "one")
        << resolves("a", "two")
    )
    assert [cause for _, cause in talk.states("a")] == ["start", "parked", "wake"]


# --- ask --------------------------------------------------------------------------------------------------------------


def test_an_ask_waits_for_a_person() -> None:
    talk = begun()
    assert talk >> opens("a", "q", "ask", name="Ship it?") >> parks("a", "q")
    (wait,) = talk.keeper.explain("a")["waits"]
    assert (wait["kind"], wait["prompt"], wait["place"]) == ("ask", "Ship it?", at_place("q").hex())
    said = {"run_id": "a", "place": at_place("q").hex()}
    assert (
        talk
        >> answers("a", None, True)
        << resolves("a", "q", True)
        << replies("answer", said)
        >> answers("a", "q", True)  # again
        << replies("answer", said)
        >> answers("a", "q", False)
        << refuses("answer", "NoOpenAsk", "no open ask")
    )


def test_of_several_asks_the_place_says_which() -> None:
    talk = begun()
    assert (
        talk
        >> opens("a", "q1", "ask", name="Ship it?")
        >> opens("a", "q2", "ask", name="Sure?")
        >> answers("a", None, True)
        << refuses("answer", "NoOpenAsk", "Sure?")
        >> answers("a", "q3", True)
        << refuses("answer", "NoOpenAsk", "Ship it?")
        >> answers("a", "q2", 7)
        << resolves("a", "q2", 7)
        << replies("answer")
        >> answers("a", None, 8)
        << resolves("a", "q1", 8)
        << replies("answer")
    )


def test_nobody_answers_a_run_that_does_not_ask() -> None:
    talk = begun()
    assert (
        talk
        >> opens("a", "nap", "sleep", delay_us=SECOND)
        >> answers("a", None, 1)
        << refuses("answer", "NoOpenAsk")
        >> answers("a", "nap", 1)
        << refuses("answer", "NoOpenAsk")
        >> answers("no", None, 1)
        << refuses("answer", "NoOpenAsk", "never was")
    )


def test_an_ask_without_answer_gives_its_default() -> None:
    talk = begun()
    assert (
        talk
        >> opens("a", "q1", "ask", name="Ship it?", delay_us=SECOND, default=pack_outcome("no"))
        >> opens("a", "q2", "ask", name="Ship it?", delay_us=SECOND)
        >> later(2)
        << resolves("a", "q1", "no")
        << resolves("a", "q2", None)
    )


# --- later generations ------------------------------------------------------------------------------------------------


def test_a_retried_run_keeps_the_values_of_its_waits_and_opens_failed_ones_anew() -> None:
    talk = begun()
    good = opens("a", "good", "ask", delay_us=SECOND, default=pack_outcome("fine"))
    bad = opens("a", "bad", "ask", delay_us=SECOND, default=pack_outcome(failure("ValueError", "late")))
    assert talk >> good >> bad >> later(2) << resolves("a", "good") << resolves("a", "bad")
    assert talk.rows(WaitRow)[-1].error == "ValueError: late"
    assert talk >> ends("a", failure()) >> retries("a") << Recall("a")
    assert (
        talk
        >> recalled(talk.kept.rows, "a")
        << evaluates("a", generation=1)
        << replies("retry")
        >> good
        << resolves("a", "good", "fine")
        >> bad
        >> answers("a", "bad", "in time")
        << resolves("a", "bad", "in time")
        << replies("answer")
    )
    assert set(talk.keeper.resolved("a").values()) == {pack_outcome("fine"), pack_outcome("in time")}


def test_a_wait_that_the_end_has_closed_opens_anew_in_a_retry() -> None:
    talk = begun()
    q = opens("a", "q", "ask")
    assert talk >> q >> ends("a", failure()) >> retries("a") << Recall("a")
    assert talk >> recalled(talk.kept.rows, "a") << evaluates("a") << replies("retry") >> q >> parks("a", "q")
    assert talk.keeper.run("a")["state"] == "waiting"


def test_a_run_whose_last_wait_is_closed_goes_on() -> None:
    talk = begun()
    assert talk >> opens("a", "q", "ask") >> parks("a", "q") >> closes("a", "q")
    assert talk.keeper.run("a")["state"] == "running"
    assert talk >> cancels("a") << replies("cancel") << stops("a") >> ends("a")
