"""Carries out a tick's commands: one method for each kind, batched.

In: commands. Out: events (at once for look-ups, later for everything that runs elsewhere). Never: decides.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from rayflow.errors import BadQuery
from rayflow.evaluator import commands, events, provenance
from rayflow.lang.codec import blobs_of, witnesses_of
from rayflow.records import JobRow, ReductionRow, Row
from rayflow.runtime.clocks import CLOCK, Clock
from rayflow.store.base import Store
from rayflow.values.digests import digest
from rayflow.values.refs import Encoded
from rayflow.values.witnesses import OF_CODE, OF_DEFINITION, Witness, check, needs_worker

LARGEST_TERM_BYTES = 65536
"""A packed term over this size is kept as a blob, not in the reductions table. In bytes."""

_KINDS_OF_CODE = frozenset({OF_CODE, OF_DEFINITION})

REFRESH_SECONDS = 10.0
"""How often, at the most, a running execution looks for what others have committed."""


def now() -> int:
    """Microseconds since the epoch."""
    return CLOCK.now()


class Carrier(Protocol):
    """Runs attempts and operations somewhere; what becomes of them is posted as events."""

    def run(self, attempts: Sequence[commands.RunTask]) -> None:
        """Take these attempts; each is answered by Returned, Raised or WorkerLost."""

    def operate(self, operations: Sequence[commands.RunOperation]) -> None:
        """Take these operations; each is answered by Operated."""

    def check(self, witnesses: Sequence[Witness], then: Callable[[Mapping[Witness, bool]], None]) -> None:
        """Have these witnesses checked where the user's code is; `then` gets the answers, in the loop's thread, now or
        later."""

    def stop(self, attempts: Sequence[commands.Stop]) -> None:
        """Nobody wants these attempts any more."""

    def forget(self, execution_id: str) -> None:
        """An execution has ended: end what is left of it."""

    def busy(self) -> bool:
        """Whether anything is running or waiting to run."""

    def work(self, seconds: float) -> bool:
        """Do what has to be done in the caller's thread, for about so long; whether there was anything."""


class _Doubtful(NamedTuple):
    """A look-up whose candidates hold only while their witnesses do. witnesses: those of each row."""

    asker: int
    rows: Sequence[ReductionRow]
    witnesses: list[tuple[Witness, ...]]

    def is_known(self, verdicts: Mapping[Witness, bool]) -> bool:
        return all(witness in verdicts for witnesses in self.witnesses for witness in witnesses)


def _witnesses_of(row: ReductionRow) -> tuple[Witness, ...]:
    try:
        return witnesses_of(row.term or b"")
    except ValueError:
        return ()  # the evaluator passes over what cannot be read


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
        clock: Clock = CLOCK,
    ) -> None:
        self._clock = clock
        self._store = store
        self._carrier = carrier
        self._post = post
        self._deferred = deferred
        self._warned = warned
        self._missing_told = False
        self._gone: set[str] = set()
        self.rows: list[Row] = []
        self.finished: dict[str, commands.Finish] = {}
        self._timers: list[tuple[float, int, tuple[str, int]]] = []
        self._timer_count = 0
        self._refreshed = 0.0
        self._of_code: dict[Witness, bool] = {}
        """Verdicts on the project's classes and functions: an execution keeps the code that it has begun with."""

    def carry_out(self, batch: Sequence[commands.Command]) -> None:
        """Carry out the commands of one tick, kind by kind."""
        lookups: list[commands.LookUp] = []
        attempts: list[commands.RunTask] = []
        operations: list[commands.RunOperation] = []
        stops: list[commands.Stop] = []
        warnings: list[str] = []
        rows: list[Row] = []
        torn: list[str] = []
        for command in batch:
            kind = type(command)
            if kind is commands.Record:
                rows.extend(command.rows)  # type: ignore[union-attr]  # `kind is` is quicker, and does not narrow
            elif kind is commands.LookUp:
                lookups.append(command)  # type: ignore[arg-type]  # likewise
            elif kind is commands.RunTask:
                attempts.append(command)  # type: ignore[arg-type]  # likewise
            elif kind is commands.Remember:
                rows.append(command.reduction if self._deferred else self._kept(command.reduction))  # type: ignore[union-attr]  # likewise
            elif isinstance(command, commands.RunOperation):
                operations.append(command)
            elif isinstance(command, commands.SetTimer):
                self._timer_count += 1
                heapq.heappush(self._timers, (self._clock.seconds() + command.seconds, self._timer_count, command.name))
            elif isinstance(command, commands.Stop):
                stops.append(command)
            elif isinstance(command, commands.Warn):
                warnings.append(command.text)
            elif isinstance(command, commands.Finish):
                self.finished[command.execution_id] = command
                if command.is_torn and command.below is None:
                    torn.append(command.execution_id)
        if rows:
            if self._deferred:
                self.rows.extend(rows)
            else:
                self._store.append(rows)
        for execution_id in torn:
            self._close_left(execution_id)
        if lookups:
            self._look_up(lookups)
        if stops:
            self._carrier.stop(stops)
        if operations:
            self._carrier.operate(operations)
        if attempts:
            self._carrier.run(attempts)
        # After the attempts: where these cannot be made here, all is told by who makes them.
        if self._warned is not None:
            for text in warnings:
                self._warned(text)

    def _close_left(self, execution_id: str) -> None:
        """Close the jobs of an execution that has ended which a scheduler or worker that was lost has left open."""
        try:
            left = self._store.open_jobs(execution_id)
        except BadQuery as error:  # a damaged store: the execution has ended all the same
            if self._warned is not None:
                self._warned(f"Jobs of {execution_id} that were lost may stay open in the records: {error}")
            return
        closed = {row.job_id for row in self.rows if isinstance(row, JobRow) and row.finished_at is not None}
        at = self._clock.now()
        rows = [provenance.left_row(row, at) for row in left if row.job_id not in closed]
        if self._deferred:
            self.rows.extend(rows)
        else:
            self._store.append(rows)

    def deferred_rows(self) -> list[Row]:
        """The rows that were collected, now that they are to be kept."""
        return [self._kept(row) if isinstance(row, ReductionRow) else row for row in self.rows]

    def _kept(self, reduction: ReductionRow) -> ReductionRow:
        """The reduction as it is recorded: a large term goes to a blob of its own."""
        if reduction.term is None or len(reduction.term) <= LARGEST_TERM_BYTES:
            return reduction
        name = digest("term", reduction.term)
        self._store.put_blob(name, Encoded("bytes", b"", (reduction.term,)))
        return reduction._replace(term=None, term_blob=name)

    def _look_up(self, lookups: Sequence[commands.LookUp]) -> None:
        moment = self._clock.seconds()
        if moment - self._refreshed > REFRESH_SECONDS:
            self._refreshed = moment
            self._store.refresh()
        found = self._store.look_up([(each.eval_hash, each.task_hash) for each in lookups])
        at = self._clock.now()
        doubtful: list[_Doubtful] = []
        for question, rows in zip(lookups, found, strict=True):
            witnesses = [_witnesses_of(row) for row in rows]
            if any(witnesses):
                doubtful.append(_Doubtful(question.asker, rows, witnesses))
            else:
                self._answer(at, question.asker, rows)
        if doubtful:
            self._check(doubtful)

    def _answer(self, at: int, asker: int, rows: Sequence[ReductionRow], holding: Sequence[bool] = ()) -> None:
        candidates = tuple([self._candidate(row) for row in rows]) if rows else ()
        if not all(holding):
            candidates = tuple(
                [each._replace(verdict=each.verdict and holds) for each, holds in zip(candidates, holding, strict=True)]
            )
        self._post(events.LookedUp(at, asker, candidates))

    def _check(self, doubtful: Sequence[_Doubtful]) -> None:
        """Answer look-ups whose candidates have witnesses: all of the tick are checked together, each once."""
        wanted = {witness: None for each in doubtful for witnesses in each.witnesses for witness in witnesses}
        of_code = self._of_code
        known = {witness: of_code[witness] for witness in wanted if witness in of_code} if of_code else {}
        far = [witness for witness in wanted if witness not in known and needs_worker(witness)]
        near = wanted.keys() - {*far, *known} if far or known else wanted
        verdicts = {**check(near, self._store, self._warned), **known}

        def answer(answerable: Sequence[_Doubtful]) -> None:
            self._tell_gone(verdicts)
            for each in answerable:
                holding = [all(verdicts[witness] for witness in witnesses) for witnesses in each.witnesses]
                self._answer(self._clock.now(), each.asker, each.rows, holding)

        if not far:
            answer(doubtful)
            return

        def then(answers: Mapping[Witness, bool]) -> None:
            of_code.update((witness, holds) for witness, holds in answers.items() if witness[0] in _KINDS_OF_CODE)
            verdicts.update((witness, answers.get(witness, False)) for witness in far)
            answer(waiting)

        waiting = [each for each in doubtful if not each.is_known(verdicts)]
        answer([each for each in doubtful if each.is_known(verdicts)])
        self._carrier.check(far, then)

    def _tell_gone(self, verdicts: Mapping[Witness, bool]) -> None:
        gone = [payload[0] for (kind, payload), holds in verdicts.items() if kind == OF_DEFINITION and not holds]
        for path in gone:
            if self._warned is not None and path not in self._gone:
                self._gone.add(path)
                self._warned(
                    f"{path.replace(':', '.')} is gone: cached values that name it cannot be read; what made them runs "
                    "again."
                )

    def refresh(self) -> None:
        """An execution begins: see what others have committed, at the next look-up, and which code it has."""
        self._refreshed = 0.0
        self._of_code = {}

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
            row.kind, term, row.execution_id, row.at if row.since is None else row.since, verdict, members,
            row.call_hash, row.wall_seconds, provenance.context_of(row.context),
        )

    def fire_timers(self) -> float | None:
        """Post the timers that have run out; seconds until the next one, or None when there is none."""
        moment = self._clock.seconds()
        while self._timers and self._timers[0][0] <= moment:
            _, _, name = heapq.heappop(self._timers)
            self._post(events.TimerFired(self._clock.now(), name))
        return self._timers[0][0] - moment if self._timers else None
