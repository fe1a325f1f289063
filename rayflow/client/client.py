"""The client of a service: `rayflow.connect()`.

In: expressions, names of tasks with plain arguments, ids. Out: runs, and what they come to. Never: evaluates.

A request that is sent again, because its answer was lost, does nothing twice: a start has an id, an event has one, and
the other requests say what is to be, and not what is to change.
"""

from __future__ import annotations

import base64
import datetime
import http.client
import json
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from rayflow import config as configuration
from rayflow.client.service_places import place_of
from rayflow.client.wire import LONGEST_POLL_SECONDS, ApiCall, answer_of, path_of, value_in
from rayflow.errors import BadArguments, NotFound, ServiceUnavailable
from rayflow.lang.options.option_values import parse_seconds
from rayflow.lang.terms.codec import dumps
from rayflow.lang.terms.expressions import Expression, TaskCall, Term, render
from rayflow.runtime.worker.results import pack_expression
from rayflow.values.display.tracebacks import front_door
from rayflow.values.encoding.encoding import to_bytes
from rayflow.values.refs import Encoded, ValueRef

ANSWER_SECONDS = 30.0
"""How long the service may take to answer a question."""

TRIES = 4
"""How often a request is sent when no answer comes."""

PAUSE_SECONDS = 0.25
"""The pause before a request is sent again; twice as long each time."""

TOKEN = "RAYFLOW_TOKEN"
SERVICE = "RAYFLOW_SERVICE"


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """Where a service listens, and the token that it asks for."""

    url: str
    token: str


def address_of(url: str | None, token: str | None, store: str | os.PathLike[str] | None = None) -> ServiceAddress:
    """The service that is meant: the given one; else that of RAYFLOW_SERVICE; else that of the project's store.

    Raises ServiceUnavailable when none is known.
    """
    url = url or os.environ.get(SERVICE)
    token = token or os.environ.get(TOKEN)
    if url is not None:
        return ServiceAddress(url.rstrip("/"), token or "")
    config = configuration.load(store=store)
    place = place_of(config.store)
    if place is None:
        raise ServiceUnavailable(
            f"No service of this user is known for the store {config.store}. Start one with `rayflow serve FILE`, or "
            f"name one: {SERVICE}=http://HOST:PORT and {TOKEN}."
        )
    return ServiceAddress(place.url, token or place.token)


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
            f"at={at!r} has no time zone, so it is not known which moment is meant. Write "
            "at.astimezone() for the zone of this machine, or at.replace(tzinfo=datetime.UTC)."
        )
    return int(at.timestamp() * 1_000_000)


class Client:
    """A connection to a service. Any thread may use it; each thread has a connection of its own while it asks."""

    def __init__(self, address: ServiceAddress) -> None:
        self._address = address
        parts = urlsplit(address.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadArguments(f"{address.url!r} is not the address of a service: write http://HOST:PORT.")
        self._https = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._prefix = parts.path.rstrip("/")
        self._idle: list[http.client.HTTPConnection] = []

    # --- runs ---------------------------------------------------------------------------------------------------------

    @front_door
    def start(
        self,
        what: Term | str,
        arguments: Mapping[str, Any] | None = None,
        *,
        id: str | None = None,
        reuse: str = "return",
        at: datetime.datetime | None = None,
        delay: Any = None,
        priority: int = 0,
        tags: Mapping[str, Any] | None = None,
        words: Sequence[str] | None = None,
    ) -> ClientRun:
        """Start a run, and return at once.

        what: a call of a task, such as `checkout(order)`, or the name of a task of the service; then arguments, as
        plain data by name. id: the run's own id: a second start with it gives the same run, or what reuse says
        ("return", "reject", "if_failed"). at, delay: start it later. Raises RunConflict for an id that another input
        has, NoSuchTask, BadArguments, ServiceUnavailable.
        """
        body: dict[str, Any] = {
            "id": id if id is not None else None,
            "request_id": uuid.uuid4().hex,
            "reuse": reuse,
            "due_at": moment_us(at, delay),
            "priority": priority,
            "tags": dict(tags or {}),
        }
        if isinstance(what, str):
            body |= {"task": what, "arguments": dict(arguments or {}), "words": list(words or ())}
            if words:
                body["directory"] = os.getcwd()
        else:
            if arguments is not None:
                raise BadArguments("arguments= is for a task that is named. A call has its arguments already.")
            if not isinstance(what, Expression):
                raise BadArguments(f"start() takes a call of a task, or a task's name; this is {what!r}.")
            body |= self._packed(what)
        answer = self._ask(ApiCall("POST", path_of("runs"), body))
        return ClientRun(self, answer["run_id"], answer)

    def run(self, what: Term | str, arguments: Mapping[str, Any] | None = None, **how: Any) -> Any:
        """Start a run and wait for its result: as `start(...).result()`."""
        return self.start(what, arguments, **how).result()

    def get(self, run_id: str) -> ClientRun:
        """The run with this id: its own, the one that its starter gave it, or the beginning of its own."""
        answer = self._ask(ApiCall("GET", path_of("runs", run_id)))
        return ClientRun(self, answer["run_id"], answer)

    @front_door
    def runs(self, *, state: str | None = None, flow: str | None = None, limit: int = 50) -> list[dict[str, Any]]:
        """The latest runs, newest first. state: only those in this state. flow: only those of this task."""
        found: list[dict[str, Any]] = self._ask(ApiCall("GET", path_of("runs", state=state, flow=flow, limit=limit)))[
            "runs"
        ]
        return found

    # --- events -------------------------------------------------------------------------------------------------------

    @front_door
    def emit(
        self,
        name: str,
        data: Any = None,
        *,
        key: str | None = None,
        id: str | None = None,
        at: datetime.datetime | None = None,
        delay: Any = None,
        strict: bool = False,
    ) -> dict[str, Any]:
        """Emit an event: the runs that it starts, and the waits that it resolves.

        data: plain data. id: the event's own id: the same event twice is one. strict: refuse it if it does not fit one
        of its subscribers. Raises EventConflict for an id that another event has.
        """
        body = {
            "name": name, "data": data, "key": key, "id": id or uuid.uuid4().hex, "due_at": moment_us(at, delay),
            "strict": strict,
        }  # fmt: skip
        answer: dict[str, Any] = self._ask(ApiCall("POST", path_of("events"), body))
        return answer

    @front_door
    def event(self, event_id: str) -> dict[str, Any]:
        """An event and its deliveries."""
        answer: dict[str, Any] = self._ask(ApiCall("GET", path_of("events", event_id)))
        return answer

    @front_door
    def events(self, *, name: str | None = None, limit: int = 50) -> list[dict[str, Any]]:
        """The latest events, newest first."""
        found: list[dict[str, Any]] = self._ask(ApiCall("GET", path_of("events", name=name, limit=limit)))["events"]
        return found

    @front_door
    def asks(self) -> list[dict[str, Any]]:
        """The questions to people that are open: run_id, place, prompt, and the form of the answer."""
        found: list[dict[str, Any]] = self._ask(ApiCall("GET", path_of("asks")))["asks"]
        return found

    # --- the way there ------------------------------------------------------------------------------------------------

    def _packed(self, what: Expression) -> dict[str, Any]:
        """An expression of this process for the service; its large values are sent before."""
        symbolic, _ = pack_expression(what, self._send_blob)
        return {
            "root": base64.b64encode(dumps(symbolic)).decode(),
            "task": symbolic._task if type(symbolic) is TaskCall else None,
            "shown": render(symbolic),
        }

    def _send_blob(self, ref: ValueRef, encoded: Encoded, value: Any) -> None:
        self._ask(ApiCall("PUT", path_of("blobs", ref.digest.hex()), to_bytes(encoded)))

    def _blob(self, digest: bytes) -> bytes:
        status, content = self._send(ApiCall("GET", path_of("blobs", digest.hex())))
        if status >= 400:
            answer_of(status, content)
        return content

    def _ask(self, call: ApiCall) -> Any:
        return answer_of(*self._send(call))

    def _send(self, call: ApiCall) -> tuple[int, bytes]:
        """Status and body of the answer. A request without an answer is sent again."""
        if isinstance(call.body, bytes):
            body, kind = call.body, "application/octet-stream"
        else:
            body, kind = (b"" if call.body is None else json.dumps(call.body).encode()), "application/json"
        headers = {"Authorization": f"Bearer {self._address.token}", "Content-Type": kind}
        pause = PAUSE_SECONDS
        for left in reversed(range(TRIES)):
            connection = self._connection(ANSWER_SECONDS + call.patience)
            try:
                connection.request(call.method, self._prefix + call.path, body, headers)
                response = connection.getresponse()
                content = response.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if not left:
                    raise ServiceUnavailable(
                        f"No service answers at {self._address.url} ({error or type(error).__name__}). "
                        "Is `rayflow serve` running?"
                    ) from None
                time.sleep(pause)
                pause *= 2
            else:
                self._idle.append(connection)
                return response.status, content
        raise AssertionError("unreachable")

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        try:
            connection = self._idle.pop()
        except IndexError:
            of = http.client.HTTPSConnection if self._https else http.client.HTTPConnection
            return of(self._host, self._port, timeout=timeout)
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        return connection

    def close(self) -> None:
        """Close the connections."""
        while self._idle:
            self._idle.pop().close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ClientRun:
    """A run, as its client sees it. id: of the run and of its execution."""

    def __init__(self, client: Client, run_id: str, answer: Mapping[str, Any]) -> None:
        self._client = client
        self.id = run_id
        self.is_new: bool = bool(answer.get("is_new", False))

    def __repr__(self) -> str:
        return f"<run {self.id}>"

    def _asked(self, *parts: str, method: str = "GET", body: Any = None) -> Any:
        return self._client._ask(ApiCall(method, path_of("runs", self.id, *parts), body))

    @front_door
    def state(self) -> str:
        """scheduled, queued, running, waiting, ending, done, failed or cancelled."""
        return str(self._asked()["state"])

    @front_door
    def describe(self) -> dict[str, Any]:
        """All that the service tells of it: state, waits, history, and why it is where it is."""
        found: dict[str, Any] = self._asked()
        return found

    @front_door
    def explain(self) -> str:
        """Why it is where it is, as one sentence."""
        return str(self._asked()["explanation"])

    @front_door
    def history(self) -> list[dict[str, Any]]:
        """Its transitions, with their times and causes."""
        found: list[dict[str, Any]] = self._asked("history")["history"]
        return found

    @front_door
    def result(self, timeout: float | None = None) -> Any:
        """Wait for its value. Raises the task's own exception, Cancelled, or TimeoutError after so many seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = LONGEST_POLL_SECONDS if end is None else min(LONGEST_POLL_SECONDS, end - time.monotonic())
            path = path_of("runs", self.id, "result", wait=f"{max(0.0, left):.3f}")
            answer = self._client._ask(ApiCall("GET", path, patience=max(0.0, left)))
            if answer["outcome"] is not None:
                return value_in(answer["outcome"], self._client._blob)
            if answer["state"] in ("done", "failed", "cancelled"):
                raise NotFound(f"Run {self.id} is {answer['state']}; what it came to is not kept any more.")
            if end is not None and time.monotonic() >= end:
                raise TimeoutError(f"Run {self.id} is {answer['state']} after {timeout:g} s; it goes on.")

    @front_door
    def cancel(self, reason: str = "") -> bool:
        """End it. False if it had ended already."""
        return bool(self._asked("cancel", method="POST", body={"reason": reason})["cancelled"])

    @front_door
    def retry(self, reason: str = "") -> None:
        """Have it go on after it has failed: failures that reached its root are forgotten, and tried again."""
        self._asked("retry", method="POST", body={"reason": reason})

    @front_door
    def answer(self, value: Any, *, place: str | None = None) -> None:
        """Answer its `ask`. place: which one, if several are open."""
        self._asked("answer", method="POST", body={"value": value, "place": place})


@front_door
def connect(url: str | None = None, *, token: str | None = None, store: str | os.PathLike[str] | None = None) -> Client:
    """A client of a service.

    url: where it listens; by default RAYFLOW_SERVICE, else the service that this user has started on this machine for
    the project's store (or for `store`). token: what it asks for; by default RAYFLOW_TOKEN, else the one that was noted
    when the service began. Raises ServiceUnavailable when no service is known.
    """
    return Client(address_of(url, token, store))
