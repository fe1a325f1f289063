"""Questions over what a store has recorded.

In: ids as people paste them, and SQL. Out: relations and plain data. Never: writes, or decodes a value.

One method per question; the longer ones are in `sql/`. Methods ask the schema `raw`, whose columns the files' order and
statistics speak of, so that a question about one call reads a few pages and not the whole history.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from rayflow.errors import BlobDamaged, BlobMissing, NotFound
from rayflow.records import ExecutionRow
from rayflow.store import filters, graphs, lineage, views, whys
from rayflow.store.answers import (
    CallDetail,
    CallGraph,
    Entity,
    GroupLine,
    JobDetail,
    JobLine,
    JobTree,
    LineageStep,
    Record,
    ValueDetail,
    Why,
)
from rayflow.store.asking import Asker, as_bytes, as_microseconds
from rayflow.store.blobs import Blobs
from rayflow.store.filters import ALL, Filter
from rayflow.store.folders import Folder
from rayflow.values.filesystems import base_directory, local_path

_LAST = re.compile(r"-|~(\d+)")
_HEX = re.compile(r"[0-9a-f]{1,40}")


class History(Asker):
    """The history of one store. Reads only; may be open beside any number of writers; not for several threads."""

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        self._blobs = Blobs(folder)

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
            rows = self.records(f"{views.text_of('executions')} LIMIT 1 OFFSET $back", {"back": back})
            if not rows:
                raise NotFound(f"{text}: the store has no {back + 1} executions.")
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
            raise NotFound(f"Nothing in the store is called {text!r}: no {', '.join(sorted(wanted))} has such an id.")
        exact = [entity for entity in found if entity.id == lowered]
        if len(found) > 1 and len(exact) != 1:
            names = "\n".join(f"  {entity.kind} {entity.id}" for entity in found[:8])
            raise NotFound(f"{text!r} could be any of these; give more of the id:\n{names}")
        return exact[0] if exact else found[0]

    # --- executions and jobs -----------------------------------------------------------------------------------------

    def executions(self, wanted: Filter = ALL, *, limit: int | None = 20) -> list[Record]:
        """The executions that fit, the latest first."""
        conditions = filters.of_executions(wanted)
        query = f"""SELECT * FROM ({views.text_of("executions")}) WHERE {conditions.text}
            ORDER BY started_at DESC, execution_id DESC {_limit(limit)}"""
        return self.records(query, conditions.parameters)

    def execution(self, execution_id: str) -> Record:
        """One execution. Raises NotFound."""
        row = self.one(f"SELECT * FROM ({views.text_of('executions')}) WHERE execution_id = $id", {"id": execution_id})
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

    def jobs(self, wanted: Filter = ALL, *, limit: int | None = 100) -> list[Record]:
        """The jobs that fit, the latest first.

        A job may have several rows, of which one counts. So the latest rows that fit are found first, some more than
        are asked for, and then of those jobs the rows that count.
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

    def job_tree(self, execution_id: str, *, siblings: int = 20) -> JobTree:
        """An execution and its jobs, parents before children, with their arguments and results.

        siblings: of the children of one job with one task name, so many are shown (failed and open ones first) and
        the rest is summed up. Raises NotFound.
        """
        execution = self.execution(execution_id)
        parameters = {"execution": execution_id, "siblings": siblings}
        rows = self.records(views.text_of("job_tree"), parameters)
        groups: dict[str | None, list[Record]] = {}
        for group in self.records(views.text_of("sibling_groups"), parameters):
            groups.setdefault(group["parent_job_id"], []).append(group)
        calls = [row["call_hash"] for row in rows if row["call_hash"] is not None]
        arguments = self.arguments(calls)
        results = self.results(calls)
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

    def call_graph(self, execution_id: str) -> CallGraph:
        """An execution as a graph whose boxes are all calls of one task from one place. Raises NotFound."""
        return graphs.call_graph(self, self.execution(execution_id))

    def job(self, job_id: str) -> JobDetail:
        """One job whole. Raises NotFound."""
        row = self.job_row(job_id)
        call = row["call_hash"]
        calls = [call] if call else []
        key = {"job": as_bytes(job_id)}
        children = self.records(
            """SELECT task_name, how, status, count(*) AS jobs, sum(wall_seconds::DOUBLE) AS wall_seconds FROM (
                   SELECT * FROM raw.jobs WHERE parent_job_id = $job
                   QUALIFY row_number() OVER (PARTITION BY job_id ORDER BY finished_at DESC NULLS LAST) = 1)
               GROUP BY ALL ORDER BY task_name, how, status""",
            key,
        )
        attempts = self.records("SELECT DISTINCT * FROM raw.attempts WHERE job_id = $job ORDER BY attempt", key)
        try:
            execution: Record | None = self.execution(row["execution_id"])
        except NotFound:
            execution = None
        return JobDetail(
            row,
            execution,
            self.find_job(row["parent_job_id"]) if row["parent_job_id"] else None,
            self.arguments(calls).get(call, ()),
            self.results(calls).get(call),
            tuple(children),
            tuple(attempts),
            tuple(self.logs(job_id)),
            tuple(self.tags("job", job_id)),
            self.task(row["task_hash"]) if row["task_hash"] else None,
        )

    def logs(self, job_id: str) -> list[Record]:
        """What a job printed, per attempt and stream; long texts are fetched from their blobs."""
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

    def tags(self, entity: str | None = None, entity_id: str | None = None, key: str | None = None) -> list[Record]:
        """Tags that are set now: of an execution, job, call, value or task, or all with a key, or all there are."""
        return self.records(
            """SELECT * FROM current_tags WHERE ($entity IS NULL OR entity = $entity)
                   AND ($id IS NULL OR entity_id = $id) AND ($key IS NULL OR key = $key)
               ORDER BY entity, entity_id, key, value""",
            {"entity": entity, "id": entity_id, "key": key},
        )

    def tag_history(self, entity: str, entity_id: str, key: str | None = None) -> list[Record]:
        """Every tag that was ever set on something or removed from it, the latest last."""
        return self.records(
            """SELECT * FROM tags WHERE entity = $entity AND entity_id = $id AND ($key IS NULL OR key = $key)
               ORDER BY recorded_at, removed DESC, key, value""",
            {"entity": entity, "id": entity_id, "key": key},
        )

    # --- calls and values --------------------------------------------------------------------------------------------

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
               QUALIFY row_number() OVER (PARTITION BY job_id ORDER BY finished_at DESC NULLS LAST) = 1
               ORDER BY queued_at DESC LIMIT 100""",
            key,
        )
        arguments = self.arguments([call_hash]).get(call_hash, ())
        return CallDetail(row, arguments, self.results([call_hash]).get(call_hash), tuple(children), tuple(jobs))

    def value(self, value_hash: str) -> ValueDetail:
        """One value or file, who made it and who took it. Raises NotFound."""
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
        return ValueDetail(value, file, tuple(parts), tuple(wholes), tuple(made_by), tuple(taken_by))

    def files(self, path: str) -> list[Record]:
        """All recorded states of the file at a path, the latest first."""
        return self.records(
            "SELECT DISTINCT ON (value_hash) * FROM raw.files WHERE path = $path ORDER BY modified_at DESC NULLS LAST",
            {"path": path},
        )

    def _files_called(self, text: str) -> list[Record]:
        """The recorded path that a text means; else the nearest directory or pattern that was recorded around it."""
        paths = _paths(text)
        rows = self.records(
            "SELECT DISTINCT path FROM raw.files WHERE path IN (SELECT unnest($paths))", {"paths": paths}
        )
        if rows or "/" not in "".join(paths):
            return rows
        around = {path[:end] for path in paths for end, letter in enumerate(path) if letter == "/" and end}
        return self.records(
            """SELECT DISTINCT path, length(path) AS size FROM raw.files
               WHERE rtrim(path, '/') IN (SELECT unnest($around))
                  OR (contains(path, '*') AND EXISTS (
                      SELECT 1 FROM unnest($paths) AS asked(name)
                      WHERE name GLOB path  -- its * goes over any number of directories
                        AND (contains(path, '**') OR len(split(name, '/')) = len(split(path, '/')))))
               ORDER BY size DESC LIMIT 1""",
            {"around": sorted(around), "paths": paths},
        )

    def calls_of_file(self, path: str) -> list[Record]:
        """The states of the file at a path, the latest first; for each the calls that made it, passed it on and read
        it, with the job that computed each last. A state without calls has one row, with nulls."""
        return self.records("SELECT * FROM calls_of_file($path)", {"path": path})

    def lineage(self, text: str, *, levels: int | None = None) -> list[LineageStep]:
        """The calls that led to a file (by path) or value (by hash), the nearest first.

        levels: how far to go back; all the way by default. Raises NotFound when no recorded call made it.
        """
        return lineage.lineage(self, text, levels=levels)

    def why(self, job_id: str) -> Why:
        """A job beside the nearest earlier evaluation of its task, and what differs between them. Raises NotFound."""
        return whys.why(self, job_id)


def _paths(text: str) -> list[str]:
    """How a file may have been recorded that is called so here: relative to the project, as Files mostly are."""
    local = local_path(text)
    if local is None:
        return [text]
    whole = os.path.normpath(local)
    here = os.path.abspath(text)
    return [text, whole, here, *(os.path.relpath(each, base_directory()) for each in (whole, here))]


def _limit(limit: int | None) -> str:
    return "" if limit is None else f"LIMIT {int(limit)}"
