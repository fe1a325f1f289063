"""What the readers of streams get: pages of items, from memory or from the store.

In: a run, a stream, a cursor. Out: plain data. Never: waits for the loop, in whose thread a body may run for long.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from rayflow.records import StreamItemRow
from rayflow.runtime.stream_book import StreamBook
from rayflow.service.questions import Questions

MOST_PAGE_BYTES = 4 * 1024 * 1024
"""An answer has no more items when their values have so many bytes."""


class StreamPages:
    """The streams of a service's runs, for readers. Any thread may ask. has_ended: whether a run has ended."""

    def __init__(self, book: StreamBook, questions: Questions, has_ended: Callable[[str], bool]) -> None:
        self._book = book
        self._questions = questions
        self._has_ended = has_ended

    def names(self, run_id: str) -> list[dict[str, Any]]:
        """The streams of a run, with the number of the last item of each."""
        latest = self._questions.streams_of(run_id) | self._book.latest(run_id)
        return [{"name": name, "last": last} for name, last in sorted(latest.items())]

    def page(self, run_id: str, stream: str, after: int, limit: int) -> dict[str, Any]:
        """The items after a number, at most so many: `items`; `last`, the cursor to go on with; `ended`, whether no
        item follows."""
        page = self.page_in_memory(run_id, stream, after, limit)
        if page is not None:
            return page
        # First: an item that is read later came before the end. What is in memory may be missing in the store.
        has_ended = self._has_ended(run_id) and not self._book.has(run_id)
        rows = self._questions.stream_items(run_id, stream, after, limit)
        return _page_of(run_id, stream, after, limit, rows, has_ended)

    def page_in_memory(self, run_id: str, stream: str, after: int, limit: int) -> dict[str, Any] | None:
        """The same, without a question to the store; None if that has to be asked."""
        has_ended = self._has_ended(run_id)
        rows = self._book.read(run_id, stream, after, limit)
        return None if rows is None else _page_of(run_id, stream, after, limit, rows, has_ended)

    def next_item(self, run_id: str, stream: str) -> Future[None]:
        """A future that is done with the next item of a stream, or when its run has ended. Give it back to `leave`."""
        return self._book.wait(run_id, stream)

    def leave(self, run_id: str, stream: str, future: Future[None]) -> None:
        """Nobody waits for a future of `next_item` any more."""
        self._book.leave(run_id, stream, future)


def _page_of(
    run_id: str, stream: str, after: int, limit: int, rows: Sequence[StreamItemRow], has_ended: bool
) -> dict[str, Any]:
    items: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        if size > MOST_PAGE_BYTES:
            break
        size += len(row.value)
        items.append(
            {
                "number": row.number, "value": json.loads(row.value), "task": row.task_name,
                "job_id": row.job_id.hex(), "attempt": row.attempt, "item": row.item, "at": row.at,
            }
        )  # fmt: skip
    is_all = len(items) == len(rows) < limit
    last = items[-1]["number"] if items else after
    return {"run_id": run_id, "stream": stream, "items": items, "last": last, "ended": has_ended and is_all}
