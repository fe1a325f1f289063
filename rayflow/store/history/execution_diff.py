"""Two executions beside each other: which calls differ, where that begins, and where it goes no further.

In: two executions. Out: an `ExecutionDifference`. Never: text.

One query finds the jobs that only one of the two executions has, by their call hashes. The others are the same, with
all below them, and are only counted. So the work grows with what differs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rayflow.errors import NotFound
from rayflow.store.history import views
from rayflow.store.history.answer_types import (
    ArgumentChange,
    CallDifference,
    ExecutionDifference,
    LoneCall,
    Record,
    RecordedArgument,
    TaskCounts,
)
from rayflow.store.history.call_alignment import AlignedCall, AlignedPair, Alignment, align
from rayflow.store.history.database import RecordDatabase

MOST_JOBS = 5_000
"""So many jobs of each execution, which the other one has not, are aligned. What is left is counted by task."""

MOST_CALLS = 1_000
"""The arguments and results of so many pairs are looked at."""

SETTINGS = {
    "task": "task_name", "arguments": "arguments", "status": "status", "commit": "git_commit", "project": "project",
    "options": "options", "context": "context", "rayflow": "rayflow_version", "Python": "python_version",
    "Ray": "ray_version", "user": "user", "host": "host",
}  # fmt: skip
"""What is compared of the executions themselves: the word for it, and its column."""


def execution_difference(database: RecordDatabase, one: Record, other: Record) -> ExecutionDifference:
    """Compare two executions. Raises NotFound if their values were not identified in the same way."""
    if one["meaning"] != other["meaning"]:
        raise NotFound(
            f"Executions {one['execution_id']} and {other['execution_id']} were recorded by versions of rayflow that "
            f"identify values differently ({one['rayflow_version']} and {other['rayflow_version']}): no call of the "
            "one is known to be a call of the other."
        )
    ids = one["execution_id"], other["execution_id"]
    query = f"CREATE OR REPLACE TEMP TABLE compared_jobs AS {views.text_of('compared_jobs')}"
    database.answer(query, {"one": ids[0], "other": ids[1]})
    tasks = _tasks(database, *ids)
    sides = _differing(database, ids[0]), _differing(database, ids[1])
    alignment = align(*sides, lambda calls: _below(database, calls))
    differing = sum([each.jobs - each.same + each.other_jobs - each.other_same for each in tasks])
    return ExecutionDifference(
        execution=one,
        other=other,
        settings=tuple(
            (word, _text(one[column]), _text(other[column]))
            for word, column in SETTINGS.items()
            if one[column] != other[column]
        ),
        calls=tuple(_Differences(database, alignment, ids).calls()),
        alone=tuple(
            LoneCall(side, call.name, _hex(call.job_id))
            for side, calls in enumerate((alignment.before_only, alignment.after_only))
            for call in calls
        ),
        tasks=tasks,
        left=differing - sum(map(len, sides)),
    )


def _tasks(database: RecordDatabase, one: str, other: str) -> tuple[TaskCounts, ...]:
    rows = database.answer(
        """SELECT name, count(*) FILTER (execution_id = $one), count(*) FILTER (execution_id = $other),
               count(*) FILTER (execution_id = $one AND is_same), count(*) FILTER (execution_id = $other AND is_same)
           FROM temp.compared_jobs GROUP BY name ORDER BY min(ordinal), name""",
        {"one": one, "other": other},
    ).fetchall()
    return tuple(TaskCounts(*row) for row in rows)


def _differing(database: RecordDatabase, execution_id: str) -> list[AlignedCall]:
    wanted = {"execution": execution_id, "most": MOST_JOBS}
    return [AlignedCall(*row) for row in database.answer(views.text_of("differing_jobs"), wanted).fetchall()]


def _below(database: RecordDatabase, calls: Iterable[bytes]) -> dict[bytes, list[AlignedCall]]:
    found: dict[bytes, list[AlignedCall]] = defaultdict(list)
    rows = database.answer(views.text_of("calls_below"), {"calls": sorted(calls)}).fetchall()
    for parent, _, name, task_hash, call_hash, args_hash, value_hash in rows:
        found[parent].append(AlignedCall(None, None, parent, name, task_hash, call_hash, args_hash, value_hash))
    return found


class _Differences:
    """How the two calls of each pair differ, and from where that comes."""

    def __init__(self, database: RecordDatabase, alignment: Alignment, ids: tuple[str, str]) -> None:
        self._database = database
        self._ids = ids
        self._pairs = alignment.pairs
        looked_at = self._pairs[:MOST_CALLS]
        calls = [call.hex() for pair in looked_at for call in (pair.before.call_hash, pair.after.call_hash) if call]
        self._arguments = database.arguments_of(calls, with_sources=True)
        self._results = database.results(calls)
        self._code = self._changed_code(looked_at)
        lone = (*alignment.before_only, *alignment.after_only)
        self._by_call: dict[str, str] = {call.call_hash.hex(): call.name for call in lone if call.call_hash}
        """The names of the calls that differ, or stand alone: what took their results differs because of that."""
        for pair in self._pairs:
            self._by_call.update((call.hex(), pair.after.name) for call in _calls_of(pair))
        self._have_below = {pair.parent for pair in self._pairs}
        self._have_below.update(self._callers_of(lone))
        self._told: set[int | None] = set()
        """The numbers of the pairs below which a pair was told of already."""

    def _callers_of(self, calls: Sequence[AlignedCall]) -> set[int | None]:
        """The numbers of the pairs below which a call stands alone."""
        jobs = {call.parent_job_id for call in calls if call.parent_job_id is not None}
        nodes = {call.parent_call for call in calls if call.parent_call is not None}
        return {
            number
            for number, pair in enumerate(self._pairs)
            if not jobs.isdisjoint(_jobs_of(pair)) or not nodes.isdisjoint(_calls_of(pair))
        }

    def calls(self) -> list[CallDifference]:
        found: list[CallDifference] = []
        for number, pair in enumerate(self._pairs):
            kinds = self._kinds(number, pair)
            changes = self._changes(pair) if number < MOST_CALLS and "arguments" in kinds else ()
            origins = self._origins(pair, changes, found)
            was, now = (self._results.get(call.call_hash.hex()) if call.call_hash else None for call in pair[:2])
            found.append(
                CallDifference(
                    name=pair.after.name,
                    job_id=_hex(pair.before.job_id),
                    other_job_id=_hex(pair.after.job_id),
                    kinds=kinds,
                    code=self._code.get((pair.before.task_hash, pair.after.task_hash), ()),
                    arguments=changes,
                    result=was["preview"] if was else pair.before.status,
                    other_result=now["preview"] if now else pair.after.status,
                    cause=self._cause(kinds, changes, origins),
                    origins=tuple(origins.items()),
                    ends=pair.before.value_hash is not None and pair.before.value_hash == pair.after.value_hash,
                    times=pair.times,
                )
            )
            self._told.add(pair.parent)
        return found

    def _kinds(self, number: int, pair: AlignedPair) -> tuple[str, ...]:
        before, after = pair.before, pair.after
        ran = before.how == after.how == "computed"
        has_arguments = before.args_hash is not None and after.args_hash is not None
        differs = {
            "code": before.task_hash != after.task_hash,
            "arguments": has_arguments and before.args_hash != after.args_hash,
            "options": ran and before.requested != after.requested,
            "environment": ran and None not in (before.environment, after.environment)
            and before.environment != after.environment,
            "calls": number in self._have_below,
            "status": before.status is not None and after.status is not None and before.status != after.status,
            "result": before.value_hash != after.value_hash,
        }  # fmt: skip
        return tuple(kind for kind, is_so in differs.items() if is_so)

    def _changes(self, pair: AlignedPair) -> tuple[ArgumentChange, ...]:
        was, now = (
            {each.name: each for each in self._arguments.get(call.call_hash.hex() if call.call_hash else "", ())}
            for call in pair[:2]
        )
        return tuple(
            ArgumentChange(name, was.get(name), now.get(name))
            for name in dict.fromkeys((*now, *was))
            if _hash(was.get(name)) != _hash(now.get(name))
        )

    def _origins(
        self, pair: AlignedPair, changes: Sequence[ArgumentChange], found: Sequence[CallDifference]
    ) -> dict[str, str]:
        """The tasks that arguments which differ come from, by argument: those that made them, else the caller.
        An argument that is not in it differs by itself."""
        origins: dict[str, str] = {}
        for change in changes:
            sources = [source for side in (change.new, change.old) if side is not None for source, _ in side.sources]
            differing = next(filter(self._by_call.__contains__, sources), None)
            if differing is not None:
                origins[change.name] = self._by_call[differing]
            elif pair.parent is not None and self._is_of_caller(pair.parent, found):
                origins[change.name] = found[pair.parent].name
        return origins

    @staticmethod
    def _cause(kinds: Sequence[str], changes: Sequence[ArgumentChange], origins: Mapping[str, str]) -> str:
        """Why a pair differs. A difference begins at other code, at an argument that differs by itself, and at a call
        of the same code and arguments below which all is the same."""
        if "code" in kinds or not all(change.name in origins for change in changes):
            return ""
        if "arguments" in kinds:
            return "arguments" if changes else "unknown"
        return "calls" if "calls" in kinds else ""

    def _is_of_caller(self, parent: int, found: Sequence[CallDifference]) -> bool:
        """Whether other plain arguments come from the caller: it has other code or arguments itself, or it is a body
        that awaits, and an earlier call of it differs."""
        if {"code", "arguments"} & set(found[parent].kinds):
            return True
        return parent in self._told

    def _changed_code(self, pairs: Iterable[AlignedPair]) -> dict[tuple[bytes | None, bytes | None], tuple[str, ...]]:
        """The definitions that differ between two versions of a task, by the two versions."""
        found: dict[tuple[bytes | None, bytes | None], tuple[str, ...]] = {}
        for pair in pairs:
            key = pair.before.task_hash, pair.after.task_hash
            if key[0] == key[1] or key in found:
                continue
            was, now = (_definitions(self._database, each) for each in key)
            found[key] = tuple(name for name in dict.fromkeys((*now, *was)) if was.get(name) != now.get(name))
        return found


def _definitions(database: RecordDatabase, task_hash: bytes | None) -> Mapping[str, Any]:
    rows = database.definitions(task_hash.hex()) if task_hash is not None else []
    return {row["name"]: row["definition_hash"] for row in rows}


def _calls_of(pair: AlignedPair) -> list[bytes]:
    return [call.call_hash for call in pair[:2] if call.call_hash is not None]


def _jobs_of(pair: AlignedPair) -> list[bytes]:
    return [call.job_id for call in pair[:2] if call.job_id is not None]


def _hash(argument: RecordedArgument | None) -> str | None:
    return None if argument is None else argument.value_hash


def _hex(job_id: bytes | None) -> str | None:
    return None if job_id is None else job_id.hex()


def _text(cell: Any) -> str | None:
    return None if cell is None else str(cell)
