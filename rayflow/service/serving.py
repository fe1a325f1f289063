"""The process of a service: it listens, and ends well.

In: a configuration, modules. Out: an exit code. Never: two services of one store at a time (the lease sees to that).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TextIO

import uvicorn

from rayflow.client.service_places import ServicePlace, remove_place, write_place
from rayflow.config import Config
from rayflow.errors import ServiceUnavailable
from rayflow.runtime.protocol.reports import Printing
from rayflow.service.connections import BACKLOG, connection_of, is_news, most_connections
from rayflow.service.http_api import api_of
from rayflow.service.service import Service

TOKEN = "RAYFLOW_TOKEN"


def serve(
    config: Config,
    targets: Sequence[str],
    *,
    host: str,
    port: int,
    grace_seconds: float,
    standby: bool,
    out: TextIO,
) -> int:
    """Keep the runs of the configured store until a signal comes. Returns the exit code.

    Raises LeaseHeld when another service keeps them, ServiceUnavailable when nothing can listen there, and what loading
    the modules raises.
    """
    token = os.environ.get(TOKEN) or secrets.token_urlsafe(32)
    service = Service(config, targets, Printing())
    server: _Server | None = None
    asked: list[int] = []

    def stop(number: int, frame: object) -> None:
        if asked:
            os._exit(128 + number)
        asked.append(number)
        if server is None:
            raise _Stopped
        server.should_exit = True

    # From the beginning: as the first process of a container it is not ended by a signal that it does not handle.
    before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        service.hold(wait_seconds=math.inf if standby else 0.0)
        try:
            listening = _listening(host, port, or_any=service.has_taken_over)
            service.open()
            url = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
            place = ServicePlace(url, token, config.store, os.getpid())
            server = _server_of(service, token, partial(_tell, place, out))
            threading.Thread(target=_stop_with, args=(service, server), daemon=True).start()
            try:
                with contextlib.suppress(KeyboardInterrupt):
                    server.run(sockets=[listening])
            finally:
                remove_place(place)
        finally:
            if asked:
                out.write("stopping: every run stays where it is, and the next service goes on with it\n")
                out.flush()
            service.close(grace_seconds)
    except _Stopped:
        return 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if service.error is not None:
        raise service.error
    return 0


class _Stopped(BaseException):
    """A signal has come before the service listens."""


def _tell(place: ServicePlace, out: TextIO) -> None:
    """Say where the service is, now that it listens."""
    write_place(place)
    out.write(f"keeps the runs of {place.store}, at {place.url}\n")
    out.flush()


class _Server(uvicorn.Server):
    """A server that leaves the handlers of signals alone: the service has its own. listens: called when it answers."""

    def __init__(self, config: uvicorn.Config, listens: Callable[[], None]) -> None:
        super().__init__(config)
        self._listens = listens

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and not self.should_exit:
            self._listens()

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]  # a plain one
        return contextlib.nullcontext()


class BackgroundServer:
    """The API of a service, in a thread of this process. The program goes on, and its signals are its own.

    service: it has begun. Raises ServiceUnavailable when nothing can listen there.
    """

    def __init__(self, service: Service, host: str, port: int) -> None:
        self._service = service
        listening = _listening(host, port, or_any=False)
        token = os.environ.get(TOKEN) or secrets.token_urlsafe(32)
        self.url = f"http://{host}:{listening.getsockname()[1]}"
        self._place = ServicePlace(self.url, token, service.config.store, os.getpid())
        self._is_told = threading.Event()
        self._server = _server_of(service, token, self._tell)
        self._thread = threading.Thread(target=self._server.run, args=([listening],), name="rayflow-api", daemon=True)
        self._thread.start()
        threading.Thread(target=_stop_with, args=(service, self._server), daemon=True).start()
        while self._thread.is_alive() and not self._is_told.wait(0.05):
            pass

    def _tell(self) -> None:
        write_place(self._place)
        self._is_told.set()

    def close(self, grace_seconds: float = 0.0) -> None:
        """Answer nobody any more, let attempts end for so long, and leave every run where it is."""
        self._server.should_exit = True
        self._thread.join()
        remove_place(self._place)
        self._service.close(grace_seconds)


def _server_of(service: Service, token: str, listens: Callable[[], None]) -> _Server:
    config = uvicorn.Config(
        api_of(service, token), http=connection_of(most_connections()), log_level="warning", lifespan="off",
        timeout_graceful_shutdown=1, access_log=False, backlog=BACKLOG,
    )  # fmt: skip
    logging.getLogger("uvicorn.error").addFilter(is_news)
    return _Server(config, listens)


def _stop_with(service: Service, server: uvicorn.Server) -> None:
    service.has_ended.wait()
    server.should_exit = True


def _listening(host: str, port: int, *, or_any: bool) -> socket.socket:
    """A socket that listens. or_any: at another port if this one is taken, by a service that was silent for too long.

    Raises ServiceUnavailable with what to do.
    """
    try:
        return _listening_at(host, port)
    except OSError as error:
        if or_any and error.errno == errno.EADDRINUSE:
            return _listening_at(host, 0)
        raise ServiceUnavailable(
            f"Nothing can listen at {host}:{port} ({error.strerror}): choose another one with --port or --host."
        ) from None


def _listening_at(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends small answers at once (TCP_NODELAY) only if a socket names its protocol.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


__all__ = ["BackgroundServer", "serve"]
