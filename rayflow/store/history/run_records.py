"""What is recorded of durable runs, as the rows that were written: what a service and an execution begin with.

In: a store's folder. Out: rows, in the order of their numbers. Never: decides what they mean.

Each question reads its tables once, whatever the number of runs. DuckDB holds an answer as columns; texts that repeat
are one object in all rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar, cast

import pyarrow as pa

from rayflow.errors import BlobDamaged, BlobMissing
from rayflow.records import (
    ChargeRow,
    DeliveryRow,
    EventRow,
    FiringRow,
    PlaceRow,
    QueueRow,
    RequestRow,
    RunRow,
    ScheduleRow,
    StreamItemRow,
    WaitRow,
)
from rayflow.store.blobs import Blobs
from rayflow.store.folders.protocol import Folder
from rayflow.store.history import views
from rayflow.store.history.database import RecordDatabase
from rayflow.store.write import schemas

_BATCH_ROWS = 20_000

_R = TypeVar(
    "_R", RunRow, WaitRow, EventRow, DeliveryRow, PlaceRow, ScheduleRow, FiringRow, StreamItemRow, RequestRow, QueueRow,
    ChargeRow,
)  # fmt: skip


class RecordedEnd(NamedTuple):
    """A run that has ended. id: the one that its starter gave it. state: done, failed or cancelled.

    cause: of its end. next_run_id: the run that goes on in its place.
    """

    id: str | None
    run_id: str
    input_hash: bytes | None
    state: str
    parent_run_id: str | None
    cause: str
    next_run_id: str | None


class RecordedStream(NamedTuple):
    """What an attempt of a job has written to a stream. number: of its last item, in the stream. item: the same, in the
    attempt."""

    stream: str
    job_id: bytes
    attempt: int
    number: int
    item: int


class RunRecords:
    """Questions about the durable runs of one store. Each is answered from what is committed when it is asked."""

    def __init__(self, folder: Folder) -> None:
        self._database = RecordDatabase(folder)
        self._blobs = Blobs(folder, read_only=True)

    def close(self) -> None:
        """Close the database. A later question opens another one."""
        self._database.close()

    def latest(self) -> tuple[int, int]:
        """The greatest number of a transition, and the latest time of one in microseconds since the epoch; 0 and 0 for
        a store without runs."""
        [(number, at)] = self._database.answer(views.text_of("latest_transition")).fetchall()
        return number, at

    def open_runs(self) -> list[RunRow]:
        """All rows of the runs that have not ended."""
        return self._rows("open_runs", RunRow)

    def open_waits(self) -> list[WaitRow]:
        """The opening rows of the waits that are open, in runs that have not ended."""
        return self._rows("open_waits", WaitRow)

    def waits_of(self, run_ids: Collection[str]) -> list[WaitRow]:
        """All rows of the waits of these runs."""
        return self._rows("waits_of_runs", WaitRow, ids=[*run_ids]) if run_ids else []

    def recent_events(self, since: int = 0) -> list[EventRow]:
        """The events that were accepted at this time or later (microseconds since the epoch), or are due then."""
        return self._rows("recent_events", EventRow, since=since)

    def deliveries(self, since: int = 0) -> list[DeliveryRow]:
        """All rows of the deliveries of the same events as `recent_events`."""
        return self._rows("recent_deliveries", DeliveryRow, since=since)

    def schedules(self) -> list[ScheduleRow]:
        """The last row of each schedule."""
        return self._rows("last_schedules", ScheduleRow)

    def open_firings(self) -> list[FiringRow]:
        """The last rows of the firings that have no run yet, and of those that the clock has not come to; and of each
        schedule the latest row by the clock."""
        return self._rows("open_firings", FiringRow)

    def firings_between(self, schedule: str, first: int, last: int) -> list[FiringRow]:
        """The last row of each firing of a schedule between two moments, and at them."""
        return self._rows("firings_between", FiringRow, schedule=schedule, first=first, last=last)

    def requests(self, most: int) -> list[RequestRow]:
        """The latest requests that were done, at most so many."""
        return self._rows("recent_requests", RequestRow, most=most)

    def queues(self) -> list[QueueRow]:
        """All rows of the queues."""
        return self._rows("queue_changes", QueueRow)

    def charges(self, now: int) -> list[ChargeRow]:
        """The charges that still count at this time (microseconds since the epoch)."""
        return self._rows("open_charges", ChargeRow, now=now)

    def rounds(self) -> list[tuple[str, int, int, str]]:
        """For each queue and priority the latest round, with each fairness key that had its run in it."""
        return list(self._database.answer(views.text_of("queue_rounds")).fetchall())

    def ended_runs(self) -> list[RecordedEnd]:
        """The runs that have ended, in the order in which they were requested."""
        found = self._database.answer(views.text_of("ended_runs")).fetchall()
        return [RecordedEnd(*cells) for cells in found]

    def listed_jobs(self) -> dict[str, list[bytes]]:
        """The jobs that are recorded as open, by run, of the runs that have not ended."""
        return dict(self._database.answer(views.text_of("listed_jobs")).fetchall())

    def runs_of(self, run_ids: Collection[str]) -> list[RunRow]:
        """All rows of these runs, whether or not they have ended."""
        return self._rows("rows_of_runs", RunRow, ids=[*run_ids]) if run_ids else []

    def resolved_waits(self, run_ids: Collection[str]) -> dict[str, dict[bytes, bytes]]:
        """The packed outcomes of the resolved waits of these runs, by run and place."""
        found: dict[str, dict[bytes, bytes]] = {run_id: {} for run_id in run_ids}
        for row in self.waits_of(run_ids):
            if row.outcome is not None:
                found[row.run_id].setdefault(row.place, row.outcome)
        return found

    def places_of(self, execution_ids: Collection[str]) -> dict[str, list[PlaceRow]]:
        """What has happened at the places of these executions, by execution, in the order in which it happened.

        Outcomes that are blobs are filled in. An outcome stays None, beside its `outcome_blob`, if the blob is missing
        or damaged; `rayflow store check` lists such blobs.
        """
        found: dict[str, list[PlaceRow]] = {execution_id: [] for execution_id in execution_ids}
        for row in self.places(execution_ids):
            found[row.execution_id].append(row)
        return found

    def streams_of(self, execution_id: str) -> list[RecordedStream]:
        """What was written to the streams of an execution, by stream, job and attempt."""
        found = self._database.answer(views.text_of("recorded_streams"), {"id": execution_id}).fetchall()
        return [RecordedStream(*cells) for cells in found]

    def stream_items(self, execution_id: str, stream: str, after: int, limit: int, size: int) -> list[StreamItemRow]:
        """The items of a stream after this number: at most so many, and no more when they have so many characters."""
        return self._rows(
            "stream_items_after", StreamItemRow, id=execution_id, stream=stream, after=after, limit=limit, size=size
        )

    def places(self, execution_ids: Collection[str]) -> Iterator[PlaceRow]:
        """The same as `places_of`, row by row, for very many executions: those of one after those of another."""
        for row in self._each("places_of", PlaceRow, ids=[*execution_ids]) if execution_ids else ():
            if row.outcome is None and row.outcome_blob is not None:
                row = row._replace(outcome=self._blob(row.outcome_blob))
            yield row

    def _blob(self, digest: bytes) -> bytes | None:
        try:
            encoded = self._blobs.get(digest)
        except (BlobMissing, BlobDamaged):
            return None
        return b"".join((encoded.header, *encoded.buffers))

    def _rows(self, question: str, row: type[_R], **parameters: Any) -> list[_R]:
        """The rows of an answer, which has them in order; one that two commits have, once."""
        return list(self._each(question, row, **parameters))

    def _each(self, question: str, row: type[_R], **parameters: Any) -> Iterator[_R]:
        how = next(each for each in schemas.layouts().values() if each.table.row is row)
        relation = self._database.answer(views.text_of(question), parameters)
        latest: _R | None = None
        for each in _as_rows(relation.to_arrow_reader(_BATCH_ROWS), how):
            if each != latest:
                latest = cast(_R, each)
                yield latest


def _as_rows(batches: Iterable[Any], how: schemas.TableLayout) -> Iterator[Any]:
    """The rows of these Arrow batches, which have the columns of a table in any order."""
    make: Any = how.table.row
    shared: list[dict[Any, Any]] = [{} for _ in how.columns]
    for batch in batches:
        columns = [_values(batch.column(each.name), known) for each, known in zip(how.columns, shared, strict=True)]
        yield from map(make, *columns)


def _values(column: Any, known: dict[Any, Any]) -> list[Any]:
    """The values of a column, times as integers. Texts and bytes that repeat are the same object each time.

    known: the objects of this column in earlier batches.
    """
    if column.null_count == len(column):
        return [None] * len(column)
    if pa.types.is_timestamp(column.type):
        return cast(list[Any], column.cast(pa.timestamp("us")).cast(pa.int64()).to_pylist())
    if not (pa.types.is_string(column.type) or pa.types.is_binary(column.type)):
        return cast(list[Any], column.to_pylist())
    coded = column.dictionary_encode()
    if len(coded.dictionary) * 2 > len(column):
        return cast(list[Any], column.to_pylist())
    objects = [known.setdefault(each, each) for each in coded.dictionary.to_pylist()]
    return [None if place is None else objects[place] for place in coded.indices.to_pylist()]
