"""The web shop of the examples: orders by HTTP, events that fan out, progress by a stream, and a service that dies."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from projects import REPOSITORY, Project
from services import RunningService, ledger
from waiting import until

EXAMPLE = REPOSITORY / "examples" / "40_web_shop"

ORDER = {"id": "order-7", "customer": "ada", "things": {"book": 2, "pen": 1}}


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[RunningService]:
    """The service of a copy of the example, with a token that a restart does not change."""
    folder = tmp_path / "project"
    shutil.copytree(EXAMPLE, folder)
    made = RunningService(Project(folder, {"RAYFLOW_TOKEN": "the shop's"})).start()
    yield made
    made.close()


class Shop:
    """The application, which listens in a thread of this process."""

    def __init__(self, app: Any) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()
        until(lambda: self._server.started)

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(60)

    def open(self, method: str, path: str, body: Any = None, **headers: str) -> http.client.HTTPResponse:
        """The answer to a request, not yet read."""
        connection = http.client.HTTPConnection("127.0.0.1", self._socket.getsockname()[1], timeout=120)
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        return connection.getresponse()

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and content of the answer to a request."""
        answer = self.open(method, path, body)
        return answer.status, json.loads(answer.read())


@pytest.fixture
def shop(kept: RunningService, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setenv("RAYFLOW_SERVICE", kept.address.url)
    monkeypatch.setenv("RAYFLOW_TOKEN", kept.address.token)
    made = Shop(kept.project.load("app").app)
    yield made
    made.close()
    kept.project.forget()


def items(answer: http.client.HTTPResponse) -> Iterator[Any]:
    """The items of an answer of server-sent events, as they come."""
    for line in answer:
        if line.startswith(b"data: "):
            yield json.loads(line[6:])
        elif line == b"event: end\n":
            return


def test_a_customer_sees_each_step_once_though_the_service_dies_in_the_middle(kept: RunningService, shop: Shop) -> None:
    assert shop.ask("POST", "/orders", ORDER) == (202, {"order": "order-7", "is_new": True})
    seen = items(shop.open("GET", "/orders/order-7/progress"))
    shown = [next(seen) for _ in range(6)]
    until(lambda: len(kept.client.runs()) == 3 and kept.client.get("order-7").state() == "waiting")
    port = kept.address.port or 0
    kept.kill()
    status, refused = shop.ask("POST", "/orders", {**ORDER, "id": "order-8"})
    assert status == 503
    assert "No service answers" in refused["error"]
    kept.start(port=port)
    assert shop.ask("POST", "/orders", ORDER) == (202, {"order": "order-7", "is_new": False})
    assert shop.ask("POST", "/orders/order-7/courier", {"name": "bea"})[0] == 202
    shown += seen
    assert "\n".join(map(json.dumps, shown)) in (EXAMPLE / "README.md").read_text()
    assert list(items(shop.open("GET", "/orders/order-7/progress"))) == shown
    until(lambda: {each["state"] for each in kept.client.runs()} == {"done"})
    assert shop.ask("GET", "/orders/order-7")[1]["state"] == "done"
    assert ledger(kept.project) == {
        "charge ada for order-7": 1, "pack 2 book for order-7": 1, "pack 1 pen for order-7": 1,
        "invoice order-7 to ada": 1, "thank ada": 1,
    }  # fmt: skip
    assert list(items(shop.open("GET", "/orders/order-7/progress", **{"last-event-id": "6"}))) == shown[-1:]


def test_what_is_no_order_is_refused_and_nothing_happens(kept: RunningService, shop: Shop) -> None:
    assert shop.ask("POST", "/orders", {"customer": "ada"})[0] == 400
    assert shop.ask("POST", "/orders", {**ORDER, "things": "many"})[0] == 400
    assert shop.ask("GET", "/orders/order-7")[0] == 404
    assert shop.ask("GET", "/orders/order-7/progress")[0] == 404
    assert shop.ask("POST", "/orders", ORDER)[0] == 202
    assert shop.ask("POST", "/orders", {**ORDER, "customer": "bea"})[0] == 409
    page = shop.open("GET", "/orders/order-7/page")
    assert b"EventSource" in page.read()
