"""Carries out a tick's commands, all of one type together.

In: commands. Out: messages (at once for look-ups, later for everything that runs elsewhere), rows, timers. Never:
decides.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, islice, repeat
from typing import Any, NamedTuple, TypeAlias

from rayflow.errors import BadQuery
from rayflow.evaluator import commands, messages
from rayflow.evaluator.rows import INLINE_TERM_BYTES, context_of, left_row
from rayflow.evaluator.witnessing import without_files_between
from rayflow.lang.terms.codec import blobs_of, has_front, witnesses_of
from rayflow.record_columns import Columns
from rayflow.records import CHECKED_VALUE, SHALLOW_VALUE, SINGLE, CallRow, JobRow, PlaceRow, ReductionRow, Row, ValueRow
from rayflow.runtime.carrier import Carrier
from rayflow.runtime.clock import CLOCK, Clock
from rayflow.runtime.draft import RowSink
from rayflow.runtime.keeping.beside import DURABLE
from rayflow.runtime.listed_jobs import ListedJobs
from rayflow.runtime.listener import LoopListener
from rayflow.runtime.listing_rows import listing_rows_now
from rayflow.store.store import Store
from rayflow.values.digests import digest
from rayflow.values.files.validity import states_now
from rayflow.values.refs import Encoded
from rayflow.values.witnesses import OF_CODE, OF_DEFINITION, Witness, check, needs_worker

LARGEST_TERM_BYTES = 65536
"""A packed term over this size is recorded as a blob, not in the reductions table. In bytes."""

_KINDS_OF_CODE = frozenset({OF_CODE, OF_DEFINITION})

MOST_BROKEN = 100
"""The most broken witnesses that are reported for one result."""

REFRESH_SECONDS = 10.0
"""The least time between two looks of a running execution for the commits of others."""

_LOST_BLOB = "lost blob"
"""The topic of the warning that a cached value's bytes are lost. An execution gets this warning once."""


class _Doubtful(NamedTuple):
    """A look-up whose candidates are valid only while their witnesses are. witnesses: of each row."""

    asker: int
    rows: Sequence[ReductionRow]
    witnesses: list[tuple[Witness, ...]]

    def is_known(self, verdicts: Mapping[Witness, bool]) -> bool:
        return all(witness in verdicts for witnesses in self.witnesses for witness in witnesses)


Broken: TypeAlias = tuple[tuple[Witness, tuple[Any, ...] | None], ...]
"""Witnesses that are not valid any more; with each of a file the file's state now, where it can be found out."""


def broken_of(sets: Sequence[tuple[Witness, ...]], verdicts: Mapping[Witness, bool]) -> list[Broken]:
    """The invalid witnesses of each of these sets. Of very many, only the first are given: they are for people."""
    found = [tuple(islice((each for each in witnesses if not verdicts[each]), MOST_BROKEN)) for witnesses in sets]
    now = states_now(witness for witnesses in found for witness in witnesses)
    return [tuple((witness, now.get(witness)) for witness in witnesses) for witnesses in found]


def relied_on(row: ReductionRow) -> tuple[Witness, ...]:
    """The witnesses that a recorded reduction relies on."""
    try:
        return witnesses_of(row.term or b"")
    except ValueError:
        return ()  # the evaluator passes over what cannot be read


def _without_files_between(row: ReductionRow) -> ReductionRow:
    """A recorded final value for a call that looks at no files between."""
    if row.kind != CHECKED_VALUE or not row.term or not relied_on(row):
        return row
    try:
        return row._replace(kind=SHALLOW_VALUE, term=without_files_between(row.term))
    except ValueError:
        return row  # the evaluator passes over what cannot be read


def _plain_candidate(row: ReductionRow) -> messages.Candidate | None:
    """The candidate of a usual row: the term of a body, without witnesses and blobs. None for any other row."""
    _, _, kind, term, _, task_set, call_hash, execution_id, wall_seconds, at, context, since = row
    if not term or has_front(term):
        return None
    if task_set is not None or call_hash is not None or context is not None or since is not None:
        return None
    return messages.Candidate(kind, term, execution_id, at, True, None, None, wall_seconds)


def _is_start(row: Row) -> bool:
    return type(row) is PlaceRow and row.kind == "started"


def _is_any_longer(texts: Sequence[bytes | None], most_bytes: int) -> bool:
    """Whether any of these is longer than this many bytes."""
    return any(text is not None and len(text) > most_bytes for text in texts)


class Outbox:
    """Hands commands to the store, the carrier, the timers and the listener.

    store: answers look-ups. sink: takes the rows; by default the store. post: takes the messages. guard: is asked
    before durable rows are committed. listed: knows the jobs that are recorded as open; the store does, if it is None.
    """

    def __init__(
        self,
        store: Store,
        carrier: Carrier,
        post: Callable[[messages.Message], None],
        *,
        sink: RowSink | None = None,
        listener: LoopListener | None = None,
        clock: Clock = CLOCK,
        guard: Callable[[Iterable[Row]], None] | None = None,
        listed: ListedJobs | None = None,
    ) -> None:
        self._listed = listed
        self._guard = guard
        self._clock = clock
        self._store = store
        self._sink: RowSink = store if sink is None else sink
        self._carrier = carrier
        self._post = post
        self._listener = LoopListener() if listener is None else listener
        self.finished: dict[str, commands.Finish] = {}
        self.looked_up = 0
        """How many calls were looked up in the store."""
        self._warned: dict[str, set[str]] = {}
        """For each open execution, the topics of its warnings that concern all executions."""
        self._done_before: dict[str, frozenset[bytes]] = {}
        """For each resumed execution, the jobs that its earlier lives have done."""
        self._timers: list[tuple[float, int, commands.SetTimer]] = []
        self._timer_count = 0
        self._refreshed = 0.0
        self._blobs_there: dict[bytes, bool] = {}
        """Whether blobs are there, as far as all those of the look-ups in hand were asked for at once."""
        self._of_code: dict[Witness, bool] = {}
        """Verdicts on the project's classes and functions: an execution uses the code that it has begun with."""
        self._in_order: dict[type, Callable[[list[Any]], None]] = {
            commands.SetTimer: self._set_timers,
            commands.Finish: self._finish,
            commands.LookUp: self._look_up,
            commands.Stop: lambda stops: carrier.stop(stops),
            commands.RunOperation: lambda operations: carrier.operate(operations),
            commands.RunTask: lambda attempts: carrier.run(attempts),
            commands.RunVector: lambda vectors: carrier.run_vectors(vectors),
            commands.Warn: self._warn,
        }
        """The function for each type of command, in this order. `Record` and `Remember` come before: see `_record`.
        `LookUpVector` comes with `LookUp`: the store is asked once in a tick."""

    # --- a tick -------------------------------------------------------------------------------------------------------

    def begin(self, submitted: messages.Submitted) -> None:
        """Begin an execution. Its first look-up sees the commits of others, and compares the code again."""
        self._refreshed = 0.0
        self._of_code = {}
        execution_id = submitted.execution_id
        self._warned.setdefault(execution_id, set())
        if not submitted.life:
            return
        try:
            self._done_before[execution_id] = self._store.done_jobs(execution_id)
        except BadQuery as error:  # a damaged store: the execution goes on all the same
            text = f"What was done of {execution_id} before it was resumed cannot be read: {error}"
            self._listener.warned(execution_id, text)

    def carry_out(self, batch: Sequence[commands.Command], rows: Sequence[Row] = ()) -> None:
        """Carry out the commands of one tick, type by type.

        rows: further rows of the tick. If any row of it must be durable first, all rows are committed before anything
        else is carried out: an effect is sent, a wait is resolved and an end is told only after that. Raises
        StoreUnavailable if that fails; then nothing of the tick was carried out.
        """
        by_type: defaultdict[type, list[Any]] = defaultdict(list)
        for command in batch:
            by_type[type(command)].append(command)
        self._record(by_type.pop(commands.Record, ()), by_type.pop(commands.Remember, ()), rows)
        if commands.LookUpVector in by_type:
            by_type[commands.LookUp].extend(by_type.pop(commands.LookUpVector))
        for of_type, carry_out in self._in_order.items():
            if of_type in by_type:
                carry_out(by_type[of_type])

    def carry_out_last(self, batch: Sequence[commands.Command], rows: Sequence[Row]) -> None:
        """Record what has happened, and carry out nothing else: this process takes nothing new any more.

        An effect of the batch is not recorded as started, because it is not.
        """
        records = [
            each._replace(rows=tuple([row for row in each.rows if not _is_start(row)]))
            for each in batch
            if isinstance(each, commands.Record)
        ]
        self._record(records, [each for each in batch if isinstance(each, commands.Remember)], rows)
        self._finish(each for each in batch if isinstance(each, commands.Finish))

    # --- records ------------------------------------------------------------------------------------------------------

    def _record(
        self, records: Iterable[commands.Record], remembered: Iterable[commands.Remember], further: Sequence[Row]
    ) -> None:
        """Write the rows and the reductions of a tick: together, so that no commit can come between them."""
        rows: list[Row] = [*further]
        columns: list[Columns] = []
        for command in records:
            rows.extend(command.rows)
            for each in command.columns:
                if self._stays_columns(each):
                    columns.append(each)
                elif each.row is ReductionRow:
                    rows.extend(map(self._with_blob, each.rows()))  # type: ignore[arg-type]  # they are reductions
                else:
                    rows.extend(each.rows())
        rows.extend([self._with_blob(command.reduction) for command in remembered])
        if self._done_before:
            rows = [row for row in rows if not self._is_done_before(row)]
        if not rows and not columns:
            return
        self._sink.append(self._with_blobs(rows), columns)
        if self._listed is not None:
            self._listed.note(rows, columns)
        if not DURABLE.isdisjoint(map(type, rows)):
            if self._guard is not None:
                self._guard(rows)
            self._sink.commit()
        job_ended = self._listener.job_ended
        if job_ended is None:
            return
        of_columns = [each.rows() for each in columns if each.row is JobRow]
        for row in (*rows, *chain.from_iterable(of_columns)):
            if type(row) is JobRow and row.finished_at is not None:
                job_ended(row._replace(packed_arguments=None, traceback=None, story=None))

    def _stays_columns(self, columns: Columns) -> bool:
        """Whether these are recorded as columns. What is decided for each row, or becomes a blob, goes as rows."""
        if columns.row is JobRow:
            return not self._done_before
        if columns.row is ReductionRow:
            return not _is_any_longer(columns.column("term"), LARGEST_TERM_BYTES)
        return columns.row is not ValueRow or not _is_any_longer(columns.column("inline"), INLINE_TERM_BYTES)

    def _is_done_before(self, row: Row) -> bool:
        """Whether a row says only that a job has found its own result, which an earlier life recorded."""
        if type(row) is not JobRow or row.how != "shared" or row.status != "done":
            return False
        return row.job_id in self._done_before.get(row.execution_id, ())

    def _with_blob(self, reduction: ReductionRow) -> ReductionRow:
        """The reduction as it is recorded: a large term becomes a blob."""
        if reduction.term is None or len(reduction.term) <= LARGEST_TERM_BYTES:
            return reduction
        return reduction._replace(term=None, term_blob=self._put_term(reduction.term))

    def _with_blobs(self, rows: list[Row]) -> list[Row]:
        """The rows as they are recorded: a large value that is a packed term becomes a blob."""
        for place, row in enumerate(rows):
            if type(row) is ValueRow and row.inline is not None and len(row.inline) > INLINE_TERM_BYTES:
                rows[place] = row._replace(inline=None, blob=self._put_term(row.inline))
            elif type(row) is CallRow and row.term is not None and len(row.term) > INLINE_TERM_BYTES:
                rows[place] = row._replace(term=None, term_blob=self._put_term(row.term))
            elif type(row) is PlaceRow and row.outcome is not None and len(row.outcome) > LARGEST_TERM_BYTES:
                rows[place] = row._replace(outcome=None, outcome_blob=self._put_term(row.outcome))
        return rows

    def _put_term(self, packed: bytes) -> bytes:
        """Write a packed term as a blob; its name."""
        name = digest("term", packed)
        self._sink.put_blob(name, Encoded("bytes", b"", (packed,)))
        return name

    # --- ends and warnings --------------------------------------------------------------------------------------------

    def _finish(self, finishes: Iterable[commands.Finish]) -> None:
        for finish in finishes:
            self.finished[finish.execution_id] = finish
            self._warned.pop(finish.execution_id, None)
            has_left = self._listed is not None and self._listed.take(finish.execution_id)
            if (finish.is_torn or has_left) and finish.below is None:
                self._close_left(finish.execution_id)

    def _close_left(self, execution_id: str) -> None:
        """Close the jobs of an ended execution that a lost scheduler or worker has left open."""
        try:
            left = self._sink.open_jobs(execution_id)
        except BadQuery as error:  # a damaged store: the execution has ended all the same
            text = f"Jobs of {execution_id} that were lost may stay open in the records: {error}"
            self._listener.warned(execution_id, text)
            return
        at = self._clock.now()
        self._sink.append([left_row(row, at) for row in left])

    def _warn(self, warnings: Iterable[commands.Warn]) -> None:
        for warning in warnings:
            self._listener.warned(warning.execution_id, warning.text)

    def _warn_all(self, text: str, topic: str = "") -> None:
        """Warn every open execution, each once of a topic; by default the text itself is the topic."""
        for execution_id, topics in self._warned.items():
            if (topic or text) not in topics:
                topics.add(topic or text)
                self._listener.warned(execution_id, text)

    # --- look-ups -----------------------------------------------------------------------------------------------------

    def _look_up(self, lookups: Sequence[commands.LookUp | commands.LookUpVector]) -> None:
        moment = self._clock.seconds()
        if moment - self._refreshed > REFRESH_SECONDS:
            self._refreshed = moment
            self._store.refresh()
        questions: list[tuple[bytes, bytes]] = []
        wanting: list[int] = []
        for each in lookups:
            if isinstance(each, commands.LookUp):
                if each.wants_value:
                    wanting.append(len(questions))
                questions.append((each.eval_hash, each.task_hash))
            else:
                questions.extend(zip(each.eval_hashes, repeat(each.task_hash)))
        self.looked_up += len(questions)
        found = self.recorded(questions, wanting)
        self._ask_for_blobs(chain.from_iterable(found))
        at = self._clock.now()
        doubtful: list[_Doubtful] = []
        place = 0
        for each in lookups:
            if isinstance(each, commands.LookUp):
                witnesses = [relied_on(row) for row in found[place]]
                if any(witnesses):
                    doubtful.append(_Doubtful(each.asker, found[place], witnesses))
                else:
                    self._answer(at, each.asker, found[place])
                place += 1
            else:
                end = place + len(each.eval_hashes)
                self._answer_vector(at, each.first, found[place:end], doubtful)
                place = end
        if doubtful:
            self._check(doubtful)
        self._blobs_there = {}

    def _ask_for_blobs(self, rows: Iterable[ReductionRow]) -> None:
        """Find out which blobs of these rows are there, all at once, if the store is on a server. (On this machine a
        question costs less than what this would.)"""
        if self._store.folder.remote:
            names = {name: None for row in rows if row.term and has_front(row.term) for name in blobs_of(row.term)}
            self._blobs_there = self._store.have_blobs(list(names))

    def _is_blob_there(self, name: bytes) -> bool:
        known = self._blobs_there.get(name)
        return self._store.has_blob(name) if known is None else known

    def recorded(
        self, questions: Sequence[tuple[bytes, bytes]], wanting: Sequence[int] = ()
    ) -> list[list[ReductionRow]]:
        """The recorded reductions for each (eval_hash, task_hash), newest first.

        wanting: the places of the questions for calls that look at no files between. Their answers have what else tells
        the final value, too.
        """
        found = self._store.look_up(questions)
        if not wanting:
            return found
        for place in wanting:
            found[place] = [_without_files_between(row) for row in found[place]]
        # A recorded value is newer than such a node, or has answered instead of it.
        wanting = [place for place in wanting if all(row.kind == SINGLE for row in found[place])]
        told = self._store.told_values([questions[place] for place in wanting])
        for place, rows in zip(wanting, told, strict=True):
            if rows:
                found[place] = sorted([*rows, *found[place]], key=lambda row: row.at, reverse=True)
        return found

    def _answer_vector(
        self, at: int, first: int, found: Sequence[Sequence[ReductionRow]], doubtful: list[_Doubtful]
    ) -> None:
        """Answer a vector of look-ups. doubtful: gets those whose candidates have witnesses."""
        certain: dict[int, tuple[messages.Candidate, ...]] = {}
        later: list[int] = []
        for position, rows in enumerate(found):
            if not rows:
                continue
            if len(rows) == 1 and (only := _plain_candidate(rows[0])) is not None:
                certain[position] = (only,)
                continue
            witnesses = [relied_on(row) for row in rows]
            if any(witnesses):
                later.append(position)
                doubtful.append(_Doubtful(first + position, rows, witnesses))
            else:
                certain[position] = self.candidates(rows)
        self._post(messages.LookedUpVector(at, first, certain, later))

    def _answer(self, at: int, asker: int, rows: Sequence[ReductionRow], broken: Sequence[Broken] = ()) -> None:
        """Answer a look-up. broken: for each row the witnesses that are not valid."""
        self._post(messages.LookedUp(at, asker, self.candidates(rows, broken) if rows else ()))

    def candidates(self, rows: Sequence[ReductionRow], broken: Sequence[Broken] = ()) -> tuple[messages.Candidate, ...]:
        """Recorded reductions as the evaluator sees them. broken: for each row the witnesses that are not valid."""
        found = tuple([self._candidate(row) for row in rows])
        if not any(broken):
            return found
        pairs = zip(found, broken, strict=True)
        return tuple([each._replace(verdict=each.verdict and not against, broken=against) for each, against in pairs])

    def _check(self, doubtful: Sequence[_Doubtful]) -> None:
        """Answer look-ups whose candidates have witnesses. All witnesses of a tick are checked together, each once."""
        wanted = {witness: None for each in doubtful for witnesses in each.witnesses for witness in witnesses}
        of_code = self._of_code
        known = {witness: of_code[witness] for witness in wanted if witness in of_code} if of_code else {}
        far = [witness for witness in wanted if witness not in known and needs_worker(witness)]
        near = wanted.keys() - {*far, *known} if far or known else wanted
        verdicts = {**check(near, self._store, self._warn_all), **known}

        def answer(answerable: Sequence[_Doubtful]) -> None:
            self._warn_of_gone(verdicts)
            found = broken_of([witnesses for each in answerable for witnesses in each.witnesses], verdicts)
            listed = listing_rows_now(pair for broken in found for pair in broken)
            if listed:
                self._sink.append(listed)
            start = 0
            for each in answerable:
                end = start + len(each.witnesses)
                self._answer(self._clock.now(), each.asker, each.rows, found[start:end])
                start = end

        if not far:
            answer(doubtful)
            return

        def then(answers: Mapping[Witness, bool]) -> None:
            of_code.update((witness, valid) for witness, valid in answers.items() if witness[0] in _KINDS_OF_CODE)
            verdicts.update((witness, answers.get(witness, False)) for witness in far)
            self._ask_for_blobs(row for each in waiting for row in each.rows)
            answer(waiting)
            self._blobs_there = {}

        waiting = [each for each in doubtful if not each.is_known(verdicts)]
        answer([each for each in doubtful if each.is_known(verdicts)])
        self._carrier.check(far, then)

    def _warn_of_gone(self, verdicts: Mapping[Witness, bool]) -> None:
        gone = [payload[0] for (kind, payload), valid in verdicts.items() if kind == OF_DEFINITION and not valid]
        for path in gone:
            self._warn_all(
                f"{path.replace(':', '.')} is gone: cached values that name it cannot be read; what made them runs "
                "again."
            )

    def _candidate(self, row: ReductionRow) -> messages.Candidate:
        plain = _plain_candidate(row)
        if plain is not None:
            return plain
        term = row.term or b""
        blobs = blobs_of(term)
        verdict = True
        if blobs:
            lost = next((name for name in blobs if not self._is_blob_there(name)), None)
            verdict = lost is None
            if lost is not None:
                text = f"A cached value's bytes are gone from the store or damaged: {lost.hex()}."
                self._warn_all(f"{text} What made it runs again.", _LOST_BLOB)
        members = None
        if row.task_set is not None:
            members = frozenset(row.task_set[start : start + 20] for start in range(0, len(row.task_set), 20))
        return messages.Candidate(
            kind=row.kind,
            term=term,
            execution_id=row.execution_id,
            at=row.at if row.since is None else row.since,
            verdict=verdict,
            task_set=members,
            call_hash=row.call_hash,
            wall_seconds=row.wall_seconds,
            context=context_of(row.context),
        )

    # --- timers -------------------------------------------------------------------------------------------------------

    def _set_timers(self, timers: Iterable[commands.SetTimer]) -> None:
        for timer in timers:
            self._timer_count += 1
            heapq.heappush(self._timers, (self._clock.seconds() + timer.seconds, self._timer_count, timer))

    def fire_timers(self) -> float | None:
        """Post the timers that have run out; seconds until the next one, or None when there is none."""
        moment = self._clock.seconds()
        while self._timers and self._timers[0][0] <= moment:
            _, _, timer = heapq.heappop(self._timers)
            self._post(messages.TimerFired(self._clock.now(), timer.timer))
        return self._timers[0][0] - moment if self._timers else None
