"""Questions over what a store has recorded.

In: ids as people paste them, and SQL. Out: relations and plain data. Never: writes, or decodes a value.

One method per question; the longer ones are in `sql/`. Methods ask the schema `raw`, whose columns the files' order and
statistics speak of, so that a question about one call reads a few pages and not the whole history.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import duckdb

from rayflow.errors import BadQuery, BlobDamaged, BlobMissing, NotFound
from rayflow.store import schemas, views
from rayflow.store.answers import (
    Argument,
    ArgumentChange,
    CallDetail,
    Entity,
    GroupLine,
    JobDetail,
    JobLine,
    JobTree,
    LineageStep,
    Record,
    SchemaColumn,
    ValueDetail,
    Why,
)
from rayflow.store.blobs import Blobs
from rayflow.store.catalog import Catalog, Problem, Snapshot
from rayflow.store.folders import Folder
from rayflow.store.segments import checksum_of

_LAST = re.compile(r"-|~(\d+)")
_HEX = re.compile(r"[0-9a-f]{1,40}")

_SHALLOW_LEVELS = 16
"""Beyond so many steps of lineage, edges are loaded and indexed instead of read from the files at each step."""


class History:
    """The history of one store. Reads only; may be open beside any number of writers; not for several threads."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._catalog = Catalog(folder)
        self._blobs = Blobs(folder)
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._shown: Snapshot | None = None

    # --- SQL ---------------------------------------------------------------------------------------------------------

    def refresh(self) -> duckdb.DuckDBPyConnection:
        """See what was committed since; the connection to ask."""
        snapshot = self._catalog.refresh()
        if self._connection is None:
            self._connection = views.connect()
        if snapshot is not self._shown:
            views.fill(self._connection, self._folder, self._catalog, snapshot)
            self._shown = self._catalog.snapshot
        return self._connection

    def sql(self, query: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> duckdb.DuckDBPyRelation:
        """The answer to a query over the views, computed. Raises BadQuery with DuckDB's message.

        A query that finds a damaged file is asked again without it; the file is named in a warning.
        """
        try:
            return self._ask(query, parameters)
        except duckdb.Error as error:
            if not self._exclude_damaged():
                raise BadQuery(str(error)) from error
        try:
            return self._ask(query, parameters)
        except duckdb.Error as error:
            raise BadQuery(str(error)) from error

    def _ask(self, query: str, parameters: Sequence[Any] | dict[str, Any]) -> duckdb.DuckDBPyRelation:
        connection = self.refresh()
        relation = connection.sql(query, params=parameters or None)
        if relation is None:
            # A statement without rows, such as SET or CREATE.
            relation = connection.sql("SELECT true AS done")
        return relation.materialize()

    def _exclude_damaged(self) -> bool:
        """After an error: whether a segment turned out to be damaged, and is now left out."""
        found = False
        for segment in self._catalog.snapshot.segments():
            if self._catalog.is_broken(segment.path):
                continue
            try:
                intact = checksum_of(self._folder, segment) == segment.checksum
                kind = "damaged"
            except FileNotFoundError:
                intact, kind = False, "missing"
            if not intact:
                self._catalog.report(Problem(segment.path, kind, "it does not match its checksum", segment.size))
                found = True
        self._shown = None if found else self._shown
        return found

    def schema(self) -> list[SchemaColumn]:
        """Every table and view that can be asked, with the documentation of its columns."""
        found = []
        connection = self.refresh()
        for how in schemas.layouts().values():
            for column in how.columns:
                kind = "VARCHAR" if column.is_hash else views.TYPES[column.type]
                name = views.SHOWN_NAMES.get(column.name, column.name)
                found.append(SchemaColumn(how.name, name, kind, column.documentation))
        for row in connection.execute(views.text_of("schema")).fetchall():
            found.append(SchemaColumn(*row))
        return found

    def _records(self, query: str, parameters: dict[str, Any] | None = None) -> list[Record]:
        """Rows of a query as records."""
        relation = self.sql(query, parameters or {})
        names = relation.columns
        return [dict(zip(names, map(_plain, names, row), strict=True)) for row in relation.fetchall()]

    def _one(self, query: str, parameters: dict[str, Any]) -> Record | None:
        rows = self._records(query, parameters)
        return rows[0] if rows else None

    # --- ids ---------------------------------------------------------------------------------------------------------

    def resolve(self, text: str, *, kinds: Iterable[str] = ()) -> Entity:
        """What a text means: an id or the beginning of one, `-` for the last execution, `~N` for the N-th before it,
        a path.

        kinds: only these count (execution, job, call, value, task, file). Raises NotFound when nothing, or more than
        one thing, fits; the message names them.
        """
        wanted = set(kinds) or {"execution", "job", "call", "value", "task", "file"}
        last = _LAST.fullmatch(text)
        if last:
            back = int(last[1] or 0)
            rows = self._records(f"{views.text_of('executions')} LIMIT 1 OFFSET $back", {"back": back})
            if not rows:
                raise NotFound(f"{text}: the store has no {back + 1} executions.")
            return Entity("execution", rows[0]["execution_id"])
        lowered = text.lower()
        found: list[Entity] = []
        if text:
            low, high = _range(lowered)
            rows = self._records(views.text_of("ids"), {"text": lowered, "low": low, "high": high})
            found = [Entity(row["kind"], row["id"]) for row in rows if row["kind"] in wanted]
            if "file" in wanted and not found:
                rows = self._records("SELECT DISTINCT path FROM raw.files WHERE path = $path", {"path": text})
                found = [Entity("file", row["path"]) for row in rows]
        if not found:
            raise NotFound(f"Nothing in the store is called {text!r}: no {', '.join(sorted(wanted))} has such an id.")
        exact = [entity for entity in found if entity.id == lowered]
        if len(found) > 1 and len(exact) != 1:
            names = "\n".join(f"  {entity.kind} {entity.id}" for entity in found[:8])
            raise NotFound(f"{text!r} could be any of these; give more of the id:\n{names}")
        return exact[0] if exact else found[0]

    # --- executions and jobs -----------------------------------------------------------------------------------------

    def executions(self, *, limit: int | None = 20, status: str | None = None, task: str | None = None) -> list[Record]:
        """Executions, the latest first. task: the full or short name of the root task."""
        query = f"""SELECT * FROM ({views.text_of("executions")})
            WHERE ($status IS NULL OR status = $status)
              AND ($task IS NULL OR task_name = $task OR ends_with(task_name, '.' || $task))
            ORDER BY started_at DESC, execution_id DESC {_limit(limit)}"""
        return self._records(query, {"status": status, "task": task})

    def execution(self, execution_id: str) -> Record:
        """One execution. Raises NotFound."""
        row = self._one(f"SELECT * FROM ({views.text_of('executions')}) WHERE execution_id = $id", {"id": execution_id})
        if row is None:
            raise NotFound(f"The store has no execution {execution_id}.")
        return row

    def jobs(
        self,
        *,
        execution_id: str | None = None,
        status: str | None = None,
        how: str | None = None,
        task: str | None = None,
        value_hash: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = 100,
    ) -> list[Record]:
        """Jobs, the latest first. task: full or short name; value_hash: jobs whose result it is."""
        query = f"""SELECT * FROM raw.jobs
            WHERE ($execution IS NULL OR execution_id = $execution)
              AND ($task IS NULL OR task_name = $task OR ends_with(task_name, '.' || $task))
              AND ($value IS NULL OR call_hash IN (SELECT call_hash FROM raw.calls WHERE value_hash = $value))
              AND ($since IS NULL OR queued_at >= $since) AND ($until IS NULL OR queued_at < $until)
            QUALIFY row_number() OVER (PARTITION BY job_id ORDER BY finished_at DESC NULLS LAST) = 1
                AND ($status IS NULL OR status = $status) AND ($how IS NULL OR how = $how)
            ORDER BY queued_at DESC, job_id {_limit(limit)}"""
        parameters: dict[str, Any] = {"execution": execution_id, "status": status, "how": how, "task": task}
        parameters |= {"value": _bytes(value_hash), "since": _naive(since), "until": _naive(until)}
        return self._records(query, parameters)

    def job_tree(self, execution_id: str, *, siblings: int = 20) -> JobTree:
        """An execution and its jobs, parents before children, with their arguments and results.

        siblings: of the children of one job with one task name, so many are shown (failed and open ones first) and
        the rest is summed up. Raises NotFound.
        """
        execution = self.execution(execution_id)
        parameters = {"execution": execution_id, "siblings": siblings}
        rows = self._records(views.text_of("job_tree"), parameters)
        groups: dict[str | None, list[Record]] = {}
        for group in self._records(views.text_of("sibling_groups"), parameters):
            groups.setdefault(group["parent_job_id"], []).append(group)
        calls = [row["call_hash"] for row in rows if row["call_hash"] is not None]
        arguments = self._arguments(calls)
        results = self._results(calls)
        children: dict[str | None, list[Record]] = {}
        for row in rows:
            children.setdefault(row["parent_job_id"], []).append(row)
        lines: list[JobLine | GroupLine] = []
        waiting: list[tuple[int, Record | GroupLine]] = [(0, row) for row in reversed(children.get(None, []))]
        while waiting:
            depth, item = waiting.pop()
            if isinstance(item, GroupLine):
                lines.append(item)
                continue
            call = item["call_hash"]
            result = results.get(call)
            preview = result["preview"] if result else None
            lines.append(JobLine(depth, item, arguments.get(call, ()), preview))
            job_id = item["job_id"]
            below: list[tuple[int, Record | GroupLine]] = [(depth + 1, row) for row in children.get(job_id, ())]
            for group in groups.get(job_id, ()):
                below.append((depth + 1, GroupLine(depth + 1, group["task_name"], siblings, group)))
            waiting.extend(reversed(below))
        return JobTree(execution, tuple(lines))

    def job(self, job_id: str) -> JobDetail:
        """One job whole. Raises NotFound."""
        row = self._job(job_id)
        call = row["call_hash"]
        calls = [call] if call else []
        key = {"job": _bytes(job_id)}
        children = self._records(
            """SELECT task_name, how, status, count(*) AS jobs, sum(wall_seconds::DOUBLE) AS wall_seconds FROM (
                   SELECT * FROM raw.jobs WHERE parent_job_id = $job
                   QUALIFY row_number() OVER (PARTITION BY job_id ORDER BY finished_at DESC NULLS LAST) = 1)
               GROUP BY ALL ORDER BY task_name, how, status""",
            key,
        )
        attempts = self._records("SELECT DISTINCT * FROM raw.attempts WHERE job_id = $job ORDER BY attempt", key)
        try:
            execution: Record | None = self.execution(row["execution_id"])
        except NotFound:
            execution = None
        return JobDetail(
            row,
            execution,
            self._find_job(row["parent_job_id"]) if row["parent_job_id"] else None,
            self._arguments(calls).get(call, ()),
            self._results(calls).get(call),
            tuple(children),
            tuple(attempts),
            tuple(self.logs(job_id)),
            tuple(self.tags("job", job_id)),
            self.task(row["task_hash"]) if row["task_hash"] else None,
        )

    def _find_job(self, job_id: str) -> Record | None:
        return self._one(
            "SELECT * FROM raw.jobs WHERE job_id = $job ORDER BY finished_at DESC NULLS LAST LIMIT 1",
            {"job": _bytes(job_id)},
        )

    def _job(self, job_id: str) -> Record:
        row = self._find_job(job_id)
        if row is None:
            raise NotFound(f"The store has no job {job_id}.")
        return row

    def logs(self, job_id: str) -> list[Record]:
        """What a job printed, per attempt and stream; long texts are fetched from their blobs."""
        rows = self._records(
            "SELECT DISTINCT * FROM raw.logs WHERE job_id = $job ORDER BY attempt, stream", {"job": _bytes(job_id)}
        )
        for row in rows:
            if row["text"] is None and row["blob"] is not None:
                try:
                    encoded = self._blobs.get(bytes.fromhex(row["blob"]))
                    row["text"] = b"".join((encoded.header, *encoded.buffers)).decode("utf-8", "replace")
                except (BlobMissing, BlobDamaged) as error:
                    row["text"] = f"({error})"
        return rows

    def tags(self, entity: str, entity_id: str) -> list[Record]:
        """Tags that are set now on an execution, job, call, value or task."""
        return self._records(
            "SELECT * FROM current_tags WHERE entity = $entity AND entity_id = $id ORDER BY key, value",
            {"entity": entity, "id": entity_id},
        )

    # --- calls and values --------------------------------------------------------------------------------------------

    def call(self, call_hash: str) -> CallDetail:
        """One call. Raises NotFound."""
        key = {"call": _bytes(call_hash)}
        row = self._one("SELECT * FROM raw.calls WHERE call_hash = $call LIMIT 1", key)
        if row is None:
            raise NotFound(f"The store has no call {call_hash}.")
        children = self._records(
            """SELECT DISTINCT ON (position) position, child_call_hash, calls.task_name, calls.value_hash
               FROM raw.call_children LEFT JOIN raw.calls ON calls.call_hash = child_call_hash
               WHERE call_children.call_hash = $call ORDER BY position""",
            key,
        )
        jobs = self._records(
            """SELECT * FROM raw.jobs WHERE call_hash = $call
               QUALIFY row_number() OVER (PARTITION BY job_id ORDER BY finished_at DESC NULLS LAST) = 1
               ORDER BY queued_at DESC LIMIT 100""",
            key,
        )
        arguments = self._arguments([call_hash]).get(call_hash, ())
        return CallDetail(row, arguments, self._results([call_hash]).get(call_hash), tuple(children), tuple(jobs))

    def value(self, value_hash: str) -> ValueDetail:
        """One value or file, who made it and who took it. Raises NotFound."""
        key = {"value": _bytes(value_hash)}
        value = self._one("SELECT * FROM raw.values WHERE value_hash = $value LIMIT 1", key)
        file = self._one("SELECT * FROM raw.files WHERE value_hash = $value LIMIT 1", key)
        wholes = self._records("SELECT DISTINCT value_hash FROM raw.value_parts WHERE part_hash = $value", key)
        if value is None and file is None and not wholes:
            raise NotFound(f"The store has no value {value_hash}.")
        parts = self._records(
            """SELECT DISTINCT ON (position) position, part_hash, files.path, values.type, values.preview
               FROM raw.value_parts LEFT JOIN raw.files ON files.value_hash = part_hash
               LEFT JOIN raw.values ON values.value_hash = part_hash
               WHERE value_parts.value_hash = $value ORDER BY position""",
            key,
        )
        within = {"hashes": [_bytes(value_hash), *(_bytes(row["value_hash"]) for row in wholes)]}
        made_by = self._records(
            """SELECT DISTINCT ON (call_hash) * FROM raw.calls
               WHERE value_hash IN (SELECT unnest($hashes)) ORDER BY call_hash LIMIT 100""",
            within,
        )
        taken_by = self._records(
            """SELECT DISTINCT ON (arguments.call_hash, name) arguments.call_hash, arguments.name, calls.task_name,
                      calls.value_hash
               FROM raw.arguments JOIN raw.calls ON calls.call_hash = arguments.call_hash
               WHERE arguments.value_hash IN (SELECT unnest($hashes)) ORDER BY arguments.call_hash, name LIMIT 100""",
            within,
        )
        return ValueDetail(value, file, tuple(parts), tuple(wholes), tuple(made_by), tuple(taken_by))

    def files(self, path: str) -> list[Record]:
        """All recorded states of the file at a path, the latest first."""
        return self._records(
            "SELECT DISTINCT ON (value_hash) * FROM raw.files WHERE path = $path ORDER BY modified_at DESC NULLS LAST",
            {"path": path},
        )

    def _arguments(self, calls: Sequence[str]) -> dict[str, tuple[Argument, ...]]:
        if not calls:
            return {}
        rows = self._records(views.text_of("call_arguments"), {"calls": [bytes.fromhex(call) for call in set(calls)]})
        found: dict[str, dict[str, Argument]] = {}
        for row in rows:
            named = found.setdefault(row["call_hash"], {})
            known = named.get(row["name"])
            sources = known.sources if known else ()
            if row["source_call_hash"] is not None:
                sources = (*sources, (row["source_call_hash"], row["source_task_name"]))
            named[row["name"]] = Argument(row["name"], row["value_hash"], row["type"], row["preview"], sources)
        return {call: tuple(named.values()) for call, named in found.items()}

    def _results(self, calls: Sequence[str]) -> dict[str, Record]:
        if not calls:
            return {}
        rows = self._records(views.text_of("call_results"), {"calls": [bytes.fromhex(call) for call in set(calls)]})
        return {row["call_hash"]: row for row in rows}

    # --- lineage -----------------------------------------------------------------------------------------------------

    def lineage(self, text: str, *, levels: int | None = None) -> list[LineageStep]:
        """The calls that led to a file (by path) or value (by hash), the nearest first.

        levels: how far to go back; all the way by default. Raises NotFound when no recorded call made it.
        """
        starts = [bytes.fromhex(row["value_hash"]) for row in self.files(text)]
        if not starts and len(text) % 2 == 0 and _HEX.fullmatch(text.lower()):
            starts = [bytes.fromhex(text)]
        rows = self._records(
            """SELECT DISTINCT call_hash FROM raw.calls WHERE value_hash IN (
                   SELECT unnest($starts) UNION ALL
                   SELECT value_hash FROM raw.value_parts WHERE part_hash IN (SELECT unnest($starts)))""",
            {"starts": starts},
        )
        if not rows:
            raise NotFound(f"No recorded call made {text}.")
        distances = self._follow([bytes.fromhex(row["call_hash"]) for row in rows], levels)
        return self._steps(distances)

    def _follow(self, calls: list[bytes], levels: int | None) -> dict[bytes, int]:
        """Calls upstream of these, each with its smallest distance."""
        distances = dict.fromkeys(calls, 0)
        frontier, level, source = calls, 0, "raw.arguments"
        while frontier and (levels is None or level < levels):
            level += 1
            if level == _SHALLOW_LEVELS:
                source = "temp.edges"
                self.sql(
                    """CREATE OR REPLACE TEMP TABLE edges AS SELECT DISTINCT call_hash, source_call_hash
                       FROM raw.arguments WHERE source_call_hash IS NOT NULL"""
                )
                self.sql("CREATE INDEX edges_by_call ON temp.edges (call_hash)")
            rows = self.sql(
                f"""SELECT DISTINCT source_call_hash FROM {source}
                    WHERE call_hash IN ({", ".join("?" * len(frontier))}) AND source_call_hash IS NOT NULL"""
                if len(frontier) <= 1000
                else f"""SELECT DISTINCT source_call_hash FROM {source}
                    WHERE call_hash IN (SELECT unnest(?)) AND source_call_hash IS NOT NULL""",
                frontier if len(frontier) <= 1000 else [frontier],
            ).fetchall()
            frontier = [call for (call,) in rows if call not in distances]
            distances.update(dict.fromkeys(frontier, level))
        return distances

    def _steps(self, distances: dict[bytes, int]) -> list[LineageStep]:
        calls = list(distances)
        arguments = self._arguments([call.hex() for call in calls])
        rows = self._records(
            "SELECT DISTINCT ON (call_hash) * FROM raw.calls WHERE call_hash IN (SELECT unnest($calls))",
            {"calls": calls},
        )
        hashes = {row["value_hash"] for row in rows}
        hashes.update(argument.value_hash for given in arguments.values() for argument in given)
        files = self._files_in(hashes)
        steps = []
        for row in rows:
            given = arguments.get(row["call_hash"], ())
            inputs = [file for argument in given for file in files.get(argument.value_hash, ())]
            outputs = files.get(row["value_hash"], ())
            distance = distances[bytes.fromhex(row["call_hash"])]
            steps.append(
                LineageStep(
                    distance,
                    row["call_hash"],
                    row["task_name"],
                    row["value_hash"],
                    given,
                    tuple(inputs),
                    tuple(outputs),
                )
            )
        steps.sort(key=lambda step: (step.distance, step.task_name, step.call_hash))
        return steps

    def _files_in(self, value_hashes: Iterable[str]) -> dict[str, list[Record]]:
        """Files that values are, or hold."""
        rows = self._records(
            """WITH wanted AS (SELECT unnest($hashes) AS whole), held AS (
                   SELECT whole, whole AS part FROM wanted
                   UNION
                   SELECT whole, part_hash FROM wanted JOIN raw.value_parts ON value_parts.value_hash = whole)
               SELECT DISTINCT lower(hex(whole)) AS whole, files.*
               FROM held JOIN raw.files ON files.value_hash = held.part ORDER BY files.path""",
            {"hashes": [bytes.fromhex(value_hash) for value_hash in value_hashes]},
        )
        found: dict[str, list[Record]] = {}
        for row in rows:
            found.setdefault(row.pop("whole"), []).append(row)
        return found

    # --- tasks and why -----------------------------------------------------------------------------------------------

    def task_hashes(self, task_name: str) -> list[bytes]:
        """The hashes of all recorded versions of a task, by its full name."""
        tables = ("tasks", "calls", "jobs")
        query = " UNION ".join(f"SELECT task_hash FROM raw.{table} WHERE task_name = $name" for table in tables)
        rows = self._records(query, {"name": task_name})
        return sorted(bytes.fromhex(row["task_hash"]) for row in rows if row["task_hash"] is not None)

    def task(self, task_hash: str) -> Record | None:
        """One version of a task as it was defined, or None when that was not recorded."""
        return self._one(
            'SELECT * FROM raw.tasks WHERE task_hash = $task ORDER BY tasks."at" LIMIT 1', {"task": _bytes(task_hash)}
        )

    def definitions(self, task_hash: str) -> list[Record]:
        """The code that a version of a task is made of: itself, and every definition that it reaches."""
        return self._records(
            "SELECT DISTINCT ON (name) * FROM raw.definitions WHERE task_hash = $task ORDER BY name",
            {"task": _bytes(task_hash)},
        )

    def why(self, job_id: str) -> Why:
        """A job beside the nearest earlier evaluation of its task, and what differs between them. Raises NotFound.

        Nearest: with the same arguments; else at the same place among the calls of the same parent task; else the
        latest.
        """
        job = self._job(job_id)
        call = job["call_hash"]
        row = self._one("SELECT args_hash FROM raw.calls WHERE call_hash = $call LIMIT 1", {"call": _bytes(call)})
        args_hash = row["args_hash"] if row else None
        earlier = self._one(
            views.text_of("earlier_jobs"),
            {"task_name": job["task_name"], "job_id": _bytes(job_id), "args_hash": _bytes(args_hash)},
        )
        old_call = earlier["call_hash"] if earlier else None
        arguments = self._arguments([known for known in (call, old_call) if known])
        changes = _changes(arguments.get(old_call, ()), arguments.get(call, ())) if earlier and call else ()
        task_changed = earlier is not None and earlier["task_hash"] != job["task_hash"]
        same_key = earlier is not None and earlier["eval_hash"] == job["eval_hash"]
        arguments_changed = earlier is not None and not earlier["same_arguments"] and not same_key
        old_task = earlier["task_hash"] if earlier else None
        return Why(
            job,
            earlier,
            task_changed,
            arguments_changed,
            call is not None,
            changes,
            tuple(self.definitions(job["task_hash"])) if job["task_hash"] else (),
            tuple(self.definitions(old_task)) if old_task else (),
            self.task(job["task_hash"]) if job["task_hash"] else None,
            self.task(old_task) if old_task else None,
            self._reduction(job) if job["how"] == "cached" else None,
            self._forgotten_at(job, earlier),
        )

    def _reduction(self, job: Record) -> Record | None:
        return self._one(
            """SELECT eval_hash, task_hash, kind, execution_id, wall_seconds, reductions."at" AS recorded_at
               FROM raw.reductions WHERE eval_hash = $eval AND reductions."at" <= $before
               ORDER BY reductions."at" DESC LIMIT 1""",
            {"eval": _bytes(job["eval_hash"]), "before": _naive(job["finished_at"] or datetime.now(UTC))},
        )

    def _forgotten_at(self, job: Record, earlier: Record | None) -> Any:
        if earlier is None:
            return None
        row = self._one(
            """SELECT max(forgotten."at") AS recorded_at FROM raw.forgotten
               WHERE key IN ($eval, $task) AND forgotten."at" >= $after AND forgotten."at" <= $before""",
            {
                "eval": _bytes(earlier["eval_hash"]),
                "task": _bytes(earlier["task_hash"]),
                "after": _naive(earlier["queued_at"]),
                "before": _naive(job["queued_at"]),
            },
        )
        return row["recorded_at"] if row else None

    def close(self) -> None:
        """Let go of the database."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._shown = None


def _plain(name: str, value: Any) -> Any:
    """A value of a record: hashes as hex, times with their zone."""
    if type(value) is bytes and name in views.HASH_COLUMNS:
        return value.hex()
    if type(value) is datetime:
        return value.replace(tzinfo=UTC)
    return value


def _bytes(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise NotFound(f"{text!r} is not an id of the store: ids are hexadecimal.") from error


def _naive(moment: datetime | None) -> datetime | None:
    """The same moment as the store writes it: in UTC, without a zone."""
    return moment if moment is None or moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def _range(prefix: str) -> tuple[bytes | None, bytes | None]:
    """The smallest and the largest hash that begin with this hex text."""
    if not _HEX.fullmatch(prefix):
        return None, None
    return bytes.fromhex(prefix.ljust(40, "0"))[: len(prefix) // 2 + 1], bytes.fromhex(prefix.ljust(40, "f"))


def _limit(limit: int | None) -> str:
    return "" if limit is None else f"LIMIT {int(limit)}"


def _changes(old: tuple[Argument, ...], new: tuple[Argument, ...]) -> tuple[ArgumentChange, ...]:
    before = {argument.name: argument for argument in old}
    after = {argument.name: argument for argument in new}
    names = dict.fromkeys((*after, *before))
    pairs = ((name, before.get(name), after.get(name)) for name in names)
    return tuple(
        ArgumentChange(name, was, now)
        for name, was, now in pairs
        if was is None or now is None or was.value_hash != now.value_hash
    )
