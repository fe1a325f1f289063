"""Admission in a service: slots from its configuration and live, refusals over HTTP, and what a crash leaves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from projects import Project
from services import RunningService
from waiting import until

from rayflow.errors import BadArguments, RateLimited

FLOW = """
    from rayflow import flow, rate, wait_for_event


    @flow(queue="narrow", mutex="{key}")
    def waits(key: str):
        return wait_for_event("news", key=key).data


    @flow(queue="shut", priority=2)
    def shut(number: int):
        return number


    @flow(rate_limit=rate(1, "1h", key="{tenant}"))
    def limited(tenant: str):
        return tenant


    @flow(mutex=lambda number: 1 / number)
    def broken(number: int):
        return number
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """One service for the tests of a module."""
    folder = tmp_path_factory.mktemp("admission") / "project"
    folder.mkdir()
    project = Project(folder)
    project.write("rayflow.toml", "[queues]\nshut = 0\n")
    project.write("flow.py", FLOW)
    made = RunningService(project, flags=("--inline", "--queue", "narrow=5")).start()
    yield made
    made.close()


def test_queues_have_the_slots_of_the_configuration_until_somebody_sets_others(service: RunningService) -> None:
    slots = {row["queue"]: row["slots"] for row in service.client.queues()}
    assert slots == {"narrow": 5, "shut": 0}
    run = service.client.start("shut", {"number": 3})
    assert run.explain() == "it waits in the queue 'shut', of which 0 of 0 slots are used; its place is 1"
    assert service.client.set_queue("shut", 1) == {"queue": "shut", "slots": 1, "used": 1, "waiting": 0}
    assert run.result(60) == 3
    for wrong in (-1, 10**9, "many"):
        with pytest.raises(BadArguments):
            service.client.set_queue("shut", wrong)  # type: ignore[arg-type]  # that is what is refused


def test_a_refused_start_says_when_there_is_room(service: RunningService) -> None:
    assert service.client.run("limited", {"tenant": "a"}) == "a"
    with pytest.raises(RateLimited, match="limited for 'a'") as caught:
        service.client.start("limited", {"tenant": "a"})
    assert 3000 < caught.value.retry_after <= 3600
    with pytest.raises(BadArguments, match="ZeroDivisionError"):
        service.client.start("broken", {"number": 0})


def test_a_service_that_was_killed_knows_who_holds_and_who_waits(service: RunningService) -> None:
    client = service.client
    first, _ = (client.start("waits", {"key": "k"}, id=f"k{number}") for number in (1, 2))
    until(lambda: first.state() == "waiting")
    service.kill()
    service.start()
    client = service.client
    assert "which run " + first.id in client.get("k2").explain()
    with pytest.raises(RateLimited):
        client.start("limited", {"tenant": "a"})
    client.emit("news", 1, key="k")
    until(lambda: client.get("k2").state() == "waiting" or client.get("k2").state() == "done")
    assert client.get("k1").result(60) == 1
    client.emit("news", 2, key="k")
    assert client.get("k2").result(60) in (1, 2)
