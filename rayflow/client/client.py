"""The client of a service: `rayflow.connect()`.

In: expressions, names of tasks with plain arguments, ids. Out: runs, and what they come to. Never: evaluates.

A request that is sent again, because its answer was lost, does nothing twice: a start has an id, an event has one, and
the other requests say what is to be, and not what is to change.
"""

from __future__ import annotations

import datetime
import http.client
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rayflow.client import wire
from rayflow.client.addresses import ServiceAddress, address_of
from rayflow.client.wire import LONGEST_POLL_SECONDS, ApiCall, answer_of
from rayflow.lang.terms.expressions import Term
from rayflow.values.display.tracebacks import front_door


class Client:
    """A connection to a service. Any thread may use it."""

    def __init__(self, address: ServiceAddress) -> None:
        self._address = address
        self._idle: list[http.client.HTTPConnection] = []
        """Connections that no thread uses."""

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
        queue: str | None = None,
        priority: int | None = None,
        tags: Mapping[str, Any] | None = None,
        words: Sequence[str] | None = None,
    ) -> ClientRun:
        """Start a run, and return at once.

        what: a call of a task, such as `checkout(order)`, or the name of a task of the service; then arguments, as
        plain data by name, or words, as on a command line. id: the run's own id: a second start with it gives the same
        run, or what reuse says ("return", "reject", "if_failed"). at, delay: start it later. queue, priority: those
        of its flow by default. Raises RunConflict for an id that another input has, RateLimited where the flow's rate
        limit was reached, NoSuchTask, BadArguments, ServiceUnavailable.
        """
        *sent, last = wire.start_calls(
            what, arguments, id=id, reuse=reuse, at=at, delay=delay, queue=queue, priority=priority, tags=tags,
            words=words,
        )  # fmt: skip
        for call in sent:
            self._ask(call)
        answer = self._ask(last)
        return ClientRun(self, answer["run_id"], is_new=answer["is_new"])

    @front_door
    def run(self, what: Term | str, arguments: Mapping[str, Any] | None = None, **how: Any) -> Any:
        """Start a run and wait for its result: `start(...).result()`."""
        return self.start(what, arguments, **how).result()

    @front_door
    def get(self, run_id: str) -> ClientRun:
        """The run with this id: its own, the one that its starter gave it, or the beginning of its own."""
        return ClientRun(self, self._ask(wire.run_call(run_id))["run_id"])

    @front_door
    def runs(self, *, state: str | None = None, flow: str | None = None, limit: int = 50) -> list[dict[str, Any]]:
        """The latest runs, newest first. state: only those in this state. flow: only those of this task."""
        found: list[dict[str, Any]] = self._ask(wire.runs_call(state, flow, limit))["runs"]
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

        data: plain data. id: the event's own id: the same event twice is one. at, delay: deliver it later. strict:
        refuse it if it does not fit one of its subscribers. Raises EventConflict for an id that another event has.
        """
        call = wire.emit_call(name, data, key=key, id=id, at=at, delay=delay, strict=strict)
        answer: dict[str, Any] = self._ask(call)
        return answer

    @front_door
    def event(self, event_id: str) -> dict[str, Any]:
        """An event and its deliveries."""
        answer: dict[str, Any] = self._ask(wire.event_call(event_id))
        return answer

    @front_door
    def events(self, *, name: str | None = None, limit: int = 50) -> list[dict[str, Any]]:
        """The latest events, newest first."""
        found: list[dict[str, Any]] = self._ask(wire.events_call(name, limit))["events"]
        return found

    @front_door
    def asks(self) -> list[dict[str, Any]]:
        """The questions to people that are open: run_id, place, prompt, and the form of the answer."""
        found: list[dict[str, Any]] = self._ask(wire.ASKS)["asks"]
        return found

    # --- queues -------------------------------------------------------------------------------------------------------

    @front_door
    def queues(self) -> list[dict[str, Any]]:
        """The queues, by name: queue, slots (None for any number), used, and waiting: how many runs wait for one."""
        found: list[dict[str, Any]] = self._ask(wire.QUEUES)["queues"]
        return found

    @front_door
    def set_queue(self, name: str, slots: int | None) -> dict[str, Any]:
        """Give a queue so many slots: so many of its runs may run at a time. None for any number. Runs that run already
        go on. Gives what `queues` says of it. Raises BadArguments for a wrong number."""
        answer: dict[str, Any] = self._ask(wire.queue_call(name, slots))
        return answer

    # --- the way there ------------------------------------------------------------------------------------------------

    def _ask(self, call: ApiCall) -> Any:
        return answer_of(*self._send(call))

    def _value(self, run_id: str, answer: Mapping[str, Any]) -> Any:
        blobs = {digest: self._blob(digest) for digest in wire.large_values_in(answer["outcome"] or "")}
        return wire.value_in(run_id, answer, blobs)

    def _blob(self, digest: bytes) -> bytes:
        status, content = self._send(wire.blob_call(digest))
        if status >= 400:
            answer_of(status, content)
        return content

    def _send(self, call: ApiCall) -> tuple[int, bytes]:
        """Status and body of the answer. A request without an answer is sent again."""
        address = self._address
        pauses = address.pauses()
        is_again = False
        while True:
            connection = self._connection(address.patience(call))
            try:
                headers = address.headers(call, is_again)
                connection.request(call.method, address.prefix + call.path, call.content(), headers)
                response = connection.getresponse()
                content = response.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                pause = next(pauses, None)
                if pause is None:
                    raise address.unavailable(error) from None
                is_again = True
                time.sleep(pause)
            else:
                self._idle.append(connection)
                return response.status, content

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        try:
            connection = self._idle.pop()
        except IndexError:
            of = http.client.HTTPSConnection if self._address.is_https else http.client.HTTPConnection
            return of(self._address.host, self._address.port, timeout=timeout)
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
    """A run, as its client sees it.

    id: of the run, and of its execution. is_new: whether this client has started it.
    """

    def __init__(self, client: Client, run_id: str, *, is_new: bool = False) -> None:
        self._client = client
        self.id = run_id
        self.is_new = is_new

    def __repr__(self) -> str:
        return f"<run {self.id}>"

    @front_door
    def describe(self) -> dict[str, Any]:
        """All that the service tells of it: state, waits, and why it is where it is."""
        found: dict[str, Any] = self._client._ask(wire.run_call(self.id))
        return found

    def state(self) -> str:
        """scheduled, queued, running, waiting, ending, done, failed or cancelled."""
        return str(self.describe()["state"])

    def explain(self) -> str:
        """Why it is where it is, as one sentence."""
        return str(self.describe()["explanation"])

    @front_door
    def history(self) -> list[dict[str, Any]]:
        """Its transitions, with their times and causes."""
        found: list[dict[str, Any]] = self._client._ask(wire.run_call(self.id, "history"))["history"]
        return found

    @front_door
    def result(self, timeout: float | None = None) -> Any:
        """Wait for its value. Raises the task's own exception, Cancelled, or TimeoutError after so many seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = LONGEST_POLL_SECONDS if end is None else max(0.0, end - time.monotonic())
            answer = self._client._ask(wire.result_call(self.id, min(left, LONGEST_POLL_SECONDS)))
            if wire.has_ended(answer):
                return self._client._value(self.id, answer)
            if end is not None and time.monotonic() >= end:
                raise TimeoutError(f"Run {self.id} is {answer['state']} after {timeout:g} s; it goes on.")

    @front_door
    def cancel(self, reason: str = "") -> bool:
        """End it. False if it had ended already."""
        return bool(self._client._ask(wire.run_call(self.id, "cancel", reason=reason))["cancelled"])

    @front_door
    def retry(self, reason: str = "") -> None:
        """Have it go on after it has failed: failures that reached its root are forgotten, and tried again."""
        self._client._ask(wire.run_call(self.id, "retry", reason=reason))

    @front_door
    def answer(self, value: Any, *, place: str | None = None) -> None:
        """Answer its `ask`. value: plain data. place: which one, if several are open."""
        self._client._ask(wire.run_call(self.id, "answer", value=value, place=place))


@front_door
def connect(
    url: str | None = None, *, token: str | None = None, store: str | os.PathLike[str] | None = None
) -> Client:
    """A client of a service.

    url: where it listens; by default RAYFLOW_SERVICE, else the service that this user has started on this machine for
    the project's store (or for `store`). token: what it asks for; by default RAYFLOW_TOKEN, else the one that was noted
    when the service began. Raises ServiceUnavailable when no service is known.
    """
    return Client(address_of(url, token, store))
