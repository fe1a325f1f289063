"""What the API does: a method for each operation, but for those of schedules (`schedule_handlers`).

In: checked requests. Out: plain data, or a response. Never: decides; changes anything but through `Service`.
"""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any

from starlette.responses import JSONResponse, Response

from rayflow.client.wire import LONGEST_POLL_SECONDS
from rayflow.errors import BadArguments, NotFound
from rayflow.lang.tasks import registered
from rayflow.records import RunRow
from rayflow.service.api_table import Asked
from rayflow.service.bulk import Bulk
from rayflow.service.flows import described_flows
from rayflow.service.forking import fork
from rayflow.service.openapi import document
from rayflow.service.run_queries import cursor_of, filter_of, number_in
from rayflow.service.service import Service
from rayflow.service.webhooks import received


class Handlers:
    """The operations of one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    # --- runs ---------------------------------------------------------------------------------------------------------

    async def start(self, asked: Asked) -> Any:
        body, service = asked.body, self._service
        how: dict[str, Any] = {name: body[name] for name in ("id", "reuse", "due_at", "queue", "priority", "tags")}
        # Who does not say whether the request was sent before may have sent it before.
        how |= {"request_id": asked.request_id, "is_repeated": asked.repeats is not False}
        if body["root"] is not None:
            root = _base64(body["root"])
            future = await asyncio.to_thread(
                service.start_packed, root, flow=body["task"], arguments=body["shown"] or "", **how
            )
        elif body["task"] is None:
            raise BadArguments("A start names a task, as `task`, or has a packed term, as `root`.")
        else:
            future = await asyncio.to_thread(
                service.start_named, body["task"], body["arguments"] or {}, body["words"] or (), body["directory"],
                **how,
            )  # fmt: skip
        return await asyncio.wrap_future(future)

    async def runs(self, asked: Asked) -> Any:
        limit, before = asked.query["limit"], number_in(asked.query["cursor"])
        rows = await asyncio.to_thread(
            self._service.runs, filter_of(asked.query), before=before, limit=limit + 1
        )
        return _page("runs", rows, limit)

    async def run(self, asked: Asked) -> Any:
        return await asyncio.to_thread(self._service.describe, asked.path["run"])

    async def history(self, asked: Asked) -> Any:
        return {"history": await asyncio.to_thread(self._service.history, asked.path["run"])}

    async def result(self, asked: Asked) -> Any:
        wait = min(LONGEST_POLL_SECONDS, max(0.0, asked.query["wait"]))
        run_id = await run_of(self._service, asked)
        ended = self._service.end_of(run_id)
        if ended is None:
            ended = await self._end_of(run_id, wait)
        if ended is None:
            state = (await asyncio.to_thread(self._service.describe, run_id))["state"]
            return {"run_id": run_id, "state": state, "outcome": None, "error": None}
        told = {"run_id": run_id, "state": ended.state, "outcome": None, "error": ended.error}
        if ended.outcome is not None:
            told["outcome"] = base64.b64encode(ended.outcome).decode()
            if ended.state == "done":
                told["value"] = await asyncio.to_thread(self._service.questions.plain_value, ended.outcome)
        return told

    async def _end_of(self, run_id: str, wait: float) -> RunRow | None:
        """The end of a run, if it comes within so many seconds."""
        future = self._service.await_end(run_id)
        try:
            ended = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), max(wait, 0.001))
        except TimeoutError:
            return None
        finally:
            if not future.done():
                self._service.leave(run_id, future)
        if ended is None:
            return await asyncio.to_thread(self._service.questions.end_of, run_id)
        return ended

    async def cancel(self, asked: Asked) -> Any:
        run_id = await run_of(self._service, asked)
        future = self._service.cancel(run_id, asked.body["reason"] or "", request_id=asked.request_id)
        return {"run_id": run_id, "cancelled": await asyncio.wrap_future(future)}

    async def retry(self, asked: Asked) -> Any:
        run_id = await run_of(self._service, asked)
        future = self._service.retry(run_id, asked.body["reason"] or "", request_id=asked.request_id)
        return await asyncio.wrap_future(future)

    async def cancel_many(self, asked: Asked) -> Any:
        return await asyncio.to_thread(self._bulk("cancel", asked).done)

    async def retry_many(self, asked: Asked) -> Any:
        return await asyncio.to_thread(self._bulk("retry", asked).done)

    def _bulk(self, what: str, asked: Asked) -> Bulk:
        return Bulk(self._service, what, filter_of(asked.body), asked.body["reason"] or "", is_dry=asked.body["dry"])

    async def fork(self, asked: Asked) -> Any:
        body = asked.body
        run_id = await run_of(self._service, asked)
        future = await asyncio.to_thread(
            fork, self._service, run_id, at=body["at"] or (), arguments=body["arguments"] or {},
            words=body["words"] or (), directory=body["directory"], id=body["id"], tags=body["tags"],
            request_id=asked.request_id,
        )  # fmt: skip
        return await asyncio.wrap_future(future)

    async def answer(self, asked: Asked) -> Any:
        run_id = await run_of(self._service, asked)
        value, place = asked.body["value"], asked.body["place"]
        future = await asyncio.to_thread(self._service.answer, run_id, value, place, request_id=asked.request_id)
        return await asyncio.wrap_future(future)

    async def asks(self, asked: Asked) -> Any:
        limit, after = asked.query["limit"], number_in(asked.query["cursor"]) or 0
        return _page("asks", await asyncio.to_thread(self._service.asks, after=after, limit=limit + 1), limit)

    # --- events -------------------------------------------------------------------------------------------------------

    async def emit(self, asked: Asked) -> Any:
        given = {name: asked.body[name] for name in ("key", "id", "due_at", "strict")}
        future = await asyncio.to_thread(
            self._service.emit, asked.body["name"], asked.body["data"], **given, request_id=asked.request_id
        )
        return await asyncio.wrap_future(future)

    async def events(self, asked: Asked) -> Any:
        limit, before = asked.query["limit"], number_in(asked.query["cursor"])
        name = asked.query["name"]
        rows = await asyncio.to_thread(self._service.events, name=name, before=before, limit=limit + 1)
        return _page("events", rows, limit)

    async def event(self, asked: Asked) -> Any:
        return await asyncio.to_thread(self._service.event, asked.path["event"])

    async def webhook(self, asked: Asked) -> Any:
        name = asked.path["event"]
        how = self._service.webhooks.get(name)
        if how is None:
            raise NotFound(f"There is no webhook {name!r}. Webhooks are set in the project's file, as [webhooks.NAME].")
        event = await asyncio.to_thread(received, how, asked.raw, asked.headers, time.time())
        future = await asyncio.to_thread(self._service.emit, event.name, event.data, key=event.key, id=event.id)
        # Who may send a webhook may not read what it starts.
        return {"event_id": (await asyncio.wrap_future(future))["event_id"]}

    # --- queues -------------------------------------------------------------------------------------------------------

    async def queues(self, asked: Asked) -> Any:
        return {"queues": await asyncio.to_thread(self._service.queues)}

    async def set_queue(self, asked: Asked) -> Any:
        return await asyncio.wrap_future(self._service.set_queue(asked.path["queue"], asked.body["slots"]))

    # --- the service --------------------------------------------------------------------------------------------------

    async def flows(self, asked: Asked) -> Any:
        return {"flows": await asyncio.to_thread(described_flows, registered())}

    async def stats(self, asked: Asked) -> Any:
        return await asyncio.to_thread(self._service.stats)

    async def put_blob(self, asked: Asked) -> Any:
        await asyncio.to_thread(self._service.put_blob, asked.path["digest"], asked.raw)
        return {}

    async def blob(self, asked: Asked) -> Any:
        content = await asyncio.to_thread(self._service.blob, asked.path["digest"])
        return Response(content, media_type="application/octet-stream")

    async def openapi(self, asked: Asked) -> Any:
        flows = {name: task for name, task in registered().items() if task.flow_settings is not None}
        return await asyncio.to_thread(document, flows)

    async def metrics(self, asked: Asked) -> Any:
        text = await asyncio.to_thread(self._service.metrics_text)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def health(self, asked: Asked) -> Any:
        if self._service.has_ended.is_set():
            message = f"The service has ended: {self._service.error or 'it was told to'}."
            return JSONResponse({"error": {"type": "ServiceUnavailable", "message": message}}, status_code=503)
        return {"ok": True, "store": self._service.config.store}


async def run_of(service: Service, asked: Asked) -> str:
    """The run that the path of a request names."""
    known = service.known_id(asked.path["run"])
    return await asyncio.to_thread(service.run_id, asked.path["run"]) if known is None else known


def _page(name: str, rows: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    """A page of a list. rows: one more than the page has, if there is a next one."""
    page = rows[:limit]
    return {name: page, "next": cursor_of(page[-1]["number"]) if len(rows) > limit else None}


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise BadArguments(f"root in the body of the request is not base64: {error}.") from None
