"""The connections of clients: how many there may be, and how long one may say nothing.

In: what clients send, before anybody has seen a token. Out: whole requests. Never: lets connections take the
descriptors with which the service writes to its store.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_DESCRIPTORS = 16_384
"""So many files and connections a service may have open, if the machine allows it."""

MOST_CONNECTIONS = 4_096
"""So many connections are open at a time; at most half of the descriptors. More are closed as they come."""

BACKLOG = 256
"""So many connections are accepted before they are counted again."""

SILENT_SECONDS = 10.0
"""A connection is closed that has not sent a whole head of a request in this time. It may then take twice as long."""


def most_connections() -> int:
    """How many connections there may be. Lets this process have more descriptors, where it may."""
    import resource  # Windows has none

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, soft // 2)


def connection_of(most: int) -> type[asyncio.Protocol]:
    """The class of the connections, of which there are so many at most."""

    class Connection(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
            super().connection_made(transport)
            if len(self.connections) > most:
                transport.abort()
            else:
                self._look_again()

        def _look_again(self) -> None:
            self._silence = self.loop.call_later(SILENT_SECONDS, self._end_if_silent, self.cycle)

        def _end_if_silent(self, before: Any) -> None:
            is_answered = self.cycle is None or self.cycle.response_complete
            if is_answered and self.cycle is before:
                self.transport.abort()
            elif not self.transport.is_closing():
                self._look_again()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            silence = getattr(self, "_silence", None)
            if silence is not None:
                silence.cancel()

    return Connection


def is_news(record: logging.LogRecord) -> bool:
    """Whether people want to read what the server says. That a client still waited as the service ended is none."""
    is_cancelled = record.exc_info is not None and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not is_cancelled and "graceful shutdown exceeded" not in record.getMessage()
