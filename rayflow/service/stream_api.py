"""The API of the streams of runs: pages for who asks again, and server-sent events for who stays.

In: requests. Out: items after a cursor, now or as soon as there are some. Never: holds items back for a slow reader:
each asks from its own cursor on.

    GET /api/runs/ID/streams                                 the streams of a run, with the number of the last item
    GET /api/runs/ID/streams/NAME?after=&limit=&wait=        the items after a number; waits so long for one

With `Accept: text/event-stream` the second goes on until the run has ended; `Last-Event-ID` stands in for `after`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import StreamingResponse

from rayflow.client.wire import MOST_PAGE_ITEMS
from rayflow.errors import BadArguments
from rayflow.service.query_values import seconds_in
from rayflow.service.service import Service

ALIVE_SECONDS = 15.0
"""How often a silent stream of server-sent events shows that it is alive."""


class StreamHandlers:
    """One function for each route. run_of: gives the run that a request names."""

    def __init__(self, service: Service, run_of: Callable[[Request], Awaitable[str]]) -> None:
        self._service = service
        self._run_of = run_of

    def routes(self) -> list[tuple[str, str, Callable[[Request], Awaitable[Any]]]]:
        """Path, method and handler of each route."""
        return [
            ("/api/runs/{run}/streams", "GET", self.names),
            ("/api/runs/{run}/streams/{stream:path}", "GET", self.items),
        ]

    async def names(self, request: Request) -> Any:
        """The streams of a run."""
        run_id = await self._run_of(request)
        return {"run_id": run_id, "streams": await asyncio.to_thread(self._service.streams.names, run_id)}

    async def items(self, request: Request) -> Any:
        """The items of a stream after a cursor."""
        query = request.query_params
        run_id = await self._run_of(request)
        stream = request.path_params["stream"]
        after = _whole("after", query.get("after") or request.headers.get("last-event-id"), 0)
        limit = min(_whole("limit", query.get("limit"), MOST_PAGE_ITEMS), MOST_PAGE_ITEMS) or 1
        if "text/event-stream" in request.headers.get("accept", ""):
            return StreamingResponse(self._events(run_id, stream, after), media_type="text/event-stream")
        return await self._page(run_id, stream, after, limit, seconds_in(query.get("wait")))

    async def _page(self, run_id: str, stream: str, after: int, limit: int, seconds: float) -> dict[str, Any]:
        """The next items; waits so long for the first of them, or for the end of the run."""
        streams = self._service.streams
        news = streams.next_item(run_id, stream)
        try:
            page = streams.page_in_memory(run_id, stream, after, limit)
            if page is None:
                page = await asyncio.to_thread(streams.page, run_id, stream, after, limit)
            if page["items"] or page["ended"] or not seconds:
                return page
            try:
                await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(news)), seconds)
            except TimeoutError:
                return page
        finally:
            if not news.done():
                streams.leave(run_id, stream, news)
        return await self._page(run_id, stream, after, limit, 0.0)

    async def _events(self, run_id: str, stream: str, after: int) -> AsyncIterator[str]:
        while True:
            page = await self._page(run_id, stream, after, MOST_PAGE_ITEMS, ALIVE_SECONDS)
            for item in page["items"]:
                yield f"id: {item['number']}\nevent: item\ndata: {json.dumps(item)}\n\n"
            after = page["last"]
            if page["ended"]:
                yield f"event: end\ndata: {json.dumps({'run_id': run_id, 'last': after})}\n\n"
                return
            if not page["items"]:
                yield ": nothing yet\n\n"


def _whole(name: str, text: str | None, default: int) -> int:
    """A number of a query that is not negative."""
    try:
        found = int(text) if text else default
    except ValueError:
        found = -1
    if not 0 <= found < 1 << 62:
        raise BadArguments(f"{name}={text!r} is not a whole number from 0 on.")
    return found
