"""The tick: drain what came in, let the evaluator handle it, carry out what it says.

In: events from any thread. Out: finished executions. Never: decides, waits for anything but news.
"""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping

from rayflow.evaluator import commands, events
from rayflow.evaluator.evaluator import Evaluator
from rayflow.runtime.clocks import CLOCK, Clock
from rayflow.runtime.outbox import Carrier, Outbox, now
from rayflow.store.base import Store

EVENTS_PER_TICK = 2_000
"""A tick takes at most so many events, so that a flood of them leaves room for commits and progress."""

IDLE_SECONDS = 0.2
"""The longest wait for news while rows wait to be committed."""


PROGRESS_SECONDS = 0.2
"""How often progress is told."""


def reporting(report: Callable[[], None], end: float | None) -> Callable[[], None]:
    """What to call between turns: tells how far it is now and then, and raises TimeoutError after this moment."""
    last = 0.0

    def between() -> None:
        nonlocal last
        moment = time.monotonic()
        if end is not None and moment > end:
            raise TimeoutError("The execution has not ended yet; it goes on with the next result().")
        if moment - last >= PROGRESS_SECONDS:
            last = moment
            report()

    return between


def collect_rarely() -> None:
    """Have Python's cycle collector look through the many objects of a running evaluator less often.

    Its default looks at every live job again and again, and nearly doubles what a job costs. Nothing is lost: jobs are
    freed by their reference counts as soon as nobody needs them, and a full collection still comes when an execution
    has ended.
    """
    gc.set_threshold(100_000, 50, 1_000)


@contextlib.contextmanager
def collecting_rarely() -> Iterator[None]:
    """`collect_rarely`, for a while, in a process that is the user's."""
    before = gc.get_threshold()
    collect_rarely()
    try:
        yield
    finally:
        gc.set_threshold(*before)


class Loop:
    """One evaluator, one store, one carrier; runs in whatever thread calls `turn`.

    deferred: nothing is given to the store until `keep` is called.
    """

    def __init__(
        self,
        store: Store,
        carrier_of: Callable[[Loop], Carrier],
        *,
        limits: Mapping[str, float] | None = None,
        deferred: bool = False,
        warned: Callable[[str], None] | None = None,
        clock: Clock = CLOCK,
    ) -> None:
        self.clock = clock
        self.store = store
        self.evaluator = Evaluator(limits)
        self._incoming: deque[events.Event] = deque()
        self._news = threading.Event()
        self.carrier = carrier_of(self)
        self.outbox = Outbox(store, self.carrier, self._incoming.append, deferred=deferred, warned=warned, clock=clock)
        self._deferred = deferred

    def post(self, event: events.Event) -> None:
        """Tell the evaluator something, from any thread."""
        self._incoming.append(event)
        self._news.set()

    def wake(self) -> None:
        """Have the loop look around even though there is no event."""
        self._news.set()

    def finished(self, execution_id: str) -> commands.Finish | None:
        """How an execution has ended; None while it runs."""
        return self.outbox.finished.get(execution_id)

    def turn(self, longest_seconds: float = IDLE_SECONDS) -> None:
        """One tick; waits for news, at most so long, when there is nothing to do."""
        next_timer = self.outbox.fire_timers()
        if not self._incoming and not self.carrier.work(0.05) and not self._incoming:
            self._settle_down()
            self.clock.wait(self._news, longest_seconds, next_timer)
        self._news.clear()
        batch: list[events.Event] = []
        incoming = self._incoming
        while incoming and len(batch) < EVENTS_PER_TICK:
            batch.append(incoming.popleft())
        if batch:
            self.outbox.carry_out(self.evaluator.handle(batch))
            if incoming:
                # A long row of cached answers must not keep what workers have done, or could do, waiting.
                self.carrier.work(0)
        if not self._deferred and self.store.due(now()):
            self.store.commit()

    def settle(self) -> None:
        """Turn until nothing is left to handle. What runs elsewhere, and timers, are not waited for."""
        while self._incoming:
            self.turn()

    def _settle_down(self) -> None:
        """Nothing to do: commit, when nothing runs that could soon add to it."""
        if not self._deferred and not self.carrier.busy() and self.store.pending():
            self.store.commit()

    def run(self, execution_id: str, between: Callable[[], None] | None = None) -> commands.Finish:
        """Turn until an execution has ended; `between` is called after every tick."""
        while (finish := self.finished(execution_id)) is None:
            self.turn()
            if between is not None:
                between()
        self.carrier.forget(execution_id)
        return finish

    def run_down(self, execution_id: str) -> commands.Finish | None:
        """Turn until an execution of this process has ended; None where it cannot end any more, since a tick was
        interrupted: what that would have begun never answers."""
        while self.finished(execution_id) is None and (self._incoming or self.carrier.busy()):
            self.turn()
        self.carrier.forget(execution_id)
        return self.finished(execution_id)
