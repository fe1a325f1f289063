"""What is wrong in the world around a service: its clock, its disk, its lease. The service stands in this process."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from crash_flows import SOURCE, doings_in
from faulty_disk import FullDisk, use_disk
from projects import Project
from waiting import until

from rayflow import config as configuration
from rayflow.errors import LeaseLost, ServiceUnavailable, StoreUnavailable
from rayflow.lang.terms.outcomes import unpack_outcome
from rayflow.runtime.clock import Clock
from rayflow.runtime.protocol.reports import Silent
from rayflow.service import patience
from rayflow.service.event_requests import emit
from rayflow.service.run_queries import RunFilter
from rayflow.service.service import Service
from rayflow.store.lease import Lease

HOUR = 3600


class SetClock(Clock):
    """A clock that somebody sets. ahead_seconds: how far it is set ahead of the real time."""

    ahead_seconds = 0.0

    def now(self) -> int:
        return super().now() + int(self.ahead_seconds * 1_000_000)


@pytest.fixture
def serve(project: Project) -> Iterator[Callable[..., Service]]:
    """Makes services of the project in this process, one after the other."""
    project.write("flow.py", SOURCE)
    made: list[Service] = []

    def another(clock: Clock | None = None) -> Service:
        project.forget()
        config = configuration.load(store=str(project.path / ".rayflow"), inline=True)
        service = Service(config, ["flow.py"], Silent(), clock=clock or Clock())
        service.hold()
        service.open()
        made.append(service)
        return service

    yield another
    for service in made:
        service.close()


def start(service: Service, flow: str, name: str = "a", **how: Any) -> str:
    """Start a run of a flow; its id."""
    return str(service.start_named(flow, {"name": name}, **how).result(20)["run_id"])


def value_of(service: Service, run_id: str) -> Any:
    """What a run comes to."""
    outcome = service.await_end(run_id).result(30).outcome
    assert outcome is not None
    return unpack_outcome(outcome)


def state_of(service: Service, run_id: str) -> Any:
    return service.describe(run_id)["state"]


@pytest.mark.parametrize("by_seconds", [-HOUR, HOUR])
def test_a_clock_that_is_set_while_a_run_sleeps_moves_no_deadline(
    serve: Callable[..., Service], project: Project, by_seconds: float
) -> None:
    project.edit("flow.py", "sleep(0.15)", "sleep(2)")
    clock = SetClock()
    service = serve(clock)
    run_id = start(service, "flow.chain")
    until(lambda: state_of(service, run_id) == "waiting", pause_seconds=0.01)
    clock.ahead_seconds = by_seconds
    assert value_of(service, run_id)[0] == "did a 1"
    times = [row["recorded_at"] for row in service.history(run_id) if row.get("recorded_at")]
    assert times == sorted(times)


def test_a_service_that_starts_after_the_clock_was_set_back_goes_on_in_the_recorded_time(
    serve: Callable[..., Service], project: Project
) -> None:
    first = serve()
    waiting = start(first, "hears")
    until(lambda: state_of(first, waiting) == "waiting", pause_seconds=0.01)
    first.close()
    clock = SetClock()
    clock.ahead_seconds = -HOUR
    second = serve(clock)
    assert value_of(second, start(second, "flow.chain", "b"))[0] == "did b 1"
    emit(second, "go", "for a", key="a").result(20)
    assert value_of(second, waiting)[2] == "did a after"
    rows = project.sql('SELECT recorded_at FROM run_changes ORDER BY "number"')
    assert rows == sorted(rows)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_fails_ends_the_service_and_loses_nothing(
    serve: Callable[..., Service], project: Project, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.0)
    service = serve()
    waiting = start(service, "hears")
    until(lambda: state_of(service, waiting) == "waiting", pause_seconds=0.01)

    use_disk(monkeypatch, FullDisk(number))
    refused = service.start_named("flow.chain", {"name": "b"}, id="b")
    with pytest.raises(ServiceUnavailable, match=os.strerror(number)):
        refused.result(20)
    assert service.has_ended.wait(20)
    assert isinstance(service.error, StoreUnavailable)
    with pytest.raises(ServiceUnavailable):
        service.describe(waiting)
    use_disk(monkeypatch, os)
    service.close()

    again = serve()
    assert [row["run_id"] for row in again.runs(RunFilter(), limit=9)] == [waiting]
    emit(again, "go", "for a", key="a").result(20)
    assert value_of(again, waiting) == ["did a before", "for a", "did a after"]
    assert {what: len(lines) for what, lines in doings_in(Path("ledger.jsonl")).items()} == {
        "a before": 1,
        "a after": 1,
    }


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.ENOENT])
def test_a_store_that_is_away_for_a_while_delays_what_is_written_and_ends_nothing(
    serve: Callable[..., Service], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.02)
    service = serve()
    waiting = start(service, "hears")
    until(lambda: state_of(service, waiting) == "waiting", pause_seconds=0.01)
    disk = FullDisk(number)
    use_disk(monkeypatch, disk)
    begun = service.start_named("flow.chain", {"name": "b"}, id="b", request_id="r")
    until(lambda: disk.count > 20, pause_seconds=0.01)
    assert not begun.done()
    assert set(doings_in(Path("ledger.jsonl"))) == {"a before"}
    use_disk(monkeypatch, os)

    assert value_of(service, begun.result(30)["run_id"])[0] == "did b 1"
    emit(service, "go", "for a", key="a").result(20)
    assert value_of(service, waiting) == ["did a before", "for a", "did a after"]
    assert all(len(lines) == 1 for lines in doings_in(Path("ledger.jsonl")).values())
    assert service.error is None


def test_a_service_that_is_told_to_end_while_its_store_is_away_does_so_at_once(
    serve: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    disk = FullDisk(errno.EIO)
    use_disk(monkeypatch, disk)
    begun = service.start_named("flow.chain", {"name": "b"})
    until(lambda: disk.count > 1, pause_seconds=0.01)
    began = time.monotonic()
    service.close()
    assert time.monotonic() - began < 20
    with pytest.raises(ServiceUnavailable):
        begun.result(5)
    use_disk(monkeypatch, os)


def test_an_effect_is_not_begun_when_another_process_has_taken_over(
    serve: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()

    def taken_over(lease: Lease) -> None:
        raise LeaseLost("somebody has taken over")

    monkeypatch.setattr(Lease, "check", taken_over)
    service.start_named("flow.many", {"name": "a"})
    assert service.has_ended.wait(20)
    assert isinstance(service.error, LeaseLost)
    assert doings_in(Path("ledger.jsonl")) == {}
    monkeypatch.undo()


def test_a_question_that_comes_as_the_service_ends_is_refused(serve: Callable[..., Service]) -> None:
    service = serve()
    run_id = start(service, "hears")
    ended = service.await_end(run_id)
    service.close()
    for ask in (
        lambda: ended.result(5),
        lambda: service.describe(run_id),
        lambda: emit(service, "go", 1).result(5),
        lambda: service.await_end(run_id).result(5),
        lambda: service.asks(limit=9),
    ):
        with pytest.raises(ServiceUnavailable, match="has ended"):
            ask()
