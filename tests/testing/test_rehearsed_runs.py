"""Durable runs can be rehearsed: time stands still until it is told to pass, and somebody outside is the test."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import pytest

from rayflow import (
    JobInfo,
    NonRetriable,
    RetryAfter,
    ask,
    child,
    cond,
    continue_as,
    effect,
    event,
    finally_,
    flow,
    now,
    seq,
    sleep,
    sleep_until,
    task,
    wait_for_event,
)
from rayflow.errors import BadArguments, Cancelled, NoOpenAsk, RunConflict
from rayflow.testing import Rehearsal, RehearsedRun
from rayflow.testing.fixtures import rehearsal

__all__ = ["rehearsal"]

HERE = JobInfo()

DONE: list[str] = []
"""What effects have done."""


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    DONE.clear()


@effect(namespace="rehearsed", retries=2, retry_delay=3600)
def charge(amount: int, job: JobInfo = HERE) -> str:
    DONE.append(f"charge {amount}")
    return f"paid {amount} {job.idempotency_key[:4]}"


@effect(namespace="rehearsed")
def ship(payment: str) -> str:
    DONE.append("ship")
    return f"shipped, {payment}"


@effect(namespace="rehearsed")
def refund(payment: str) -> str:
    DONE.append("refund")
    return f"refunded, {payment}"


@flow(namespace="rehearsed")
def order(name: str, amount: int) -> str:
    payment = charge(amount)
    approval = wait_for_event("approval", key=name, timeout="1d")
    return seq([payment, cond(approval, ship(payment), refund(payment))])[1]


def test_a_run_goes_on_until_it_waits_and_time_stands_still(rehearsal: Rehearsal) -> None:
    run = rehearsal.start(order("a", 3))
    assert DONE == ["charge 3"]
    assert run.state() == "waiting"
    assert run.explain().startswith("it waits for the event 'approval' with the key 'a', until ")
    [wait] = run.waits()
    assert (wait["kind"], wait["name"], wait["key"]) == ("event", "approval", "a")
    assert wait["deadline_at"] - wait["since"] == 24 * 3600 * 1_000_000


def test_an_event_wakes_a_run(rehearsal: Rehearsal) -> None:
    run = rehearsal.start(order("a", 3))
    rehearsal.emit("approval", {"by": "grace"}, key="b")
    assert run.state() == "waiting"
    rehearsal.emit("approval", {"by": "grace"}, key="a")
    assert run.state() == "done"
    assert run.waits() == []
    assert run.result().startswith("shipped, paid 3 ")


def test_a_timeout_comes_when_its_time_has_passed_and_not_before(rehearsal: Rehearsal) -> None:
    run = rehearsal.start(order("a", 3))
    rehearsal.skip("1439m")
    assert DONE == ["charge 3"]
    rehearsal.skip("1m")
    assert DONE == ["charge 3", "refund"]
    assert run.state() == "done"


def test_a_result_lets_time_pass_until_the_run_has_ended(rehearsal: Rehearsal) -> None:
    assert rehearsal.start(order("a", 3)).result().startswith("refunded")


def test_a_result_with_a_timeout_lets_no_more_time_pass(rehearsal: Rehearsal) -> None:
    run = rehearsal.start(order("a", 3))
    with pytest.raises(TimeoutError, match="it waits for the event 'approval'"):
        run.result("23h")
    assert run.state() == "waiting"
    assert run.result("1h").startswith("refunded")


def test_what_no_time_will_bring_is_told(rehearsal: Rehearsal) -> None:
    run = rehearsal.start(asking())
    with pytest.raises(AssertionError, match=r"it waits for an answer to 'Which colour\?'. No time will bring that"):
        run.result()


def test_time_advances_to_a_moment(rehearsal: Rehearsal) -> None:
    moment = datetime.datetime(2050, 1, 1, 9, tzinfo=datetime.UTC)
    run = rehearsal.start(at_a_moment(moment))
    rehearsal.advance_to(moment - datetime.timedelta(seconds=1))
    assert run.state() == "waiting"
    rehearsal.advance_to(moment)
    assert run.result() == [None, moment]
    with pytest.raises(BadArguments, match="it is 2050-01-01 09:00:00 UTC already"):
        rehearsal.advance_to(moment - datetime.timedelta(days=1))
    with pytest.raises(BadArguments, match="no time zone"):
        rehearsal.advance_to(datetime.datetime(2051, 1, 1))


@flow(namespace="rehearsed")
def at_a_moment(moment: datetime.datetime) -> list[object]:
    slept = sleep_until(moment)
    return seq([slept, now()])


def test_a_retry_waits_for_its_delay(rehearsal: Rehearsal) -> None:
    rehearsal.fail(charge, OSError("the bank is closed"), attempts=1)
    run = rehearsal.start(order("a", 3))
    assert run.state() == "running"
    assert DONE == []
    rehearsal.skip("1h")
    assert DONE == ["charge 3"]


def test_an_effect_says_when_to_try_it_again(rehearsal: Rehearsal) -> None:
    rehearsal.fail(charge, RetryAfter("10m"), attempts=1)
    rehearsal.start(order("a", 3))
    rehearsal.skip("599s")
    assert DONE == []
    rehearsal.skip("1s")
    assert DONE == ["charge 3"]


def test_a_failure_is_raised_as_the_exception_of_the_task(rehearsal: Rehearsal) -> None:
    rehearsal.fail(charge, NonRetriable("no money"))
    run = rehearsal.start(order("a", 3))
    assert run.state() == "failed"
    assert "no money" in run.explain()
    with pytest.raises(NonRetriable, match="no money"):
        run.result()


def test_a_fake_stands_in_for_an_effect_also_in_runs_that_have_begun(rehearsal: Rehearsal) -> None:
    rehearsal.replace(charge, lambda amount, job: f"faked {amount}")
    run = rehearsal.start(order("a", 3))
    assert DONE == []
    rehearsal.replace(refund, lambda payment: f"fake refund of {payment}")
    assert run.result() == "fake refund of faked 3"
    assert DONE == []


def test_an_effect_that_was_not_replaced_is_an_error_where_the_rehearsal_is_strict(rehearsal: Rehearsal) -> None:
    rehearsal.strict = True
    with pytest.raises(AssertionError, match=r"effect rehearsed.charge .* rehearsal.replace\(charge, fake\)"):
        rehearsal.start(order("a", 3))
    with pytest.raises(AssertionError, match=r"effect rehearsed.charge"):
        rehearsal.run(charge(4))
    assert DONE == []
    rehearsal.replace(charge, lambda amount, job: "free")
    rehearsal.replace(refund, lambda payment: payment)
    assert rehearsal.start(order("b", 3)).result() == "free"
    assert rehearsal.run(charge(4)) == "free"
    with Rehearsal(strict=True) as other, pytest.raises(AssertionError, match=r"effect rehearsed.ship"):
        other.run(ship("x"))


def test_a_start_with_an_id_is_one_run(rehearsal: Rehearsal) -> None:
    first = rehearsal.start(order("a", 3), id="order-a")
    second = rehearsal.start(order("a", 3), id="order-a")
    assert (first.is_new, second.is_new) == (True, False)
    assert first.id == second.id
    assert DONE == ["charge 3"]
    with pytest.raises(RunConflict):
        rehearsal.start(order("a", 4), id="order-a")
    with pytest.raises(BadArguments, match="a call of a task, not 3"):
        rehearsal.start(3)


def test_a_delayed_start_and_a_delayed_event_wait_for_their_time(rehearsal: Rehearsal) -> None:
    run = rehearsal.start(order("a", 3), delay="2h")
    assert run.state() == "scheduled"
    rehearsal.emit("approval", key="a", delay="3h")
    rehearsal.skip("2h")
    assert run.state() == "waiting"
    rehearsal.skip("1h")
    assert run.state() == "done"


@dataclass
class Bought:
    name: str
    amount: int


@flow(namespace="rehearsed", on=event("bought"))
def bought(it: Bought) -> str:
    return child(order(it.name, it.amount), id=f"order {it.name}")


def test_an_event_starts_runs_and_they_start_others(rehearsal: Rehearsal) -> None:
    told = rehearsal.emit("bought", {"name": "a", "amount": 3})
    assert told["status"] == "delivered"
    [run] = rehearsal.runs(bought)
    assert run.state() == "waiting"
    assert [each.state() for each in rehearsal.runs()] == ["waiting", "waiting"]
    rehearsal.emit("approval", key="a")
    assert run.result().startswith("shipped")
    assert rehearsal.runs("order")[0].result() == run.result()


@dataclass
class Choice:
    colour: str


@flow(namespace="rehearsed")
def asking() -> str:
    colour: str = ask("Which colour?", Choice).colour
    return colour


def test_a_question_is_answered_and_the_answer_has_its_form(rehearsal: Rehearsal) -> None:
    run = rehearsal.start(asking())
    assert run.waits()[0]["prompt"] == "Which colour?"
    with pytest.raises(BadArguments, match="does not fit"):
        rehearsal.answer(run, {"color": "red"})
    rehearsal.answer(run, {"colour": "red"})
    assert run.result() == "red"
    with pytest.raises(NoOpenAsk, match="asks nothing"):
        rehearsal.answer(run, {"colour": "blue"})


@flow(namespace="rehearsed")
def tidy() -> object:
    return finally_(wait_for_event("never"), ship("what is left"))


def test_a_cancelled_run_tidies_up_and_says_who_has_cancelled_it(rehearsal: Rehearsal) -> None:
    run = rehearsal.start(tidy())
    assert run.cancel("nobody wants it")
    assert DONE == ["ship"]
    assert run.state() == "cancelled"
    assert not run.cancel()
    with pytest.raises(Cancelled):
        run.result()


@flow(namespace="rehearsed")
def counting(left: int) -> object:
    return cond(left == 0, "counted", seq([sleep("1d"), continue_as(counting(left - 1))])[1])


def test_the_result_of_a_chain_is_that_of_its_last_run(rehearsal: Rehearsal) -> None:
    run = rehearsal.start(counting(3))
    rehearsal.skip("1d")
    assert run.state() == "waiting"
    assert run.result() == "counted"
    assert run.state() == "done"
    assert len(rehearsal.runs()) == 4


def test_a_history_tells_what_has_happened(rehearsal: Rehearsal) -> None:
    run = rehearsal.start(order("a", 3))
    rehearsal.skip("1d")
    told = [(each["what"], each["state"]) for each in run.history()]
    assert ("rehearsed.charge", "started") in told
    assert ("rehearsed.refund", "outcome") in told
    assert ("event", "resolved") in told


def test_runs_are_forgotten_with_all_else(rehearsal: Rehearsal) -> None:
    rehearsal.start(order("a", 3))
    rehearsal.forget_all()
    assert rehearsal.runs() == []
    assert rehearsal.start(order("a", 3)).is_new


# --- crash_everywhere -------------------------------------------------------------------------------------------------


def approve(rehearsal: Rehearsal, run: RehearsedRun) -> None:
    rehearsal.skip("2h")
    rehearsal.emit("approval", key="a")


def test_a_run_ends_alike_wherever_its_service_is_killed(rehearsal: Rehearsal) -> None:
    kills = rehearsal.crash_everywhere(order("a", 3), approve)
    assert kills >= 10
    worlds = kills + 1
    assert worlds <= DONE.count("charge 3") <= worlds + 2, "one kill is between its start and its commit"
    assert worlds <= DONE.count("ship") <= worlds + 2
    assert "refund" not in DONE


MEMORY: list[str] = []


@task(namespace="rehearsed")
def remembered(name: str, waited: object) -> bool:
    return name in MEMORY


@effect(namespace="rehearsed")
def remember(name: str) -> None:
    MEMORY.append(name)


@effect(namespace="rehearsed", on_unknown="fail")
def at_most_once(name: str) -> str:
    DONE.append(name)
    return name


@flow(namespace="rehearsed")
def forty_two() -> int:
    return 42


@flow(namespace="rehearsed")
def careful() -> str:
    return at_most_once("careful")


@effect(namespace="rehearsed")
def lives() -> int:
    DONE.append("lived")
    return len(DONE)


@flow(namespace="rehearsed")
def forgetful() -> int:
    return lives()


def test_an_end_that_depends_on_what_the_process_remembers_is_found(rehearsal: Rehearsal) -> None:
    with pytest.raises(
        AssertionError, match=r"killed (before|after) commit 1 of \d+: the run ended done: 2, and without"
    ):
        rehearsal.crash_everywhere(forgetful())


def test_an_effect_that_is_done_at_most_once_may_end_otherwise_when_a_kill_has_hit_it(rehearsal: Rehearsal) -> None:
    kills = rehearsal.crash_everywhere(careful())
    assert DONE.count("careful") <= kills + 1


def test_an_error_of_the_script_says_where_the_service_was_killed(rehearsal: Rehearsal) -> None:
    calls: list[int] = []

    def script(rehearsal: Rehearsal, run: RehearsedRun) -> None:
        calls.append(1)
        assert len(calls) < 4, "that is enough"

    with pytest.raises(AssertionError, match=r"killed before commit 2 of \d+: that is enough"):
        rehearsal.crash_everywhere(forty_two(), script)


def test_a_run_that_waits_for_ever_is_an_error_before_anybody_is_killed(rehearsal: Rehearsal) -> None:
    with pytest.raises(AssertionError, match=r"^Run .* has not ended: it waits for an answer"):
        rehearsal.crash_everywhere(asking())


def test_fakes_and_strictness_hold_in_every_world_and_a_script_changes_only_its_own(rehearsal: Rehearsal) -> None:
    rehearsal.strict = True
    rehearsal.replace(charge, lambda amount, job: job.idempotency_key)

    def script(world: Rehearsal, run: RehearsedRun) -> None:
        assert world is not rehearsal
        world.replace(ship, lambda payment: payment)
        world.emit("approval", key="a")

    assert rehearsal.crash_everywhere(order("a", 3), script) > 0
    assert DONE == []
    with pytest.raises(AssertionError, match=r"effect rehearsed.ship"):
        rehearsal.crash_everywhere(order("a", 3), approve)
