"""Requests that were answered lately, by their ids: one that comes again gets the same answer, and does nothing.

In: the id of a request, what it says, how to answer it. Out: the answer. Never: remembers an answer that says that the
service could not answer.

This holds while the service lives. What has to hold longer is recorded: a start and an event have an id that follows
from the id of their request, and the keeper keeps its latest answers by the ids of the requests.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from starlette.responses import Response

from rayflow.errors import BadArguments
from rayflow.values.digests import digest

MOST_REPLIES = 10_000
MOST_BYTES = 16 * 1024 * 1024
"""So many answers are remembered, of so many bytes together. The oldest are forgotten first."""


class Replies:
    """The answers of one service. One event loop uses it."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[bytes, asyncio.Future[Response | None]]] = OrderedDict()
        """The digest of what each request has said, and its answer; None for an answer that is not remembered."""
        self._size = 0

    async def once(
        self, request_id: str, asked: tuple[str, str, bytes], answer: Callable[[], Awaitable[Response]]
    ) -> Response:
        """The answer to a request. asked: its method, path and body. Raises BadArguments for an id that another request
        has had."""
        said = digest("request", *(part.encode() if isinstance(part, str) else part for part in asked))
        while (known := self._known.get(request_id)) is not None:
            if known[0] != said:
                raise BadArguments(
                    f"The request id {request_id!r:.100} belongs to another request: each has an id of its own."
                )
            reply = await asyncio.shield(known[1])
            if reply is not None:
                return reply
        settled: asyncio.Future[Response | None] = asyncio.get_running_loop().create_future()
        self._known[request_id] = said, settled
        made: Response | None = None
        try:
            made = await answer()
            return made
        finally:
            kept = made if made is not None and made.status_code < 500 else None
            if kept is None:
                del self._known[request_id]
            else:
                self._size += len(kept.body)
            settled.set_result(kept)
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        """A request that is still being answered is not forgotten, nor what came after it."""
        while self._known and (len(self._known) > MOST_REPLIES or self._size > MOST_BYTES):
            oldest = next(iter(self._known))
            settled = self._known[oldest][1]
            if not settled.done():
                return
            del self._known[oldest]
            reply = settled.result()
            self._size -= 0 if reply is None else len(reply.body)
