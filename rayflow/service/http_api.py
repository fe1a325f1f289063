"""The API of a service over HTTP: JSON in and out, on loopback by default, behind a token.

In: requests. Out: checked requests for the handlers of operations; their answers and errors as responses. Never: knows
an operation by name: `api_operations` has them all, and `GET /api/openapi.json` describes them.

An error is {"error": {"type": "RunConflict", "message": "..."}}, with a status by whose fault it is.
"""

from __future__ import annotations

import asyncio
import hmac
import math
import time
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from rayflow.client.wire import AGAIN, REQUEST_ID
from rayflow.errors import (
    BadArguments,
    BlobMissing,
    EventConflict,
    NoSuchTask,
    NotFound,
    RateLimited,
    RayflowError,
    RunConflict,
    SecretUnavailable,
    UserError,
)
from rayflow.service.api_handlers import Handlers
from rayflow.service.api_operations import OPERATIONS
from rayflow.service.api_table import MOST_BLOB_BYTES, MOST_BYTES, ApiOperation, Asked, read_body, read_query
from rayflow.service.replies import Replies
from rayflow.service.schedule_handlers import ScheduleHandlers
from rayflow.service.service import Service
from rayflow.service.stream_handlers import StreamHandlers
from rayflow.service.webhooks import MOST_WEBHOOK_BYTES, Unsigned

MOST_REQUEST_ID = 200
"""The longest id of a request."""

Handler: TypeAlias = Callable[[Asked], Awaitable[Any]]


class _TooLarge(Exception):
    """The body of a request is larger than is allowed."""


def api_of(service: Service, token: str) -> Starlette:
    """The application of a service. token: what each request has to show."""
    replies = Replies()
    found = {operation.name: _handler(operation, service) for operation in OPERATIONS}
    routes = [
        Route(
            operation.path,
            partial(_answered, _Route(operation, found[operation.name], service, replies, token)),
            methods=[operation.method],
        )
        for operation in OPERATIONS
    ]
    return Starlette(
        routes=routes, middleware=[Middleware(_Segments)], exception_handlers={HTTPException: _no_operation}
    )


async def _no_operation(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = f"There is no {request.method} {request.url.path}: /api/openapi.json describes what there is."
    return JSONResponse(
        {"error": {"type": "NotFound", "message": text}}, status_code=error.status_code, headers=error.headers
    )


_SLASH = "\x00"
"""Stands for a slash within a part of a path, while the routes are looked at."""


class _Segments:
    """Keeps a slash that was written %2F from parting a path: ids may have slashes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw: bytes = scope.get("raw_path") or b""
        if scope["type"] == "http" and b"%" in raw:
            parts = [unquote_to_bytes(part).decode(errors="replace") for part in raw.partition(b"?")[0].split(b"/")]
            scope = {**scope, "path": "/".join(part.replace("/", _SLASH) for part in parts)}
        await self._app(scope, receive, send)


def _handler(operation: ApiOperation, service: Service) -> Handler:
    of = next(each for each in (Handlers, ScheduleHandlers, StreamHandlers) if hasattr(each, operation.name))
    handler: Handler = getattr(of(service), operation.name)
    return handler


class _Route:
    """One operation, as requests come to it."""

    def __init__(
        self, operation: ApiOperation, handler: Handler, service: Service, replies: Replies, token: str
    ) -> None:
        self.operation = operation
        self.metrics = service.metrics
        self._handler = handler
        self._service = service
        self._replies = replies
        self._expected = f"Bearer {token}".encode()

    async def answer(self, request: Request) -> Response:
        """The response to a request. Raises what is wrong with it."""
        operation = self.operation
        if operation.access == "token":
            # A page of another site cannot reach it, under whichever name of this address: it has no token, and a
            # browser sends none by itself.
            shown = request.headers.get("authorization", "").encode()
            if not hmac.compare_digest(shown, self._expected):
                return _error("Unauthorized", "This service asks for its token: set RAYFLOW_TOKEN.", 401)
        content = await _content(request, operation)
        again = request.headers.get(AGAIN)
        asked = Asked(
            path={name: part.replace(_SLASH, "/") for name, part in request.path_params.items()},
            query=read_query(operation.query, request.query_params.multi_items()),
            body=read_body(operation.body, content) if operation.body is not None else {},
            raw=content,
            headers=dict(request.headers),
            request_id=_request_id(request) if operation.is_once else None,
            repeats=None if again is None else again == "1",
        )
        if asked.request_id is None:
            return await self._made(asked)
        said = (request.method, request.url.path, content)
        return await self._replies.once(asked.request_id, said, lambda: _with_errors(self._made(asked), self._service))

    async def _made(self, asked: Asked) -> Response:
        answer = await self._handler(asked)
        return answer if isinstance(answer, Response) else JSONResponse(answer)


async def _answered(route: _Route, request: Request) -> Response:
    """The response to a request, whatever goes wrong."""
    begun = time.perf_counter()
    response = await _with_errors(route.answer(request), route._service)
    name = route.operation.name
    route.metrics.requests.labels(name, response.status_code).inc()
    if not float(request.query_params.get("wait") or 0 if response.status_code == 200 else 0):
        route.metrics.request_seconds.labels(name).observe(time.perf_counter() - begun)
    return response


async def _with_errors(answer: Awaitable[Response], service: Service) -> Response:
    """A response, with errors as such."""
    try:
        return await answer
    except Unsigned as error:
        service.warned(f"a webhook was refused: {error}")
        return _error("Unauthorized", "The signature of this request is missing or wrong.", 401)
    except _TooLarge as error:
        return _error("BadArguments", str(error), 413)
    except SecretUnavailable as error:
        service.warned(f"a webhook cannot be checked: {error}")
        return _error("ServiceUnavailable", "The service cannot read the secret of this webhook.", 503)
    except RateLimited as error:
        return _rate_limited(error)
    except RayflowError as error:
        return _error(type(error).__name__, str(error), _status_of(error))
    except asyncio.CancelledError:  # the server does not wait any longer for this answer
        return _error("ServiceUnavailable", "The service has ended.", 503)
    except ClientDisconnect:
        return _error("BadArguments", "The request ended before its body did.", 400)
    except Exception as error:
        traceback.print_exc()
        return _error("Bug", f"The service has met an error of its own: {type(error).__name__}: {error}", 500)


def _error(kind: str, message: str, status: int) -> JSONResponse:
    return JSONResponse({"error": {"type": kind, "message": message}}, status_code=status)


def _rate_limited(error: RateLimited) -> JSONResponse:
    told = {"type": "RateLimited", "message": str(error), "retry_after": error.retry_after}
    seconds = str(math.ceil(error.retry_after))
    return JSONResponse({"error": told}, status_code=429, headers={"Retry-After": seconds})


def _status_of(error: RayflowError) -> int:
    if isinstance(error, NotFound | NoSuchTask | BlobMissing):
        return 404
    if isinstance(error, RunConflict | EventConflict):
        return 409
    return 400 if isinstance(error, UserError) else 503


def _request_id(request: Request) -> str | None:
    """The id that names the request; None if it has none. Raises BadArguments."""
    given = request.headers.get(REQUEST_ID) or request.headers.get("x-request-id")
    if given is not None and not (len(given) <= MOST_REQUEST_ID and given.isascii() and given.isprintable()):
        raise BadArguments(
            f"The id of a request, in the header {REQUEST_ID}, is printable ASCII, of {MOST_REQUEST_ID} characters at "
            "most."
        )
    return given


async def _content(request: Request, operation: ApiOperation) -> bytes:
    """The body of a request. Raises _TooLarge as soon as that is known."""
    if operation.body is None and operation.takes != "bytes":
        return b""
    most = MOST_BYTES
    if operation.takes == "bytes":
        most = MOST_WEBHOOK_BYTES if operation.access == "signature" else MOST_BLOB_BYTES
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and (len(length) > 18 or int(length) > most):
        raise _TooLarge(_too_large(most))
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise _TooLarge(_too_large(most))
        parts.append(part)
    return b"".join(parts)


def _too_large(most: int) -> str:
    return f"The body of this request is {most:,} bytes at most. Put larger data into a file, and name it."
