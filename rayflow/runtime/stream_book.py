"""The streams of the executions that go on: numbers for what bodies write, rows for the store, news for readers.

In: what bodies write, from any thread; questions of readers. Out: rows, in the store's next commit; the latest items.
Never: commits; makes a writer wait for a reader.

An item gets its number, which is the cursor of its readers, before it is committed. A number is never given twice: an
execution that is taken up again goes on far above the numbers that the store has, since readers may have seen items
that no commit has kept.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress

from rayflow.records import StreamItemRow
from rayflow.runtime.draft import RowSink
from rayflow.runtime.protocol.stream_items import WrittenItems
from rayflow.store.store import Store

LOST_ROOM = 1_000_000
"""An execution that is taken up again begins so far above the last recorded number. No store waits for its commit until
so many items have come."""

MOST_STREAM_ITEMS = 10_000
MOST_STREAM_BYTES = 1024 * 1024
"""The latest items of a stream that stay in memory for readers. (Those that are not committed stay in any case.)"""

MOST_BYTES = 64 * 1024 * 1024
"""The same for all streams together."""

ROW_BYTES = 400
"""About what a row takes beside its text."""


class _Writer:
    """A job that writes. attempt: its latest one. body: the latest run of its body. counts: how many items the attempt
    has written to each stream."""

    __slots__ = ("attempt", "body", "counts")

    def __init__(self, attempt: int = 0) -> None:
        self.attempt = attempt
        self.body = ""
        self.counts: defaultdict[str, int] = defaultdict(int)


class _LiveStream:
    """One stream. next_number: of its next item. items, numbers: the latest items, and their numbers. marks: for each,
    how many commits there were when it was appended: it is recorded when there are more. gone: the greatest number
    that is not in memory."""

    __slots__ = ("gone", "items", "marks", "next_number", "numbers", "size")

    def __init__(self, recorded: int, next_number: int) -> None:
        self.next_number = next_number
        self.items: list[StreamItemRow] = []
        self.numbers: list[int] = []
        self.marks: list[int] = []
        self.gone = recorded
        self.size = 0

    def trim(self, commits: int, most_items: int, most_bytes: int) -> int:
        """Drop the first items that are recorded, until no more than so many are left. Returns their bytes."""
        count, dropped = 0, 0
        while (
            count < len(self.items)
            and self.marks[count] < commits
            and (len(self.items) - count > most_items or self.size - dropped > most_bytes)
        ):
            dropped += _size_of(self.items[count])
            count += 1
        if count:
            self.gone = self.numbers[count - 1]
            del self.items[:count], self.numbers[:count], self.marks[:count]
            self.size -= dropped
        return dropped


class _LiveRun:
    """The streams of one execution, and the jobs that write to them. is_new: no earlier life has written anything."""

    __slots__ = ("is_new", "jobs", "streams")

    def __init__(self, is_new: bool) -> None:
        self.is_new = is_new
        self.streams: dict[str, _LiveStream] = {}
        self.jobs: defaultdict[bytes, _Writer] = defaultdict(_Writer)


class StreamBook:
    """The streams of the executions of one loop. Any thread may use it. sink: takes the rows."""

    def __init__(self, store: Store, sink: RowSink) -> None:
        self._store = store
        self._sink = sink
        self._lock = threading.RLock()
        self._begun: dict[str, bool] = {}
        """The executions that go on, and whether nothing was written before they began here."""
        self._runs: dict[str, _LiveRun] = {}
        self._size = 0
        self._waiters: defaultdict[tuple[str, str], list[Future[None]]] = defaultdict(list)

    def begin(self, execution_id: str, *, is_new: bool) -> None:
        """An execution begins, or goes on. is_new: in its first life."""
        with self._lock:
            self._begun.setdefault(execution_id, is_new)

    def take(self, execution_id: str, written: WrittenItems) -> None:
        """Take in what a body has written; what came before is left out, and what comes after the end of its execution.
        Raises as a question to the store."""
        with self._lock:
            run = self._runs.get(execution_id)
            if run is None:
                if execution_id not in self._begun:
                    return
                run = self._runs[execution_id] = self._opened(execution_id)
            writer = run.jobs[written.job_id]
            if writer.body != written.body:
                if not written.is_replay or not writer.attempt:
                    writer.attempt = max(writer.attempt + 1, written.attempt)
                    writer.counts.clear()
                writer.body = written.body
            known = max(0, writer.counts[written.stream] - written.first + 1)
            if known >= len(written.texts):
                return
            stream = run.streams.get(written.stream)
            if stream is None:
                stream = run.streams[written.stream] = _LiveStream(0, 1 if run.is_new else LOST_ROOM + 1)
            rows = [
                StreamItemRow(
                    execution_id=execution_id,
                    stream=written.stream,
                    number=stream.next_number + offset,
                    job_id=written.job_id,
                    task_name=written.task,
                    attempt=writer.attempt,
                    item=written.first + known + offset,
                    at=at,
                    value=text,
                )
                for offset, (text, at) in enumerate(zip(written.texts[known:], written.times[known:], strict=True))
            ]
            writer.counts[written.stream] = rows[-1].item
            self._sink.append(rows)
            self._keep(stream, rows)
            waiters = self._waiters.pop((execution_id, written.stream), ())
        _wake(waiters)

    def _opened(self, execution_id: str) -> _LiveRun:
        """What is recorded of an execution of which nothing is in memory."""
        if self._begun[execution_id]:
            return _LiveRun(is_new=True)
        run = _LiveRun(is_new=False)
        records = self._store.run_records()
        try:
            recorded = records.streams_of(execution_id)
        finally:
            records.close()
        for each in recorded:
            stream = run.streams.setdefault(each.stream, _LiveStream(0, 0))
            stream.gone = max(stream.gone, each.number)
            stream.next_number = stream.gone + LOST_ROOM + 1
            if each.attempt > run.jobs[each.job_id].attempt:
                run.jobs[each.job_id] = _Writer(each.attempt)
        for each in recorded:
            writer = run.jobs[each.job_id]
            if each.attempt == writer.attempt:
                writer.counts[each.stream] = each.item
        return run

    def _keep(self, stream: _LiveStream, rows: list[StreamItemRow]) -> None:
        """Keep new rows for readers, and drop old ones that the store has."""
        commits = self._store.commits
        stream.items += rows
        stream.numbers += [row.number for row in rows]
        stream.marks += [commits] * len(rows)
        stream.next_number = rows[-1].number + 1
        size = sum(map(_size_of, rows))
        stream.size += size
        self._size += size
        if len(stream.items) > 2 * MOST_STREAM_ITEMS or stream.size > 2 * MOST_STREAM_BYTES:
            self._size -= stream.trim(commits, MOST_STREAM_ITEMS, MOST_STREAM_BYTES)
        if self._size > MOST_BYTES:
            for run in self._runs.values():
                for each in run.streams.values():
                    self._size -= each.trim(commits, 0, 0)
                if self._size <= MOST_BYTES // 2:
                    break

    def forget(self, execution_id: str) -> None:
        """An execution has ended: its items are the store's. Its readers look again."""
        with self._lock:
            self._begun.pop(execution_id, None)
            run = self._runs.pop(execution_id, None)
            if run is not None:
                self._size -= sum([each.size for each in run.streams.values()])
            waiting = [key for key in self._waiters if key[0] == execution_id]
            waiters = [future for key in waiting for future in self._waiters.pop(key)]
        _wake(waiters)

    # --- for readers --------------------------------------------------------------------------------------------------

    def read(self, execution_id: str, stream: str, after: int, limit: int) -> list[StreamItemRow] | None:
        """The items after this number, at most so many; None if the store has to be asked."""
        with self._lock:
            run = self._runs.get(execution_id)
            found = None if run is None else run.streams.get(stream)
            if found is None:
                is_empty = self._begun.get(execution_id, False) if run is None else run.is_new
                return [] if is_empty else None
            if after < found.gone:
                return None
            start = bisect_right(found.numbers, after)
            return found.items[start : start + limit]

    def has(self, execution_id: str) -> bool:
        """Whether something of an execution is in memory, perhaps not yet in the store."""
        with self._lock:
            return execution_id in self._runs

    def latest(self, execution_id: str) -> dict[str, int]:
        """The streams of which something is in memory, with the numbers of their last items."""
        with self._lock:
            run = self._runs.get(execution_id)
            if run is None:
                return {}
            return {name: each.numbers[-1] for name, each in run.streams.items() if each.numbers}

    def wait(self, execution_id: str, stream: str) -> Future[None]:
        """A future that is done with the next item, or with the end of the execution. Give it back to `leave`."""
        future: Future[None] = Future()
        with self._lock:
            self._waiters[execution_id, stream].append(future)
        return future

    def leave(self, execution_id: str, stream: str, future: Future[None]) -> None:
        """Nobody waits for a future of `wait` any more."""
        key = (execution_id, stream)
        with self._lock:
            waiters = self._waiters.get(key)
            if waiters is not None and future in waiters:
                waiters.remove(future)
                if not waiters:
                    del self._waiters[key]


def _wake(waiters: Iterable[Future[None]]) -> None:
    for future in waiters:
        with suppress(InvalidStateError):  # who waits may give up at any moment
            future.set_result(None)


def _size_of(row: StreamItemRow) -> int:
    return len(row.value) + ROW_BYTES
