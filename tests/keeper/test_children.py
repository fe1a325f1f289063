"""Runs that hang on other runs: child, spawn, join, chains, and cancels that go down."""

from __future__ import annotations

from typing import Any

import pytest
from keeper_talks import (
    SECOND,
    KeeperTalk,
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
    value_of,
)

from rayflow.keeper.commands import ForgetRun, Recall
from rayflow.keeper.ids import child_id, derived_run_id
from rayflow.records import RunRow, WaitRow
from rayflow.testing.patterns import unordered
from rayflow.testing.playbook import START, fails, failure

CHILD = derived_run_id(child_id("a", at_place("c")))


def begun(*run_ids: str) -> KeeperTalk:
    """A conversation in which runs have started."""
    talk = KeeperTalk()
    for run_id in run_ids:
        assert talk >> start(run_id, root=run_id) << evaluates(run_id) << replies("start")
    return talk


def with_child(**fields: Any) -> KeeperTalk:
    """A conversation in which run a waits for a child."""
    talk = begun("a")
    assert talk >> opens("a", "c", "child", root="child", **fields) << evaluates(CHILD) >> parks("a", "c")
    return talk


# --- child ------------------------------------------------------------------------------------------------------------


def test_a_parent_has_the_value_of_its_child() -> None:
    talk = with_child()
    assert talk.keeper.explain("a")["waits"][0]["target_run_id"] == CHILD
    assert talk.keeper.explain("a")["waits"][0]["target_state"] == "running"
    assert talk >> ends(CHILD, 7) << resolves("a", "c", 7) >> ends("a", 7)


def test_a_parent_has_the_failure_of_its_child() -> None:
    assert with_child() >> ends(CHILD, failure("ValueError", "no")) << resolves("a", "c", fails("ValueError", "no"))


def test_a_child_that_is_met_again_is_the_same_run() -> None:
    talk = with_child()
    assert talk >> opens("a", "c", "child", root="child") >> ends(CHILD, 7) << resolves("a", "c", 7)
    assert talk >> opens("a", "c", "child", root="child") << resolves("a", "c", 7)


def test_a_child_that_was_cancelled_fails_its_parent_which_goes_on() -> None:
    talk = with_child()
    assert (
        talk
        >> cancels(CHILD, "not needed")
        << replies("cancel", True)
        << stops(CHILD)
        >> ends(CHILD)
        << resolves("a", "c", fails("RunCancelled", "not needed"))
        >> ends("a", 1)
    )
    assert talk.states("a")[-1][0] == "done"


def test_a_cancel_goes_down_in_the_same_turn_at_any_depth() -> None:
    talk = begun("a")
    above, below = "a", []
    for _ in range(50):
        child = derived_run_id(child_id(above, at_place("c")))
        assert talk >> opens(above, "c", "child", root="child") << evaluates(child)
        above = child
        below.append(child)
    assert (
        talk
        >> cancels("a")
        << replies("cancel")
        << unordered(stops("a"), *[stops(each, by="parent") for each in below])
    )


def test_a_child_that_waits_for_its_time_is_cancelled_at_once() -> None:
    talk = begun("a")
    assert talk >> opens("a", "c", "child", root="child", due_at=START + 9 * SECOND)
    assert talk >> cancels("a") << replies("cancel") << stops("a") >> later(10) >> ends("a")
    assert talk.states(CHILD) == [("scheduled", "child"), ("cancelled", "parent")]


def test_a_child_that_comes_after_the_cancel_is_not_made() -> None:
    talk = begun("a")
    assert talk >> cancels("a") << replies("cancel") << stops("a") >> opens("a", "c", "child", root="child")
    assert len(talk.keeper.runs()) == 1


def test_a_child_that_nothing_waits_for_any_more_is_cancelled() -> None:
    assert with_child() >> closes("a", "c") << stops(CHILD, by="parent")
    assert with_child() >> ends("a", 1) << stops(CHILD, by="parent")


def test_a_parent_waits_for_its_child_no_longer_than_it_says() -> None:
    talk = with_child(delay_us=5 * SECOND)
    assert talk >> later(6) << resolves("a", "c", fails("TaskTimeout", "child")) << stops(CHILD, by="parent")


def test_a_second_cancel_reaches_the_children_too() -> None:
    talk = with_child()
    assert (
        talk
        >> cancels("a")
        << replies("cancel")
        << stops("a", is_again=False)
        << stops(CHILD, is_again=False)
        >> opens("a", "tidy", "child", root="tidy", is_cleanup=True)
        << evaluates(str)
        >> cancels("a")
        << replies("cancel")
        << unordered(stops("a", is_again=True), stops(CHILD, is_again=True), stops(str, by="parent", is_again=False))
    )


def test_a_first_cancel_leaves_a_child_of_the_clean_up() -> None:
    talk = begun("a")
    tidy = derived_run_id(child_id("a", at_place("tidy")))
    assert (
        talk
        >> opens("a", "tidy", "child", root="tidy", is_cleanup=True)
        << evaluates(tidy)
        >> cancels("a")
        << replies("cancel")
        << stops("a")
        >> ends(tidy, 1)
        << resolves("a", "tidy", 1)
    )


def test_a_child_with_an_id_of_another_parent_is_a_conflict() -> None:
    talk = begun("a", "b")
    run_id = derived_run_id("mine")
    assert (
        talk
        >> opens("a", "c", "child", root="child", id="mine")
        << evaluates(run_id)
        >> opens("b", "c", "child", root="child", id="mine")
        << resolves("b", "c", fails("RunConflict", "another parent"))
        >> opens("a", "d", "child", root="other", id="mine")
        << resolves("a", "d", fails("RunConflict", "another input"))
        >> opens("a", "e", "child", root="child", id="mine")
        >> ends(run_id, 5)
        << resolves("a", "c", 5)
        << resolves("a", "e", 5)
        >> opens("b", "d", "spawn", root="child", id="mine")
        << resolves("b", "d", fails("RunConflict"))
        >> opens("a", "f", "child", root="child", id="mine")
        << Recall(run_id)
    )
    assert talk >> recalled(talk.kept.rows, run_id) << resolves("a", "f", 5)


def test_a_retried_parent_retries_its_failed_child() -> None:
    talk = with_child()
    assert (
        talk
        >> ends(CHILD, failure())
        << resolves("a", "c", fails())
        >> ends("a", failure())
        >> retries("a")
        << Recall("a")
    )
    assert talk >> recalled(talk.kept.rows, "a") << evaluates("a", generation=1) << replies("retry")
    assert talk >> opens("a", "c", "child", root="child") << Recall(CHILD)
    assert (
        talk
        >> recalled(talk.kept.rows, CHILD)
        << evaluates(CHILD, generation=1)
        >> ends(CHILD, 3)
        << resolves("a", "c", 3)
    )


def test_a_parent_that_has_failed_does_not_hear_of_its_retried_child() -> None:
    talk = with_child()
    assert talk >> ends(CHILD, failure()) << resolves("a", "c", fails()) >> ends("a", failure())
    assert talk >> retries(CHILD) << Recall(CHILD)
    assert talk >> recalled(talk.kept.rows, CHILD) << evaluates(CHILD) << replies("retry") >> ends(CHILD, 1)


# --- spawn ------------------------------------------------------------------------------------------------------------


def test_a_spawned_run_goes_on_without_the_run_that_spawned_it() -> None:
    talk = begun("a")
    assert (
        talk
        >> opens("a", "c", "spawn", root="child")
        << evaluates(CHILD)
        << resolves("a", "c", CHILD)
        >> cancels("a")
        << replies("cancel")
        << stops("a")
        >> ends("a")
        >> ends(CHILD, 1)
    )
    assert talk.states(CHILD)[-1][0] == "done"


def test_a_tied_run_is_cancelled_with_the_run_that_spawned_it() -> None:
    talk = begun("a")
    assert talk >> opens("a", "c", "spawn", root="child", tie=True) << evaluates(CHILD) << resolves("a", "c", CHILD)
    assert talk >> cancels("a") << replies("cancel") << stops("a") << stops(CHILD, by="parent")


def test_a_tied_run_goes_on_when_the_run_that_spawned_it_has_ended() -> None:
    talk = begun("a")
    assert talk >> opens("a", "c", "spawn", root="child", tie=True) << evaluates(CHILD) << resolves("a", "c", CHILD)
    assert talk >> ends("a", 1) >> ends(CHILD, 1)


def test_a_tied_run_is_cancelled_with_a_run_that_waits_for_code() -> None:
    talk = begun("a")
    assert talk >> opens("a", "c", "spawn", root="child", tie=True) << evaluates(CHILD) << resolves("a", "c", CHILD)
    assert talk >> ends("a", missing=("lab.f",)) >> cancels("a") << replies("cancel", True) << stops(CHILD, by="parent")


# --- join -------------------------------------------------------------------------------------------------------------


def test_a_run_joins_another_and_leaves_it() -> None:
    talk = begun("a", "b", "c")
    assert (
        talk
        >> opens("a", "j", "join", target="b")
        >> opens("c", "j", "join", target="b", delay_us=SECOND)
        >> later(2)
        << resolves("c", "j", fails("TaskTimeout"))
        >> ends("b", 4)
        << resolves("a", "j", 4)
    )
    talk = begun("a", "b")
    assert talk >> opens("a", "j", "join", target="b") >> closes("a", "j") >> ends("b", 4)


@pytest.mark.parametrize(("value", "outcome"), [(4, 4), (failure(), fails("ValueError"))])
def test_a_run_joins_one_that_has_ended(value: Any, outcome: Any) -> None:
    talk = begun("a", "b")
    assert talk >> ends("b", value) >> opens("a", "j", "join", target="b") << Recall("b") >> parks("a", "j")
    assert talk >> recalled(talk.kept.rows, "b") << resolves("a", "j", outcome)


def test_a_join_of_a_run_that_never_was_fails() -> None:
    talk = begun("a")
    assert talk >> opens("a", "j", "join", target="no") << Recall("no")
    assert talk >> recalled([], "no") << resolves("a", "j", fails("NotFound"))


def test_a_run_cannot_join_itself() -> None:
    assert begun("a") >> opens("a", "j", "join", target="a") << resolves("a", "j", fails("RunConflict", "itself"))


def test_a_join_that_is_closed_before_the_store_has_answered_takes_nothing() -> None:
    talk = begun("a", "b")
    assert talk >> ends("b", 4) >> opens("a", "j", "join", target="b") << Recall("b") >> closes("a", "j")
    assert talk >> recalled(talk.kept.rows, "b")
    assert talk >> opens("a", "k", "join", target="b") << Recall("b") >> ends("a", 1)
    assert talk >> recalled(talk.kept.rows, "b")


# --- chains -----------------------------------------------------------------------------------------------------------


def follows(run_id: str, times: int = 1) -> str:
    """The run in which a chain goes on."""
    for _ in range(times):
        run_id = derived_run_id(f"next:{run_id}")
    return run_id


def test_a_chain_goes_on_in_the_turn_in_which_its_run_ends() -> None:
    talk = KeeperTalk()
    first, second = derived_run_id("loop"), follows(derived_run_id("loop"))
    assert talk >> start(id="loop", timeout_us=9 * SECOND) << evaluates(first) << replies("start")
    assert talk >> opens(first, "go on", "continue_as", root="2") << ForgetRun(first) << evaluates(second)
    assert talk.states(first)[-1] == ("done", "continued")
    assert talk.rows(RunRow)[-2].next_run_id == second
    assert (
        talk
        >> start(id="loop")
        << replies("start", {"run_id": second, "state": "running", "is_new": False})
        >> start(id="loop", root="2")
        << refuses("start", "RunConflict")
        >> ends(first, 1)
        >> cancels(first)
        << replies("cancel", True)
        << stops(second)
    )
    assert talk.keeper.run(first)["run_id"] == second


def test_who_waits_for_a_chain_has_the_outcome_of_its_last_run() -> None:
    talk = with_child()
    assert talk >> opens("a", "j", "join", target=CHILD)
    second, third = follows(CHILD), follows(CHILD, 2)
    assert (
        talk
        >> opens(CHILD, "go on", "continue_as", root="2")
        << ForgetRun(CHILD)
        << evaluates(second)
        >> opens("a", "k", "join", target=CHILD)
        >> opens(second, "go on", "continue_as", root="3")
        << ForgetRun(second)
        << evaluates(third)
        >> ends(third, 3)
        << resolves("a", "c", 3)
        << resolves("a", "j", 3)
        << resolves("a", "k", 3)
        >> opens("a", "l", "join", target=CHILD)
        << Recall(CHILD)
    )
    assert talk >> recalled(talk.kept.rows, CHILD) << Recall(second)
    assert talk >> recalled(talk.kept.rows, second) << Recall(third)
    assert talk >> recalled(talk.kept.rows, third) << resolves("a", "l", 3)


def test_a_cancel_of_a_chain_that_has_ended_looks_for_its_last_run() -> None:
    talk = begun("a")
    assert talk >> opens("a", "go on", "continue_as", root="2") << ForgetRun("a") << evaluates(follows("a"))
    assert talk >> ends(follows("a"), failure()) >> retries("a") << Recall("a")
    assert talk >> recalled(talk.kept.rows, "a") << Recall(follows("a"))
    assert talk >> recalled(talk.kept.rows, follows("a")) << evaluates(follows("a")) << replies("retry")


def test_a_cancel_of_the_parent_reaches_the_run_in_which_a_child_goes_on() -> None:
    talk = with_child()
    assert talk >> opens(CHILD, "go on", "continue_as", root="2") << ForgetRun(CHILD) << evaluates(follows(CHILD))
    assert talk >> cancels("a") << replies("cancel") << stops("a") << stops(follows(CHILD), by="parent")


def test_a_run_that_is_stopped_does_not_go_on() -> None:
    talk = begun("a")
    assert talk >> cancels("a") << replies("cancel") << stops("a") >> opens("a", "go on", "continue_as", root="2")
    assert talk.keeper.run("a")["state"] == "ending"


def test_each_run_of_a_chain_may_take_as_long_as_the_first() -> None:
    talk = KeeperTalk()
    assert talk >> start("a", timeout_us=9 * SECOND) << evaluates("a") << replies("start") >> later(8)
    assert talk >> opens("a", "go on", "continue_as", root="2") << ForgetRun("a") << evaluates(follows("a"))
    assert talk >> later(16) >> later(18) << stops(follows("a"), by="timeout")


def test_a_wait_names_the_run_that_it_waits_for_now() -> None:
    talk = with_child()
    assert talk >> opens(CHILD, "go on", "continue_as", root="2") << ForgetRun(CHILD) << evaluates(follows(CHILD))
    assert talk.keeper.waits("a")[0]["target_run_id"] == follows(CHILD)
    assert [row.state for row in talk.rows(WaitRow)] == ["open", "open"]
    assert value_of(talk.rows(RunRow)[-2].outcome) is None
