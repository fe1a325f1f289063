"""Ask a store's records: SQL, and the few lookups that most questions need.

In: SQL and ids. Out: relations and records. Never: writes, or decodes a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb

from rayflow.errors import BadQuery, NotFound
from rayflow.records import JobRow
from rayflow.store import queries, schemas, views
from rayflow.store.answers import Argument, Record, SchemaColumn
from rayflow.store.catalog import Catalog, Problem, Snapshot
from rayflow.store.folders import Folder
from rayflow.store.parameters import in_order, parameters_in
from rayflow.store.segments import checksum_of


class Asker:
    """A DuckDB database that shows what is committed. Reads only; not for several threads."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._catalog = Catalog(folder)
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._shown: Snapshot | None = None
        self._wants_views = False
        self._has_views = False

    # --- SQL ---------------------------------------------------------------------------------------------------------

    def refresh(self) -> duckdb.DuckDBPyConnection:
        """See what was committed since; the connection to ask."""
        snapshot = self._catalog.refresh()
        if self._connection is None:
            self._connection = views.connect()
        if snapshot is not self._shown:
            views.fill(self._connection, self._folder, self._catalog, snapshot)
            self._shown = self._catalog.snapshot
        if self._wants_views and not self._has_views:
            views.show(self._connection)
            self._has_views = True
        return self._connection

    def sql(self, query: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> duckdb.DuckDBPyRelation:
        """The answer to a query over the views, computed. Raises BadQuery with DuckDB's message, and for what is no
        query: a statement that writes, several, or none.

        A query that finds a damaged file is asked again without it; the file is named in a warning.
        """
        queries.check(query)
        self._wants_views = True
        return self.answer(query, parameters)

    def answer(self, query: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> duckdb.DuckDBPyRelation:
        """The same for statements of our own, which may also make what a later one asks."""
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
        try:
            relation = connection.sql(query, params=parameters or None)
        except duckdb.CatalogException:
            if self._has_views:
                raise
            self._wants_views = True  # the first of our own statements that names one of them
            connection = self.refresh()
            relation = connection.sql(query, params=parameters or None)
        if relation is None:
            # A statement without rows, such as CREATE.
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
        self._wants_views = True
        connection = self.refresh()
        for how in schemas.layouts().values():
            for column in how.columns:
                kind = "VARCHAR" if column.is_hash else views.TYPES[column.type]
                name = views.SHOWN_NAMES.get(column.name, column.name)
                found.append(SchemaColumn(how.name, name, kind, column.documentation))
        for row in connection.execute(views.text_of("schema")).fetchall():
            found.append(SchemaColumn(*row))
        return found

    def records(self, query: str, parameters: dict[str, Any] | None = None) -> list[Record]:
        """Rows of a query as records."""
        relation = self.answer(query, parameters or {})
        names = [views.SHOWN_NAMES.get(name, name) for name in relation.columns]
        return [dict(zip(names, map(as_plain, names, row), strict=True)) for row in relation.fetchall()]

    def one(self, query: str, parameters: dict[str, Any]) -> Record | None:
        """The first row of a query as a record."""
        rows = self.records(query, parameters)
        return rows[0] if rows else None

    # --- what most questions need --------------------------------------------------------------------------------

    def find_job(self, job_id: str) -> Record | None:
        """The row of a job that counts (its closing row, once it has one), or None."""
        return self.one(
            "SELECT * FROM raw.jobs WHERE job_id = $job ORDER BY finished_at DESC NULLS LAST LIMIT 1",
            {"job": as_bytes(job_id)},
        )

    def job_row(self, job_id: str) -> Record:
        """The row of a job that counts. Raises NotFound."""
        row = self.find_job(job_id)
        if row is None:
            raise NotFound(f"The store has no job {job_id}.")
        return row

    def open_jobs(self, execution_id: str) -> list[JobRow]:
        """The rows of the jobs of an execution that are open and have no other row, as they were recorded."""
        relation = self.answer(
            """SELECT DISTINCT ON (job_id) * FROM raw.jobs
               WHERE execution_id = $id AND status = 'open' AND job_id NOT IN
                     (SELECT job_id FROM raw.jobs WHERE execution_id = $id AND status <> 'open')
               ORDER BY job_id, attempts DESC""",
            {"id": execution_id},
        )
        rows = []
        for cells in relation.fetchall():
            by_name: dict[str, Any] = dict(zip(relation.columns, cells, strict=True))
            times = {name: as_microseconds(cell) for name, cell in by_name.items() if isinstance(cell, datetime)}
            rows.append(JobRow(**{**by_name, **times}))
        return rows

    def arguments(self, calls: Sequence[str]) -> dict[str, tuple[Argument, ...]]:
        """The arguments of calls, by call, in the order of the task's parameters."""
        if not calls:
            return {}
        wanted = {"calls": [bytes.fromhex(call) for call in set(calls)]}
        rows = self.records(views.text_of("call_arguments"), wanted)
        found: dict[str, dict[str, Argument]] = {}
        for row in rows:
            named = found.setdefault(row["call_hash"], {})
            known = named.get(row["name"])
            sources = known.sources if known else ()
            if row["source_call_hash"] is not None:
                sources = (*sources, (row["source_call_hash"], row["source_task_name"]))
            named[row["name"]] = Argument(row["name"], row["value_hash"], row["type"], row["preview"], sources)
        order: dict[str, list[str]] = {}
        for row in self.records(views.text_of("task_sources"), wanted) if found else ():
            order.update(dict.fromkeys(row["calls"], parameters_in(row["source"])))
        return {call: in_order(named, order.get(call, [])) for call, named in found.items()}

    def results(self, calls: Sequence[str]) -> dict[str, Record]:
        """The results of calls (hash, type, preview, size), by call."""
        if not calls:
            return {}
        rows = self.records(views.text_of("call_results"), {"calls": [bytes.fromhex(call) for call in set(calls)]})
        return {row["call_hash"]: row for row in rows}

    def task_hashes(self, task_name: str) -> list[bytes]:
        """The hashes of all recorded versions of a task, by its full name."""
        tables = ("tasks", "calls", "jobs")
        query = " UNION ".join(f"SELECT task_hash FROM raw.{table} WHERE task_name = $name" for table in tables)
        rows = self.records(query, {"name": task_name})
        return sorted(bytes.fromhex(row["task_hash"]) for row in rows if row["task_hash"] is not None)

    def task(self, task_hash: str) -> Record | None:
        """One version of a task as it was defined, or None when that was not recorded."""
        return self.one(
            'SELECT * FROM raw.tasks WHERE task_hash = $task ORDER BY tasks."at" LIMIT 1', {"task": as_bytes(task_hash)}
        )

    def named_blobs(self) -> list[bytes]:
        """The digests of all blobs that a record names."""
        rows = self.records(views.text_of("named_blobs"))
        return [bytes.fromhex(row["blob"]) for row in rows]

    def dangling(self) -> list[Record]:
        """What rows name and is not recorded, such as the calls of a commit whose file is gone: what, how many, one."""
        return [row for row in self.records(views.text_of("dangling")) if row["many"]]

    def definitions(self, task_hash: str) -> list[Record]:
        """The code that a version of a task is made of: itself, and every definition that it reaches."""
        return self.records(
            "SELECT DISTINCT ON (name) * FROM raw.definitions WHERE task_hash = $task ORDER BY name",
            {"task": as_bytes(task_hash)},
        )

    def close(self) -> None:
        """Let go of the database."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._shown = None
            self._has_views = False


def as_plain(name: str, value: Any) -> Any:
    """A value of a record: hashes as hex, times with their zone."""
    if type(value) is bytes and name in views.HASH_COLUMNS:
        return value.hex()
    if type(value) is datetime:
        return value.replace(tzinfo=UTC)
    return value


def as_bytes(text: str | None) -> bytes | None:
    """A hash from its hex text. Raises NotFound when it is none."""
    if text is None:
        return None
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise NotFound(f"{text!r} is not an id of the store: ids are hexadecimal.") from error


def as_microseconds(stored: datetime) -> int:
    """A moment of the store as its rows have it: microseconds since the epoch."""
    return (stored.replace(tzinfo=UTC) - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)


def as_stored(moment: datetime | None) -> datetime | None:
    """The same moment as the store writes it: in UTC, without a zone."""
    return moment if moment is None or moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
