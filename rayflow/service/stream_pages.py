"""What the readers of streams get: pages of items, from memory or from the store.

In: a run, a stream, a cursor. Out: plain data. Never: waits for the loop, in whose thread a body may run for long.
"""

from __future__ import annotations

import json
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from rayflow.records import StreamItemRow
from rayflow.runtime.stream_book import StreamBook
from rayflow.service.questions import Questions

MOST_PAGE_BYTES = 4 * 1024 * 1024
"""An answer has no more items when their values have so many bytes."""


MOST_AHEAD_ITEMS = 10_000
MOST_AHEAD_BYTES = 4 * 1024 * 1024
"""A question to the store takes about as long for many items as for a few. So it reads so many for the pages that
follow."""

MOST_AHEAD_READS = 8
"""The latest such reads stay in memory."""


class _Read(NamedTuple):
    """All recorded items of a stream after a number, as far as they were read."""

    after: int
    rows: list[StreamItemRow]

    def covers(self, after: int) -> bool:
        """Whether an item after this number is among them, and none is missing before it."""
        return bool(self.rows) and self.after <= after < self.rows[-1].number


class StreamPages:
    """The streams of a service's runs, for readers. Any thread may ask. has_ended: whether a run has ended."""

    def __init__(self, book: StreamBook, questions: Questions, has_ended: Callable[[str], bool]) -> None:
        self._book = book
        self._questions = questions
        self._has_ended = has_ended
        self._lock = threading.Lock()
        self._reads: OrderedDict[tuple[str, str], _Read] = OrderedDict()

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
        with self._lock:
            read = self._reads.get((run_id, stream))
        if read is None or not read.covers(after):
            rows = self._questions.stream_items(run_id, stream, after, MOST_AHEAD_ITEMS, MOST_AHEAD_BYTES)
            if len(rows) > limit:
                self._keep(run_id, stream, _Read(after, rows))
            is_all = len(rows) < MOST_AHEAD_ITEMS and sum([len(row.value) for row in rows]) < MOST_AHEAD_BYTES
            has_ended = has_ended and is_all
        else:
            rows = read.rows[bisect_right(read.rows, after, key=lambda row: row.number) :]
            has_ended = False  # perhaps there are more: the next question to the store shows it
        return _page_of(run_id, stream, after, limit, rows[:limit], has_ended)

    def _keep(self, run_id: str, stream: str, read: _Read) -> None:
        with self._lock:
            self._reads.pop((run_id, stream), None)
            self._reads[run_id, stream] = read
            if len(self._reads) > MOST_AHEAD_READS:
                self._reads.popitem(last=False)

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
