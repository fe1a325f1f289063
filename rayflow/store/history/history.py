"""The questions that one can ask about the records of a store.

In: ids as people paste them, and SQL. Out: relations, plain data, and recorded values on request. Never: writes, or
decodes a value only to list it.

Each question is a method; long queries are files in `sql/`. Methods use the schema `raw`: the
files are sorted by its columns, and have statistics of them. So a question about one call reads a few pages only.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from rayflow.errors import BlobDamaged, BlobMissing, NotFound
from rayflow.records import ExecutionRow
from rayflow.store.blobs import Blobs
from rayflow.store.folders.protocol import Folder
from rayflow.store.history import call_graphs, critical_path, execution_diff, filters, job_trees, lineage, views
from rayflow.store.history.answer_types import (
    CallDetail,
    CallGraph,
    CriticalPath,
    Entity,
    ExecutionDifference,
    JobDetail,
    JobTree,
    LineageStep,
    Record,
    ValueDetail,
    Why,
)
from rayflow.store.history.database import RecordDatabase, as_bytes, as_microseconds, as_stored
from rayflow.store.history.execution_status import ExecutionStatuses
from rayflow.store.history.filters import ALL, Filter
from rayflow.store.history.task_names import full_name, nearest, short_name
from rayflow.store.history.trace_marks import TraceMark, TraceMarks
from rayflow.store.history.values import value_lookup
from rayflow.store.history.values.stored_value import LARGE_BYTES, Stored
from rayflow.store.history.why import comparison
from rayflow.store.history.why.job_inputs import may_hold
from rayflow.store.live.live_files import LiveFiles
from rayflow.values.display.tracebacks import front_door
from rayflow.values.encoding.previews import either
from rayflow.values.filesystems.filesystems import base_directory, local_path

_KINDS = {"execution", "job", "call", "value", "task", "file"}
_LAST = re.compile(r"-|~(\d+)")
_HEX = re.compile(r"[0-9a-f]{1,40}")


class History(RecordDatabase):
    """The history of one store. Reads only. Several threads may ask, beside any number of writers."""

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        self._blobs = Blobs(folder, read_only=True)

    # --- ids ---------------------------------------------------------------------------------------------------------

    @front_door
    def resolve(self, text: str, *, kinds: Iterable[str] = ()) -> Entity:
        """The thing that a text names: by an id or the beginning of one, by `-` for the last execution, by `~N` for
        the N-th before it, or by a path.

        kinds: only these are looked for (execution, job, call, value, task, file). Raises NotFound when nothing fits,
        or more than one thing; the message lists those.
        """
        wanted = set(kinds) or _KINDS
        last = _LAST.fullmatch(text)
        if last:
            back = int(last[1] or 0)
            rows = self.records(f"{views.text_of('executions')} LIMIT 1 OFFSET $back", {"back": back})
            if not rows:
                ((count,),) = self.answer(f"SELECT count(*) FROM ({views.text_of('executions')})").fetchall()
                has = f"only {count:,} execution{'s' if count != 1 else ''}" if count else "no execution"
                raise NotFound(f"{text} names no execution: the store has {has} yet.")
            return Entity("execution", rows[0]["execution_id"])
        lowered = text.lower()
        found: list[Entity] = []
        if text:
            low, high = filters.hash_range(lowered) if _HEX.fullmatch(lowered) else (None, None)
            rows = self.records(views.text_of("ids"), {"text": lowered, "low": low, "high": high})
            found = [Entity(row["kind"], row["id"]) for row in rows if row["kind"] in wanted]
            if "file" in wanted and not found:
                found = [Entity("file", row["path"]) for row in self._files_called(text)]
        if not found:
            raise NotFound(self._unknown(text, wanted))
        exact = [entity for entity in found if entity.id == lowered]
        if len(found) > 1 and len(exact) != 1:
            names = "\n".join(f"  {entity.kind} {entity.id}" for entity in found[:8])
            raise NotFound(f"{text!r} could be any of these; give more of the id:\n{names}")
        return exact[0] if exact else found[0]

    def _unknown(self, text: str, wanted: set[str]) -> str:
        """The error text if a text does not name anything of these kinds."""
        if wanted != _KINDS:
            try:
                other = self.resolve(text)
            except NotFound:
                pass  # it names nothing at all, or too much
            else:
                return f"{text!r} is {_a(other.kind)}: give the id of {' or '.join(map(_a, sorted(wanted)))}."
        tasks, labels = self.names()
        names = dict.fromkeys(labels, "label")
        names.update((name, "task") for full in tasks for name in (full, short_name(full)))
        if text in names:
            return f"{text!r} is a {names[text]}: give the id of {' or '.join(map(_a, sorted(wanted)))}."
        near = nearest(text, names) or nearest(short_name(text), names)
        hint = f" Did you mean the {names[near]} {near}?" if near else ""
        return f"Nothing in the store is called {text!r}: no {either(sorted(wanted))} has such an id.{hint}"

    def task_named(self, text: str) -> str | None:
        """The full name of the task, else the label, that a text means; None when nothing has such a name.

        Raises NotFound when several have.
        """
        if text.startswith(("-", "~")):  # the last execution, or one before
            return None
        return full_name(text, *self.names())

    def task_versions(self, task_name: str) -> list[Record]:
        """The recorded versions of a task, by its full name, the latest first: each as it was first recorded."""
        return self.records(
            """SELECT * FROM raw.tasks WHERE task_name = $name
               QUALIFY row_number() OVER (PARTITION BY task_hash ORDER BY tasks."at") = 1 ORDER BY tasks."at" DESC""",
            {"name": task_name},
        )

    # --- what was recorded, itself ------------------------------------------------------------------------------------

    @front_door
    def value(self, what: str = "-") -> Any:
        """The result of an execution, job or call; or a value or file, by its hash or path.

        what: as `resolve` takes it. Raises NotFound when there is no result, for example because the job failed;
        BlobMissing when the bytes are gone; BadModule when its class is not in this process. Each error says what to
        do.
        """
        return self.stored(what).get()

    @front_door
    def stored(self, what: str = "-") -> Stored:
        """The type, size and preview of the same value, without reading it. `.get()` reads the value."""
        return value_lookup.value(self, self._blobs, self.resolve(what))

    @front_door
    def arguments(self, what: str = "-") -> dict[str, Any]:
        """The arguments of a job, a call, or the root of an execution, by name. Raises as `value` does."""
        found = value_lookup.arguments(self, self._blobs, self.resolve(what, kinds=("execution", "job", "call")))
        return {name: each.get() for name, each in found.items()}

    @front_door
    def calls(
        self,
        task: str,
        *,
        status: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
        large_bytes: int = LARGE_BYTES,
    ) -> Any:
        """A task's calls as a pandas DataFrame: one row for each, its arguments as columns, its result, status, times.

        task: its full or short name, the task itself, or a label of calls. status, since, until: as in `Filter`.
        limit: only this many, the latest. A value larger than large_bytes, or one that cannot be read, is a `Stored`:
        `.get()` reads it, or says why it cannot. Raises NotFound for a task of which nothing is recorded.
        """
        name = str(getattr(task, "fullname", task))
        jobs = self.jobs(Filter(task=name, status=status, since=since, until=until), limit=limit)
        return value_lookup.as_frame(value_lookup.calls(self, self._blobs, name, jobs[::-1], large_bytes))

    # --- executions and jobs -----------------------------------------------------------------------------------------

    @front_door
    def executions(self, wanted: Filter = ALL, *, limit: int | None = 20) -> list[Record]:
        """The executions that fit, the latest first."""
        conditions = filters.of_executions(wanted)
        query = f"""SELECT * FROM ({views.text_of("executions")}) WHERE {conditions.text}
            ORDER BY started_at DESC, execution_id DESC {_limit(limit)}"""
        return self.records(query, conditions.parameters)

    def executions_now(self, wanted: Filter = ALL, *, limit: int | None = 20) -> list[Record]:
        """The same, but of the status that they have now: "lost" is one that runs by its record, and lives no more."""
        if wanted.status not in ("running", "lost"):
            return self.executions(wanted, limit=limit)
        running = self.executions(replace(wanted, status="running"), limit=None)
        now = self.statuses()
        return [row for row in running if now.status(row) == wanted.status][:limit]

    @property
    def live_seconds(self) -> float:
        """How often a living execution says what it does."""
        return LiveFiles(self._folder).interval_seconds

    def ended_jobs(self, execution_id: str, since: datetime | None = None) -> list[tuple[str, datetime]]:
        """The jobs of an execution that ended since then (all of them by default), each with the time of its end, the
        first one first."""
        rows = self.records(
            """SELECT job_id, max(finished_at) AS finished_at FROM raw.jobs
               WHERE execution_id = $id AND finished_at IS NOT NULL AND ($since IS NULL OR finished_at >= $since)
               GROUP BY job_id ORDER BY 2, 1""",
            {"id": execution_id, "since": None if since is None else as_stored(since)},
        )
        return [(row["job_id"], row["finished_at"]) for row in rows]

    def jobs_of(self, job_ids: Sequence[str]) -> list[Record]:
        """These jobs, in this order."""
        if not job_ids:
            return []
        rows = self.records(
            """SELECT * FROM raw.jobs WHERE job_id IN (SELECT unnest($ids))
               QUALIFY raw.is_valid_job(job_id, finished_at)""",
            {"ids": [as_bytes(job_id) for job_id in job_ids]},
        )
        by_id = {row["job_id"]: row for row in rows}
        return [by_id[job_id] for job_id in job_ids if job_id in by_id]

    def statuses(self) -> ExecutionStatuses:
        """Tells which executions are lost, and what those that live say of themselves, as of now."""
        return ExecutionStatuses(self._folder)

    @front_door
    def execution(self, execution_id: str) -> Record:
        """One execution. Raises NotFound."""
        row = self.find_execution(execution_id)
        if row is None:
            raise NotFound(f"The store has no execution {execution_id}.")
        return row

    def execution_row(self, text: str) -> ExecutionRow:
        """The row of an execution as it was recorded. text: its id or the beginning of it. Raises NotFound."""
        found = self.resolve(text, kinds=("execution",))
        query = f"SELECT * FROM ({views.text_of('executions')}) WHERE execution_id = $id"
        relation = self.answer(query, {"id": found.id})
        cells: dict[str, Any] = dict(zip(relation.columns, relation.fetchall()[0], strict=True))
        cells.update({name: as_microseconds(cell) for name, cell in cells.items() if isinstance(cell, datetime)})
        return ExecutionRow(**cells)

    @front_door
    def jobs(self, wanted: Filter = ALL, *, limit: int | None = 100) -> list[Record]:
        """The jobs that fit, the latest first.

        A job may have several rows, one of which is valid. So the first query finds the latest rows that fit, some
        more than the limit; the second finds the valid rows of those jobs.
        """
        conditions = filters.of_jobs(wanted)
        most = None if limit is None else 4 * limit + 16
        while True:
            query = views.text_of("job_rows").format(conditions=conditions.text, limit=_limit(most))
            found = self.answer(query, conditions.parameters).fetchall()
            if not found:
                return []
            parameters = {"ids": [job_id for job_id, _ in found], "oldest": found[-1][1], **conditions.parameters}
            query = views.text_of("jobs").format(conditions=conditions.text, limit=_limit(limit))
            rows = self.records(query, parameters)
            if most is None or limit is None or len(rows) == limit or len(found) < most:
                return rows
            most *= 8

    @front_door
    def job_tree(
        self, execution_id: str, *, siblings: int = 20, most: int | None = None, with_sources: bool = True
    ) -> JobTree:
        """An execution and its jobs, parents before children, with their arguments and results.

        siblings: how many children of one job with one task name are shown (failed and open ones first), from 1 to
        999,999; the others are summed up. most: how many lines are shown; the others are counted. with_sources: also
        the calls that the arguments came from. Raises NotFound.
        """
        return job_trees.job_tree(self, self.execution(execution_id), siblings, most, with_sources)

    @front_door
    def call_graph(self, execution_id: str) -> CallGraph:
        """An execution as a graph. Each box stands for all calls of one task from one place. Raises NotFound."""
        return call_graphs.call_graph(self, self.execution(execution_id))

    def trace_marks(self, execution_id: str) -> Iterator[TraceMark]:
        """An execution as marks of the trace format of Chrome, one after the other. Raises NotFound."""
        row = self.execution(execution_id)
        made = TraceMarks(int(row["started_at"].timestamp() * 1_000_000))
        key = {"execution": execution_id}
        yield from made.head(f"{row['task_name'] or row['arguments'] or 'execution'}: the scheduler")
        yield from made.of_jobs(self.stream(views.text_of("timeline_jobs"), key))
        yield from made.of_attempts(self.stream(views.text_of("timeline_attempts"), key))

    @front_door
    def critical_path(self, execution_id: str) -> CriticalPath:
        """What an execution waited for at each moment; of one that has not ended, until now. Raises NotFound."""
        row = self.execution(execution_id)
        lives = self.statuses().status(row) == "running"
        return critical_path.critical_path(self, row, datetime.now(UTC) if lives else None)

    @front_door
    def diff(self, execution_id: str, other_id: str) -> ExecutionDifference:
        """Two executions, call by call: which calls differ, where that begins, and where it goes no further.

        Raises NotFound, also where the two were recorded under different identities of values.
        """
        one, other = self.execution(execution_id), self.execution(other_id)
        return execution_diff.execution_difference(self, one, other)

    @front_door
    def job(self, job_id: str) -> JobDetail:
        """All about one job. Raises NotFound."""
        row = self.job_row(job_id)
        call = row["call_hash"]
        calls = [call] if call else []
        key = {"job": as_bytes(job_id)}
        children = self.records(
            """SELECT task_name, label, how, status, count(*) AS jobs, sum(wall_seconds::DOUBLE) AS wall_seconds FROM (
                   SELECT * FROM raw.jobs WHERE parent_job_id = $job
                   QUALIFY raw.is_valid_job(job_id, finished_at))
               GROUP BY ALL ORDER BY task_name, label, how, status""",
            key,
        )
        attempts = self.records("SELECT DISTINCT * FROM raw.attempts WHERE job_id = $job ORDER BY attempt", key)
        return JobDetail(
            job=row,
            execution=self.find_execution(row["execution_id"]),
            parent=self.find_job(row["parent_job_id"]) if row["parent_job_id"] else None,
            arguments=self.arguments_of(calls).get(call, ()),
            result=self.results(calls).get(call),
            children=tuple(children),
            attempts=tuple(attempts),
            logs=tuple(self.logs(job_id)),
            tags=tuple(self.tags("job", job_id)),
            task=self.task(row["task_hash"]) if row["task_hash"] else None,
            environment=self.environment(row["environment"]) if row["environment"] else None,
        )

    @front_door
    def environment(self, environment: str) -> Record | None:
        """What calls ran in, by its key, with `distributions` as a dict of versions by name; None where it is not
        recorded."""
        rows = self.records(
            "SELECT * FROM raw.environments WHERE environment = $key LIMIT 1", {"key": as_bytes(environment)}
        )
        return {**rows[0], "distributions": json.loads(rows[0]["distributions"])} if rows else None

    @front_door
    def logs(self, job_id: str) -> list[Record]:
        """The output that a job printed, per attempt and stream. Long texts are read from their blobs."""
        rows = self.records(
            "SELECT DISTINCT * FROM raw.logs WHERE job_id = $job ORDER BY attempt, stream", {"job": as_bytes(job_id)}
        )
        for row in rows:
            if row["text"] is None and row["blob"] is not None:
                try:
                    encoded = self._blobs.get(bytes.fromhex(row["blob"]))
                    row["text"] = b"".join((encoded.header, *encoded.buffers)).decode("utf-8", "replace")
                except (BlobMissing, BlobDamaged) as error:
                    row["text"] = f"({error})"
        return rows

    @front_door
    def tags(self, entity: str | None = None, entity_id: str | None = None, key: str | None = None) -> list[Record]:
        """The current tags: of one execution, job, call, value or task; with one key; or all."""
        return self.records(
            """SELECT * FROM current_tags WHERE ($entity IS NULL OR entity = $entity)
                   AND ($id IS NULL OR entity_id = $id) AND ($key IS NULL OR key = $key)
               ORDER BY entity, entity_id, key, value, value_json""",
            {"entity": entity, "id": entity_id, "key": key},
        )

    @front_door
    def tag_history(self, entity: str, entity_id: str, key: str | None = None) -> list[Record]:
        """Every tag that was ever set on a thing, or removed from it, the latest last."""
        return self.records(
            """SELECT * FROM tags WHERE entity = $entity AND entity_id = $id AND ($key IS NULL OR key = $key)
               ORDER BY recorded_at, removed DESC, key, value, value_json""",
            {"entity": entity, "id": entity_id, "key": key},
        )

    # --- calls and values --------------------------------------------------------------------------------------------

    @front_door
    def call(self, call_hash: str) -> CallDetail:
        """One call. Raises NotFound."""
        key = {"call": as_bytes(call_hash)}
        row = self.one("SELECT * FROM raw.calls WHERE call_hash = $call LIMIT 1", key)
        if row is None:
            raise NotFound(f"The store has no call {call_hash}.")
        children = self.records(
            """SELECT DISTINCT ON (position) position, child_call_hash, calls.task_name, calls.value_hash
               FROM raw.call_children LEFT JOIN raw.calls ON calls.call_hash = child_call_hash
               WHERE call_children.call_hash = $call ORDER BY position""",
            key,
        )
        jobs = self.records(
            """SELECT * FROM raw.jobs WHERE call_hash = $call
               QUALIFY raw.is_valid_job(job_id, finished_at)
               ORDER BY queued_at DESC LIMIT 100""",
            key,
        )
        arguments = self.arguments_of([call_hash]).get(call_hash, ())
        return CallDetail(row, arguments, self.results([call_hash]).get(call_hash), tuple(children), tuple(jobs))

    @front_door
    def value_detail(self, value_hash: str) -> ValueDetail:
        """One value or file, the calls that made it, and the calls that took it. Raises NotFound."""
        key = {"value": as_bytes(value_hash)}
        value = self.one("SELECT * FROM raw.values WHERE value_hash = $value LIMIT 1", key)
        file = self.one("SELECT * FROM raw.files WHERE value_hash = $value LIMIT 1", key)
        wholes = self.records("SELECT DISTINCT value_hash FROM raw.value_parts WHERE part_hash = $value", key)
        if value is None and file is None and not wholes:
            raise NotFound(f"The store has no value {value_hash}.")
        parts = self.records(
            """SELECT DISTINCT ON (position) position, part_hash, files.path, values.type, values.preview
               FROM raw.value_parts LEFT JOIN raw.files ON files.value_hash = part_hash
               LEFT JOIN raw.values ON values.value_hash = part_hash
               WHERE value_parts.value_hash = $value ORDER BY position""",
            key,
        )
        within = {"hashes": [as_bytes(value_hash), *(as_bytes(row["value_hash"]) for row in wholes)]}
        made_by = self.records(
            """SELECT DISTINCT ON (call_hash) * FROM raw.calls
               WHERE value_hash IN (SELECT unnest($hashes)) ORDER BY call_hash LIMIT 100""",
            within,
        )
        taken_by = self.records(
            """SELECT DISTINCT ON (arguments.call_hash, name) arguments.call_hash, arguments.name, calls.task_name,
                      calls.value_hash
               FROM raw.arguments JOIN raw.calls ON calls.call_hash = arguments.call_hash
               WHERE arguments.value_hash IN (SELECT unnest($hashes)) ORDER BY arguments.call_hash, name LIMIT 100""",
            within,
        )
        return ValueDetail(
            value=value,
            file=file,
            parts=tuple(parts),
            wholes=tuple(wholes),
            made_by=tuple(made_by),
            taken_by=tuple(taken_by),
        )

    @front_door
    def files(self, path: str) -> list[Record]:
        """All recorded states of the file at a path, the latest first."""
        return self.records(
            "SELECT DISTINCT ON (value_hash) * FROM raw.files WHERE path = $path ORDER BY modified_at DESC NULLS LAST",
            {"path": path},
        )

    def _files_called(self, text: str) -> list[Record]:
        """The recorded path that a text means; else the path itself, if a recorded directory or pattern contains it."""
        paths = _paths(text)
        rows = self.records(
            "SELECT DISTINCT path FROM raw.files WHERE path IN (SELECT unnest($paths))", {"paths": paths}
        )
        return rows or [{"path": path} for path in paths if self.calls_of_file(path)][:1]

    @front_door
    def calls_of_file(self, path: str) -> list[Record]:
        """The states of the file at a path, the latest first. For each state, the calls that made it, passed it on and
        read it, with the job that computed the call last. A state without calls has one row, with nulls.

        `within` of a row is the directory or pattern that was the argument in place of the file. States of a directory
        that are known to lack the file are left out.
        """
        rows = self.records("SELECT * FROM calls_of_file($path)", {"path": path})
        return [row for row in rows if row["within"] is None or may_hold(self, row["within"], row["version"], path)]

    @front_door
    def lineage(self, text: str, *, levels: int | None = None) -> list[LineageStep]:
        """The calls that led to a file (by path) or value (by hash), the nearest first.

        levels: how far to go back; all the way by default. Raises NotFound when no recorded call made it.
        """
        return lineage.lineage(self, text, levels=levels)

    @front_door
    def why(self, job_id: str) -> Why:
        """A job, the nearest earlier evaluation of its task, and the differences of the two. Raises NotFound."""
        return comparison.why(self, self._blobs, job_id)


def _paths(text: str) -> list[str]:
    """The paths that a file of this name may be recorded under: most Files are relative to the project."""
    local = local_path(text)
    if local is None:
        return [text]
    whole = os.path.normpath(local)
    here = os.path.abspath(text)
    return [text, whole, here, *(os.path.relpath(each, base_directory()) for each in (whole, here))]


def _limit(limit: int | None) -> str:
    return "" if limit is None else f"LIMIT {int(limit)}"


def _a(kind: str) -> str:
    return f"{'an' if kind == 'execution' else 'a'} {kind}"
