"""Both clients start runs, wait for them, and get what they come to."""

from __future__ import annotations

import asyncio
import datetime
from typing import Any

import pytest
from services import RunningService
from waiting import until

import rayflow
from rayflow.client.addresses import ServiceAddress, address_of
from rayflow.client.async_client import AsyncClient
from rayflow.client.client import Client
from rayflow.errors import (
    BadArguments,
    Cancelled,
    NoSuchTask,
    NotFound,
    RayflowError,
    RunConflict,
    ServiceUnavailable,
)


def async_client_of(service: RunningService) -> AsyncClient:
    address = service.address
    return AsyncClient(ServiceAddress(address.url, address.token))


def test_a_call_of_this_process_is_started_and_its_value_comes_back(service: RunningService, flow: Any) -> None:
    with service.client as client:
        run = client.start(flow.total(flow.Order("a", 2.5)))
        assert run.is_new
        assert run.result(60) == 5.0
        assert run.state() == "done"


def test_a_task_is_started_by_its_name_with_plain_arguments(service: RunningService) -> None:
    assert service.client.run("total", {"order": {"id": "b", "amount": 3}}) == 6.0
    assert service.client.run("flow.total", {"order": {"id": "b", "amount": 3}}) == 6.0


def test_large_values_go_both_ways(service: RunningService, flow: Any) -> None:
    assert service.client.run(flow.large(300_000)) == bytes(300_000)
    order = flow.Order("x" * 300_000, 4.0)
    assert service.client.run(flow.total(order)) == 8.0


def test_a_failure_is_raised_as_its_own_exception(service: RunningService) -> None:
    with pytest.raises(LookupError, match="not there"):
        service.client.run("fails", {"text": "not there"})


def test_the_same_id_is_the_same_run_and_another_input_a_conflict(service: RunningService) -> None:
    first = service.client.start("total", {"order": {"id": "c", "amount": 1}}, id="only one")
    again = service.client.start("total", {"order": {"id": "c", "amount": 1}}, id="only one")
    assert (again.id, again.is_new) == (first.id, False)
    assert first.result(60) == 2.0
    with pytest.raises(RunConflict, match="only one"):
        service.client.start("total", {"order": {"id": "c", "amount": 2}}, id="only one")
    with pytest.raises(RunConflict, match="only one"):
        service.client.start("total", {"order": {"id": "c", "amount": 1}}, id="only one", reuse="reject")


def test_a_run_can_be_named_by_its_id_or_by_the_beginning_of_it(service: RunningService) -> None:
    run = service.client.start("total", {"order": {"id": "d", "amount": 1}}, id="named")
    assert service.client.get("named").id == run.id
    assert service.client.get(run.id[:13]).id == run.id
    with pytest.raises(NotFound, match="no such run"):
        service.client.get("no such run")


def test_an_event_resolves_a_wait_and_its_deliveries_are_told(service: RunningService) -> None:
    run = service.client.start("waits", {"key": "k1"})
    until(lambda: run.state() == "waiting")
    assert "'news'" in run.explain()
    service.client.emit("news", {"n": 1}, key="other")
    event = service.client.emit("news", {"n": 2}, key="k1", id="event-2")
    assert run.result(60) == {"n": 2}
    [delivery] = service.client.event(event["event_id"])["deliveries"]
    assert (delivery["state"], delivery["run_id"]) == ("delivered", run.id)
    assert service.client.emit("news", {"n": 2}, key="k1", id="event-2")["deliveries"] == event["deliveries"]


def test_a_wait_for_a_result_ends_at_its_timeout(service: RunningService) -> None:
    run = service.client.start("waits", {"key": "never"})
    with pytest.raises(TimeoutError, match="it goes on"):
        run.result(timeout=0.2)
    assert run.cancel("enough") is True
    with pytest.raises(Cancelled, match="enough"):
        run.result(60)
    assert run.cancel() is False


def test_both_clients_have_the_same_methods() -> None:
    def methods(of: type) -> set[str]:
        return {name for name in vars(of) if not name.startswith("_")}

    assert methods(Client) == methods(AsyncClient)


def test_the_asynchronous_client_does_the_same(service: RunningService, flow: Any) -> None:
    async def main() -> list[Any]:
        async with async_client_of(service) as client:
            runs = [await client.start(flow.total(flow.Order(f"e{number}", number))) for number in range(5)]
            values = await asyncio.gather(*(run.result(60) for run in runs))
            with pytest.raises(LookupError, match="async"):
                await client.run("fails", {"text": "async"})
            waiting = await client.start("waits", {"key": "k2"})
            await client.emit("news", 3, key="k2")
            return [*values, await waiting.result(60)]

    assert asyncio.run(main()) == [0, 2, 4, 6, 8, 3]


@pytest.mark.parametrize(
    ("ask", "error", "text"),
    [
        (lambda client: client.start("nothing"), NoSuchTask, "flow.total"),
        (lambda client: client.start("total", {"order": 3}), BadArguments, "--order"),
        (lambda client: client.start("total", {"other": 3}), BadArguments, "other"),
        (lambda client: client.start(3), BadArguments, "start"),
        (lambda client: client.start("total", at=datetime.datetime(2030, 1, 1)), BadArguments, "time zone"),
        (lambda client: client.start("waits", {"key": "k"}, reuse="perhaps"), BadArguments, "reuse"),
        (lambda client: client.event("nothing"), NotFound, "nothing"),
        (lambda client: client.emit(""), BadArguments, "name"),
    ],
    ids=["no such task", "wrong type", "unknown argument", "no call", "naive time", "reuse", "no event", "no name"],
)
def test_a_wrong_request_is_refused_by_the_error_that_python_would_raise(
    service: RunningService, ask: Any, error: type[RayflowError], text: str
) -> None:
    with pytest.raises(error, match=text):
        ask(service.client)


def test_a_wrong_token_and_a_wrong_address_are_told_apart(service: RunningService) -> None:
    address = service.address
    with pytest.raises(ServiceUnavailable, match="RAYFLOW_TOKEN"):
        Client(ServiceAddress(address.url, "wrong")).runs()
    with pytest.raises(ServiceUnavailable, match="rayflow serve"):
        Client(ServiceAddress("http://127.0.0.1:9", "")).runs()
    with pytest.raises(BadArguments, match="http://HOST:PORT"):
        Client(ServiceAddress("127.0.0.1:8700", ""))


def test_connect_finds_the_service_of_the_project_of_this_user(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(service.project.path)
    monkeypatch.setenv("RAYFLOW_HOME", str(service.home))
    with rayflow.connect() as client:
        assert client.run("total", {"order": {"id": "f", "amount": 1}}) == 2.0
    monkeypatch.setenv("RAYFLOW_HOME", str(service.home / "nowhere"))
    with pytest.raises(ServiceUnavailable, match="rayflow serve"):
        rayflow.connect()
    monkeypatch.setenv("RAYFLOW_SERVICE", service.address.url)
    monkeypatch.setenv("RAYFLOW_TOKEN", service.address.token)
    assert address_of(None, None).url == service.address.url
