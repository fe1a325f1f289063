"""A snapshot of the store as a DuckDB database.

In: a snapshot. Out: a connection with the schema `raw` (rows as they are on disk, hashes as bytes, a key perhaps twice)
and, in front of it, the views that people ask: one row a key, hashes as lower-case hex. Never: writes to the store.

Large segments are read where they lie; what lies inside commit files, of which there may be thousands, is loaded into
memory once. Filters on the key columns of a view reach the files.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from rayflow.store import schemas
from rayflow.store.catalog import Catalog, Problem, Snapshot
from rayflow.store.folders import Folder
from rayflow.store.segments import embedded_table, read_segment

TYPES: dict[Any, str] = {
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.bool_(): "BOOLEAN",
    pa.timestamp("us"): "TIMESTAMP",
}

_ALSO_FIXED_BY_KEY: dict[str, tuple[str, ...]] = {"jobs": ("execution_id",)}
"""Columns that follow from the key: naming them beside it lets a filter on them reach the files."""


SHOWN_NAMES = {"at": "recorded_at"}
"""Columns that the views name otherwise than the records: `at` is a keyword of DuckDB's SQL."""


@cache
def text_of(question: str) -> str:
    """The SQL of a question: `sql/<question>.sql`."""
    return (Path(__file__).parent / "sql" / f"{question}.sql").read_text(encoding="utf-8")


def connect() -> duckdb.DuckDBPyConnection:
    """An empty database in memory."""
    connection = duckdb.connect(":memory:")
    connection.execute("SET TimeZone = 'UTC'; CREATE SCHEMA raw; CREATE SCHEMA loaded;")
    return connection


def fill(connection: duckdb.DuckDBPyConnection, folder: Folder, catalog: Catalog, snapshot: Snapshot) -> None:
    """Make the schema `raw` show this snapshot."""
    gathered = _gather(folder, catalog, snapshot)
    statements = []
    for name, how in schemas.layouts().items():
        rows = pa.concat_tables(gathered[name]) if name in gathered else how.schema.empty_table()
        paths = _paths(folder, catalog, snapshot, name)
        if rows.num_rows or paths:
            connection.register("incoming", pa.RecordBatchReader.from_batches(rows.schema, rows.to_batches()))
            connection.execute(f'CREATE OR REPLACE TABLE loaded."{name}" AS FROM incoming')
            connection.unregister("incoming")
        statements.append(_raw_view(how, paths, is_loaded=bool(rows.num_rows or paths)))
    connection.execute(";\n".join(statements))


def show(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the views in front of a filled schema `raw`. (They take as long as all the rest of a small store, and few of
    our own questions ask them.)"""
    connection.execute(";\n".join([*map(_view, schemas.layouts().values()), text_of("views")]))


def _gather(folder: Folder, catalog: Catalog, snapshot: Snapshot) -> dict[str, list[Any]]:
    """All rows that DuckDB cannot read from a file by itself."""
    gathered: dict[str, list[Any]] = {}
    for commit in snapshot.commits:
        if commit.tables:
            try:
                content = folder.read(commit.path)
                for name in commit.tables:
                    if name in schemas.layouts():
                        rows = embedded_table(commit, content, name)
                        gathered.setdefault(name, []).append(rows)
            except (FileNotFoundError, pa.ArrowException) as error:
                catalog.report(Problem(commit.path, "damaged", str(error)))
        for segment in commit.segments:
            if catalog.is_broken(segment.path) or segment.table not in schemas.layouts():
                continue
            try:
                if folder.local_path(segment.path) is None:
                    rows = read_segment(folder, segment)
                    gathered.setdefault(segment.table, []).append(rows)
            except (FileNotFoundError, pa.ArrowException) as error:
                catalog.report(Problem(segment.path, "damaged", str(error)))
    return gathered


def _paths(folder: Folder, catalog: Catalog, snapshot: Snapshot, table: str) -> list[str]:
    """The Parquet files of a table that DuckDB can read by itself."""
    found = []
    for segment in snapshot.segments():
        if segment.table == table and not catalog.is_broken(segment.path):
            where = folder.local_path(segment.path)
            if where is not None:
                found.append(where)
    return found


def _raw_view(how: schemas.TableLayout, paths: list[str], *, is_loaded: bool) -> str:
    columns = ", ".join(f'"{column.name}"' for column in how.columns)
    if not is_loaded:
        nothing = ", ".join(f'NULL::{TYPES[column.type]} AS "{column.name}"' for column in how.columns)
        return f'CREATE OR REPLACE VIEW raw."{how.name}" AS SELECT {nothing} WHERE false'
    source = f'SELECT {columns} FROM loaded."{how.name}"'
    if paths:
        texts = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
        files = f"read_parquet([{texts}], union_by_name = true)"
        source = f"SELECT {columns} FROM ({source} UNION ALL BY NAME SELECT * FROM {files})"
    return f'CREATE OR REPLACE VIEW raw."{how.name}" AS {source}'


def _view(how: schemas.TableLayout) -> str:
    shown = ", ".join(f'{_shown(column)} AS "{SHOWN_NAMES.get(column.name, column.name)}"' for column in how.columns)
    key = ", ".join(f'"{column}"' for column in (*_ALSO_FIXED_BY_KEY.get(how.name, ()), *how.table.key))
    if how.table.order:
        order = ", ".join(f'"{column}" DESC NULLS LAST' for column in how.table.order)
        rows = f'FROM raw."{how.name}" QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {order}) = 1'
    else:
        rows = f'SELECT DISTINCT ON ({key}) * FROM raw."{how.name}"'
    return f'CREATE OR REPLACE VIEW "{how.name}" AS SELECT {shown} FROM ({rows})'


def _shown(column: schemas.Column) -> str:
    return f'lower(hex("{column.name}"))' if column.is_hash else f'"{column.name}"'


HASH_COLUMNS: frozenset[str] = frozenset(
    column.name for how in schemas.layouts().values() for column in how.columns if column.is_hash
)
"""Names of the columns that hold hashes."""
