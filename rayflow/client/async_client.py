"""The asynchronous client of a service: `rayflow.aconnect()`.

In: expressions, names of tasks with plain arguments, ids. Out: awaitables of what `rayflow.client.client` gives, whose
methods it has. Never: blocks its event loop.
"""

from __future__ import annotations

import asyncio
import datetime
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from rayflow.client import wire
from rayflow.client.addresses import ServiceAddress, address_of
from rayflow.client.wire import LONGEST_POLL_SECONDS, ApiCall, answer_of
from rayflow.lang.terms.expressions import Term


class AsyncClient:
    """A connection to a service, for one event loop. Use it as `async with rayflow.aconnect() as client:`."""

    def __init__(self, address: ServiceAddress) -> None:
        self._address = address
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

    async def runs(self, *, state: str | None = None, flow: str | None = None, limit: int = 50) -> list[dict[str, Any]]:
        """As `Client.runs`."""
        found: list[dict[str, Any]] = (await self._ask(wire.runs_call(state, flow, limit)))["runs"]
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

    async def events(self, *, name: str | None = None, limit: int = 50) -> list[dict[str, Any]]:
        """As `Client.events`."""
        found: list[dict[str, Any]] = (await self._ask(wire.events_call(name, limit)))["events"]
        return found

    async def asks(self) -> list[dict[str, Any]]:
        """As `Client.asks`."""
        found: list[dict[str, Any]] = (await self._ask(wire.ASKS))["asks"]
        return found

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

    async def _value(self, run_id: str, answer: Mapping[str, Any]) -> Any:
        blobs = {}
        for digest in wire.large_values_in(answer["outcome"] or ""):
            status, content = await self._send(wire.blob_call(digest))
            if status >= 400:
                answer_of(status, content)
            blobs[digest] = content
        return wire.value_in(run_id, answer, blobs)

    async def _send(self, call: ApiCall) -> tuple[int, bytes]:
        """Status and body of the answer. A request without an answer is sent again."""
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
                    return response.status, await response.read()
            except (OSError, aiohttp.ClientError, TimeoutError) as error:
                pause = next(pauses, None)
                if pause is None:
                    raise address.unavailable(error) from None
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

    async def answer(self, value: Any, *, place: str | None = None) -> None:
        """As `ClientRun.answer`."""
        await self._client._ask(wire.run_call(self.id, "answer", value=value, place=place))


def aconnect(
    url: str | None = None, *, token: str | None = None, store: str | os.PathLike[str] | None = None
) -> AsyncClient:
    """An asynchronous client of a service. The arguments are those of `connect`."""
    return AsyncClient(address_of(url, token, store))
