"""The tick: take in messages, let the evaluator handle them, carry out its commands.

In: messages from any thread. Out: finished executions; warnings, ended jobs and counts for the listener. Never:
decides. Only the thread that calls `turn` touches the evaluator.
"""

from __future__ import annotations

import contextlib
import gc
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from rayflow.errors import StoreUnavailable
from rayflow.evaluator import commands, messages
from rayflow.evaluator.evaluator import Evaluator
from rayflow.records import Row
from rayflow.runtime.carrier import Carrier, LoopHandle
from rayflow.runtime.clock import CLOCK, Clock, News
from rayflow.runtime.draft import RowSink
from rayflow.runtime.keeping.beside import Beside
from rayflow.runtime.listed_jobs import ListedJobs
from rayflow.runtime.listener import LiveCounts, LoopListener
from rayflow.runtime.outbox import Outbox
from rayflow.runtime.protocol.stream_items import WrittenItems
from rayflow.runtime.stream_book import StreamBook
from rayflow.store.store import Store

BATCHES_PER_TICK = 3
"""A tick handles so many batches of messages. In the second are the answers of the look-ups that the first has asked:
so a call is sent in the tick in which its arguments came."""

MESSAGES_PER_BATCH = 2_000
"""A batch has about so many messages, so that a flood of them leaves room for commits and progress."""

FEW_MESSAGES = 50
"""A batch of so few takes no time worth an interruption."""

MEMBERS_PER_MESSAGE = 4
"""So many members of a vector count as one message: what they cost together."""

IDLE_SECONDS = 0.2
"""The longest wait for news while rows wait to be committed."""

LIVE_SHARE = 0.02
"""The share of the time that may go into counts before bodies run in this thread."""

LIVE_BURST_SECONDS = 0.05
"""So much more may go into them: then the first calls of an execution are counted exactly, however short they are."""

C = TypeVar("C", bound=Carrier)


def collect_rarely() -> None:
    """Have Python's cycle collector look at the many objects of a running evaluator less often.

    By default it looks at every live job again and again, which nearly doubles the cost of a job. No memory is lost:
    reference counts free a job when it is not needed any more, and a full collection follows every execution.
    """
    gc.set_threshold(100_000, 50, 1_000)


@contextlib.contextmanager
def collecting_rarely() -> Iterator[None]:
    """`collect_rarely` for a while, in the user's own process."""
    before = gc.get_threshold()
    collect_rarely()
    try:
        yield
    finally:
        gc.set_threshold(*before)


class Loop(Generic[C]):
    """One evaluator, one store, one carrier. It runs in the thread that calls `turn`.

    sink: takes the rows; by default the store. listener: hears warnings, ended jobs and counts. clock: stamps every
    message, and runs the timers. beside: resolves waits; by default the timers of a plain run. listed: the jobs that
    are recorded as open, where all is known of them.
    """

    def __init__(
        self,
        store: Store,
        carrier_of: Callable[[LoopHandle], C],
        *,
        limits: Mapping[str, float] | None = None,
        sink: RowSink | None = None,
        listener: LoopListener | None = None,
        clock: Clock = CLOCK,
        beside: Beside | None = None,
        listed: ListedJobs | None = None,
    ) -> None:
        self.clock = clock
        self.store = store
        self.evaluator = Evaluator(limits)
        if beside is None:
            from rayflow.runtime.keeping.plain_waits import PlainWaits  # it takes time, and the fast path needs none

            beside = PlainWaits(clock, store)
        self._beside: Beside = beside
        self._sink: RowSink = store if sink is None else sink
        self._listener = LoopListener() if listener is None else listener
        self._incoming: deque[messages.Message] = deque()
        self._news = News()
        self._next_progress = 0.0
        self._next_live = 0.0
        self._live_seconds = 0.0
        self.measures_lag = False
        self.longest_lag_us = 0
        """The longest time that a message has waited to be handled, in microseconds, if that is measured. Whoever reads
        it sets it back to 0."""
        self._begun = clock.seconds()
        self.streams = StreamBook(store, self._sink)
        self.carrier = carrier_of(self)
        self.outbox = Outbox(
            store, self.carrier, self._incoming.append, sink=self._sink, listener=self._listener, clock=clock,
            guard=self._beside.guard, listed=listed,
        )  # fmt: skip

    def post(self, message: messages.Message) -> None:
        """Hand a message to the evaluator, from any thread."""
        self._incoming.append(message)
        self._news.set()

    def submit(self, submitted: messages.Submitted) -> None:
        """Hand an execution to the evaluator. The loop's thread calls it. Raises LeaseHeld if another process evaluates
        the execution."""
        self.post(self._beside.begin(submitted))

    def wake(self) -> None:
        """Let the loop turn, though there is no message. Any thread may call it."""
        self._news.set()

    def before_effect(self) -> None:
        """An effect is about to be sent, or its body to run. Raises as `Store.check_lease`."""
        self.store.check_lease()

    def take_items(self, execution_id: str, written: WrittenItems) -> None:
        """Take in what a body has written to a stream of an execution. Any thread may call it."""
        self.streams.take(execution_id, written)
        if self.carrier.runs_in_loop and self._sink.due(self.clock.now()):
            # The body that writes keeps this loop from its next turn. If the commit fails, that turn tries again.
            with contextlib.suppress(StoreUnavailable):
                self.store.commit_beside()

    def record(self, row: Row) -> None:
        """Record a row that says nothing of a job. The thread that turns the loop calls it."""
        self._sink.append([row])

    def finished(self, execution_id: str) -> commands.Finish | None:
        """The end of an execution; None while it runs."""
        return self.outbox.finished.get(execution_id)

    def explain(self, execution_id: str) -> dict[str, dict[str, int]]:
        """The counts of an execution by name of the task. Calls that were sent and do not run yet count as queued."""
        return with_queued(self.evaluator.explain(execution_id), self.carrier.running().get(execution_id, {}))

    def explain_all(self) -> dict[str, Mapping[str, Mapping[str, int]]]:
        """`explain` of every open execution; the carrier is asked only once."""
        running = self.carrier.running()
        return {
            name: with_queued(self.evaluator.explain(name), running.get(name, {})) for name in self.evaluator.executions
        }

    def turn(self, longest_seconds: float = IDLE_SECONDS) -> None:
        """One tick; waits for news, at most so long, when there is nothing to do."""
        if self._listener.live is not None and self.carrier.runs_in_loop and self.carrier.busy():
            self._tell_live(before_bodies=True)
        next_timer = self.outbox.fire_timers()
        if not self._has_news() and not self.carrier.work(0.05) and not self._has_news():
            self._settle_down()
            self.clock.wait(self._news, longest_seconds, _sooner(next_timer, self._beside.seconds_left()))
        self._news.clear()
        for _ in range(BATCHES_PER_TICK):
            batch = self._batch()
            if not batch and not self._beside.has_news():
                break
            if self.measures_lag and batch:
                self.longest_lag_us = max(self.longest_lag_us, self.clock.now() - batch[0].at)
            with self.store.together():
                turned = self._beside.turn(self.evaluator, batch)
                self.outbox.carry_out(turned.commands, turned.rows)
                for action in turned.after:
                    action()
            if len(batch) > FEW_MESSAGES and self._incoming:
                # A long row of cached answers must not keep what workers have done, or could do, waiting.
                self.carrier.work(0)
        if self._sink.due(self.clock.now()):
            self.carrier.work(0)  # workers need not wait for the commit
            self._sink.commit()
        self._report_progress()
        self._tell_live()

    def is_idle(self) -> bool:
        """Whether no message is left, and nothing waits to be run in this thread: only time, or somebody outside, can
        bring the next message."""
        return not self._has_news() and not self.carrier.busy()

    def seconds_left(self) -> float | None:
        """Seconds until the next timer, of the evaluator or of a wait; None if there is none."""
        return _sooner(self.outbox.fire_timers(), self._beside.seconds_left())

    def _has_news(self) -> bool:
        return bool(self._incoming) or self._beside.has_news()

    def _batch(self) -> list[messages.Message]:
        """The next messages for the evaluator, not too many of them."""
        batch: list[messages.Message] = []
        incoming = self._incoming
        room = MESSAGES_PER_BATCH
        while incoming and room > 0:
            message = incoming.popleft()
            if type(message) is messages.ReturnedVector:
                room -= len(message.jobs) // MEMBERS_PER_MESSAGE
            elif type(message) is messages.Submitted:
                self.outbox.begin(message)
                self.streams.begin(message.execution_id, is_new=not message.life)
            batch.append(message)
            room -= 1
        return batch

    def _report_progress(self) -> None:
        """Give the counts to the listener, when the time for it has come."""
        progress = self._listener.progress
        if progress is None:
            return
        moment = self.clock.seconds()
        if moment >= self._next_progress:
            self._next_progress = moment + self._listener.progress_seconds
            progress(self.explain_all())

    def _tell_live(self, before_bodies: bool = False) -> None:
        """Give the live counts to the listener, when the time for it has come.

        before_bodies: bodies run next in this thread, perhaps for an hour. Then the counts have to be right now. But no
        more than a small share of the time goes into that.
        """
        tell = self._listener.live
        if tell is None:
            return
        moment = self.clock.seconds()
        if moment < self._next_live:
            most = LIVE_BURST_SECONDS + LIVE_SHARE * (moment - self._begun)
            if not before_bodies or self._live_seconds > most:
                return
        self._next_live = moment + self._listener.live_seconds
        tell({name: self._live_counts(name, tasks) for name, tasks in self.explain_all().items()})
        self._live_seconds += self.clock.seconds() - moment

    def _live_counts(self, execution_id: str, tasks: Mapping[str, Mapping[str, int]]) -> LiveCounts:
        waits = self.evaluator.waits(execution_id)
        queued = sum(row["queued"] for row in tasks.values())
        if queued:
            waits["worker"] = queued
        return LiveCounts(self.clock.now(), tasks, waits, self.carrier.waiting)

    def settle(self) -> None:
        """Turn until no message is left. This does not wait for timers, nor for what runs elsewhere."""
        while self._has_news():
            self.turn()

    def wind_down(self, seconds: float) -> None:
        """Take in what still comes of the attempts that run, for so long, and record it; start nothing any more.

        What would have been sent next is not recorded as sent either. So whoever takes up the executions sends it.
        """
        end = self.clock.seconds() + seconds
        while self.carrier.busy() and self.clock.seconds() < end:
            self.carrier.work(min(0.05, seconds))
        with self.store.together():
            turned = self._beside.turn(self.evaluator, list(self._incoming))
            self._incoming.clear()
            self.outbox.carry_out_last(turned.commands, turned.rows)
        for action in turned.after:
            action()

    def _settle_down(self) -> None:
        """Nothing to do: commit, unless something runs that could soon add to it."""
        if not self.carrier.busy() and self._sink.pending():
            self._sink.commit()

    def run(self, execution_id: str, between: Callable[[], None] | None = None) -> commands.Finish:
        """Turn until an execution has ended; `between` is called after every tick."""
        while (finish := self.finished(execution_id)) is None:
            self.turn()
            if between is not None:
                between()
        self.carrier.forget(execution_id)
        self.streams.forget(execution_id)
        return finish

    def run_down(self, execution_id: str) -> commands.Finish | None:
        """Turn until an execution of this process has ended.

        None when it can never end: a tick was interrupted, and the commands that it left undone are never answered.
        """
        while self.finished(execution_id) is None and (self._has_news() or self.carrier.busy()):
            self.turn()
        self.carrier.forget(execution_id)
        return self.finished(execution_id)


def _sooner(one: float | None, other: float | None) -> float | None:
    """The shorter of two waits, where None has no end."""
    return min((each for each in (one, other) if each is not None), default=None)


def with_queued(by_task: Mapping[str, Mapping[str, int]], running: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Counts by name, in which calls that were sent and do not run count as queued. running: by name."""
    counts = {}
    for name, row in by_task.items():
        sent = row.get("running", 0)
        runs = min(sent, running.get(name, 0))
        counts[name] = {**row, "running": runs, "queued": sent - runs}
    return counts
