"""The client of a service: `rayflow.connect()`.

In: expressions, names of tasks with plain arguments, ids. Out: runs, and what they come to. Never: evaluates.

A request is sent again, with pauses, when no answer comes, or when the service says that it cannot answer now. It does
nothing twice, and gets the same answer, because each request that changes something has an id.
"""

from __future__ import annotations

import builtins
import datetime
import http.client
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Unpack

from rayflow.client import schedule_calls, wire
from rayflow.client.addresses import UNAVAILABLE, ServiceAddress, address_of
from rayflow.client.wire import (
    FOLLOW_PAUSE_SECONDS,
    FOLLOW_SECONDS,
    LONGEST_POLL_SECONDS,
    ApiCall,
    RunFilters,
    StreamItem,
    answer_of,
)
from rayflow.errors import ServiceUnavailable
from rayflow.lang.durable.schedules import CATCH_UP
from rayflow.lang.events.moments import Duration
from rayflow.lang.tasks import Task
from rayflow.lang.terms.expressions import Term
from rayflow.values.display.tracebacks import front_door


class Client:
    """A connection to a service. Any thread may use it."""

    def __init__(self, address: ServiceAddress) -> None:
        self._address = address
        self.schedules = ClientSchedules(self)
        """What its schedules are asked."""
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
    def runs(
        self,
        *,
        limit: int | None = 50,
        **filters: Unpack[RunFilters],
    ) -> list[dict[str, Any]]:
        """The latest runs, newest first.

        Only those in one of the states; of one of the flows (the full name, or the last part of it); with all the tags;
        with the text in their id, arguments, tags, error, reason or result; requested from since on and before until;
        whose id begins with id_prefix. limit: how many at most; None for all. Raises BadArguments.
        """
        return self._list(wire.Pages("runs", limit, **wire.filter_fields(**filters)))

    @front_door
    def cancel_runs(
        self,
        *,
        reason: str = "",
        dry: bool = False,
        latest: int | None = None,
        **filters: Unpack[RunFilters],
    ) -> dict[str, Any]:
        """End all runs that the filter of `runs` means and that have not ended. A clean-up that goes on is left alone.

        dry: only count them. latest: leave out runs that were requested later: the `latest` of an earlier answer.
        Returns count, run_ids (of the first thousand), refused (the runs that could not be cancelled, with errors), and
        latest. Raises BadArguments for a filter that means all runs.
        """
        found: dict[str, Any] = self._ask(wire.bulk_call("cancel", filters, reason=reason, dry=dry, latest=latest))
        return found

    @front_door
    def retry_runs(
        self,
        *,
        reason: str = "",
        dry: bool = False,
        latest: int | None = None,
        **filters: Unpack[RunFilters],
    ) -> dict[str, Any]:
        """Have all failed and cancelled runs go on that the filter of `runs` means. The rest is as in `cancel_runs`."""
        found: dict[str, Any] = self._ask(wire.bulk_call("retry", filters, reason=reason, dry=dry, latest=latest))
        return found

    @front_door
    def flows(self) -> list[dict[str, Any]]:
        """The flows that the service has loaded: name, documentation, JSON schema of the input, what starts runs."""
        found: list[dict[str, Any]] = self._ask(wire.FLOWS)["flows"]
        return found

    @front_door
    def stats(self) -> dict[str, Any]:
        """How many runs there are by state and flow, how many begin and end, how long they wait and run, and the run
        that has been longest in each state."""
        found: dict[str, Any] = self._ask(wire.STATS)
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
    def events(self, *, name: str | None = None, limit: int | None = 50) -> list[dict[str, Any]]:
        """The latest events, newest first. limit: how many at most; None for all."""
        return self._list(wire.Pages("events", limit, name=name))

    @front_door
    def asks(self, *, limit: int | None = None) -> list[dict[str, Any]]:
        """The questions to people that are open, oldest first: run_id, place, prompt, deadline_at. limit: how many at
        most; None for all."""
        return self._list(wire.Pages("asks", limit))

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

    def _list(self, pages: wire.Pages) -> list[dict[str, Any]]:
        while pages.has_more:
            pages.take(self._ask(pages.call()))
        return pages.items

    def _value(self, run_id: str, answer: Mapping[str, Any]) -> Any:
        blobs = {digest: self._blob(digest) for digest in wire.large_values_in(answer["outcome"] or "")}
        return wire.value_in(run_id, answer, blobs)

    def _blob(self, digest: bytes) -> bytes:
        status, content = self._send(wire.blob_call(digest))
        if status >= 400:
            answer_of(status, content)
        return content

    def _send(self, call: ApiCall) -> tuple[int, bytes]:
        """Status and body of the answer. A request is sent again if it has none, or if the service cannot answer
        now."""
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
            else:
                self._idle.append(connection)
                pause = next(pauses, None) if response.status == UNAVAILABLE else None
                if pause is None:
                    return response.status, content
            is_again = True
            time.sleep(pause)

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
    def streams(self) -> dict[str, int]:
        """The streams to which its bodies have written, each with the number of its last item."""
        found = self._client._ask(wire.streams_call(self.id))["streams"]
        return {each["name"]: each["last"] for each in found}

    def stream(self, name: str, *, after: int = 0, follow: bool = True) -> Iterator[StreamItem]:
        """What its bodies write with `stream(name).write(value)`, item by item.

        after: begin behind the item with this number. follow: wait for further items until the run has ended; else end
        with the last one that is there. A service that is started again meanwhile does not end it. Raises
        ServiceUnavailable when none answers for a minute.
        """
        seconds = LONGEST_POLL_SECONDS if follow else 0.0
        until = 0.0
        while True:
            try:
                page = self._client._ask(wire.stream_call(self.id, name, after, seconds))
            except ServiceUnavailable:
                if not follow or time.monotonic() > until:
                    raise
                time.sleep(FOLLOW_PAUSE_SECONDS)
                continue
            until = time.monotonic() + FOLLOW_SECONDS
            yield from wire.items_in(page)
            after = page["last"]
            if page["ended"] or not (follow or page["items"]):
                return

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
    def fork(
        self,
        *,
        at: str | Sequence[str] | None = None,
        with_: Mapping[str, Any] | None = None,
        id: str | None = None,
        tags: Mapping[str, Any] | None = None,
        words: Sequence[str] | None = None,
    ) -> ClientRun:
        """Start another run that begins with what this one has done.

        at: what is done anew, with all that stands below it: places, by the beginning of their ids, or the names of
        their tasks. with_: other arguments, as plain data by name; or words, as on a command line. What is not done
        anew keeps its outcomes: its effects are not done again. id: the new run's own id. tags: those of this run by
        default. Raises NotFound for an unknown place, BadArguments.
        """
        answer = self._client._ask(wire.fork_call(self.id, at, with_, words, id, tags))
        return ClientRun(self._client, answer["run_id"], is_new=answer["is_new"])

    @front_door
    def answer(self, value: Any, *, place: str | None = None) -> None:
        """Answer its `ask`. value: plain data. place: which one, if several are open."""
        self._client._ask(wire.run_call(self.id, "answer", value=value, place=place))


class ClientSchedules:
    """The schedules of a service: `client.schedules`.

    name: of a schedule; of one in the code, the full name of its flow, or the end of it that no other has. A schedule
    is described by a dict: `schedule`, `state`, `flow`, `timetable`, `when` (the timetable in words), `overlap`,
    `catch_up_seconds`, `arguments`, `is_of_code`, `next_at`, and what of it has not ended: `runs`, `queued`, `pending`.
    Moments are microseconds since the epoch. Every method raises NotFound for a name that no schedule has.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    @front_door
    def list(self) -> builtins.list[dict[str, Any]]:
        """All schedules, by name: those that were deleted, and those that the code has no more, too."""
        found: builtins.list[dict[str, Any]] = self._client._ask(schedule_calls.LISTED)["schedules"]
        return found

    @front_door
    def show(self, name: str, *, limit: int = 20) -> dict[str, Any]:
        """One schedule, with its next moments, its changes, and its latest firings, newest first."""
        found: dict[str, Any] = self._client._ask(schedule_calls.show_call(name, limit))
        return found

    @front_door
    def next(self, name: str, count: int = 5) -> builtins.list[int]:
        """Its next moments; none if it is paused or has ended."""
        found: builtins.list[int] = self._client._ask(schedule_calls.next_call(name, count))["next"]
        return found

    @front_door
    def put(
        self,
        name: str,
        flow: Task[..., Any] | str,
        schedule: Any,
        *,
        arguments: Mapping[str, Any] | None = None,
        overlap: str = "skip",
        catch_up: Duration = CATCH_UP,
    ) -> dict[str, Any]:
        """Make a schedule, or change one that was put. The same again changes nothing.

        flow: the task that it starts, or its name. schedule: `cron(...)`, `every(...)`, or a list of these. arguments:
        plain data by name; the others have their defaults. overlap, catch_up: as for `flow`. Its moments from now on
        count. Raises NoSuchTask, BadArguments, and RunConflict for a schedule that stands in the code.
        """
        call = schedule_calls.put_call(name, flow, schedule, arguments=arguments, overlap=overlap, catch_up=catch_up)
        found: dict[str, Any] = self._client._ask(call)
        return found

    @front_door
    def pause(self, name: str) -> dict[str, Any]:
        """Pause it: its moments are skipped until it is resumed. Runs go on."""
        found: dict[str, Any] = self._client._ask(schedule_calls.pause_call(name, True))
        return found

    @front_door
    def resume(self, name: str) -> dict[str, Any]:
        """Have it go on after a pause."""
        found: dict[str, Any] = self._client._ask(schedule_calls.pause_call(name, False))
        return found

    @front_door
    def trigger(self, name: str, moment: datetime.datetime | None = None) -> ClientRun:
        """Start a run of it, whatever runs, and whether it is paused.

        moment: for which moment; by default for now. A moment that has a run already gives that run.
        """
        answer = self._client._ask(schedule_calls.trigger_call(name, moment))
        return ClientRun(self._client, answer["run_id"], is_new=answer["is_new"])

    @front_door
    def backfill(self, name: str, first: datetime.datetime, last: datetime.datetime | None = None) -> dict[str, Any]:
        """Start the runs of all its moments from first to last (by default now) that have had none.

        Gives the `moments` that have a run now or wait for their turn, and how many were `known` before. Raises
        BadArguments for more than 10,000 moments.
        """
        found: dict[str, Any] = self._client._ask(schedule_calls.backfill_call(name, first, last))
        return found

    @front_door
    def delete(self, name: str) -> dict[str, Any]:
        """Delete one that was put. Its runs go on; its firings that wait for their turn start nothing."""
        found: dict[str, Any] = self._client._ask(schedule_calls.delete_call(name))
        return found


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
