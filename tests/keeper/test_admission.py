"""Admission: queues and their slots, mutexes, limits, throttles, rate limits, debounces, and keys."""

from __future__ import annotations

import time
from typing import Any

from keeper_talks import (
    SECOND,
    KeeperTalk,
    Kept,
    bound,
    cancels,
    emits,
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
    term,
)

from rayflow.keeper.commands import BindEvent, ComputeKeys, Recall, Write
from rayflow.keeper.demands import Debounce, Demands, Limit, Rate
from rayflow.keeper.ids import derived_run_id, event_run_id
from rayflow.keeper.keeper import Keeper
from rayflow.keeper.requests import (
    FlowsKnown,
    FlowSpec,
    KeysComputed,
    QueueRequested,
    QueuesConfigured,
    Recovered,
    StartRequested,
)
from rayflow.lang.terms.codec import dumps, loads
from rayflow.lang.terms.expressions import TaskCall
from rayflow.records import ChargeRow, DeliveryRow, QueueRow, RunRow
from rayflow.testing.patterns import Like
from rayflow.testing.playbook import START, failure

ALONE = Demands(mutex="m")


def told(queue: str = "default", slots: int | None = 1) -> QueueRequested:
    """A request for slots."""
    return QueueRequested(0, "queue", queue, slots)


def narrow(slots: int = 1, *flows: FlowSpec) -> KeeperTalk:
    """A conversation whose default queue has so many slots."""
    talk = KeeperTalk(*flows)
    assert talk >> told(slots=slots) << replies("queue")
    return talk


def running(talk: KeeperTalk, run_id: str, **fields: Any) -> None:
    """Start a run that runs at once."""
    assert talk >> start(run_id, **fields) << evaluates(run_id) << replies("start")


def queued(talk: KeeperTalk, run_id: str, cause: str, **fields: Any) -> dict[str, Any]:
    """Start a run that is queued. Gives why."""
    assert talk >> start(run_id, **fields) << replies("start", {"run_id": run_id, "state": "queued", "is_new": True})
    talk.play()
    said: dict[str, Any] = talk.keeper.explain(run_id)
    assert said["cause"] == cause
    return said


def keys(run_id: Any, demands: Demands | None = None, error: str | None = None, **fields: Any) -> KeysComputed:
    """A KeysComputed."""
    return KeysComputed(0, run_id, demands, error, **fields)


# --- queues -----------------------------------------------------------------------------------------------------------


def test_a_queue_lets_so_many_runs_run_as_it_has_slots_in_their_order() -> None:
    talk = narrow()
    running(talk, "a")
    assert queued(talk, "b", "queue") == {
        "run_id": "b", "state": "queued", "cause": "queue", "queue": "default", "place": 1, "slots": 1, "used": 1,
    }  # fmt: skip
    assert queued(talk, "c", "queue")["place"] == 2
    assert talk.keeper.queues() == [{"queue": "default", "slots": 1, "used": 1, "waiting": 2}]
    assert talk >> ends("a", 1) << evaluates("b") >> ends("b", 1) << evaluates("c") >> ends("c", 1)
    assert talk.keeper.queues() == [{"queue": "default", "slots": 1, "used": 0, "waiting": 0}]


def test_a_run_that_waits_gives_its_slot_and_comes_before_new_ones_when_it_wakes() -> None:
    talk = narrow()
    running(talk, "a")
    assert talk >> opens("a", "w", "event", name="paid") >> parks("a", "w")
    running(talk, "b")
    queued(talk, "c", "queue", priority=9)
    assert talk >> emits("e") << replies("emit")
    assert talk >> ends("b", 1) << resolves("a", "w", Like(dict)) >> ends("a", 1) << evaluates("c")


def test_the_parent_of_a_run_that_ends_takes_the_slot_before_those_that_wait() -> None:
    talk = narrow()
    running(talk, "a")
    child = Like(str)
    assert talk >> opens("a", "c", "child", root="child") >> parks("a", "c") << evaluates(child)
    queued(talk, "b", "queue")
    talk.play()
    [child_id] = [run["run_id"] for run in talk.keeper.runs() if run["parent_run_id"] == "a"]
    assert talk >> ends(child_id, 7) << resolves("a", "c", 7) >> ends("a", 1) << evaluates("b")


def test_slots_change_while_runs_run() -> None:
    talk = narrow()
    running(talk, "a")
    queued(talk, "b", "queue")
    assert talk >> told(slots=2) << evaluates("b") << replies("queue", Like(dict))
    assert talk >> told(slots=0) << replies("queue", {"queue": "default", "slots": 0, "used": 2, "waiting": 0})
    queued(talk, "c", "queue")
    assert talk >> told(slots=None) << evaluates("c") << replies("queue")


def test_what_was_set_outlives_a_service_until_its_configuration_says_something_else() -> None:
    talk = KeeperTalk()
    assert talk >> QueuesConfigured(0, {"q": 4})
    assert talk >> told("q", 8) << replies("queue")
    talk.crash()
    assert talk >> QueuesConfigured(0, {"q": 4})
    talk.play()
    assert [each["slots"] for each in talk.keeper.queues()] == [8]
    assert talk >> QueuesConfigured(0, {"q": 5})
    talk.play()
    assert [each["slots"] for each in talk.keeper.queues()] == [5]
    assert [row.cause for row in talk.rows(QueueRow)] == ["configuration", "set", "configuration"]


def test_priority_comes_before_order() -> None:
    talk = narrow()
    running(talk, "a")
    for run_id, priority in (("b", None), ("c", 1), ("d", 2), ("e", 1)):
        queued(talk, run_id, "queue", priority=priority)
    assert talk >> ends("a", 1) << evaluates("d") >> ends("d", 1) << evaluates("c") >> ends("c", 1) << evaluates("e")
    assert talk >> ends("e", 1) << evaluates("b")


def test_the_priority_of_a_start_counts_more_than_that_of_its_flow() -> None:
    talk = narrow(1, FlowSpec("lab.f", demands=Demands(queue="q", priority=3)))
    running(talk, "a", flow="lab.f", priority=1, queue="default")
    running(talk, "b", flow="lab.f")
    talk.play()
    assert [(row.queue, row.priority) for row in talk.rows(RunRow)] == [("default", 1), ("q", 3)]


def test_keys_of_fairness_take_turns() -> None:
    talk = narrow()
    running(talk, "now")
    for run_id in ("x1", "x2", "x3", "y1", "y2", "z1"):
        queued(talk, run_id, "queue", demands=Demands(fairness=run_id[0]))
    order, last = [], "now"
    for _ in range(6):
        talk.play()
        before = {run["run_id"] for run in talk.keeper.runs() if run["state"] == "running"} - {last}
        assert not before
        assert talk >> ends(last, 1) << evaluates(str)
        talk.play()
        [last] = [run["run_id"] for run in talk.keeper.runs() if run["state"] == "running"]
        order.append(last)
    assert order == ["x1", "y1", "z1", "x2", "y2", "x3"]


def test_a_key_that_had_its_turn_comes_after_one_that_had_none() -> None:
    talk = narrow()
    running(talk, "x0", demands=Demands(fairness="x"))
    for run_id in ("x1", "y1"):
        queued(talk, run_id, "queue", demands=Demands(fairness=run_id[0]))
    assert talk >> ends("x0", 1) << evaluates("y1") >> ends("y1", 1) << evaluates("x1")


def test_a_run_that_is_blocked_blocks_no_other() -> None:
    talk = narrow(2)
    narrow_limit = Demands(limits=(Limit("max_concurrency:f:0:x", 1),))
    running(talk, "a", demands=narrow_limit)
    assert queued(talk, "b", "limit", demands=narrow_limit, priority=9)["most"] == 1
    running(talk, "c")
    queued(talk, "d", "queue")
    assert talk >> ends("c", 1) << evaluates("d") >> ends("a", 1) << evaluates("b")


def test_a_queued_run_is_cancelled_at_once_and_leaves_its_place() -> None:
    talk = narrow()
    running(talk, "a")
    queued(talk, "b", "queue")
    queued(talk, "c", "queue")
    assert talk >> cancels("b") << replies("cancel", True)
    assert talk.states("b") == [("queued", "slot"), ("cancelled", "cancel")]
    talk.play()
    assert talk.keeper.explain("c")["place"] == 1


def test_a_queued_run_takes_too_long_as_any_other() -> None:
    talk = narrow()
    running(talk, "a")
    queued(talk, "b", "queue", timeout_us=3 * SECOND)
    assert talk >> later(4)
    assert talk.states("b")[-1] == ("failed", "timeout")


def test_a_retry_goes_through_admission_again_and_is_not_charged_again() -> None:
    talk = narrow()
    throttled = Demands(mutex="m", throttles=(Rate("throttle:f:0:", 5, SECOND),))
    running(talk, "a", demands=throttled)
    assert talk >> ends("a", failure())
    running(talk, "b", demands=ALONE)
    assert talk >> retries("a") << Like(Recall) >> recalled(talk.kept.rows, "a") << replies("retry", Like(dict))
    assert talk.keeper.explain("a")["cause"] == "mutex"
    assert talk >> ends("b", 1) << evaluates("a", generation=1)
    talk.play()
    assert len(talk.rows(ChargeRow)) == 1


# --- mutexes ----------------------------------------------------------------------------------------------------------


def test_one_run_has_a_mutex_from_its_start_to_its_end_in_order() -> None:
    talk = KeeperTalk()
    running(talk, "a", demands=ALONE)
    assert queued(talk, "b", "mutex", demands=ALONE)["held_by"] == ["a"]
    assert queued(talk, "c", "mutex", demands=ALONE, priority=9)["place"] == 2
    running(talk, "other", demands=Demands(mutex="n"))
    assert talk >> opens("a", "nap", "sleep", delay_us=SECOND) >> parks("a", "nap")
    assert talk >> later(2) << resolves("a", "nap", None) >> ends("a", 1) << evaluates("b")
    assert talk >> ends("b", 1) << evaluates("c")


def test_a_mutex_may_be_given_back_while_its_run_waits() -> None:
    talk = KeeperTalk()
    gives = Demands(mutex="m", release_on_wait=True)
    running(talk, "a", demands=gives)
    queued(talk, "b", "mutex", demands=gives)
    queued(talk, "c", "mutex", demands=gives)
    assert talk >> opens("a", "nap", "sleep", delay_us=SECOND) >> parks("a", "nap") << evaluates("b")
    assert talk >> later(2)
    talk.play()
    assert talk.keeper.explain("a")["cause"] == "mutex"
    assert talk >> ends("b", 1) << resolves("a", "nap", None) >> ends("a", 1) << evaluates("c")


def test_a_child_has_the_mutexes_of_the_runs_above_it() -> None:
    flows = [FlowSpec("lab.inner", demands=ALONE), FlowSpec("lab.middle")]
    talk = KeeperTalk(*flows)
    running(talk, "a", demands=ALONE)
    queued(talk, "b", "mutex", demands=ALONE)
    assert talk >> opens("a", "m", "child", root="middle", flow="lab.middle") << evaluates(str)
    talk.play()
    [middle] = [run["run_id"] for run in talk.keeper.runs() if run["flow"] == "lab.middle"]
    assert talk >> opens(middle, "i", "child", root="inner", flow="lab.inner") << evaluates(str)


# --- throttles, rate limits, debounces --------------------------------------------------------------------------------


def test_a_throttle_lets_so_many_begin_in_a_period_and_the_others_wait() -> None:
    talk = KeeperTalk()
    slow = Demands(throttles=(Rate("throttle:f:0:x", 2, 10 * SECOND),))
    running(talk, "a", demands=slow)
    running(talk, "b", demands=slow)
    assert queued(talk, "c", "throttle", demands=slow)["until"] > START + 10 * SECOND
    running(talk, "other", demands=Demands(throttles=(Rate("throttle:f:0:y", 2, 10 * SECOND),)))
    assert talk >> ends("a", 1) >> later(10) >> later(11) << evaluates("c")


def test_a_crash_forgets_no_charge() -> None:
    talk = KeeperTalk()
    slow = Demands(throttles=(Rate("throttle:f:0:x", 1, 10 * SECOND),))
    running(talk, "a", demands=slow)
    assert talk >> ends("a", 1)
    queued(talk, "b", "throttle", demands=slow)
    assert talk.crash() == []
    assert talk >> later(11) << evaluates("b")


def test_a_rate_limit_refuses_a_start_and_says_when_there_is_room() -> None:
    talk = KeeperTalk()
    rated = Demands(rates=(Rate("rate_limit:f:0:x", 1, 10 * SECOND),))
    running(talk, "a", demands=rated)
    assert talk >> later(4) >> start("b", demands=rated) << refuses("start", "RateLimited", "f for 'x'")
    assert not [row for row in talk.rows(RunRow) if row.run_id == "b"]
    assert talk >> later(11)
    running(talk, "b", demands=rated)


def test_a_rate_limit_fails_the_delivery_of_an_event() -> None:
    rated = Demands(rates=(Rate("rate_limit:lab.f:0:x", 1, 10 * SECOND),))
    talk = KeeperTalk(FlowSpec("lab.f", on=(("paid", None),), has_keys=True))
    for event_id in ("e1", "e2"):
        assert talk >> emits(event_id) << Like(BindEvent) << replies("emit")
        talk >> bound(event_id, "lab.f")._replace(demands=rated)
        if event_id == "e1":
            talk << evaluates(derived_run_id(event_run_id("e1", "lab.f")))
        assert talk
    assert [(row.event_id, row.state) for row in talk.rows(DeliveryRow)][-1] == ("e2", "failed")
    assert "RateLimited" in (talk.rows(DeliveryRow)[-1].error or "")


def joining(keep: str = "last", max_wait: int | None = None) -> Demands:
    """What flows ask whose starts become one."""
    return Demands(debounce=Debounce("debounce:f:0:x", 3 * SECOND, max_wait, keep))


def test_starts_that_come_soon_after_one_another_become_one_run_with_the_last_arguments() -> None:
    talk = KeeperTalk()
    queued(talk, "a", "debounce", demands=joining(), root="one")
    talk >> later(2) >> start("b", demands=joining(), root="two", id="mine")
    assert talk << replies("start", {"run_id": "a", "state": "queued", "is_new": False})
    talk.play()
    assert talk.keeper.id_of("mine") == "a"
    assert talk >> later(5) >> later(6) << evaluates("a", root=term("two")) >> ends("a", 1)
    again = {"run_id": "a", "state": "done", "is_new": False}
    assert talk >> start(demands=joining(), root="two", id="mine") << replies("start", again)


def test_a_debounce_waits_no_longer_than_it_may() -> None:
    talk = KeeperTalk()
    queued(talk, "a", "debounce", demands=joining("first", 5 * SECOND), root="one")
    for number in (1, 2):
        talk >> later(2 * number) >> start(f"b{number}", demands=joining("first", 5 * SECOND), root="two")
        assert talk << replies("start")
    assert talk >> later(5.5) << evaluates("a", root=term("one"))


def test_a_debounce_that_keeps_all_gives_one_list() -> None:
    talk = KeeperTalk()
    for run_id, item in (("a", 1), ("b", 2), ("c", 3)):
        request = start(run_id, demands=joining("all"))._replace(root=dumps(TaskCall("lab.f", ([item],))))
        assert talk >> request << replies("start")
    assert talk >> later(3.5) << evaluates("a", root=lambda root: loads(root)._args == ([1, 2, 3],))


def test_a_wait_for_a_start_that_has_joined_another_waits_for_that_run() -> None:
    talk = KeeperTalk(FlowSpec("lab.f", demands=joining()))
    queued(talk, "a", "debounce", flow="lab.f", root="child")
    running(talk, "p")
    assert talk >> opens("p", "c", "child", root="child", flow="lab.f") >> parks("p", "c")
    assert talk >> later(3.5) << evaluates("a") >> ends("a", 7) << resolves("p", "c", 7)


# --- keys -------------------------------------------------------------------------------------------------------------


def test_the_keys_of_a_run_that_the_keeper_makes_are_asked_for() -> None:
    talk = KeeperTalk(FlowSpec("lab.f", has_keys=True))
    running(talk, "p")
    assert talk >> opens("p", "c", "child", root="child", flow="lab.f") << Like(ComputeKeys, flow="lab.f")
    talk.play()
    [child] = [run["run_id"] for run in talk.keeper.runs() if run["flow"] == "lab.f"]
    assert talk.keeper.explain(child)["cause"] == "key"
    assert talk >> keys(child, Demands(mutex="k")) << evaluates(child)
    running(talk, "x", demands=ALONE)
    assert talk.states(child) == [("queued", "key"), ("queued", "key"), ("running", "key")]


def test_keys_that_cannot_be_computed_fail_the_run() -> None:
    talk = KeeperTalk(FlowSpec("lab.f", has_keys=True))
    assert talk >> start("a", flow="lab.f") << Like(ComputeKeys) << replies("start")
    assert talk >> keys("a", error="no tenant")
    assert talk.states("a")[-1] == ("failed", "key")


def test_keys_are_asked_for_again_after_a_crash_and_when_the_code_is_there() -> None:
    spec = FlowSpec("lab.f", has_keys=True)
    talk = KeeperTalk(spec)
    assert talk >> start("a", flow="lab.f") << Like(ComputeKeys) << replies("start")
    assert [type(command) for command in talk.crash(spec)] == [ComputeKeys]
    assert talk >> keys("a", is_missing=True)
    talk.play()
    assert talk.keeper.explain("a") == {
        "run_id": "a", "state": "queued", "cause": "missing code", "tasks": ["lab.f"],
    }  # fmt: skip
    assert talk >> FlowsKnown(0, {"lab.f": spec}) << Like(ComputeKeys)
    assert talk >> keys("a", Demands()) << evaluates("a")


# --- many -------------------------------------------------------------------------------------------------------------


def test_thousands_of_queued_runs_are_admitted_without_a_look_at_all_of_them() -> None:
    many = 20_000
    keeper = Keeper()
    keeper.handle([Recovered(START), QueuesConfigured(START, {"default": 1})])
    tenants = [Demands(limits=(Limit(f"max_concurrency:f:0:{key}", 1),), fairness=str(key)) for key in range(50)]
    root = dumps("root")
    began = time.process_time()
    for number in range(many):
        keeper.handle([StartRequested(START, "", f"r{number}", root, b"h", demands=tenants[number % 50])])
    filling = time.process_time() - began
    began = time.process_time()
    running_now = "r0"
    for _ in range(1_000):
        came = keeper.handle([ends(running_now, 1)._replace(at=START)])
        [rows] = [command.rows for command in came if isinstance(command, Write)]
        [running_now] = [row.run_id for row in rows if isinstance(row, RunRow) and row.state == "running"]
    deciding = time.process_time() - began
    assert keeper.queues()[0]["waiting"] == many - 1_001
    # Generous: a look at all runs would take a thousand times as long.
    assert deciding / 1_000 < 20 * filling / many + 0.002


def test_the_state_is_kept_by_what_is_checked() -> None:
    kept = Kept()
    kept.handle([told()._replace(at=START), start("a")._replace(at=START)])
    kept.keeper.state.admission.used.clear()
    try:
        kept.handle([start("b")._replace(at=START)])
    except AssertionError:
        return
    raise AssertionError("nobody noticed that a slot was lost")
