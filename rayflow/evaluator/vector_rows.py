"""The rows that members of a vector leave in the records when they are done, as columns.

In: a vector, the members that are done, and their values. Out: the same rows as `rows.closing_record` and
`rows.reduction_row` give for jobs; the hashes of the members. Never: decides who is done.

Takes note in the execution of what is recorded, as `rows` does. Changes the vector.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from itertools import repeat
from operator import eq
from typing import Any, NamedTuple, TypeVar

from rayflow.evaluator.graph import Vector
from rayflow.evaluator.hashes import call_hashes_of
from rayflow.evaluator.job_states import DONE
from rayflow.evaluator.lookups import remember_keys
from rayflow.evaluator.messages import Cost
from rayflow.evaluator.rows import requested_text, shown_as, task_rows
from rayflow.lang.terms.codec import dumps
from rayflow.record_columns import Columns, Same
from rayflow.records import SINGLE, TERM_FORMAT, ArgumentRow, CallRow, JobRow, ReductionRow, Row, TaskSetRow, ValueRow
from rayflow.values.encoding.identity import scalar_hashes

T = TypeVar("T")


class Costs(NamedTuple):
    """The costs of attempts, as in `messages.ReturnedVector`."""

    started_at: Sequence[int]
    wall_seconds: Sequence[float]
    cpu_seconds: Sequence[float]
    peaks: Sequence[int | None]
    node: str | None
    pid: int | None
    environment: bytes | None = None

    def one(self, place: int) -> Cost:
        """The cost of one attempt."""
        wall, cpu = self.wall_seconds[place], self.cpu_seconds[place]
        peak = self.peaks[place]
        return Cost(self.started_at[place], wall, cpu, peak, self.node, self.pid, environment=self.environment)

    def of(self, chosen: Sequence[int]) -> Costs:
        """The costs of some of the attempts."""

        def part(column: Sequence[Any]) -> list[Any]:
            return [column[place] for place in chosen]

        started_at, peaks = part(self.started_at), part(self.peaks)
        seconds = part(self.wall_seconds), part(self.cpu_seconds)
        return Costs(started_at, *seconds, peaks, self.node, self.pid, self.environment)


class Members:
    """Some members of a vector, or all of them: reads and writes their parts of its columns."""

    __slots__ = ("_are_all", "_places")

    def __init__(self, vector: Vector, places: Sequence[int]) -> None:
        count = len(places)
        self._places = places
        self._are_all = count == len(vector.states) and all(map(eq, places, range(count)))

    def of(self, column: Sequence[T]) -> Sequence[T]:
        """What these members have in a column; the column itself if they are all, in order."""
        return column if self._are_all else [column[place] for place in self._places]

    def put(self, column: MutableSequence[T], values: Sequence[T]) -> None:
        """Change what these members have in a column."""
        if self._are_all:
            column[:] = values
            return
        for place, value in zip(self._places, values, strict=True):
            column[place] = value


class EndedMembers(NamedTuple):
    """Members of a vector that are done: places, values, and the values as packed terms.

    how: as in `JobRow`. costs: of the members that were computed.
    """

    how: str
    places: list[int]
    values: list[Any]
    terms: list[bytes]
    costs: Costs | None = None

    def add(self, place: int, value: Any, term: bytes) -> None:
        """Add a member."""
        self.places.append(place)
        self.values.append(value)
        self.terms.append(term)


def record_ended(vector: Vector, ended: EndedMembers, at: int) -> tuple[tuple[Row, ...], tuple[Columns, ...]]:
    """Set what is known of members that are done; the rows and columns that record them."""
    entry, execution = vector.entry, vector.execution
    count, members = len(ended.places), Members(vector, ended.places)
    args_hashes = members.of(vector.args_hashes)
    value_hashes = scalar_hashes(ended.values)
    call_hashes = call_hashes_of(entry, args_hashes, value_hashes)
    members.put(vector.states, bytes([DONE]) * count)
    members.put(vector.value_hashes, value_hashes)
    members.put(vector.call_hash_of, call_hashes)
    members.put(vector.outcomes, ended.values)
    members.put(vector.hows, [ended.how] * count)
    if not vector.is_recorded:
        return (), ()
    rows: list[Row] = []
    task_set, is_new = execution.first_times.of_task_set(vector.task_set)
    if is_new:
        rows.extend(TaskSetRow(task_set, member) for member in sorted(vector.task_set))
    if execution.first_times.of_task(entry.hash):
        rows.extend(task_rows(entry, vector.queued_at))
    eval_hashes, job_ids = members.of(vector.eval_hashes), members.of(vector.job_ids)
    new: dict[bytes, tuple[Any, bytes | None]] = {}
    _add_new(new, vector, value_hashes, ended.values, ended.terms)
    columns: list[Columns] = []
    names = len(vector.names)
    if names:
        given = list(zip(*members.of(vector.arguments), strict=True))
        hashes = [scalar_hashes(values) for values in given]
        for values, own_hashes in zip(given, hashes, strict=True):
            _add_new(new, vector, own_hashes, values, None)
        columns.append(
            Columns(
                ArgumentRow,
                count * names,
                (
                    call_hashes if names == 1 else [each for each in call_hashes for _ in range(names)],
                    Same(vector.names[0]) if names == 1 else vector.names * count,
                    hashes[0] if names == 1 else [each for row in zip(*hashes, strict=True) for each in row],
                    Same(None),
                ),
            )
        )
    columns.append(_call_columns(vector, args_hashes, eval_hashes, value_hashes, call_hashes, task_set))
    columns.append(_job_columns(vector, ended, members, job_ids, eval_hashes, call_hashes, at))
    if ended.costs is not None:
        columns.append(_reduction_columns(vector, ended, job_ids, eval_hashes, at))
    if new:
        columns.append(_value_columns(new))
    return tuple(rows), tuple(columns)


def _add_new(
    new: dict[bytes, tuple[Any, bytes | None]],
    vector: Vector,
    hashes: Sequence[bytes],
    values: Sequence[Any],
    terms: Sequence[bytes] | None,
) -> None:
    """Note the values that are not recorded yet, by hash, each with its packed term where that is known."""
    first = vector.execution.first_times.of_values(hashes)
    for value_hash, value, term in zip(hashes, values, terms or repeat(None), strict=False):
        if value_hash in first and value_hash not in new:
            new[value_hash] = value, term


def _value_columns(new: dict[bytes, tuple[Any, bytes | None]]) -> Columns:
    packed = [dumps(value) if term is None else term for value, term in new.values()]
    shown = [shown_as(value) for value, _ in new.values()]
    types = {type_name for type_name, _ in shown}
    return Columns.of(
        ValueRow,
        len(new),
        value_hash=list(new),
        type=Same(types.pop()) if len(types) == 1 else [type_name for type_name, _ in shown],
        format=Same(TERM_FORMAT),
        size_bytes=[len(each) for each in packed],
        inline=packed,
        preview=[preview for _, preview in shown],
    )


def _call_columns(
    vector: Vector,
    args_hashes: Sequence[bytes],
    eval_hashes: Sequence[bytes],
    value_hashes: Sequence[bytes],
    call_hashes: Sequence[bytes],
    task_set: bytes,
) -> Columns:
    entry = vector.entry
    return Columns.of(
        CallRow,
        len(call_hashes),
        call_hash=call_hashes,
        task_hash=Same(entry.hash),
        task_name=Same(entry.name),
        args_hash=args_hashes,
        eval_hash=eval_hashes,
        value_hash=value_hashes,
        task_set=Same(task_set),
    )


def _job_columns(
    vector: Vector,
    ended: EndedMembers,
    members: Members,
    job_ids: Sequence[bytes],
    eval_hashes: Sequence[bytes],
    call_hashes: Sequence[bytes],
    at: int,
) -> Columns:
    costs = ended.costs
    of_costs: dict[str, Any] = {}
    if costs is not None:
        of_costs = {
            "started_at": costs.started_at,
            "wall_seconds": costs.wall_seconds,
            "cpu_seconds": costs.cpu_seconds,
            "peak_memory_bytes": costs.peaks,
        }
    return Columns.of(
        JobRow,
        len(job_ids),
        job_id=job_ids,
        execution_id=Same(vector.execution.execution_id),
        parent_job_id=Same(vector.parent.job_id),
        task_name=Same(vector.entry.name),
        task_hash=Same(vector.entry.hash),
        eval_hash=eval_hashes,
        call_hash=call_hashes,
        how=Same(ended.how),
        status=Same("done"),
        attempts=Same(1 if costs is not None else 0),
        queued_at=Same(vector.queued_at),
        finished_at=Same(at),
        node=Same(costs.node if costs is not None else None),
        pid=Same(costs.pid if costs is not None else None),
        error=Same(None),
        traceback=Same(None),
        story=Same(None),
        ordinal=members.of(vector.ordinals),
        missed=Same(vector.missed if costs is not None else None),
        ready_at=Same(vector.queued_at),
        sent_at=Same(vector.sent_at if costs is not None else None),
        requested=Same(requested_text(vector.options)),
        environment=Same(costs.environment if costs is not None else None),
        **{name: of_costs.get(name, Same(None)) for name in _OF_COSTS},
    )


_OF_COSTS = ("started_at", "wall_seconds", "cpu_seconds", "peak_memory_bytes")


def _reduction_columns(
    vector: Vector, ended: EndedMembers, job_ids: Sequence[bytes], eval_hashes: Sequence[bytes], at: int
) -> Columns:
    assert ended.costs is not None
    return Columns.of(
        ReductionRow,
        len(ended.places),
        eval_hash=remember_keys(vector, eval_hashes, job_ids),
        task_hash=Same(vector.entry.hash),
        kind=Same(SINGLE),
        term=ended.terms,
        term_blob=Same(None),
        task_set=Same(None),
        call_hash=Same(None),
        execution_id=Same(vector.execution.execution_id),
        wall_seconds=ended.costs.wall_seconds,
        at=Same(at),
    )
