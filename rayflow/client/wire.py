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
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn, TypedDict
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

FOLLOW_SECONDS = 60.0
"""How long who follows a stream waits for a service that has answered and does not any more."""

FOLLOW_PAUSE_SECONDS = 0.5
"""The pause before it is asked again."""

MOST_PAGE = 1_000
"""The most items of one page of a list."""

BULK_SECONDS = 600.0
"""How much longer than others a request may take that concerns many runs."""

AGAIN = "x-rayflow-again"
"""The header that says whether a request was sent before, and no answer came: 1 or 0."""

REQUEST_ID = "idempotency-key"
"""The header with the id of a request: another request with this id is the same request."""


@dataclass(frozen=True, slots=True)
class ApiCall:
    """One call of the API. body: plain data, sent as JSON, or bytes. patience: seconds that the service may take to
    answer, beyond the usual ones. request_id: names it: sent again with the same id, it does nothing twice."""

    method: str
    path: str
    body: Any = None
    patience: float = 0.0
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)

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
    return f"{text}?{urlencode(given, doseq=True)}" if given else text


def moment_us(at: datetime.datetime | None, delay: Any) -> int | None:
    """The time of a delayed start or event, in microseconds. Raises BadArguments for a time without a zone."""
    if at is not None and delay is not None:
        raise BadArguments("Give one of at= and delay=.")
    if delay is not None:
        return time.time_ns() // 1000 + int(parse_seconds(delay) * 1_000_000)
    return None if at is None else _moment_us("at", at)


def _moment_us(name: str, at: datetime.datetime) -> int:
    if at.tzinfo is None:
        raise BadArguments(
            f"{name}={at!r} has no time zone, so it is not known which moment is meant. Write .astimezone() for the "
            "zone of this machine, or .replace(tzinfo=datetime.UTC)."
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
    """A question about a run; with a body, a request that changes it."""
    return ApiCall("POST" if body else "GET", path_of("runs", run_id, *parts), body or None)


def result_call(run_id: str, seconds: float) -> ApiCall:
    """What a run has come to; the service waits so long for that."""
    return ApiCall("GET", path_of("runs", run_id, "result", wait=f"{seconds:.3f}"), patience=seconds)


def streams_call(run_id: str) -> ApiCall:
    """The streams of a run."""
    return ApiCall("GET", path_of("runs", run_id, "streams"))


def stream_call(run_id: str, stream: str, after: int, seconds: float) -> ApiCall:
    """The items of a stream after a number; the service waits so long for one."""
    path = path_of("runs", run_id, "streams", stream, after=after, wait=f"{seconds:.3f}")
    return ApiCall("GET", path, patience=seconds)


class RunFilters(TypedDict, total=False):
    """What chooses runs; see `Client.runs`. None is the same as leaving it out."""

    state: str | Sequence[str] | None
    flow: str | Sequence[str] | None
    tags: Mapping[str, Any] | None
    text: str | None
    since: datetime.datetime | None
    until: datetime.datetime | None
    id_prefix: str | None


def filter_fields(
    *,
    state: str | Sequence[str] | None = None,
    flow: str | Sequence[str] | None = None,
    tags: Mapping[str, Any] | None = None,
    text: str | None = None,
    since: datetime.datetime | None = None,
    until: datetime.datetime | None = None,
    id_prefix: str | None = None,
) -> dict[str, Any]:
    """The fields of a request that choose runs; see `Client.runs`. Raises BadArguments."""
    given: dict[str, Any] = {
        "state": _texts(state), "flow": _texts(flow), "text": text, "id_prefix": id_prefix,
        "tag": [f"{key}={value}" for key, value in (tags or {}).items()] or None,
        "since": None if since is None else _moment_us("since", since),
        "until": None if until is None else _moment_us("until", until),
    }  # fmt: skip
    return {name: value for name, value in given.items() if value is not None}


def _texts(given: str | Sequence[str] | None) -> list[str] | None:
    if given is None:
        return None
    return [given] if isinstance(given, str) else list(given) or None


class Pages:
    """The calls that get a list, page by page. of: what it is a list of. limit: how many items at most; None for all.
    fields: of the query."""

    def __init__(self, of: str, limit: int | None, **fields: Any) -> None:
        self._of = of
        self.items: list[dict[str, Any]] = []
        self._limit = limit
        self._fields = fields
        self._cursor: str | None = None
        self.has_more = limit is None or limit > 0

    def call(self) -> ApiCall:
        """The next call."""
        left = MOST_PAGE if self._limit is None else min(MOST_PAGE, self._limit - len(self.items))
        return ApiCall("GET", path_of(self._of, **self._fields, limit=left, cursor=self._cursor))

    def take(self, answer: Mapping[str, Any]) -> None:
        """Take in its answer."""
        self.items += answer[self._of]
        self._cursor = answer["next"]
        self.has_more = self._cursor is not None and (self._limit is None or len(self.items) < self._limit)


def bulk_call(what: str, filters: RunFilters, *, reason: str, dry: bool, latest: int | None) -> ApiCall:
    """The call that cancels or retries runs by filter. what: cancel or retry."""
    body = {**filter_fields(**filters), "reason": reason, "dry": dry, "latest": latest}
    return ApiCall("POST", path_of("runs", what), body, patience=BULK_SECONDS)


def fork_call(
    run_id: str,
    at: str | Sequence[str] | None,
    with_: Mapping[str, Any] | None,
    words: Sequence[str] | None,
    id: str | None,
    tags: Mapping[str, Any] | None,
) -> ApiCall:
    """The call that forks a run. See `ClientRun.fork`."""
    body = {
        "at": _texts(at), "arguments": None if with_ is None else dict(with_), "words": list(words) if words else None,
        "directory": os.getcwd() if words else None, "id": id, "tags": None if tags is None else dict(tags),
    }  # fmt: skip
    return ApiCall("POST", path_of("runs", run_id, "fork"), body)


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
    body = {"name": name, "data": data, "key": key, "id": id, "due_at": moment_us(at, delay), "strict": strict}
    return ApiCall("POST", path_of("events"), body)


def event_call(event_id: str) -> ApiCall:
    """An event and its deliveries."""
    return ApiCall("GET", path_of("events", event_id))


FLOWS = ApiCall("GET", path_of("flows"))
"""The flows that are loaded."""

STATS = ApiCall("GET", path_of("stats"))
"""How many runs there are, how many begin and end, what waits longest."""


QUEUES = ApiCall("GET", path_of("queues"))
"""The queues of the service."""


def queue_call(name: str, slots: int | None) -> ApiCall:
    """Give a queue so many slots."""
    return ApiCall("PUT", path_of("queues", name), {"slots": slots})


def blob_call(digest: bytes) -> ApiCall:
    """The bytes of a large value."""
    return ApiCall("GET", path_of("blobs", digest.hex()))


class StreamItem(NamedTuple):
    """An item of a stream.

    number: its cursor: items that come later have greater ones, not always the next. value: what was written. task,
    job_id: the call whose body wrote it. attempt: which attempt of that call: what a later one writes stands in place
    of what earlier ones have written. item: its number among what the attempt has written to the stream, from 1. at:
    when it was written, in microseconds since the epoch.
    """

    number: int
    value: Any
    task: str
    job_id: str
    attempt: int
    item: int
    at: int


def items_in(page: Mapping[str, Any]) -> list[StreamItem]:
    """The items of an answer."""
    return [StreamItem(**each) for each in page["items"]]


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
