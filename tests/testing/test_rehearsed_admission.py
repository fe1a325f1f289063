"""Queues, mutexes, limits, rates and debounces in a rehearsal, under its clock."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import pytest

from rayflow import child, debounce, effect, event, flow, limit, rate, sleep, task
from rayflow.errors import BadArguments, RateLimited
from rayflow.service import flow_shell
from rayflow.testing import Rehearsal


@dataclass
class Order:
    id: int
    tenant: str


DONE: list[int] = []


@effect
def note(number: int) -> int:
    DONE.append(number)
    return number


@task
def order_of(number: int) -> Order:
    return Order(number, "t")


@flow(max_concurrency=limit(1, key="tenant:{order.tenant}"), fairness="{order.tenant}")
def serve_tenant(order: Order) -> int:
    return note(order.id)


@flow(mutex=lambda order: order.tenant)
def alone(order: Order) -> list[Any]:
    return [sleep("10s"), note(order.id)]


@flow
def outer(number: int) -> list[Any]:
    return child(alone(order_of(number)))


@flow(debounce=debounce("{numbers[0]}", "5s", max_wait="12s", keep="all"))
def joined(numbers: list[int]) -> list[int]:
    return numbers


@flow(debounce=debounce(lambda data: data["id"], "5s"), on=event("edited"))
def indexed(data: dict[str, Any]) -> int:
    return note(data["version"])


@flow(rate_limit=rate(2, "1m", key=lambda tenant: tenant))
def limited(tenant: str, number: int) -> int:
    return number


@flow(throttle=rate(2, "1m"))
def throttled(number: int) -> int:
    return note(number)


@flow(queue="narrow", mutex=lambda number: 1 / number)
def broken(number: int) -> int:
    return number


@pytest.fixture
def stage() -> Rehearsal:
    DONE.clear()
    return Rehearsal()


def test_a_mutex_lets_one_run_of_a_key_run_from_start_to_end(stage: Rehearsal) -> None:
    runs = [stage.start(alone(Order(number, tenant))) for number, tenant in ((1, "a"), (2, "a"), (3, "b"))]
    assert [run.state() for run in runs] == ["waiting", "queued", "waiting"]
    assert runs[1].explain() == f"it waits for the mutex 'a', which run {runs[0].id} holds; its place is 1"
    assert runs[1].result() == [None, 2]
    assert DONE == [1, 3, 2]


def test_the_arguments_of_a_child_are_computed_before_its_keys(stage: Rehearsal) -> None:
    first = stage.start(alone(Order(1, "t")))
    other = stage.start(outer(2))
    assert sorted(run.state() for run in stage.runs(alone)) == ["queued", "waiting"]
    assert other.result() == [None, 2]
    assert first.state() == "done"


def test_a_queue_runs_as_many_as_it_has_slots_and_slots_change_live(stage: Rehearsal) -> None:
    stage.set_queue("default", 0)
    runs = [stage.start(serve_tenant(Order(number, tenant))) for number, tenant in ((1, "a"), (2, "a"), (3, "b"))]
    assert runs[2].explain() == "it waits in the queue 'default', of which 0 of 0 slots are used; its place is 2"
    assert stage.queues() == [{"queue": "default", "slots": 0, "used": 0, "waiting": 3}]
    stage.set_queue("default", 1)
    assert DONE == [1, 3, 2]
    assert [run.state() for run in runs] == ["done"] * 3


def test_a_throttle_holds_runs_until_its_period_is_over(stage: Rehearsal) -> None:
    runs = [stage.start(throttled(number)) for number in range(5)]
    assert DONE == [0, 1]
    assert "the throttle of" in runs[2].explain()
    stage.skip("61s")
    assert DONE == [0, 1, 2, 3]
    assert [run.result() for run in runs] == [0, 1, 2, 3, 4]


def test_a_rate_limit_refuses_starts_and_says_when_to_come_again(stage: Rehearsal) -> None:
    for number in range(2):
        assert stage.start(limited("a", number)).result() == number
    with pytest.raises(RateLimited, match=r"limited for 'a' was reached: 2 in 60 s") as caught:
        stage.start(limited("a", 2))
    assert caught.value.retry_after == 60
    assert stage.start(limited("b", 2)).result() == 2
    stage.skip("60s")
    assert stage.start(limited("a", 2)).result() == 2


def test_starts_that_a_debounce_joins_are_one_run(stage: Rehearsal) -> None:
    runs = []
    for number in range(5):
        runs.append(stage.start(joined([7, number]), id=f"start-{number}"))
        stage.skip("3s")
    assert len({run.id for run in runs[:4]}) == 1
    assert runs[4].id != runs[0].id
    assert runs[0].state() == "done"  # after the longest wait
    assert runs[0].result() == [7, 0, 7, 1, 7, 2, 7, 3]
    assert runs[4].result() == [7, 4]


def test_events_that_a_debounce_joins_start_one_run_with_the_last_data(stage: Rehearsal) -> None:
    for version in range(3):
        stage.emit("edited", {"id": "doc", "version": version})
    stage.emit("edited", {"id": "other", "version": 9})
    stage.skip("6s")
    assert DONE == [2, 9]


def test_a_key_that_cannot_be_computed_refuses_the_start(stage: Rehearsal) -> None:
    with pytest.raises(BadArguments, match="broken: mutex: its key cannot be computed: ZeroDivisionError"):
        stage.start(broken(0))
    assert stage.runs() == []


def test_a_key_that_takes_too_long_refuses_the_start(stage: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    forever = threading.Event()
    monkeypatch.setattr(flow_shell, "MOST_SECONDS", 0.05)

    @flow(mutex=lambda number: str(forever.wait(600)))
    def slow(number: int) -> int:
        return number

    with pytest.raises(BadArguments, match=r"was not computed within 0\.05 s"):
        stage.start(slow(1))
    forever.set()


def test_every_commit_may_be_the_last_of_a_service(stage: Rehearsal) -> None:
    stage.set_queue("default", 1)
    assert stage.crash_everywhere(outer(4)) is not None
    assert stage.crash_everywhere(throttled(5)) is not None
