"""The stream of a run: what its handler tells while it runs.

In: plain data. Out: records, with the attempt and the time. Never: keeps anything itself: the stream is one of
rayflow's, `redflow`, as `rayflow runs stream RUN redflow` shows it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from rayflow.client.wire import StreamItem
from rayflow.compat.redflow.inline_runs import InlineRunResult
from rayflow.compat.redflow.types import RunStreamChunk, RunStreamRecord
from rayflow.lang.durable.streams import stream

STREAM = "redflow"
"""The name of the stream."""


class WorkflowStreamWriter:
    """The stream of a run, for its handler. attempt: of the run. inline: gets the records of a run of `run_inline`."""

    def __init__(self, attempt: int, inline: InlineRunResult | None = None) -> None:
        self.attempt = attempt
        self._inline = inline

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.attempt,)

    async def write(self, value: Any) -> RunStreamRecord:
        """Add a record: plain data, as in JSON, of 64 KiB at most. Raises BadArguments for other data."""
        stream(STREAM).write({"attempt": self.attempt, "value": value})
        record: RunStreamRecord = {"attempt": self.attempt, "ts": int(time.time() * 1000), "value": value}
        if self._inline is not None:
            self._inline.stream.append(record)
        return record


def record_of(item: StreamItem) -> RunStreamRecord:
    """The record of an item."""
    return {"attempt": item.value["attempt"], "ts": item.at // 1000, "value": item.value["value"]}


class RunStreamReader:
    """The records of a stream, for `async for`. It ends with the run."""

    def __init__(self, items: AsyncIterator[StreamItem], has_cursor: bool) -> None:
        self._items = items
        self._has_cursor = has_cursor

    def __aiter__(self) -> RunStreamReader:
        return self

    async def __anext__(self) -> RunStreamChunk:
        item = await anext(self._items)
        return RunStreamChunk(record_of(item), str(item.number) if self._has_cursor else None)

    async def aclose(self) -> None:
        """Read no more."""
        close = getattr(self._items, "aclose", None)
        if close is not None:
            await close()
