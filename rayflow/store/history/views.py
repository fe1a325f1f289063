"""A snapshot of the store as a DuckDB database.

In: a snapshot. Out: a connection with the schema `raw` (rows as they are on disk, hashes as bytes, perhaps several rows
for a key) and with the views for people: one row for a key, hashes as lower-case hex. Never: writes to the store.

DuckDB reads large segments from their files. The rows inside commit files are loaded into memory once, since there may
be thousands of these files. Filters on the key columns of a view reach the files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from glob import escape
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from rayflow.store.folders.protocol import Folder
from rayflow.store.write import schemas
from rayflow.store.write.catalog import Catalog, StoreSnapshot
from rayflow.store.write.folding import FOLDS, HOST_KEY
from rayflow.store.write.segments import embedded_tables, segment_tables

TYPES: dict[Any, str] = {
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.bool_(): "BOOLEAN",
    pa.timestamp("us"): "TIMESTAMP",
}

_ALSO_FIXED_BY_KEY: dict[str, tuple[str, ...]] = {"jobs": ("execution_id",)}
"""Columns that the key determines. The view names them beside the key, so that a filter on them reaches the files."""

_VALID_ROW = {"is_valid_job": "jobs", "is_valid_execution": "executions"}
"""Macros of the schema `raw` that choose, behind QUALIFY, the valid one of the rows with one key; and their tables."""

SHOWN_NAMES = {"at": "recorded_at"}
"""Columns that have another name in the views than in the records: `at` is a keyword of DuckDB's SQL."""

MADE_COLUMNS: dict[str, dict[str, tuple[str, str]]] = {
    "tags": {
        "value": (
            """CASE WHEN starts_with("value", '"') THEN json_extract_string("value", '$') ELSE "value" END""",
            "the tag's value as plain text",
        ),
        "value_json": ('"value"', 'the tag\'s value as JSON, which tells 1 from "1"'),
    }
}
"""The view's columns that replace a column, by table and column: each with its SQL and its documentation."""


def shown_columns(how: schemas.TableLayout) -> list[tuple[str, str, str, str]]:
    """The columns of a table's view: name, SQL, type, documentation."""
    made = MADE_COLUMNS.get(how.name, {})
    found: list[tuple[str, str, str, str]] = []
    for column in how.columns:
        sql_type = "VARCHAR" if column.is_hash else TYPES[column.type]
        if column.name in made:
            found.extend((name, text, sql_type, documentation) for name, (text, documentation) in made.items())
        else:
            found.append((SHOWN_NAMES.get(column.name, column.name), _shown(column), sql_type, column.documentation))
    return found


@cache
def text_of(question: str) -> str:
    """The SQL of a question: `sql/<question>.sql`."""
    return (Path(__file__).parent / "sql" / f"{question}.sql").read_text(encoding="utf-8")


_WORD = re.compile(r"\w+")


def tables_behind(query: str) -> frozenset[str]:
    """The tables that a query may read, by the words in it: tables that it names, and those behind the views and macros
    that it names. All tables, when the query computes names."""
    words = {word.lower() for word in _WORD.findall(query)}
    if not words.isdisjoint(_NAMES_AS_IT_RUNS):
        return frozenset(schemas.layouts())
    found: set[str] = set()
    for word in words:
        found |= _behind().get(word, frozenset())
    return frozenset(found)


_NAMES_AS_IT_RUNS = frozenset({"query", "query_table"})


@cache
def _behind() -> dict[str, frozenset[str]]:
    """The tables behind each table, view and macro, by its name."""
    found = {name: frozenset({name}) for name in schemas.layouts()}
    made = re.split(r"CREATE OR REPLACE (?:TEMP )?(?:VIEW|MACRO) ", text_of("views"))[1:]
    for statement in made:  # each after those that it asks
        name, *words = _WORD.findall(statement.lower())
        found[name] = frozenset().union(*(found[word] for word in words if word in found))
    return found


def connect(directory: str | None, *, allow_files: bool = False) -> duckdb.DuckDBPyConnection:
    """An empty database in memory. It reads the files of this directory; nothing else of this machine, or the network.

    allow_files: it reads everything that DuckDB can read.
    """
    connection = duckdb.connect(":memory:")
    connection.execute("SET GLOBAL TimeZone = 'UTC'; CREATE SCHEMA raw; CREATE SCHEMA loaded;")
    for macro, table in _VALID_ROW.items():
        how = schemas.layouts()[table]
        columns = ", ".join((*how.table.key, *how.table.order))
        connection.execute(f"CREATE MACRO raw.{macro}({columns}) AS {_is_valid_row(how.table.key, how.table.order)}")
    if not allow_files:
        # DuckDB takes a path for a pattern, and asks whether the pattern may be read, and then each file that it finds.
        places = [] if directory is None else [directory.rstrip("/"), escape(directory.rstrip("/"))]
        allowed = ["{}/".format(place.replace("'", "''")) for place in places]
        connection.execute(
            f"""SET allowed_directories = [{", ".join(f"'{each}'" for each in allowed)}];
            SET autoinstall_known_extensions = false; SET autoload_known_extensions = false;
            SET GLOBAL python_enable_replacements = false; SET enable_external_access = false;"""
        )
    connection.execute("SET lock_configuration = true")
    return connection


def fill(connection: duckdb.DuckDBPyConnection, folder: Folder, catalog: Catalog, snapshot: StoreSnapshot) -> None:
    """Make the schema `raw` show this snapshot, in one transaction. Raises Replaced if a part of it is missing."""
    gathered = _gather(folder, catalog, snapshot)
    paths_of = {name: _paths(folder, catalog, snapshot, name) for name in schemas.layouts()}
    statements = []
    connection.execute("BEGIN TRANSACTION")
    try:
        for name, how in schemas.layouts().items():
            rows = pa.concat_tables(gathered[name]) if name in gathered else how.schema.empty_table()
            paths = paths_of[name]
            if rows.num_rows or any(paths):
                connection.register("incoming", pa.RecordBatchReader.from_batches(rows.schema, rows.to_batches()))
                connection.execute(f'CREATE OR REPLACE TABLE loaded."{name}" AS FROM incoming')
                connection.unregister("incoming")
            statements.append(_raw_view(how, paths, is_loaded=bool(rows.num_rows or any(paths))))
        connection.execute(";\n".join(statements))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def show(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the views in front of a filled schema `raw`. (For a small store that takes as long as all else, and few of
    our own questions use the views.)"""
    made = ";\n".join([*map(_view, schemas.layouts().values()), text_of("views")])
    connection.execute(f"BEGIN TRANSACTION;\n{made};\nCOMMIT")


def _gather(folder: Folder, catalog: Catalog, snapshot: StoreSnapshot) -> dict[str, list[Any]]:
    """The rows that DuckDB cannot read from a file by itself, by table."""
    gathered: dict[str, list[Any]] = {}
    for commit in snapshot.commits:
        with catalog.reading(commit, commit.path):
            for name, rows in embedded_tables(folder, commit):
                gathered.setdefault(name, []).append(rows)
        for segment in commit.segments:
            if catalog.is_broken(segment.path) or segment.table not in schemas.layouts():
                continue
            with catalog.reading(commit, segment.path):
                if folder.local_path(segment.path) is None:
                    for name, rows in segment_tables(folder, segment):
                        gathered.setdefault(name, []).append(rows)
    return gathered


def _paths(folder: Folder, catalog: Catalog, snapshot: StoreSnapshot, table: str) -> tuple[list[str], list[str]]:
    """The Parquet files that DuckDB can read by itself: those of a table, and others that have rows of it folded in."""
    own: list[str] = []
    folded: list[str] = []
    for segment in snapshot.segments():
        if table in segment.tables and not catalog.is_broken(segment.path):
            where = folder.local_path(segment.path)
            if where is not None:
                (own if segment.table == table else folded).append(where)
    return own, folded


def _raw_view(how: schemas.TableLayout, paths: tuple[list[str], list[str]], *, is_loaded: bool) -> str:
    columns = ", ".join(f'"{column.name}"' for column in how.columns)
    if not is_loaded:
        nothing = ", ".join(f'NULL::{TYPES[column.type]} AS "{column.name}"' for column in how.columns)
        return f'CREATE OR REPLACE VIEW raw."{how.name}" AS SELECT {nothing} WHERE false'
    source = f'SELECT {columns} FROM loaded."{how.name}"'
    own, folded = paths
    sources = [source]
    if own:
        sources.append(f"SELECT * FROM {_files(own)}")
    if folded:
        fold = FOLDS[how.name]
        unfolded = [(HOST_KEY if each.name == fold.key else fold.folded(each.name), each.name) for each in how.columns]
        shown = ", ".join(f'"{column}" AS "{name}"' for column, name in unfolded)
        sources.append(f'SELECT {shown} FROM {_files(folded)} WHERE "{fold.folded(fold.present)}" IS NOT NULL')
    if own or folded:
        source = f"SELECT {columns} FROM ({' UNION ALL BY NAME '.join(sources)})"
    return f'CREATE OR REPLACE VIEW raw."{how.name}" AS {source}'


def _files(paths: Sequence[str]) -> str:
    # DuckDB takes paths for patterns, and the names of folders such as `run=5` for columns.
    texts = ", ".join("'" + escape(path).replace("'", "''") + "'" for path in paths)
    return f"read_parquet([{texts}], union_by_name = true, hive_partitioning = false)"


def _view(how: schemas.TableLayout) -> str:
    shown = ", ".join(f'{text} AS "{name}"' for name, text, _, _ in shown_columns(how))
    key = (*_ALSO_FIXED_BY_KEY.get(how.name, ()), *how.table.key)
    if how.table.order:
        rows = f'FROM raw."{how.name}" QUALIFY {_is_valid_row(key, how.table.order)}'
    else:
        rows = f'SELECT DISTINCT ON ({", ".join(map(_quoted, key))}) * FROM raw."{how.name}"'
    return f'CREATE OR REPLACE VIEW "{how.name}" AS SELECT {shown} FROM ({rows})'


def _is_valid_row(key: Sequence[str], order: Sequence[str]) -> str:
    """The condition on the rows of a table, behind QUALIFY, that leaves of the rows with one key the valid one."""
    by = ", ".join(f"{_quoted(column)} DESC NULLS LAST" for column in order)
    return f"row_number() OVER (PARTITION BY {', '.join(map(_quoted, key))} ORDER BY {by}) = 1"


def _quoted(column: str) -> str:
    return f'"{column}"'


def _shown(column: schemas.Column) -> str:
    return f'lower(hex("{column.name}"))' if column.is_hash else f'"{column.name}"'


HASH_COLUMNS: frozenset[str] = frozenset(
    column.name for how in schemas.layouts().values() for column in how.columns if column.is_hash
)
"""Names of the columns that hold hashes."""
