"""A store's records as a database: SQL, and the look-ups that most questions need.

In: SQL and ids. Out: relations and records. Never: writes, decodes a value, or lets DuckDB read a file before the file
was compared with its checksum.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb

from rayflow.errors import BadQuery, NotFound
from rayflow.records import JobRow
from rayflow.store.folders.protocol import Folder
from rayflow.store.history import sql_guard, views
from rayflow.store.history.answer_types import Record, RecordedArgument, SchemaColumn
from rayflow.store.history.connections import Connections, ReadyConnection
from rayflow.store.history.parameter_order import in_order, parameters_in
from rayflow.store.write import schemas
from rayflow.store.write.catalog import Catalog, StoreSnapshot

STREAMED_ROWS = 5_000
"""How many rows of a long answer are Python objects at a time."""


class RecordDatabase:
    """Answers SQL queries about the records of one store. Reads only; several threads may ask at the same time."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._catalog = Catalog(folder)
        self._lock = threading.RLock()
        """Held by the thread that uses the catalog, or brings a database up to date."""
        self._databases: dict[bool, Connections] = {}
        """The databases, by whether their queries may read files outside the store."""
        self._is_held = False

    @property
    def url(self) -> str:
        """The URL of the store."""
        return self._folder.url

    # --- SQL ---------------------------------------------------------------------------------------------------------

    def refresh(self, tables: Container[str] = ()) -> duckdb.DuckDBPyConnection:
        """Take in new commits. Gives this thread's connection to these tables; all files behind them are verified."""
        return self._ready(tables).connection

    def _ready(self, tables: Container[str], *, allow_files: bool = False, with_views: bool = False) -> ReadyConnection:
        with self._lock:
            if allow_files not in self._databases:
                self._databases[allow_files] = Connections(self._folder, self._catalog, allow_files=allow_files)
            if not self._is_held:
                self._catalog.refresh()
            return self._databases[allow_files].ready(tables, with_views=with_views)

    def hold(self) -> StoreSnapshot:
        """Answer all later questions from the snapshot of now, which is returned.

        If files of the snapshot are replaced and removed meanwhile, a later snapshot takes its place.
        """
        with self._lock:
            self.refresh()
            self._is_held = True
            return self._catalog.snapshot

    def sql(
        self, query: str, parameters: Sequence[Any] | dict[str, Any] = (), *, allow_files: bool = False
    ) -> duckdb.DuckDBPyRelation:
        """The computed answer to a query over the views. Raises BadQuery with DuckDB's message. Also raises it for a
        statement that writes, for several statements, and for none.

        allow_files: whether the query may read other files and the network (`read_csv('https://...')`), as DuckDB does.
        If not, it reads only the store, and DuckDB cannot write to files. If a query finds a damaged file, it runs
        again without this file, and a warning names the file.
        """
        sql_guard.check(query)
        return self._answer(query, parameters, allow_files=allow_files, with_views=True)

    def answer(self, query: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> duckdb.DuckDBPyRelation:
        """The answer to a statement of rayflow itself. It may also make a temporary table, which later statements of
        the same thread can read."""
        return self._answer(query, parameters, allow_files=False, with_views=False)

    def _answer(
        self, query: str, parameters: Sequence[Any] | dict[str, Any], *, allow_files: bool, with_views: bool
    ) -> duckdb.DuckDBPyRelation:
        while True:
            asked: ReadyConnection | None = None
            try:
                asked = self._ready(views.tables_behind(query), allow_files=allow_files, with_views=with_views)
                return _ask(asked.connection, query, parameters)
            except duckdb.Error as error:
                if asked is not None and not asked.has_views and isinstance(error, duckdb.CatalogException):
                    with_views = True  # the first of our own statements that names a view
                elif not self._is_to_be_asked_again(error, None if asked is None else asked.snapshot):
                    raise self._bad_query(error, allow_files) from error

    def _is_to_be_asked_again(self, error: duckdb.Error, asked: StoreSnapshot | None) -> bool:
        """Whether a question that failed may succeed now. Files that it reads were replaced and removed after they were
        listed, or are damaged and are left out from now on. asked: the snapshot that the question read, or None."""
        with self._lock:
            before = self._catalog.snapshot
            if isinstance(error, duckdb.IOException):
                before = asked or before
                self._catalog.refresh()
            return self._catalog.verified(schemas.layouts()) is not before

    def _bad_query(self, error: duckdb.Error, allow_files: bool) -> BadQuery:
        names = {name for how in schemas.layouts().values() for name, *_ in views.shown_columns(how)}
        return BadQuery(sql_guard.with_hint(error, self.url, sorted(names), allows_files=allow_files))

    def schema(self) -> list[SchemaColumn]:
        """Every table and view that a query can read, with the documentation of its columns."""
        found = []
        connection = self._ready((), with_views=True).connection
        for how in schemas.layouts().values():
            for name, _, sql_type, documentation in views.shown_columns(how):
                found.append(SchemaColumn(how.name, name, sql_type, documentation))
        for row in connection.execute(views.text_of("schema")).fetchall():
            found.append(SchemaColumn(*row))
        for name, documentation in connection.execute(views.text_of("schema_macros")).fetchall():
            described = connection.execute(f"DESCRIBE FROM {name}('')").fetchall()
            found.extend(SchemaColumn(f"{name}()", column, type_, documentation) for column, type_, *_ in described)
        return found

    def records(self, query: str, parameters: dict[str, Any] | None = None) -> list[Record]:
        """Rows of a query as records."""
        relation = self.answer(query, parameters or {})
        names = [views.SHOWN_NAMES.get(name, name) for name in relation.columns]
        hashes = [name for name in names if name in views.HASH_COLUMNS]
        times = [name for name, type_ in zip(names, relation.types, strict=True) if type_.id.startswith("timestamp")]
        rows = [dict(zip(names, row, strict=True)) for row in relation.fetchall()]
        for row in rows:
            for name in hashes:
                if type(cell := row[name]) is bytes:
                    row[name] = cell.hex()
            for name in times:
                if type(cell := row[name]) is datetime:
                    row[name] = cell.replace(tzinfo=UTC)
        return rows

    def stream(self, query: str, parameters: dict[str, Any]) -> Iterator[Record]:
        """Rows of a query as records, as they are, without hex and time zones. DuckDB holds the answer as columns; only
        a few thousand of its rows are Python objects at a time."""
        for batch in self.answer(query, parameters).to_arrow_reader(STREAMED_ROWS):
            yield from batch.to_pylist()

    def one(self, query: str, parameters: dict[str, Any]) -> Record | None:
        """The first row of a query as a record."""
        rows = self.records(query, parameters)
        return rows[0] if rows else None

    # --- what most questions need --------------------------------------------------------------------------------

    def find_execution(self, execution_id: str) -> Record | None:
        """The valid row of an execution (that of its latest life, the closing one if it has ended), or None."""
        return self.one(
            """SELECT * FROM raw.executions WHERE execution_id = $id
               QUALIFY raw.is_valid_execution(execution_id, life, finished_at)""",
            {"id": execution_id},
        )

    def find_job(self, job_id: str) -> Record | None:
        """The valid row of a job (its closing row, once it has one), or None."""
        return self.one(
            "SELECT * FROM raw.jobs WHERE job_id = $job QUALIFY raw.is_valid_job(job_id, finished_at)",
            {"job": as_bytes(job_id)},
        )

    def root_job(self, execution_id: str) -> Record:
        """The valid row of the first job of an execution. Raises NotFound if none is recorded yet."""
        root = self.one(
            """SELECT job_id FROM raw.jobs WHERE execution_id = $id AND parent_job_id IS NULL
               ORDER BY ordinal LIMIT 1""",
            {"id": execution_id},
        )
        if root is None:
            raise NotFound(f"Execution {execution_id} has no job in the records yet.")
        return self.job_row(root["job_id"])

    def job_row(self, job_id: str) -> Record:
        """The valid row of a job. Raises NotFound."""
        row = self.find_job(job_id)
        if row is None:
            raise NotFound(f"The store has no job {job_id}.")
        return row

    def job_rows(self, job_ids: Sequence[str]) -> list[Record]:
        """The valid rows of these jobs, the latest first."""
        return self.records(
            """SELECT * FROM raw.jobs WHERE job_id IN (SELECT unnest($ids))
               QUALIFY raw.is_valid_job(job_id, finished_at) ORDER BY queued_at DESC""",
            {"ids": [bytes.fromhex(job_id) for job_id in job_ids]},
        )

    def open_jobs(self, execution_id: str) -> list[JobRow]:
        """The opening rows of an execution's jobs that have no closing row, as they were recorded."""
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

    def done_jobs(self, execution_id: str) -> frozenset[bytes]:
        """The ids of an execution's jobs that are done: computed or cached, not shared."""
        query = "SELECT DISTINCT job_id FROM raw.jobs WHERE execution_id = $id AND status = 'done' AND how <> 'shared'"
        return frozenset(job_id for (job_id,) in self.answer(query, {"id": execution_id}).fetchall())

    def arguments_of(
        self, calls: Sequence[str], *, with_sources: bool = True
    ) -> dict[str, tuple[RecordedArgument, ...]]:
        """The arguments of calls, by call, in the order of the task's parameters.

        with_sources: also the calls that each argument came from. (There may be a million of them.)
        """
        if not calls:
            return {}
        wanted = {"calls": [bytes.fromhex(call) for call in set(calls)]}
        sources: dict[tuple[str, str], list[tuple[str, str | None]]] = {}
        for row in self.records(views.text_of("call_sources"), wanted) if with_sources else ():
            known = sources.setdefault((row["call_hash"], row["name"]), [])
            known.append((row["source_call_hash"], row["task_name"]))
        found: dict[str, dict[str, RecordedArgument]] = {}
        for row in self.records(views.text_of("call_arguments"), wanted):
            call, name = row["call_hash"], row["name"]
            came_from = tuple(sources.get((call, name), ()))
            found.setdefault(call, {})[name] = RecordedArgument(
                name, row["value_hash"], row["type"], row["preview"], came_from
            )
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
        tables = ("tasks", "calls")
        query = " UNION ".join(f"SELECT task_hash FROM raw.{table} WHERE task_name = $name" for table in tables)
        rows = self.records(query, {"name": task_name})
        return sorted(bytes.fromhex(row["task_hash"]) for row in rows if row["task_hash"] is not None)

    def names(self) -> tuple[list[str], list[str]]:
        """The full names of all tasks, and all labels of calls."""
        tasks = self.answer("SELECT task_name FROM raw.tasks UNION SELECT task_name FROM raw.jobs ORDER BY 1")
        labels = self.answer("SELECT DISTINCT label FROM raw.jobs WHERE label IS NOT NULL ORDER BY 1")
        return [name for (name,) in tasks.fetchall()], [label for (label,) in labels.fetchall()]

    def task_names_in(self, execution_id: str) -> list[str]:
        """The full names of the tasks that an execution called."""
        query = "SELECT DISTINCT task_name FROM raw.jobs WHERE execution_id = $id"
        return [name for (name,) in self.answer(query, {"id": execution_id}).fetchall()]

    def latest_task_hash(self, task_name: str) -> str | None:
        """The version of a task that was recorded last, or None when no version was."""
        row = self.one(
            'SELECT task_hash FROM raw.tasks WHERE task_name = $name ORDER BY tasks."at" DESC LIMIT 1',
            {"name": task_name},
        )
        return row["task_hash"] if row else None

    def latest_task_place(self, task_name: str) -> str | None:
        """File and line of a task's last recorded version, if they were recorded."""
        row = self.one(
            """SELECT place FROM raw.tasks WHERE task_name = $name AND place IS NOT NULL
               ORDER BY tasks."at" DESC LIMIT 1""",
            {"name": task_name},
        )
        return row["place"] if row else None

    def task_places(self, task_hashes: Sequence[str]) -> dict[str, str | None]:
        """File and line of these versions of tasks, by their hashes."""
        rows = self.records(
            """SELECT DISTINCT ON (task_hash) task_hash, place FROM raw.tasks
               WHERE task_hash IN (SELECT unnest($hashes))""",
            {"hashes": [bytes.fromhex(task_hash) for task_hash in task_hashes]},
        )
        return {row["task_hash"]: row["place"] for row in rows}

    def calls_labelled(self, label: str) -> list[bytes]:
        """The eval hashes of all jobs with this label."""
        query = "SELECT DISTINCT eval_hash FROM raw.jobs WHERE label = $name AND eval_hash IS NOT NULL"
        return sorted(bytes.fromhex(row["eval_hash"]) for row in self.records(query, {"name": label}))

    def task(self, task_hash: str) -> Record | None:
        """One version of a task as it was defined, or None when it is not recorded."""
        return self.one(
            'SELECT * FROM raw.tasks WHERE task_hash = $task ORDER BY tasks."at" LIMIT 1', {"task": as_bytes(task_hash)}
        )

    def value_rows(self, value_hashes: Iterable[str]) -> dict[str, Record]:
        """The rows of values, by their hashes. If a value has several rows, the row with the bytes or their place."""
        rows = self.records(
            """SELECT DISTINCT ON (value_hash) * FROM raw.values WHERE value_hash IN (SELECT unnest($hashes))
               ORDER BY value_hash, inline IS NULL, blob IS NULL""",
            {"hashes": [bytes.fromhex(each) for each in value_hashes]},
        )
        return {row["value_hash"]: row for row in rows}

    # --- what a dry run asks -------------------------------------------------------------------------------------

    def latest_call(self, task_name: str, *, except_job: str) -> str | None:
        """The call of a task's latest job, other than this job; None if no such job has a call."""
        row = self.one(
            """SELECT call_hash FROM raw.jobs WHERE task_name = $task AND call_hash IS NOT NULL AND job_id <> $job
               ORDER BY queued_at DESC LIMIT 1""",
            {"task": task_name, "job": bytes.fromhex(except_job)},
        )
        return row["call_hash"] if row else None

    def child_calls(self, calls: Sequence[str], most: int) -> list[Record]:
        """The calls that these calls made, at most so many of one task by one call. `alike` counts all of them."""
        keys = [bytes.fromhex(call) for call in calls]
        return self.records(views.text_of("child_calls"), {"calls": keys, "most": most})

    def call_costs(self, calls: Sequence[str]) -> dict[str, Record]:
        """The costs of calls: the seconds of a body's last run (`wall_seconds`), and its last place (`ordinal`)."""
        rows = self.records(views.text_of("call_costs"), {"calls": [bytes.fromhex(call) for call in calls]})
        return {row["call_hash"]: row for row in rows}

    def task_costs(self, task_names: Iterable[str]) -> dict[str, float]:
        """The usual seconds of the bodies of these tasks, by task. Tasks that have not run are left out."""
        rows = self.records(views.text_of("task_costs"), {"tasks": sorted(task_names)})
        return {row["task_name"]: row["wall_seconds"] for row in rows}

    def task_spans(self, names: Iterable[str]) -> dict[str, tuple[float, float]]:
        """Between which seconds the bodies of these tasks mostly took, by the names under which their jobs are shown.
        Names under which nothing has run are left out."""
        rows = self.records(views.text_of("task_spans"), {"names": sorted(names)})
        return {row["name"]: (row["low_seconds"], row["high_seconds"]) for row in rows}

    def calls_used(self, task_name: str, most: int) -> list[tuple[float, float, int | None]]:
        """What the latest calls of a task that ran used, at most so many, the latest one last: seconds, seconds of
        processors, and the most bytes of memory of one process."""
        rows = self.records(
            "SELECT wall_seconds, cpu_seconds, peak_memory_bytes FROM raw.jobs WHERE task_name = $task "
            "AND how = 'computed' AND status = 'done' AND cpu_seconds IS NOT NULL "
            "ORDER BY finished_at DESC LIMIT $most",
            {"task": task_name, "most": most},
        )
        found = [(row["wall_seconds"], row["cpu_seconds"], row["peak_memory_bytes"]) for row in rows]
        return found[::-1]

    # --- the store as a whole ------------------------------------------------------------------------------------

    def named_blobs(self) -> list[bytes]:
        """The digests of all blobs that a record names."""
        rows = self.records(views.text_of("named_blobs"))
        return [bytes.fromhex(row["blob"]) for row in rows]

    def dangling(self) -> list[Record]:
        """Things that rows name, but that are not recorded, such as the calls of a lost commit: what, how many, one."""
        return [row for row in self.records(views.text_of("dangling")) if row["many"]]

    def definitions(self, task_hash: str) -> list[Record]:
        """The code of a version of a task: the task itself, and every definition that it reaches."""
        return self.records(
            "SELECT DISTINCT ON (name) * FROM raw.definitions WHERE task_hash = $task ORDER BY name",
            {"task": as_bytes(task_hash)},
        )

    def close(self) -> None:
        """Close the database. A later question opens another one."""
        with self._lock:
            for each in self._databases.values():
                each.close()
            self._databases.clear()

    def count_tries(self, jobs: Sequence[Record]) -> None:
        """Add to each of these jobs, as `tries`, the number of attempts that it took."""
        again = {job["job_id"]: job for job in jobs if (job["attempts"] or 0) > 1}
        for job in jobs:
            job["tries"] = min(job["attempts"] or 0, 1)
        ids = [as_bytes(job_id) for job_id in again]
        query = """SELECT job_id, list(DISTINCT attempt) AS failed FROM raw.attempts
                   WHERE job_id IN (SELECT unnest($ids)) GROUP BY job_id"""
        for row in self.records(query, {"ids": ids}) if ids else ():
            job = again[row["job_id"]]
            job["tries"] = tries_of(job["attempts"], row["failed"])


def _ask(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[Any] | dict[str, Any]
) -> duckdb.DuckDBPyRelation:
    relation = connection.sql(query, params=parameters or None)
    if relation is None:
        # A statement without rows, such as CREATE.
        relation = connection.sql("SELECT true AS done")
    return relation.materialize()


def as_bytes(text: str | None) -> bytes | None:
    """A hash from its hex text. Raises NotFound when the text is not one."""
    if text is None:
        return None
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise NotFound(f"{text!r} is not an id of the store: ids are hexadecimal.") from error


def as_microseconds(stored: datetime) -> int:
    """A moment as a number, in the form of the rows: microseconds since the epoch."""
    return (stored.replace(tzinfo=UTC) - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)


def as_stored(moment: datetime | None) -> datetime | None:
    """A moment in the form that the store writes: in UTC, without a zone."""
    return moment if moment is None or moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def tries_of(sent: int, failed: Collection[int]) -> int:
    """The number of attempts that a job took: those that failed, and one more if the last did not.

    sent: how often the job was sent to a worker (more often than it was tried, when its body awaits). failed: the
    numbers of the attempts that failed.
    """
    return min(sent, len(failed) + (sent not in failed))
