"""Requests that are sent again, because their answer was lost: they have one effect, and get the same answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from keeper_invariants import check
from keeper_talks import (
    SECOND,
    KeeperTalk,
    answers,
    cancels,
    ends,
    evaluates,
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

from rayflow.keeper import folding
from rayflow.keeper.commands import Recall, RequestReply
from rayflow.keeper.ids import derived_run_id
from rayflow.keeper.keeper import Keeper
from rayflow.records import RequestRow, RunRow, WaitRow
from rayflow.testing.playbook import failure

FIRST = derived_run_id("order-1")


def asking(*places: str) -> KeeperTalk:
    """A run that waits for answers at these places."""
    talk = KeeperTalk()
    assert talk >> start("a") << evaluates("a") << replies("start")
    for place in places:
        assert talk >> opens("a", place, "ask", name=place)
    assert talk >> parks("a", *places)
    return talk


def failed() -> KeeperTalk:
    talk = KeeperTalk()
    assert talk >> start("a") << evaluates("a") << replies("start") >> ends("a", failure())
    return talk


def cancelled() -> KeeperTalk:
    talk = KeeperTalk()
    assert talk >> start("a") << evaluates("a") << replies("start") >> cancels("a") << replies("cancel") << stops("a")
    return talk


def with_code_gone() -> KeeperTalk:
    talk = KeeperTalk()
    assert talk >> start("a") << evaluates("a") << replies("start") >> ends("a", missing=("lab.f",))
    return talk


REQUESTS: list[tuple[str, Callable[[], KeeperTalk], Any]] = [
    ("an answer without a place", lambda: asking("one"), answers("a", None, 1, by="x")),
    ("an answer to a place", lambda: asking("one", "two"), answers("a", "two", 1, by="x")),
    ("a cancel", lambda: asking("one"), cancels("a", "so", by="x")),
    ("a second cancel", cancelled, cancels("a", "so", by="x")),
    ("a cancel of a run that has no code", with_code_gone, cancels("a", by="x")),
    ("a retry", failed, retries("a", "so", by="x")),
    ("a start with an id", KeeperTalk, start(id="order-1", request_id="x")),
    ("a start that another has made", lambda: started(), start(id="order-1", request_id="x")),
    ("a start that must be the first", KeeperTalk, start(id="order-1", reuse="reject", request_id="x")),
    ("a start that is a retry", lambda: started(failure()), start(id="order-1", reuse="if_failed", request_id="x")),
]


def started(outcome: Any = None) -> KeeperTalk:
    """A run with an id; with an outcome, one that has ended."""
    talk = KeeperTalk()
    assert talk >> start(id="order-1") << evaluates(FIRST) << replies("start")
    if outcome is not None:
        assert talk >> ends(FIRST, outcome)
    return talk


def sent(talk: KeeperTalk, request: Any) -> tuple[list[RequestReply], list[Any]]:
    """The answers to a request, and the rows that it has written. What the store is asked is answered."""
    rows = len(talk.kept.rows)
    waiting, came = [request], []
    while waiting:
        for command in talk.kept.handle([waiting.pop(0)._replace(at=talk.at)]):
            if isinstance(command, Recall):
                waiting.append(recalled(talk.kept.rows, command.run_id))
            elif isinstance(command, RequestReply):
                came.append(command)
    return came, talk.kept.rows[rows:]


def go_on(talk: KeeperTalk) -> None:
    """Let the runs end, whatever they do."""
    talk.play()
    for run in talk.keeper.runs():
        talk.kept.handle([ends(run["run_id"], failure())._replace(at=talk.at)])


def nothing(talk: KeeperTalk) -> None:
    """What happens between the two times."""


def crash(talk: KeeperTalk) -> None:
    talk.crash()


def end_and_crash(talk: KeeperTalk) -> None:
    go_on(talk)
    talk.crash()


@pytest.mark.parametrize("between", [nothing, go_on, crash, end_and_crash])
@pytest.mark.parametrize(("begin", "asked"), [pytest.param(*row, id=name) for name, *row in REQUESTS])
def test_a_request_that_is_sent_again_has_one_effect_and_the_same_answer(
    begin: Callable[[], KeeperTalk], asked: Any, between: Callable[[KeeperTalk], None]
) -> None:
    talk = begin()
    talk.play()
    (reply,), rows = sent(talk, asked)
    assert reply.error is None
    assert [type(row) for row in rows].count(RequestRow) == 1
    between(talk)
    (again,), rows = sent(talk, asked._replace(request="again"))
    assert (again.answer, again.error) == (reply.answer, None)
    assert rows == []
    check(talk.keeper.state)


def test_an_answer_that_is_sent_again_does_not_answer_the_next_question() -> None:
    talk = asking("one")
    assert (
        talk
        >> answers("a", None, "yes", by="x")
        << resolves("a", "one", "yes")
        << replies("answer")
        >> opens("a", "two", "ask", name="two")
        >> answers("a", None, "yes", by="x")
        << replies("answer")
        >> answers("a", None, "yes", by="y")
        << resolves("a", "two", "yes")
        << replies("answer")
    )
    assert [row.state for row in talk.rows(WaitRow)] == ["open", "resolved", "open", "resolved"]


def test_a_request_that_is_sent_again_while_the_first_waits_for_the_store_is_done_once() -> None:
    talk = failed()
    assert (
        talk
        >> retries("a", by="x")
        << Recall("a")
        >> retries("a", by="x")._replace(request="again")
        >> recalled(talk.kept.rows, "a")
        << evaluates("a")
        << replies("retry", {"run_id": "a", "state": "running"})
        << replies("again", {"run_id": "a", "state": "running"})
    )
    assert talk.states("a") == [("running", "start"), ("failed", "end"), ("running", "retry")]


def test_a_request_that_was_refused_may_be_done_later() -> None:
    talk = asking()
    assert (
        talk
        >> answers("a", None, 1, by="x")
        << refuses("answer", "NoOpenAsk")
        >> opens("a", "one", "ask")
        >> answers("a", None, 1, by="x")
        << resolves("a", "one", 1)
        << replies("answer")
    )


def test_the_latest_answers_are_known_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "MOST_ANSWERED", 3)
    keeper = Keeper()
    for number in range(5):
        keeper.handle([start(id=f"i{number}", request_id=f"x{number}")._replace(at=number)])
    assert [keeper.answered(f"x{number}") is not None for number in range(5)] == [False, False, True, True, True]


# --- reasons ----------------------------------------------------------------------------------------------------------


def last_of(talk: KeeperTalk) -> RunRow:
    last: RunRow = talk.rows(RunRow)[-1]
    return last


@pytest.mark.parametrize("reason", ["", "no longer needed"])
def test_a_run_that_is_cancelled_with_its_code_gone_says_who_wanted_it_and_what_was_missing(reason: str) -> None:
    talk = with_code_gone()
    assert talk >> cancels("a", reason) << replies("cancel", True)
    last = last_of(talk)
    for text in (last.reason, last.error):
        assert text is not None
        assert reason in text
        assert "its code was missing: lab.f" in text
        assert text.count(";") == (1 if reason else 0)


def test_a_run_that_takes_too_long_with_its_code_gone_says_both() -> None:
    talk = KeeperTalk()
    assert talk >> start("a", timeout_us=5 * SECOND) << evaluates("a") << replies("start")
    assert talk >> ends("a", missing=("lab.f",))
    talk.at += 6 * SECOND
    assert talk >> cancels("none") << Recall("none")
    last = last_of(talk)
    assert (last.state, last.reason) == ("failed", "its code was missing: lab.f")
    assert "took longer" in str(last.error)
    assert "lab.f" in str(last.error)


def test_a_run_whose_clean_up_has_no_code_says_who_cancelled_it_too() -> None:
    talk = KeeperTalk()
    assert talk >> start("a") << evaluates("a") << replies("start")
    assert talk >> cancels("a", "no longer needed") << replies("cancel") << stops("a") >> ends("a", missing=("lab.f",))
    assert last_of(talk).reason == "no longer needed; the code of its clean-up was missing: lab.f"


def test_a_run_whose_code_has_come_does_not_say_any_more_what_was_missing() -> None:
    talk = with_code_gone()
    assert talk.knows() >> cancels("none") << Recall("none")
    assert talk.keeper.run("a")["state"] == "running"
    assert talk.keeper.run("a")["reason"] is None
