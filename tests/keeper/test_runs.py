"""Runs: how they start, wait, end, are cancelled, time out, and are retried."""

from __future__ import annotations

from typing import Any

from keeper_talks import (
    SECOND,
    KeeperTalk,
    cancels,
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

from rayflow.keeper.commands import Recall
from rayflow.keeper.ids import derived_run_id
from rayflow.keeper.requests import FlowsKnown, FlowSpec
from rayflow.lang.terms.codec import loads
from rayflow.records import RunRow, WaitRow
from rayflow.testing.playbook import START, failure

FIRST = derived_run_id("order-1")


def begun(*flows: FlowSpec, run_id: str = "a", **fields: Any) -> KeeperTalk:
    """A conversation in which a run has started."""
    talk = KeeperTalk(*flows)
    assert talk >> start(run_id, **fields) << evaluates(str) << replies("start")
    return talk


def napping(run_id: str = "a") -> KeeperTalk:
    """A conversation in which a run sleeps for five seconds, parked."""
    talk = begun(run_id=run_id)
    assert talk >> opens(run_id, "nap", "sleep", delay_us=5 * SECOND) >> parks(run_id, "nap")
    return talk


# --- start ------------------------------------------------------------------------------------------------------------


def test_a_run_sleeps_wakes_and_ends() -> None:
    talk = KeeperTalk()
    assert (
        talk
        >> start("a")
        << evaluates("a", life=0, generation=0)
        << replies("start", {"run_id": "a", "state": "running", "is_new": True})
        >> opens("a", "nap", "sleep", delay_us=5 * SECOND)
        >> parks("a", "nap")
        >> later(4)
        >> later(6)
        << resolves("a", "nap", None)
        >> ends("a", 1)
    )
    assert talk.states("a") == [("running", "start"), ("waiting", "parked"), ("running", "wake"), ("done", "end")]
    assert talk.keeper.runs() == []


def test_one_id_is_one_run_and_has_one_input() -> None:
    talk = begun(id="order-1")
    assert (
        talk
        >> start(id="order-1")
        << replies("start", {"run_id": FIRST, "state": "running", "is_new": False})
        >> start(id="order-1", root="other")
        << refuses("start", "RunConflict", "another input")
        >> start(id="order-1", reuse="reject")
        << refuses("start", "RunConflict", "already")
        >> start(id="order-1", reuse="if_failed")
        << replies("start", {"run_id": FIRST, "state": "running", "is_new": False})
    )


def test_the_id_of_a_run_that_has_ended_is_still_its_own() -> None:
    talk = begun(id="order-1")
    assert (
        talk
        >> ends(FIRST, failure())
        >> start(id="order-1")
        << replies("start", {"run_id": FIRST, "state": "failed", "is_new": False})
        >> start(id="order-1", root="other", reuse="if_failed")
        << refuses("start", "RunConflict", "another input")
    )


def test_a_run_that_failed_is_retried_by_a_start_with_its_id_that_says_so() -> None:
    talk = begun(id="order-1")
    assert talk >> ends(FIRST, failure()) >> start(id="order-1", reuse="if_failed") << Recall(FIRST)
    assert (
        talk
        >> recalled(talk.kept.rows, FIRST)
        << evaluates(FIRST, life=1, generation=1)
        << replies("start", {"run_id": FIRST, "state": "running", "is_new": True})
        >> ends(FIRST, 2)
        >> start(id="order-1", reuse="if_failed")
        << replies("start", {"run_id": FIRST, "state": "done", "is_new": False})
    )


def test_a_repeated_start_without_an_id_makes_one_run() -> None:
    talk = begun()
    assert (
        talk
        >> start("a")
        << replies("start", {"run_id": "a", "state": "running", "is_new": True})
        >> start("a", root="other")
        << refuses("start", "RunConflict", "another input")
    )


def test_ids_that_rayflow_makes_are_refused() -> None:
    for id in ("child:a:00", "event:1:f", "hook:a:failure"):
        assert KeeperTalk() >> start(id=id) << refuses("start", "RunConflict", "use another")


def test_a_delayed_run_starts_at_its_time() -> None:
    talk = KeeperTalk()
    assert (
        talk
        >> start("a", due_at=START + 9 * SECOND)
        << replies("start", {"run_id": "a", "state": "scheduled", "is_new": True})
        >> later(8)
        >> later(9)
        << evaluates("a")
    )
    assert talk.states("a") == [("scheduled", "start"), ("running", "due")]


def test_a_run_whose_time_has_passed_starts_at_once() -> None:
    assert KeeperTalk() >> start("a", due_at=START) << evaluates("a") << replies("start")


def test_nobody_is_answered_who_did_not_ask() -> None:
    assert KeeperTalk() >> start("a", request="") << evaluates("a")


# --- waiting ----------------------------------------------------------------------------------------------------------


def test_a_run_that_parks_while_an_outcome_is_on_its_way_is_not_waiting() -> None:
    talk = begun()
    assert (
        talk
        >> opens("a", "short", "sleep", delay_us=SECOND)
        >> opens("a", "long", "sleep", delay_us=9 * SECOND)
        >> later(2)
        << resolves("a", "short")
        >> parks("a", "short", "long")
    )
    assert talk.keeper.run("a")["state"] == "running"
    assert talk >> parks("a", "long")
    assert talk.keeper.run("a")["state"] == "waiting"


def test_what_an_evaluation_says_after_the_end_changes_nothing() -> None:
    talk = begun()
    assert talk >> ends("a", 1)
    rows = len(talk.kept.rows)
    assert talk >> opens("a", "nap", "sleep", delay_us=1) >> parks("a", "nap") >> ends("a", failure()) >> ends("b", 3)
    assert len(talk.kept.rows) == rows


def test_the_first_end_wins() -> None:
    talk = begun()
    assert talk >> ends("a", 1) >> ends("a", failure())
    assert [row.state for row in talk.rows(RunRow)] == ["running", "done"]


# --- missing code -----------------------------------------------------------------------------------------------------


def test_a_run_waits_for_missing_code_and_goes_on_when_it_is_there() -> None:
    talk = napping()
    assert talk >> later(6) << resolves("a", "nap") >> ends("a", missing=("lab.f", "lab.g"))
    assert talk.keeper.explain("a") == {
        "run_id": "a", "state": "queued", "cause": "missing code", "tasks": ["lab.f", "lab.g"],
    }  # fmt: skip
    assert (
        talk
        >> ends("a", 1)  # of the evaluation that was dropped
        >> opens("a", "late", "sleep", delay_us=1)
        >> FlowsKnown(0, {})
        << evaluates("a", life=2)
        >> ends("a", 1)
    )
    assert talk.states("a")[-3:] == [("queued", "missing code"), ("running", "code"), ("done", "end")]


def test_a_wait_of_a_run_without_code_is_resolved_and_not_sent() -> None:
    talk = begun()
    assert (
        talk
        >> opens("a", "nap", "sleep", delay_us=SECOND)
        >> ends("a", missing=("lab.f",))
        >> later(2)
        >> FlowsKnown(0, {})
        << evaluates("a")
    )
    assert len(talk.keeper.resolved("a")) == 1


def test_a_run_that_waits_with_its_code_gone_can_be_cancelled_and_times_out() -> None:
    talk = begun(timeout_us=5 * SECOND)
    assert (
        talk
        >> ends("a", missing=("lab.f",))
        >> start("b")
        << evaluates("b")
        << replies("start")
        >> ends("b", missing=("lab.f",))
        >> cancels("b")
        << replies("cancel", True)
        >> later(6)
    )
    assert talk.states("b")[-1] == ("cancelled", "cancel")
    assert talk.states("a")[-1] == ("failed", "timeout")


def test_a_parked_run_that_cannot_be_taken_up_waits_for_code() -> None:
    talk = napping()
    assert talk >> ends("a", missing=("lab.f",))
    assert talk.states("a")[-2:] == [("waiting", "parked"), ("queued", "missing code")]


# --- cancel -----------------------------------------------------------------------------------------------------------


def test_a_cancelled_run_ends_when_its_evaluation_has() -> None:
    talk = napping()
    assert talk >> cancels("a", "wrong order") << replies("cancel", True) << stops("a", by="cancel", is_again=False)
    assert talk.keeper.explain("a") == {
        "run_id": "a", "state": "ending", "cause": "ending", "by": "cancel", "reason": "wrong order", "waits": [],
    }  # fmt: skip
    assert (
        talk
        >> later(6)  # its wait is closed
        >> ends("a", failure("rayflow.errors.Cancelled"), is_cancelled=True)
        >> cancels("a")
        << Recall("a")
    )
    assert talk >> recalled(talk.kept.rows, "a") << replies("cancel", False)
    last = talk.rows(RunRow)[-1]
    assert (last.state, last.cause, last.reason) == ("cancelled", "cancel", "wrong order")
    assert "wrong order" in last.error


def test_a_value_that_comes_after_the_cancel_changes_nothing() -> None:
    talk = begun()
    assert talk >> cancels("a") << replies("cancel", True) << stops("a") >> ends("a", "value")
    last = talk.rows(RunRow)[-1]
    assert last.state == "cancelled"
    assert value_of(last.outcome).is_cancelled


def test_a_clean_up_may_wait_and_a_second_cancel_ends_it() -> None:
    talk = begun()
    assert (
        talk
        >> cancels("a")
        << replies("cancel", True)
        << stops("a", is_again=False)
        >> opens("a", "nap", "sleep", delay_us=SECOND)  # too late
        >> opens("a", "tidy", "sleep", delay_us=SECOND, is_cleanup=True)
        >> parks("a", "tidy")
        >> later(2)
        << resolves("a", "tidy")
        >> opens("a", "tidy more", "sleep", delay_us=SECOND, is_cleanup=True)
        >> cancels("a")
        << replies("cancel", True)
        << stops("a", is_again=True)
        >> later(9)
        >> opens("a", "tidy even more", "sleep", delay_us=SECOND, is_cleanup=True)
        >> cancels("a")
        << replies("cancel", True)
        >> ends("a")
    )
    closed = [(row.state, row.cause) for row in talk.rows(WaitRow)]
    assert closed == [("open", None), ("resolved", "timer"), ("open", None), ("closed", "cancel")]


def test_a_run_that_has_not_begun_is_cancelled_at_once() -> None:
    talk = KeeperTalk()
    assert (
        talk
        >> start("a", due_at=START + 9 * SECOND)
        << replies("start")
        >> cancels("a")
        << replies("cancel", True)
        >> later(10)
    )
    assert talk.states("a") == [("scheduled", "start"), ("cancelled", "cancel")]


def test_an_execution_that_was_cancelled_elsewhere_ends_its_run_as_cancelled() -> None:
    for talk in (begun(), napping()):
        assert talk >> ends("a", failure("rayflow.errors.Cancelled"), is_cancelled=True)
        assert talk.states("a")[-1] == ("cancelled", "cancel")


def test_a_run_may_end_while_it_waits() -> None:
    for value, state in ((1, "done"), (failure(), "failed")):
        talk = napping()
        assert talk >> ends("a", value)
        assert talk.states("a")[-1] == (state, "end")
        assert [row.state for row in talk.rows(WaitRow)] == ["open", "closed"]


def test_the_clean_up_of_a_run_whose_code_is_gone_does_not_run() -> None:
    talk = begun()
    assert talk >> cancels("a") << replies("cancel") << stops("a") >> ends("a", missing=("lab.f",))
    assert talk.states("a")[-1] == ("cancelled", "cancel")
    assert "lab.f" in talk.rows(RunRow)[-1].reason


def test_a_run_that_never_was_cannot_be_cancelled_or_retried() -> None:
    talk = KeeperTalk()
    assert (
        talk
        >> cancels("no")
        << Recall("no")
        >> retries("no")
        >> recalled([], "no")
        << refuses("cancel", "NotFound", "no run no")
        << refuses("retry", "NotFound", "no run no")
    )


# --- timeout ----------------------------------------------------------------------------------------------------------


def test_a_run_that_takes_too_long_is_stopped_and_fails() -> None:
    talk = begun(timeout_us=5 * SECOND)
    assert talk >> later(6) << stops("a", by="timeout") >> ends("a", 1)
    last = talk.rows(RunRow)[-1]
    assert (last.state, last.cause) == ("failed", "timeout")
    assert value_of(last.outcome).type_name == "rayflow.errors.TaskTimeout"


def test_the_timeout_of_a_flow_counts_for_its_runs_from_their_start_on() -> None:
    flow = FlowSpec("lab.flow", timeout_us=5 * SECOND)
    talk = KeeperTalk(flow)
    assert (
        talk
        >> start("a", flow="lab.flow", due_at=START + 3 * SECOND)
        << replies("start")
        >> later(4)
        << evaluates("a")
        >> later(7)
        >> later(8.1)
        << stops("a", by="timeout")
    )


def test_a_run_that_is_cancelled_does_not_time_out() -> None:
    talk = begun(timeout_us=5 * SECOND)
    assert talk >> cancels("a") << replies("cancel") << stops("a") >> later(6) >> ends("a")
    assert talk.states("a")[-1] == ("cancelled", "cancel")


# --- retry ------------------------------------------------------------------------------------------------------------


def test_a_failed_run_goes_on_in_another_generation() -> None:
    talk = begun(timeout_us=50 * SECOND)
    assert talk >> ends("a", failure()) >> retries("a", "mended") << Recall("a")
    assert (
        talk
        >> recalled(talk.kept.rows, "a")
        << evaluates("a", life=1, generation=1)
        << replies("retry", {"run_id": "a", "state": "running"})
        >> retries("a")
        << refuses("retry", "RunConflict", "running")
        >> later(49)
        >> later(51)
        << stops("a", by="timeout")
    )
    assert talk.rows(RunRow)[2].reason == "mended"


def test_a_run_that_is_done_cannot_be_retried() -> None:
    talk = begun()
    assert talk >> ends("a", 1) >> retries("a") << Recall("a")
    assert talk >> recalled(talk.kept.rows, "a") << refuses("retry", "RunConflict", "done")


def test_a_cancelled_run_can_be_retried_and_sleeps_anew() -> None:
    talk = napping()
    assert talk >> cancels("a") << replies("cancel") << stops("a") >> ends("a") >> retries("a") << Recall("a")
    assert (
        talk
        >> recalled(talk.kept.rows, "a")
        << evaluates("a", generation=1)
        << replies("retry")
        >> later(10)
        >> opens("a", "nap", "sleep", delay_us=5 * SECOND)
        >> later(14)
        >> later(16)
        << resolves("a", "nap", None)
    )


def test_what_two_ask_of_one_ended_run_is_decided_by_their_order() -> None:
    talk = begun()
    assert talk >> ends("a", failure()) >> retries("a") << Recall("a") >> retries("a") >> cancels("a")
    assert (
        talk
        >> recalled(talk.kept.rows, "a")
        << evaluates("a")
        << replies("retry")
        << refuses("retry", "RunConflict")
        << replies("cancel", True)
        << stops("a")
    )


# --- hooks ------------------------------------------------------------------------------------------------------------


def test_the_hook_of_a_failure_is_started_with_the_end() -> None:
    flow = FlowSpec("lab.flow", on_failure="lab.mourn", on_cancel="lab.forget")
    talk = begun(flow, flow="lab.flow", id="order-1")
    hook = derived_run_id(f"hook:{FIRST}:failure")
    assert talk >> ends(FIRST, failure("ValueError", "no stock")) << evaluates(hook)
    end, begin = talk.rows(RunRow)[-2:]
    assert (end.run_id, begin.run_id, begin.link, begin.flow) == (FIRST, hook, "hook", "lab.mourn")
    call = loads(begin.root)
    assert call._task == "lab.mourn"
    assert call._args[0] == {
        "run_id": FIRST, "id": "order-1", "flow": "lab.flow", "state": "failed", "error": "ValueError: no stock",
        "reason": None,
    }  # fmt: skip


def test_the_hook_of_a_cancel_runs_and_each_generation_has_its_own() -> None:
    flow = FlowSpec("lab.flow", on_cancel="lab.forget")
    talk = begun(flow, flow="lab.flow")
    first, second = derived_run_id("hook:a:cancel"), derived_run_id("hook:a:cancel:1")
    assert (
        talk
        >> cancels("a")
        << replies("cancel")
        << stops("a")
        >> ends("a")
        << evaluates(first)
        >> retries("a")
        << Recall("a")
    )
    assert (
        talk
        >> recalled(talk.kept.rows, "a")
        << evaluates("a")
        << replies("retry")
        >> cancels("a")
        << replies("cancel")
        << stops("a")
        >> ends("a")
        << evaluates(second)
        >> cancels(second)  # a hook is cancelled by itself alone
        << replies("cancel")
        << stops(second)
    )


def test_a_value_starts_no_hook() -> None:
    flow = FlowSpec("lab.flow", on_failure="lab.mourn", on_cancel="lab.forget")
    assert begun(flow, flow="lab.flow") >> ends("a", 1)


# --- what is known ----------------------------------------------------------------------------------------------------


def test_each_run_that_has_not_ended_has_one_cause() -> None:
    talk = napping()
    assert (
        talk
        >> start("b")
        << evaluates("b")
        << replies("start")
        >> start("c", due_at=START + 99 * SECOND)
        << replies("start")
    )
    causes = {run["run_id"]: talk.keeper.explain(run["run_id"]) for run in talk.keeper.runs()}
    assert {run_id: each["cause"] for run_id, each in causes.items()} == {"a": "waits", "b": "evaluation", "c": "due"}
    (wait,) = causes["a"]["waits"]
    assert wait["kind"] == "sleep"
    assert wait["deadline_at"] == wait["since"] + 5 * SECOND
    assert talk.keeper.waits("a") == [wait]
    assert causes["c"]["at"] == START + 99 * SECOND
    assert talk.keeper.explain("no") is None
    assert talk.keeper.run("no") is None
    assert talk.keeper.waits("no") == []
    assert talk.keeper.event("no") is None
    assert talk.keeper.evaluation("no") is None


def test_time_never_goes_back() -> None:
    talk = begun()
    assert talk >> later(9) >> opens("a", "nap", "sleep", delay_us=SECOND)._replace(at=START) >> later(9.5)
    assert talk >> later(10) << resolves("a", "nap")
    times = [row.at for row in talk.kept.rows]
    assert times == sorted(times)
