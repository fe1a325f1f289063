"""Beside the evaluator of a plain run: timers, and nothing else.

In: the waits that an execution opens. Out: the ends of its sleeps; an error for each wait that needs a service. Never:
starts a run, or keeps an event: nobody would be there to do so when this process has ended.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from rayflow.errors import NeedsService
from rayflow.evaluator import commands, messages
from rayflow.evaluator.evaluator import Evaluator
from rayflow.lang.terms.outcomes import pack_outcome
from rayflow.records import PlaceRow, Row, WaitRow
from rayflow.runtime.clock import Clock
from rayflow.runtime.keeping.beside import ABOUT_WAITS, Turned
from rayflow.runtime.keeping.held_executions import HeldExecutions
from rayflow.runtime.keeping.wait_requests import deadline_of
from rayflow.store.store import Store
from rayflow.values.failures import own_failure

TIMERS = frozenset({"sleep", "sleep_until"})
"""The waits that a clock alone resolves."""


class PlainWaits:
    """The sleeps of the executions of one loop, and their deadlines. A deadline that is recorded does not move when the
    execution is resumed.

    From its first effect or wait on, an execution holds a lease: only one process may go on with it.
    """

    def __init__(self, clock: Clock, store: Store) -> None:
        self._clock = clock
        self._store = store
        self._held = HeldExecutions(store)
        self._deadlines: list[tuple[int, int, str, bytes]] = []
        """A heap: deadline, number, execution, place."""
        self._open: dict[tuple[str, bytes], tuple[int, str]] = {}
        """The deadlines and kinds of the open sleeps."""
        self._number = 0

    def begin(self, submitted: messages.Submitted) -> messages.Submitted:
        found = self._held.begin(submitted)
        if found.pins:
            records = self._store.run_records()
            try:
                for wait in records.waits_of([found.execution_id]):
                    self._number = max(self._number, wait.number)
                    if wait.state == "open" and wait.place not in found.resolved and wait.deadline_at is not None:
                        self._add(found.execution_id, wait.place, wait.deadline_at, wait.kind)
            finally:
                records.close()
        return found

    def guard(self, rows: Iterable[Row]) -> None:
        for row in rows:
            if type(row) is PlaceRow:
                self._held.hold(row.execution_id)

    def _add(self, execution_id: str, place: bytes, deadline: int, kind: str) -> None:
        self._number += 1
        self._open[execution_id, place] = deadline, kind
        heapq.heappush(self._deadlines, (deadline, self._number, execution_id, place))

    def has_news(self) -> bool:
        return bool(self._deadlines) and self._deadlines[0][0] <= self._clock.now()

    def seconds_left(self) -> float | None:
        return max(0.0, (self._deadlines[0][0] - self._clock.now()) / 1_000_000) if self._deadlines else None

    def turn(self, evaluator: Evaluator, batch: Sequence[messages.Message]) -> Turned:
        rows: list[Row] = []
        carried: list[commands.Command] = []
        after: list[Callable[[], None]] = []
        incoming: Sequence[messages.Message] = [*self._due(rows), *batch] if self._deadlines else batch
        while incoming:
            answers: list[messages.Message] = []
            followed = evaluator.handle(incoming)
            if self._held.is_empty and not self._open and ABOUT_WAITS.isdisjoint(map(type, followed)):
                carried.extend(followed)
                break
            for command in followed:
                kind = type(command)
                if kind is commands.OpenWait:
                    answers.extend(self._opened(command, rows))  # type: ignore[arg-type]  # `is` does not narrow
                elif kind is commands.CloseWait:
                    self._closed(command, rows)  # type: ignore[arg-type]  # nor here
                elif kind is commands.Finish:
                    after.append(partial(self._leave, command.execution_id))  # type: ignore[union-attr]  # nor here
                    carried.append(command)
                elif kind is not commands.Parked:
                    carried.append(command)
            incoming = answers
        return Turned(carried, rows, after)

    def _due(self, rows: list[Row]) -> list[messages.Message]:
        """The ends of the sleeps whose time has come."""
        now = self._clock.now()
        ended: list[messages.Message] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline, _, execution_id, place = heapq.heappop(self._deadlines)
            known = self._open.get((execution_id, place))
            if known is None or known[0] != deadline:
                continue
            _, kind = self._open.pop((execution_id, place))
            self._number += 1
            outcome = pack_outcome(None)
            rows.append(
                WaitRow(execution_id, place, self._number, now, "resolved", kind, cause="timer", outcome=outcome)
            )
            ended.append(messages.Resolved(now, execution_id, place, outcome))
        return ended

    def _opened(self, command: commands.OpenWait, rows: list[Row]) -> list[messages.Message]:
        now = self._clock.now()
        if command.kind not in TIMERS:
            failure = own_failure(
                NeedsService,
                f"{command.kind} needs a service, which is there when its time comes: start `rayflow serve FILE`, then "
                "`rayflow start TASK`. A plain run can only sleep.",
            )
            return [messages.Resolved(now, command.execution_id, command.place, pack_outcome(failure))]
        if (command.execution_id, command.place) not in self._open:
            deadline = deadline_of(command, now)
            assert deadline is not None
            self._add(command.execution_id, command.place, deadline, command.kind)
            rows.append(
                WaitRow(
                    command.execution_id, command.place, self._number, now, "open", command.kind, deadline_at=deadline
                )
            )
        return []

    def _closed(self, command: commands.CloseWait, rows: list[Row]) -> None:
        known = self._open.pop((command.execution_id, command.place), None)
        if known is not None:
            self._number += 1
            now = self._clock.now()
            rows.append(WaitRow(command.execution_id, command.place, self._number, now, "closed", known[1]))

    def _leave(self, execution_id: str) -> None:
        """An execution has ended: nobody needs its lease any more."""
        for key in [key for key in self._open if key[0] == execution_id]:
            del self._open[key]
        self._held.leave(execution_id, is_over=True)
