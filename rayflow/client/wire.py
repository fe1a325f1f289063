"""The calls of a service's API, for both clients.

In: what a user asks; the answer of a service. Out: `ApiCall`: method, path and body; values, or the error in an answer.
Never: sends anything.
"""

from __future__ import annotations

import base64
import datetime
import json
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import quote, urlencode

from rayflow import errors
from rayflow.errors import BadArguments, Bug, NotFound, RateLimited, RayflowError, ServiceUnavailable
from rayflow.lang.options.option_values import parse_seconds
from rayflow.lang.packing.realize import realized
from rayflow.lang.terms.codec import blobs_of, dumps
from rayflow.lang.terms.expressions import Expression, TaskCall, Term, render
from rayflow.lang.terms.outcomes import unpack_outcome
from rayflow.runtime.worker.results import pack_expression
from rayflow.values.display.tracebacks import raise_failure
from rayflow.values.encoding.encoding import decode, decode_inline, from_bytes, to_bytes
from rayflow.values.failures import Failure, exception_from_failure
from rayflow.values.refs import Encoded, ValueRef

LONGEST_POLL_SECONDS = 20.0
"""The longest time that one request waits for a result; then the client asks again."""

AGAIN = "x-rayflow-again"
"""The header of a request that is sent again, because no answer came: the service looks whether it has done it."""


@dataclass(frozen=True, slots=True)
class ApiCall:
    """One call of the API. body: plain data, sent as JSON, or bytes. patience: seconds that the service may take to
    answer, beyond the usual ones."""

    method: str
    path: str
    body: Any = None
    patience: float = 0.0

    def content(self) -> bytes:
        """The body as bytes."""
        if isinstance(self.body, bytes):
            return self.body
        return b"" if self.body is None else json.dumps(self.body).encode()

    @property
    def content_type(self) -> str:
        """What the body is."""
        return "application/octet-stream" if isinstance(self.body, bytes) else "application/json"


def path_of(*parts: str, **query: Any) -> str:
    """A path of the API, with its query."""
    given = {name: value for name, value in query.items() if value is not None}
    text = "/api/" + "/".join(quote(part, safe="") for part in parts)
    return f"{text}?{urlencode(given)}" if given else text


def moment_us(at: datetime.datetime | None, delay: Any) -> int | None:
    """The time of a delayed start or event, in microseconds. Raises BadArguments for a time without a zone."""
    if at is not None and delay is not None:
        raise BadArguments("Give one of at= and delay=.")
    if delay is not None:
        return time.time_ns() // 1000 + int(parse_seconds(delay) * 1_000_000)
    if at is None:
        return None
    if at.tzinfo is None:
        raise BadArguments(
            f"at={at!r} has no time zone, so it is not known which moment is meant. Write at.astimezone() for the zone "
            "of this machine, or at.replace(tzinfo=datetime.UTC)."
        )
    return int(at.timestamp() * 1_000_000)


# --- the calls --------------------------------------------------------------------------------------------------------


def start_calls(
    what: Term | str,
    arguments: Mapping[str, Any] | None,
    *,
    id: str | None,
    reuse: str,
    at: datetime.datetime | None,
    delay: Any,
    queue: str | None,
    priority: int | None,
    tags: Mapping[str, Any] | None,
    words: Sequence[str] | None,
) -> list[ApiCall]:
    """The calls that start a run; the last one does it, those before send large values. See `Client.start`."""
    body: dict[str, Any] = {
        # An id of the request's own makes a start that is sent again one start.
        "request_id": uuid.uuid4().hex,
        "id": id, "reuse": reuse, "due_at": moment_us(at, delay), "queue": queue, "priority": priority,
        "tags": dict(tags or {}),
    }  # fmt: skip
    calls: list[ApiCall] = []
    if isinstance(what, str):
        body |= {"task": what, "arguments": dict(arguments or {}), "words": list(words or ())}
        body |= {"directory": os.getcwd()} if words else {}
    else:
        if arguments is not None:
            raise BadArguments("arguments= is for a task that is named. A call has its arguments already.")
        if not isinstance(what, Expression):
            raise BadArguments(f"start() takes a call of a task, or a task's name; this is {what!r}.")

        def keep(ref: ValueRef, encoded: Encoded, value: Any) -> None:
            calls.append(ApiCall("PUT", path_of("blobs", ref.digest.hex()), to_bytes(encoded)))

        symbolic, _ = pack_expression(what, keep)
        body |= {
            "root": base64.b64encode(dumps(symbolic)).decode(),
            "task": symbolic._task if type(symbolic) is TaskCall else None,
            "shown": render(symbolic),
        }
    return [*calls, ApiCall("POST", path_of("runs"), body)]


def run_call(run_id: str, *parts: str, **body: Any) -> ApiCall:
    """A question about a run; with a body, a request that concerns it."""
    return ApiCall("POST" if body else "GET", path_of("runs", run_id, *parts), body or None)


def result_call(run_id: str, seconds: float) -> ApiCall:
    """What a run has come to; the service waits so long for that."""
    return ApiCall("GET", path_of("runs", run_id, "result", wait=f"{seconds:.3f}"), patience=seconds)


def runs_call(state: str | None, flow: str | None, limit: int) -> ApiCall:
    """The latest runs."""
    return ApiCall("GET", path_of("runs", state=state, flow=flow, limit=limit))


def emit_call(
    name: str,
    data: Any,
    *,
    key: str | None,
    id: str | None,
    at: datetime.datetime | None,
    delay: Any,
    strict: bool,
) -> ApiCall:
    """The call that emits an event. See `Client.emit`."""
    body = {
        "name": name, "data": data, "key": key, "id": id or uuid.uuid4().hex, "due_at": moment_us(at, delay),
        "strict": strict,
    }  # fmt: skip
    return ApiCall("POST", path_of("events"), body)


def event_call(event_id: str) -> ApiCall:
    """An event and its deliveries."""
    return ApiCall("GET", path_of("events", event_id))


def events_call(name: str | None, limit: int) -> ApiCall:
    """The latest events."""
    return ApiCall("GET", path_of("events", name=name, limit=limit))


ASKS = ApiCall("GET", path_of("asks"))
"""The open questions to people."""


QUEUES = ApiCall("GET", path_of("queues"))
"""The queues of the service."""


def queue_call(name: str, slots: int | None) -> ApiCall:
    """Give a queue so many slots."""
    return ApiCall("PUT", path_of("queues", name), {"slots": slots})


def blob_call(digest: bytes) -> ApiCall:
    """The bytes of a large value."""
    return ApiCall("GET", path_of("blobs", digest.hex()))


# --- the answers ------------------------------------------------------------------------------------------------------


def answer_of(status: int, content: bytes) -> Any:
    """The answer in the body of a response. Raises the error that it holds, by its own class."""
    try:
        answer = json.loads(content) if content else None
    except ValueError:
        raise ServiceUnavailable(f"What answers there is no rayflow service (HTTP {status}).") from None
    if status >= 400:
        _raise(status, answer)
    return answer


def _raise(status: int, answer: Any) -> NoReturn:
    told = answer.get("error") if isinstance(answer, Mapping) else None
    if not isinstance(told, Mapping):
        raise ServiceUnavailable(f"What answers there is no rayflow service (HTTP {status}).")
    of = getattr(errors, str(told.get("type")), None)
    message = str(told.get("message"))
    if isinstance(of, type) and issubclass(of, (RayflowError, Bug)):
        error = of(message)
        if isinstance(error, RateLimited):
            error.retry_after = float(told.get("retry_after") or 0)
        raise error
    raise ServiceUnavailable(f"{told.get('type')}: {message}")


def large_values_in(outcome: str) -> list[bytes]:
    """The digests of the large values in a packed outcome, in base64: they are fetched before it is read."""
    return list(blobs_of(base64.b64decode(outcome)))


def value_in(run_id: str, answer: Mapping[str, Any], blobs: Mapping[bytes, bytes]) -> Any:
    """The value that a run has come to. Raises its failure as its own exception. blobs: the large values in it."""
    if answer["outcome"] is None:
        raise NotFound(f"Run {run_id} is {answer['state']}; what it came to is not kept any more.")
    found = unpack_outcome(base64.b64decode(answer["outcome"]))
    if isinstance(found, Failure):
        raise_failure(exception_from_failure(found))

    def fetch(ref: ValueRef) -> Any:
        return decode_inline(ref) if ref.inline is not None else decode(from_bytes(blobs[ref.digest]))

    return realized(found, fetch)


def has_ended(answer: Mapping[str, Any]) -> bool:
    """Whether the run of an answer about a result has ended."""
    return answer["state"] in ("done", "failed", "cancelled")
