"""The API of a service over HTTP: JSON in and out, on loopback by default, behind a token.

In: requests. Out: the answers of the service. Never: decides; changes anything but through `Service`.

    POST /api/runs                       start a run: a packed expression, or a task's name and arguments
    GET  /api/runs                       the latest runs: state=, flow=, limit=
    GET  /api/runs/ID                    one run: its state, open waits, and why it is where it is
    GET  /api/runs/ID/history            its transitions
    GET  /api/runs/ID/result?wait=S      its outcome; waits so long for it
    POST /api/runs/ID/cancel | retry | answer
    GET  /api/asks                       the open questions to people
    POST /api/events, GET /api/events, GET /api/events/ID
    PUT  /api/blobs/HASH, GET /api/blobs/HASH    large values of arguments and results
    GET  /healthz                        whether the service turns; needs no token

An error is {"error": {"type": "RunConflict", "message": "..."}}, with a status by whose fault it is.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import math
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rayflow.client.wire import AGAIN, LONGEST_POLL_SECONDS
from rayflow.errors import (
    BadArguments,
    BlobMissing,
    EventConflict,
    NoSuchTask,
    NotFound,
    RayflowError,
    RunConflict,
    UserError,
)
from rayflow.service.service import Service

MOST_BYTES = 8 * 1024 * 1024
"""The largest body of a request. While a body is parsed, nothing else of this process runs, not even the renewal of the
lease: a tenth of a second for a megabyte at worst. Large values come as blobs."""

Handler = Callable[[Request], Awaitable[Any]]


def api_of(service: Service, token: str) -> Starlette:
    """The application of a service. token: what each request has to show."""
    handlers = _Handlers(service)
    routes = [
        ("/api/runs", "POST", handlers.start),
        ("/api/runs", "GET", handlers.runs),
        ("/api/runs/{run}", "GET", handlers.run),
        ("/api/runs/{run}/history", "GET", handlers.history),
        ("/api/runs/{run}/result", "GET", handlers.result),
        ("/api/runs/{run}/cancel", "POST", handlers.cancel),
        ("/api/runs/{run}/retry", "POST", handlers.retry),
        ("/api/runs/{run}/answer", "POST", handlers.answer),
        ("/api/asks", "GET", handlers.asks),
        ("/api/events", "POST", handlers.emit),
        ("/api/events", "GET", handlers.events),
        ("/api/events/{event}", "GET", handlers.event),
        ("/api/blobs/{digest}", "PUT", handlers.put_blob),
        ("/api/blobs/{digest}", "GET", handlers.blob),
    ]
    found = [Route(path, _guarded(handler, token), methods=[method]) for path, method, handler in routes]
    return Starlette(routes=[*found, Route("/healthz", _answering(handlers.health), methods=["GET"])])


def _guarded(handler: Handler, token: str) -> Handler:
    """A handler that answers only who shows the token.

    A page of another site cannot reach it, under whichever name of this address: it has no token, and a browser sends
    none by itself.
    """
    expected = f"Bearer {token}".encode()
    answering = _answering(handler)

    async def guarded(request: Request) -> Any:
        shown = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(shown, expected):
            return _error("Unauthorized", "This service asks for its token: set RAYFLOW_TOKEN.", 401)
        return await answering(request)

    return guarded


def _answering(handler: Handler) -> Handler:
    """A handler whose answers and errors become responses."""

    async def answering(request: Request) -> Response:
        try:
            answer = await handler(request)
        except RayflowError as error:
            return _error(type(error).__name__, str(error), _status_of(error))
        except asyncio.CancelledError:  # the server does not wait any longer for this answer
            return _error("ServiceUnavailable", "The service has ended.", 503)
        except Exception as error:
            traceback.print_exc()
            return _error("Bug", f"The service has met an error of its own: {type(error).__name__}: {error}", 500)
        return answer if isinstance(answer, Response) else JSONResponse(answer)

    return answering


def _error(kind: str, message: str, status: int) -> JSONResponse:
    return JSONResponse({"error": {"type": kind, "message": message}}, status_code=status)


def _status_of(error: RayflowError) -> int:
    if isinstance(error, NotFound | NoSuchTask | BlobMissing):
        return 404
    if isinstance(error, RunConflict | EventConflict):
        return 409
    return 400 if isinstance(error, UserError) else 503


async def _body(request: Request) -> dict[str, Any]:
    length = request.headers.get("content-length")
    if length is None or int(length) > MOST_BYTES:
        raise BadArguments(
            f"The body of a request is JSON, of {MOST_BYTES:,} bytes at most. Put larger data into a file, and name it."
        )
    try:
        found = json.loads(await request.body() or b"{}", parse_constant=_refuse_constant)
        json.dumps(found, ensure_ascii=False).encode()  # half of a character cannot be recorded
    except (ValueError, RecursionError) as error:
        raise BadArguments(f"The body of the request is not JSON: {error}.") from None
    if not isinstance(found, dict):
        raise BadArguments("The body of the request is not a JSON object.")
    for name, (kind, what) in _FIELDS.items():
        value = found.get(name)
        if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is int)):
            raise BadArguments(f"{name} in the body of the request is {what}, not {value!r:.100}.")
    for name, most in _MOST.items():
        if not -most <= (found.get(name) or 0) <= most:
            raise BadArguments(f"{name} in the body of the request is {found[name]}: it must be within {most}.")
    return found


_FIELDS: dict[str, tuple[type, str]] = {
    "arguments": (dict, "an object"),
    "directory": (str, "a text"),
    "due_at": (int, "a whole number: microseconds since the epoch"),
    "id": (str, "a text"),
    "key": (str, "a text"),
    "name": (str, "a text"),
    "place": (str, "a text"),
    "priority": (int, "a whole number"),
    "reason": (str, "a text"),
    "request_id": (str, "a text"),
    "reuse": (str, "a text"),
    "root": (str, "a text: a packed term in base64"),
    "shown": (str, "a text"),
    "strict": (bool, "true or false"),
    "tags": (dict, "an object"),
    "task": (str, "a text"),
    "words": (list, "a list of texts"),
}
"""The type of each field of a request, and its name for people. `value` and `data` may be anything."""

_MOST = {"due_at": 253_402_300_799_000_000, "priority": 1_000_000}
"""The greatest numbers: what is recorded has to hold them. due_at: the end of the year 9999."""


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a number of JSON")


class _Handlers:
    """One function for each route."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def start(self, request: Request) -> Any:
        body = await _body(request)
        how: dict[str, Any] = {name: body.get(name) for name in ("id", "due_at", "tags")}
        how |= {"reuse": body.get("reuse") or "return", "priority": body.get("priority") or 0}
        how |= {"request_id": body.get("request_id"), "is_repeated": AGAIN in request.headers}
        service = self._service
        if "root" in body:
            root = _base64(body["root"])
            future = service.start_packed(root, flow=body.get("task"), arguments=body.get("shown") or "", **how)
        else:
            name, arguments = body.get("task"), body.get("arguments") or {}
            words, directory = body.get("words") or (), body.get("directory")
            if name is None:
                raise BadArguments("A start names a task, as `task`, or has a packed term, as `root`.")
            if not all(isinstance(word, str) for word in words):
                raise BadArguments("words in the body of the request is a list of texts.")
            future = await asyncio.to_thread(service.start_named, name, arguments, words, directory, **how)
        return await asyncio.wrap_future(future)

    async def runs(self, request: Request) -> Any:
        query = request.query_params
        limit = _number(query.get("limit"), 50)
        rows = await asyncio.to_thread(
            self._service.runs, state=query.get("state"), flow=query.get("flow"), limit=limit
        )
        return {"runs": rows}

    async def run(self, request: Request) -> Any:
        return await asyncio.to_thread(self._service.describe, request.path_params["run"])

    async def history(self, request: Request) -> Any:
        return {"history": await asyncio.to_thread(self._service.history, request.path_params["run"])}

    async def result(self, request: Request) -> Any:
        wait = _seconds(request.query_params.get("wait"))
        run_id = await self._run_of(request)
        ended = self._service.end_of(run_id)
        if ended is None:
            future = self._service.await_end(run_id)
            try:
                ended = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), max(wait, 0.001))
                if ended is None:
                    ended = await asyncio.to_thread(self._service.questions.end_of, run_id)
            except TimeoutError:
                pass
            finally:
                if not future.done():
                    self._service.leave(run_id, future)
        if ended is None:
            return {"run_id": run_id, "state": await self._state(run_id), "outcome": None, "error": None}
        outcome = None if ended.outcome is None else base64.b64encode(ended.outcome).decode()
        return {"run_id": run_id, "state": ended.state, "outcome": outcome, "error": ended.error}

    async def _run_of(self, request: Request) -> str:
        """The run that the path names."""
        text = request.path_params["run"]
        known = self._service.known_id(text)
        return await asyncio.to_thread(self._service.run_id, text) if known is None else known

    async def _state(self, run_id: str) -> Any:
        return (await asyncio.to_thread(self._service.describe, run_id))["state"]

    async def cancel(self, request: Request) -> Any:
        body = await _body(request)
        run_id = await self._run_of(request)
        future = self._service.cancel(run_id, body.get("reason") or "", request_id=body.get("request_id"))
        return {"run_id": run_id, "cancelled": await asyncio.wrap_future(future)}

    async def retry(self, request: Request) -> Any:
        body = await _body(request)
        run_id = await self._run_of(request)
        future = self._service.retry(run_id, body.get("reason") or "", request_id=body.get("request_id"))
        return await asyncio.wrap_future(future)

    async def answer(self, request: Request) -> Any:
        body = await _body(request)
        run_id = await self._run_of(request)
        future = await asyncio.to_thread(
            self._service.answer, run_id, body.get("value"), body.get("place"), request_id=body.get("request_id")
        )
        return await asyncio.wrap_future(future)

    async def asks(self, request: Request) -> Any:
        return {"asks": await asyncio.to_thread(self._service.asks)}

    async def emit(self, request: Request) -> Any:
        body = await _body(request)
        if not body.get("name"):
            raise BadArguments("An event has a name: a text.")
        future = await asyncio.to_thread(
            self._service.emit, body["name"], body.get("data"), key=body.get("key"), id=body.get("id"),
            due_at=body.get("due_at"), strict=bool(body.get("strict")), request_id=body.get("request_id"),
        )  # fmt: skip
        return await asyncio.wrap_future(future)

    async def events(self, request: Request) -> Any:
        query = request.query_params
        limit = _number(query.get("limit"), 50)
        return {"events": await asyncio.to_thread(self._service.events, name=query.get("name"), limit=limit)}

    async def event(self, request: Request) -> Any:
        return await asyncio.to_thread(self._service.event, request.path_params["event"])

    async def put_blob(self, request: Request) -> Any:
        await asyncio.to_thread(self._service.put_blob, request.path_params["digest"], await request.body())
        return {}

    async def blob(self, request: Request) -> Any:
        content = await asyncio.to_thread(self._service.blob, request.path_params["digest"])
        return Response(content, media_type="application/octet-stream")

    async def health(self, request: Request) -> Any:
        if self._service.has_ended.is_set():
            return _error("ServiceUnavailable", f"The service has ended: {self._service.error}", 503)
        return {"ok": True, "store": self._service.config.store}


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise BadArguments(f"root in the body of the request is not base64: {error}.") from None


def _seconds(text: str | None) -> float:
    """How long a request may wait."""
    try:
        seconds = float(text or 0)
    except ValueError:
        seconds = math.nan
    if math.isnan(seconds):
        raise BadArguments(f"wait={text!r} is not a number of seconds.")
    return min(LONGEST_POLL_SECONDS, max(0.0, seconds))


def _number(text: str | None, default: int) -> int:
    if text is None:
        return default
    try:
        return max(1, min(10_000, int(text)))
    except ValueError:
        raise BadArguments(f"limit={text!r} is not a number.") from None
