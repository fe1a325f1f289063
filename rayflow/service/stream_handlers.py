"""What the API does for the streams of runs: pages for who asks again, and server-sent events for who stays.

In: checked requests. Out: items after a cursor, now or as soon as there are some. Never: holds items back for a slow
reader: each asks from its own cursor on.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.responses import StreamingResponse

from rayflow.client.wire import LONGEST_POLL_SECONDS, MOST_PAGE
from rayflow.errors import BadArguments
from rayflow.service.api_handlers import run_of
from rayflow.service.api_table import Asked
from rayflow.service.service import Service

ALIVE_SECONDS = 15.0
"""How often a silent stream of server-sent events shows that it is alive."""


class StreamHandlers:
    """The operations of streams."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def streams(self, asked: Asked) -> Any:
        run_id = await run_of(self._service, asked)
        return {"run_id": run_id, "streams": await asyncio.to_thread(self._service.streams.names, run_id)}

    async def stream_items(self, asked: Asked) -> Any:
        run_id = await run_of(self._service, asked)
        stream, query = asked.path["stream"], asked.query
        after = _cursor_of(asked.headers) if query["after"] is None else query["after"]
        if "text/event-stream" in asked.headers.get("accept", ""):
            return StreamingResponse(self._events(run_id, stream, after), media_type="text/event-stream")
        wait = min(LONGEST_POLL_SECONDS, max(0.0, query["wait"]))
        return await self._page(run_id, stream, after, query["limit"], wait)

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
            page = await self._page(run_id, stream, after, MOST_PAGE, ALIVE_SECONDS)
            for item in page["items"]:
                yield f"id: {item['number']}\nevent: item\ndata: {json.dumps(item)}\n\n"
            after = page["last"]
            if page["ended"]:
                yield f"event: end\ndata: {json.dumps({'run_id': run_id, 'last': after})}\n\n"
                return
            if not page["items"]:
                yield ": nothing yet\n\n"


def _cursor_of(headers: Mapping[str, str]) -> int:
    """Where a browser that comes again has been. Raises BadArguments."""
    text = headers.get("last-event-id") or "0"
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise BadArguments(f"Last-Event-ID is {text!r:.100}: it is the number of an item.")
    return int(text)
