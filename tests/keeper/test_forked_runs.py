"""Forks begin with what another run has done; questions are listed in order; many cancels are no second ones."""

from __future__ import annotations

from typing import Any

from keeper_talks import (
    KeeperTalk,
    at_place,
    cancels,
    emits,
    ends,
    evaluates,
    opens,
    parks,
    replies,
    resolves,
    start,
    stops,
)

from rayflow.keeper.commands import KeepPlaces
from rayflow.records import PlaceRow, RunRow, WaitRow
from rayflow.testing.patterns import Like


def source() -> tuple[KeeperTalk, tuple[WaitRow, ...]]:
    """A conversation in which a run has ended after a question; and the rows of that wait."""
    talk = KeeperTalk()
    assert talk >> start("old") << evaluates("old") << replies("start")
    assert talk >> opens("old", "q", "event", name="paid") >> parks("old", "q")
    assert talk >> emits("e1", data=7) << resolves("old", "q") << replies("emit")
    assert talk >> ends("old", 1)
    return talk, tuple(row for row in talk.rows(WaitRow) if row.run_id == "old")


def fork(waits: tuple[WaitRow, ...]) -> Any:
    places = (PlaceRow("old", at_place("done"), "outcome", 0, 5, "lab.do"),)
    return start("new", forked_run_id="old", places=places, waits=waits)


def test_a_fork_begins_with_the_places_and_the_resolved_waits_of_its_run() -> None:
    talk, waits = source()
    kept = Like(KeepPlaces, rows=lambda rows: rows == (PlaceRow("new", at_place("done"), "outcome", 0, 5, "lab.do"),))
    answer = {"run_id": "new", "state": "running", "is_new": True}
    assert talk >> fork(waits) << kept << evaluates("new") << replies("start", answer)
    assert talk.keeper.resolved("new") == {at_place("q"): waits[-1].outcome}
    assert talk.keeper.waits("new") == []
    assert talk >> opens("new", "q", "event", name="paid") << resolves("new", "q")
    [first] = [row for row in talk.rows(RunRow) if row.run_id == "new"]
    assert (first.forked_run_id, first.cause) == ("old", "fork")


def test_a_fork_keeps_its_waits_over_a_crash_and_takes_no_old_event_for_another() -> None:
    talk, waits = source()
    assert talk >> fork(waits) << Like(KeepPlaces) << evaluates("new") << replies("start")
    [command] = talk.crash()
    assert command.run_id == "new"
    assert talk.keeper.resolved("new") == {at_place("q"): waits[-1].outcome}
    assert talk >> opens("new", "another", "event", name="paid")
    assert [wait["name"] for wait in talk.keeper.waits("new")] == ["paid"]
    assert talk >> emits("e2", data=8) << resolves("new", "another") << replies("emit")


def test_a_fork_that_is_asked_for_twice_is_one_run() -> None:
    talk, waits = source()
    assert talk >> fork(waits) << Like(KeepPlaces) << evaluates("new") << replies("start")
    assert talk >> fork(waits) << replies("start", {"run_id": "new", "state": "running", "is_new": True})
    assert len([row for row in talk.rows(WaitRow) if row.run_id == "new"]) == 2


def test_questions_to_people_are_listed_in_the_order_in_which_they_were_asked() -> None:
    talk = KeeperTalk()
    for run_id in ("a", "b", "c"):
        assert talk >> start(run_id) << evaluates(run_id) << replies("start")
        assert talk >> opens(run_id, "q", "ask", name=f"{run_id}?")
    first, second = talk.keeper.asks(0, 2)
    assert [first["prompt"], second["prompt"]] == ["a?", "b?"]
    assert [each["prompt"] for each in talk.keeper.asks(second["number"], 2)] == ["c?"]
    assert talk >> cancels("b") << replies("cancel") << stops("b")
    assert [each["run_id"] for each in talk.keeper.asks(0, 10)] == ["a", "c"]
    talk.crash()
    assert [each["run_id"] for each in talk.keeper.asks(0, 10)] == ["a", "c"]


def test_a_cancel_that_is_no_second_one_leaves_a_clean_up_alone() -> None:
    talk = KeeperTalk()
    assert talk >> start("a") << evaluates("a") << replies("start")
    assert talk >> opens("a", "w", "event", name="paid") >> parks("a", "w")
    assert talk >> cancels("a") << replies("cancel") << stops("a")
    assert talk >> opens("a", "clean", "event", name="clean", is_cleanup=True)
    assert talk >> cancels("a")._replace(ends_cleanup=False) << replies("cancel", True)
    assert [wait["name"] for wait in talk.keeper.waits("a")] == ["clean"]
    assert talk >> cancels("a") << replies("cancel", True) << stops("a", is_again=True)
    assert talk.keeper.waits("a") == []
