"""Connections that send nothing, or come in thousands, neither stop a service nor take its descriptors."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn
from waiting import until

from rayflow.service import connections
from rayflow.service.connections import MOST_CONNECTIONS, connection_of, is_news, most_connections

MOST = 5

WHOLE = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

HALF = WHOLE[:20]


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], socket.socket]]:
    """Makes connections to a server that takes a second for each answer, and suffers no silence of half a second."""
    monkeypatch.setattr(connections, "SILENT_SECONDS", 0.5)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(1.0)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, http=connection_of(MOST), lifespan="off", log_level="warning", timeout_keep_alive=60)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    made: list[socket.socket] = []

    def another() -> socket.socket:
        made.append(socket.create_connection(listening.getsockname(), timeout=60))
        return made[-1]

    yield another
    for each in made:
        each.close()
    server.should_exit = True
    thread.join()
    listening.close()


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side ends a connection without a word. Waits for that."""
    try:
        return connection.recv(100) == b""
    except ConnectionError:
        return True


def is_answered(connection: socket.socket) -> bool:
    got = b""
    try:
        connection.sendall(WHOLE)
        while not got.endswith(b"\r\n\r\nok"):
            got += (more := connection.recv(1000))
            if not more:
                return False
        return got.startswith(b"HTTP/1.1 200")
    except ConnectionError:
        return False


def test_a_connection_that_sends_no_whole_head_is_closed_and_one_that_waits_for_its_answer_is_not(
    connect: Callable[[], socket.socket],
) -> None:
    silent, half, again = (connect() for _ in range(3))
    half.sendall(HALF)
    assert is_answered(again)
    again.sendall(HALF)
    for each in (silent, half, again):
        assert is_closed(each)


def test_more_connections_than_there_may_be_are_closed_until_others_end(
    connect: Callable[[], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "SILENT_SECONDS", 60)
    held = [connect() for _ in range(MOST)]
    assert all(is_closed(connect()) for _ in range(20))
    assert is_answered(held[0])
    held[1].close()
    until(lambda: is_answered(connect()))


@pytest.mark.parametrize(
    ("before", "after", "most"),
    [
        ((1024, 1024), (1024, 1024), 512),
        ((1024, 20_000), (16_384, 20_000), MOST_CONNECTIONS),
        ((256, resource.RLIM_INFINITY), (16_384, resource.RLIM_INFINITY), MOST_CONNECTIONS),
        ((50_000, 50_000), (50_000, 50_000), MOST_CONNECTIONS),
        ((resource.RLIM_INFINITY,) * 2, (resource.RLIM_INFINITY,) * 2, MOST_CONNECTIONS),
    ],
)
def test_connections_take_half_of_the_descriptors_at_most(
    monkeypatch: pytest.MonkeyPatch, before: tuple[int, int], after: tuple[int, int], most: int
) -> None:
    limits = [before]
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda which, given: limits.append(given))
    assert (most_connections(), limits[-1]) == (most, after)


def test_a_client_that_waits_as_the_service_ends_is_no_news() -> None:
    def record(text: str, error: BaseException | None = None) -> logging.LogRecord:
        return logging.LogRecord("a", 40, "b", 1, text, (), (type(error), error, None) if error else None)

    assert not is_news(record("Exception in ASGI application", asyncio.CancelledError()))
    assert not is_news(record("Cancel 1 running task(s), timeout graceful shutdown exceeded"))
    assert is_news(record("Exception in ASGI application", ValueError()))
    assert is_news(record("Invalid HTTP request received."))
