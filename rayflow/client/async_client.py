"""The asynchronous client of a service: `rayflow.aconnect()`.

In: expressions, names of tasks with plain arguments, ids. Out: awaitables of what `rayflow.client.client` gives, whose
methods it has. Never: blocks its event loop.
"""

from __future__ import annotations

import asyncio
import builtins
import datetime
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Unpack

import aiohttp

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


class AsyncClient:
    """A connection to a service, for one event loop. Use it as `async with rayflow.aconnect() as client:`."""

    def __init__(self, address: ServiceAddress) -> None:
        self._address = address
        self.schedules = AsyncSchedules(self)
        """What its schedules are asked."""
        self._session: aiohttp.ClientSession | None = None

    async def start(
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
    ) -> AsyncRun:
        """As `Client.start`."""
        *sent, last = wire.start_calls(
            what, arguments, id=id, reuse=reuse, at=at, delay=delay, queue=queue, priority=priority, tags=tags,
            words=words,
        )  # fmt: skip
        for call in sent:
            await self._ask(call)
        answer = await self._ask(last)
        return AsyncRun(self, answer["run_id"], is_new=answer["is_new"])

    async def run(self, what: Term | str, arguments: Mapping[str, Any] | None = None, **how: Any) -> Any:
        """As `Client.run`."""
        return await (await self.start(what, arguments, **how)).result()

    async def get(self, run_id: str) -> AsyncRun:
        """As `Client.get`."""
        return AsyncRun(self, (await self._ask(wire.run_call(run_id)))["run_id"])

    async def runs(
        self,
        *,
        limit: int | None = 50,
        **filters: Unpack[RunFilters],
    ) -> list[dict[str, Any]]:
        """As `Client.runs`."""
        return await self._list(wire.Pages("runs", limit, **wire.filter_fields(**filters)))

    async def cancel_runs(
        self,
        *,
        reason: str = "",
        dry: bool = False,
        latest: int | None = None,
        **filters: Unpack[RunFilters],
    ) -> dict[str, Any]:
        """As `Client.cancel_runs`."""
        call = wire.bulk_call("cancel", filters, reason=reason, dry=dry, latest=latest)
        found: dict[str, Any] = await self._ask(call)
        return found

    async def retry_runs(
        self,
        *,
        reason: str = "",
        dry: bool = False,
        latest: int | None = None,
        **filters: Unpack[RunFilters],
    ) -> dict[str, Any]:
        """As `Client.retry_runs`."""
        call = wire.bulk_call("retry", filters, reason=reason, dry=dry, latest=latest)
        found: dict[str, Any] = await self._ask(call)
        return found

    async def flows(self) -> list[dict[str, Any]]:
        """As `Client.flows`."""
        found: list[dict[str, Any]] = (await self._ask(wire.FLOWS))["flows"]
        return found

    async def stats(self) -> dict[str, Any]:
        """As `Client.stats`."""
        found: dict[str, Any] = await self._ask(wire.STATS)
        return found

    async def emit(
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
        """As `Client.emit`."""
        call = wire.emit_call(name, data, key=key, id=id, at=at, delay=delay, strict=strict)
        answer: dict[str, Any] = await self._ask(call)
        return answer

    async def event(self, event_id: str) -> dict[str, Any]:
        """As `Client.event`."""
        answer: dict[str, Any] = await self._ask(wire.event_call(event_id))
        return answer

    async def events(self, *, name: str | None = None, limit: int | None = 50) -> list[dict[str, Any]]:
        """As `Client.events`."""
        return await self._list(wire.Pages("events", limit, name=name))

    async def asks(self, *, limit: int | None = None) -> list[dict[str, Any]]:
        """As `Client.asks`."""
        return await self._list(wire.Pages("asks", limit))

    async def queues(self) -> list[dict[str, Any]]:
        """As `Client.queues`."""
        found: list[dict[str, Any]] = (await self._ask(wire.QUEUES))["queues"]
        return found

    async def set_queue(self, name: str, slots: int | None) -> dict[str, Any]:
        """As `Client.set_queue`."""
        answer: dict[str, Any] = await self._ask(wire.queue_call(name, slots))
        return answer

    # --- the way there ------------------------------------------------------------------------------------------------

    async def _ask(self, call: ApiCall) -> Any:
        return answer_of(*await self._send(call))

    async def _list(self, pages: wire.Pages) -> list[dict[str, Any]]:
        while pages.has_more:
            pages.take(await self._ask(pages.call()))
        return pages.items

    async def _value(self, run_id: str, answer: Mapping[str, Any]) -> Any:
        blobs = {}
        for digest in wire.large_values_in(answer["outcome"] or ""):
            status, content = await self._send(wire.blob_call(digest))
            if status >= 400:
                answer_of(status, content)
            blobs[digest] = content
        return wire.value_in(run_id, answer, blobs)

    async def _send(self, call: ApiCall) -> tuple[int, bytes]:
        """As `Client._send`."""
        address = self._address
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        pauses = address.pauses()
        is_again = False
        while True:
            try:
                async with self._session.request(
                    call.method,
                    address.url + call.path,
                    data=call.content(),
                    headers=address.headers(call, is_again),
                    timeout=aiohttp.ClientTimeout(total=address.patience(call)),
                ) as response:
                    content = await response.read()
            except (OSError, aiohttp.ClientError, TimeoutError) as error:
                pause = next(pauses, None)
                if pause is None:
                    raise address.unavailable(error) from None
            else:
                pause = next(pauses, None) if response.status == UNAVAILABLE else None
                if pause is None:
                    return response.status, content
            is_again = True
            await asyncio.sleep(pause)

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class AsyncRun:
    """A run, as its client sees it: as `ClientRun`, to be awaited."""

    def __init__(self, client: AsyncClient, run_id: str, *, is_new: bool = False) -> None:
        self._client = client
        self.id = run_id
        self.is_new = is_new

    def __repr__(self) -> str:
        return f"<run {self.id}>"

    async def describe(self) -> dict[str, Any]:
        """As `ClientRun.describe`."""
        found: dict[str, Any] = await self._client._ask(wire.run_call(self.id))
        return found

    async def state(self) -> str:
        """As `ClientRun.state`."""
        return str((await self.describe())["state"])

    async def explain(self) -> str:
        """As `ClientRun.explain`."""
        return str((await self.describe())["explanation"])

    async def history(self) -> list[dict[str, Any]]:
        """As `ClientRun.history`."""
        found: list[dict[str, Any]] = (await self._client._ask(wire.run_call(self.id, "history")))["history"]
        return found

    async def streams(self) -> dict[str, int]:
        """As `ClientRun.streams`."""
        found = (await self._client._ask(wire.streams_call(self.id)))["streams"]
        return {each["name"]: each["last"] for each in found}

    async def stream(self, name: str, *, after: int = 0, follow: bool = True) -> AsyncIterator[StreamItem]:
        """As `ClientRun.stream`, for `async for`."""
        seconds = LONGEST_POLL_SECONDS if follow else 0.0
        until = 0.0
        while True:
            try:
                page = await self._client._ask(wire.stream_call(self.id, name, after, seconds))
            except ServiceUnavailable:
                if not follow or time.monotonic() > until:
                    raise
                await asyncio.sleep(FOLLOW_PAUSE_SECONDS)
                continue
            until = time.monotonic() + FOLLOW_SECONDS
            for item in wire.items_in(page):
                yield item
            after = page["last"]
            if page["ended"] or not (follow or page["items"]):
                return

    async def result(self, timeout: float | None = None) -> Any:
        """As `ClientRun.result`."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = LONGEST_POLL_SECONDS if end is None else max(0.0, end - time.monotonic())
            answer = await self._client._ask(wire.result_call(self.id, min(left, LONGEST_POLL_SECONDS)))
            if wire.has_ended(answer):
                return await self._client._value(self.id, answer)
            if end is not None and time.monotonic() >= end:
                raise TimeoutError(f"Run {self.id} is {answer['state']} after {timeout:g} s; it goes on.")

    async def cancel(self, reason: str = "") -> bool:
        """As `ClientRun.cancel`."""
        return bool((await self._client._ask(wire.run_call(self.id, "cancel", reason=reason)))["cancelled"])

    async def retry(self, reason: str = "") -> None:
        """As `ClientRun.retry`."""
        await self._client._ask(wire.run_call(self.id, "retry", reason=reason))

    async def fork(
        self,
        *,
        at: str | Sequence[str] | None = None,
        with_: Mapping[str, Any] | None = None,
        id: str | None = None,
        tags: Mapping[str, Any] | None = None,
        words: Sequence[str] | None = None,
    ) -> AsyncRun:
        """As `ClientRun.fork`."""
        answer = await self._client._ask(wire.fork_call(self.id, at, with_, words, id, tags))
        return AsyncRun(self._client, answer["run_id"], is_new=answer["is_new"])

    async def answer(self, value: Any, *, place: str | None = None) -> None:
        """As `ClientRun.answer`."""
        await self._client._ask(wire.run_call(self.id, "answer", value=value, place=place))


class AsyncSchedules:
    """The schedules of a service, to be awaited: as `ClientSchedules`."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def list(self) -> builtins.list[dict[str, Any]]:
        """As `ClientSchedules.list`."""
        found: builtins.list[dict[str, Any]] = (await self._client._ask(schedule_calls.LISTED))["schedules"]
        return found

    async def show(self, name: str, *, limit: int = 20) -> dict[str, Any]:
        """As `ClientSchedules.show`."""
        found: dict[str, Any] = await self._client._ask(schedule_calls.show_call(name, limit))
        return found

    async def next(self, name: str, count: int = 5) -> builtins.list[int]:
        """As `ClientSchedules.next`."""
        found: builtins.list[int] = (await self._client._ask(schedule_calls.next_call(name, count)))["next"]
        return found

    async def put(
        self,
        name: str,
        flow: Task[..., Any] | str,
        schedule: Any,
        *,
        arguments: Mapping[str, Any] | None = None,
        overlap: str = "skip",
        catch_up: Duration = CATCH_UP,
    ) -> dict[str, Any]:
        """As `ClientSchedules.put`."""
        call = schedule_calls.put_call(name, flow, schedule, arguments=arguments, overlap=overlap, catch_up=catch_up)
        found: dict[str, Any] = await self._client._ask(call)
        return found

    async def pause(self, name: str) -> dict[str, Any]:
        """As `ClientSchedules.pause`."""
        found: dict[str, Any] = await self._client._ask(schedule_calls.pause_call(name, True))
        return found

    async def resume(self, name: str) -> dict[str, Any]:
        """As `ClientSchedules.resume`."""
        found: dict[str, Any] = await self._client._ask(schedule_calls.pause_call(name, False))
        return found

    async def trigger(self, name: str, moment: datetime.datetime | None = None) -> AsyncRun:
        """As `ClientSchedules.trigger`."""
        answer = await self._client._ask(schedule_calls.trigger_call(name, moment))
        return AsyncRun(self._client, answer["run_id"], is_new=answer["is_new"])

    async def backfill(
        self, name: str, first: datetime.datetime, last: datetime.datetime | None = None
    ) -> dict[str, Any]:
        """As `ClientSchedules.backfill`."""
        found: dict[str, Any] = await self._client._ask(schedule_calls.backfill_call(name, first, last))
        return found

    async def delete(self, name: str) -> dict[str, Any]:
        """As `ClientSchedules.delete`."""
        found: dict[str, Any] = await self._client._ask(schedule_calls.delete_call(name))
        return found


def aconnect(
    url: str | None = None, *, token: str | None = None, store: str | os.PathLike[str] | None = None
) -> AsyncClient:
    """An asynchronous client of a service. The arguments are those of `connect`."""
    return AsyncClient(address_of(url, token, store))
