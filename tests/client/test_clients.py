"""Both clients start runs, wait for them, and get what they come to."""

from __future__ import annotations

import asyncio
import datetime
import socket
import threading
from typing import Any

import pytest
from services import RunningService
from waiting import until

import rayflow
from rayflow.client import addresses, wire
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


# --- lists, many runs, forks ------------------------------------------------------------------------------------------


def test_a_list_is_read_page_by_page_up_to_its_limit(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "MOST_PAGE", 2)
    client = service.client
    made = [client.start("waits", {"key": f"list {n}"}, tags={"of": "list", "n": n}).id for n in range(5)]
    assert [run["run_id"] for run in client.runs(tags={"of": "list"}, limit=None)] == made[::-1]
    assert [run["run_id"] for run in client.runs(tags={"of": "list"}, limit=3)] == made[:1:-1]
    assert [run["run_id"] for run in client.runs(tags={"of": "list", "n": 3}, flow="waits")] == [made[3]]
    assert client.runs(tags={"of": "list"}, limit=0) == []
    now = datetime.datetime.now(datetime.UTC)
    assert client.runs(tags={"of": "list"}, until=now - datetime.timedelta(hours=1)) == []
    recent = client.runs(tags={"of": "list"}, since=now - datetime.timedelta(hours=1), state=["waiting", "running"])
    assert len(recent) == 5
    with pytest.raises(BadArguments, match="since"):
        client.runs(since=datetime.datetime(2030, 1, 1))
    for n in range(3):
        client.emit("listed", n, id=f"listed {n}")
    listed = [event["event_id"] for event in client.events(name="listed", limit=None)]
    assert listed == ["listed 2", "listed 1", "listed 0"]

    async def same() -> list[Any]:
        async with async_client_of(service) as other:
            assert await other.asks() == client.asks()
            assert await other.flows() == client.flows()
            assert (await other.stats())["states"] == client.stats()["states"]
            assert len(await other.events(name="listed", limit=2)) == 2
            return await other.runs(tags={"of": "list"}, limit=None)

    assert [run["run_id"] for run in asyncio.run(same())] == made[::-1]
    dry = client.cancel_runs(tags={"of": "list"}, dry=True)
    assert dry["count"] == 5
    assert client.cancel_runs(tags={"of": "list"}, reason="enough", latest=dry["latest"])["count"] == 5
    assert client.cancel_runs(tags={"of": "list"})["count"] == 0
    with pytest.raises(Cancelled, match="enough"):
        client.get(made[0]).result(60)
    with pytest.raises(BadArguments, match="which runs"):
        client.cancel_runs()


def test_both_clients_retry_many_runs_and_fork_one(service: RunningService) -> None:
    client = service.client
    run = client.start("fails", {"text": "many"}, tags={"of": "retries"})
    with pytest.raises(LookupError):
        run.result(60)
    assert client.retry_runs(tags={"of": "retries"}, state="failed")["run_ids"] == [run.id]
    with pytest.raises(LookupError):
        run.result(60)
    total = client.start("total", {"order": {"id": "fork", "amount": 4}})
    assert total.result(60) == 8.0
    forked = total.fork(with_={"order": {"id": "fork", "amount": 5}}, id="a fork", tags={"n": 1})
    assert (forked.result(60), forked.is_new) == (10.0, True)
    with pytest.raises(NotFound, match="no place"):
        total.fork(at="nothing")

    async def same() -> Any:
        async with async_client_of(service) as other:
            assert (await other.retry_runs(tags={"of": "nobody"}))["count"] == 0
            assert (await other.cancel_runs(id_prefix="nobody"))["count"] == 0
            again = await (await other.get(total.id)).fork(with_={"order": {"id": "fork", "amount": 6}})
            return await again.result(60)

    assert asyncio.run(same()) == 12.0


# --- answers that are lost --------------------------------------------------------------------------------------------


class Faulty:
    """A server whose answers are those of a service, or none. faults: what becomes of each request, in order: "lost"
    (done, and its answer lost), "busy" (a 503), "closed" (the connection ends at once), or "ok"."""

    def __init__(self, *faults: str) -> None:
        self.requests: list[dict[str, str]] = []
        self._faults = list(faults)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = ServiceAddress(f"http://127.0.0.1:{self._socket.getsockname()[1]}", "token")
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while self._faults:
            connection, _ = self._socket.accept()
            with connection, connection.makefile("rb") as file:
                fault = self._faults.pop(0)
                if fault == "closed":
                    continue
                head = [file.readline().decode().strip()]
                while head[-1]:
                    head.append(file.readline().decode().strip())
                headers = dict(line.lower().split(": ", 1) for line in head[1:-1])
                file.read(int(headers.get("content-length", 0)))
                self.requests.append(headers)
                if fault == "lost":
                    continue
                status = "503 Busy" if fault == "busy" else "200 OK"
                error = b'{"error": {"type": "ServiceUnavailable", "message": "not now"}}'
                body = error if fault == "busy" else b'{"run_id": "r", "is_new": true, "event_id": "e"}'
                told = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
                connection.sendall(told.encode() + body)

    def close(self) -> None:
        self._socket.close()
        self._thread.join(10)


@pytest.mark.parametrize("kind", ["plain", "async"])
@pytest.mark.parametrize("faults", [("lost", "ok"), ("busy", "ok"), ("closed", "lost", "busy", "ok")])
def test_a_request_without_an_answer_is_sent_again_under_the_same_id(
    kind: str, faults: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "PAUSES_SECONDS", (0.01, 0.01, 0.01))
    server = Faulty(*faults)
    try:
        if kind == "plain":
            assert Client(server.address).start("total", {}).id == "r"
        else:

            async def start() -> str:
                async with AsyncClient(server.address) as client:
                    return (await client.start("total", {})).id

            assert asyncio.run(start()) == "r"
    finally:
        server.close()
    ids = {headers["idempotency-key"] for headers in server.requests}
    assert len(ids) == 1
    assert ids.pop()
    first = "0" if faults[0] != "closed" else "1"
    assert [headers["x-rayflow-again"] for headers in server.requests] == [first, *["1"] * (len(server.requests) - 1)]


def _emit(kind: str, address: ServiceAddress) -> Any:
    return Client(address).emit("a") if kind == "plain" else asyncio.run(_emitted(address))


async def _emitted(address: ServiceAddress) -> Any:
    async with AsyncClient(address) as client:
        return await client.emit("a")


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_after_so_many_tries_the_error_is_raised(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "PAUSES_SECONDS", (0.01, 0.01))
    for faults, text in ((("busy",) * 3, "not now"), (("closed",) * 3, "rayflow serve")):
        server = Faulty(*faults, "ok")
        try:
            with pytest.raises(ServiceUnavailable, match=text):
                _emit(kind, server.address)
        finally:
            Client(server.address).emit("a")  # the server's last answer
            server.close()
