"""Carries out a tick's commands: one method for each kind, batched.

In: commands. Out: events (at once for look-ups, later for everything that runs elsewhere). Never: decides.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from rayflow.evaluator import commands, events
from rayflow.lang.codec import blobs_of
from rayflow.records import ReductionRow, Row
from rayflow.store.base import Store
from rayflow.values.digests import digest
from rayflow.values.refs import Encoded

LARGEST_TERM_BYTES = 65536
"""A packed term over this size is kept as a blob, not in the reductions table. In bytes."""

REFRESH_SECONDS = 10.0
"""How often, at the most, a running execution looks for what others have committed."""


def now() -> int:
    """Microseconds since the epoch: the one clock of a scheduler."""
    return time.time_ns() // 1000


class Carrier(Protocol):
    """Runs attempts and operations somewhere; what becomes of them is posted as events."""

    def run(self, attempts: Sequence[commands.RunTask]) -> None:
        """Take these attempts; each is answered by Returned, Raised or WorkerLost."""

    def operate(self, operations: Sequence[commands.RunOperation]) -> None:
        """Take these operations; each is answered by Operated."""

    def stop(self, attempts: Sequence[commands.Stop]) -> None:
        """Nobody wants these attempts any more."""

    def busy(self) -> bool:
        """Whether anything is running or waiting to run."""

    def work(self, seconds: float) -> bool:
        """Do what has to be done in the caller's thread, for about so long; whether there was anything."""


class Outbox:
    """Commands to the store, the carrier and the timers.

    deferred: rows are collected in `rows` and not given to the store, so that an attempt can be dropped without a
    trace.
    """

    def __init__(
        self,
        store: Store,
        carrier: Carrier,
        post: Callable[[events.Event], None],
        *,
        deferred: bool = False,
        warned: Callable[[str], None] | None = None,
    ) -> None:
        self._store = store
        self._carrier = carrier
        self._post = post
        self._deferred = deferred
        self._warned = warned
        self._missing_told = False
        self.rows: list[Row] = []
        self.finished: dict[str, commands.Finish] = {}
        self._timers: list[tuple[float, int, tuple[str, int]]] = []
        self._timer_count = 0
        self._refreshed = 0.0

    def carry_out(self, batch: Sequence[commands.Command]) -> None:
        """Carry out the commands of one tick, kind by kind."""
        lookups: list[commands.LookUp] = []
        attempts: list[commands.RunTask] = []
        operations: list[commands.RunOperation] = []
        stops: list[commands.Stop] = []
        rows: list[Row] = []
        for command in batch:
            kind = type(command)
            if kind is commands.Record:
                rows.extend(command.rows)  # type: ignore[union-attr]  # `kind is` is quicker, and does not narrow
            elif kind is commands.LookUp:
                lookups.append(command)  # type: ignore[arg-type]  # likewise
            elif kind is commands.RunTask:
                attempts.append(command)  # type: ignore[arg-type]  # likewise
            elif kind is commands.Remember:
                rows.append(self._kept(command.reduction))  # type: ignore[union-attr]  # likewise
            elif isinstance(command, commands.RunOperation):
                operations.append(command)
            elif isinstance(command, commands.SetTimer):
                self._timer_count += 1
                heapq.heappush(self._timers, (time.monotonic() + command.seconds, self._timer_count, command.name))
            elif isinstance(command, commands.Stop):
                stops.append(command)
            elif isinstance(command, commands.Finish):
                self.finished[command.execution_id] = command
        if rows:
            if self._deferred:
                self.rows.extend(rows)
            else:
                self._store.append(rows)
        if lookups:
            self._look_up(lookups)
        if stops:
            self._carrier.stop(stops)
        if operations:
            self._carrier.operate(operations)
        if attempts:
            self._carrier.run(attempts)

    def _kept(self, reduction: ReductionRow) -> ReductionRow:
        """The reduction as it is recorded: a large term goes to a blob of its own."""
        if reduction.term is None or len(reduction.term) <= LARGEST_TERM_BYTES or self._deferred:
            return reduction
        name = digest("term", reduction.term)
        self._store.put_blob(name, Encoded("bytes", b"", (reduction.term,)))
        return reduction._replace(term=None, term_blob=name)

    def _look_up(self, lookups: Sequence[commands.LookUp]) -> None:
        moment = time.monotonic()
        if moment - self._refreshed > REFRESH_SECONDS:
            self._refreshed = moment
            self._store.refresh()
        found = self._store.look_up([(each.eval_hash, each.task_hash) for each in lookups])
        at = now()
        for question, rows in zip(lookups, found, strict=True):
            candidates = tuple([self._candidate(row) for row in rows]) if rows else ()
            self._post(events.LookedUp(at, question.asker, candidates))

    def refresh(self) -> None:
        """See what others have committed, at the next look-up."""
        self._refreshed = 0.0

    def _candidate(self, row: ReductionRow) -> events.Candidate:
        term = row.term or b""
        blobs = blobs_of(term)
        verdict = True
        if blobs:
            verdict = all(self._store.has_blob(name) for name in blobs)
            if not verdict and self._warned is not None and not self._missing_told:
                self._missing_told = True
                self._warned("A cached value's bytes are gone from the store; what made it runs again.")
        members = None
        if row.task_set is not None:
            members = frozenset(row.task_set[start : start + 20] for start in range(0, len(row.task_set), 20))
        return events.Candidate(
            row.kind, term, row.execution_id, row.at, verdict, members, row.call_hash, row.wall_seconds
        )

    def fire_timers(self) -> float | None:
        """Post the timers that have run out; seconds until the next one, or None when there is none."""
        moment = time.monotonic()
        while self._timers and self._timers[0][0] <= moment:
            _, _, name = heapq.heappop(self._timers)
            self._post(events.TimerFired(now(), name))
        return self._timers[0][0] - moment if self._timers else None
