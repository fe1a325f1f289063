"""The process of a service: when it says where it listens."""

from __future__ import annotations

import http.client
import io
import os
import signal
import socket
import threading
from typing import Any

import pytest
import uvicorn
from projects import Project
from waiting import until

from rayflow import config as configuration
from rayflow.client.addresses import ServiceAddress
from rayflow.client.service_places import place_of
from rayflow.service.serving import serve

FLOW = """
    from rayflow import flow

    @flow
    def other(name: str):
        return name
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_note_says_where_a_service_listens_from_when_it_answers_until_it_ends(
    project: Project, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    project.write("flow.py", FLOW)
    monkeypatch.setenv("RAYFLOW_HOME", str(project.path.parent / "home"))
    config = configuration.load(store=str(project.path / ".rayflow"), inline=True)
    before: list[Any] = []
    status: list[int] = []
    out = io.StringIO()
    begins = uvicorn.Server.startup

    async def startup(server: uvicorn.Server, sockets: list[socket.socket] | None = None) -> None:
        before.append(place_of(config.store))
        await begins(server, sockets)

    def ask() -> None:
        try:
            place = until(lambda: place_of(config.store), pause_seconds=0.001)
            address = ServiceAddress(place.url, place.token)
            connection = http.client.HTTPConnection(address.host, address.port, timeout=60)
            connection.request("GET", "/healthz")
            status.append(connection.getresponse().status)
            connection.close()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(uvicorn.Server, "startup", startup)
    asking = threading.Thread(target=ask)
    asking.start()
    code = serve(config, ["flow.py"], host=host, port=0, grace_seconds=1, standby=False, out=out)
    asking.join(60)
    assert (code, before, status) == (0, [None], [200])
    assert place_of(config.store) is None
    assert f"at http://{'[::1]' if ':' in host else host}:" in out.getvalue()
