"""`rayflow sql`: answer a SQL query over the history.

In: a query. Out: rows as a table, CSV or JSON. Never: lets a query change the store.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any

import click

from rayflow.cli.output.json_form import to_json
from rayflow.cli.output.output import for_programs
from rayflow.cli.output.render import table
from rayflow.cli.output.style import is_terminal
from rayflow.cli.stores import history_of, json_option, print_json, store_option, store_url
from rayflow.pasting import command as pasted

MOST_ROWS = 500
"""On a terminal; a pipe, --json and --csv get all rows."""


@click.command("sql")
@click.argument("query", required=False)
@click.option("--schema", is_flag=True, help="List the tables and views with their columns.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--allow-files", is_flag=True, help="Let the query read other files, and the network.")
@json_option
@store_option
@click.pass_context
def command(
    context: click.Context,
    query: str | None,
    schema: bool,
    as_csv: bool,
    allow_files: bool,
    as_json: bool,
    store: str | None,
) -> None:
    """Answer a SQL query (DuckDB's) over everything that was recorded; - reads the query from stdin.

    \b
    rayflow sql "select task_name, count(*) from jobs group by all"
    rayflow sql --schema

    Only what reads is run, one statement at a time, and it reads the store alone: --allow-files lets it read other
    files, and the network, too (read_csv, read_parquet). --json prints an array of objects, one a row: whole
    numbers of any size as numbers, decimals as text, bytes as {"$bytes": base64}, NaN as "NaN". In CSV bytes are hex,
    nested values JSON, a missing value is empty, and an empty text "" in quotes. Times are UTC, to the microsecond.
    """
    if as_csv and as_json:
        raise click.UsageError("Choose one of --csv and --json.", context)
    if schema and (query is not None or allow_files):
        other = "a query" if query is not None else "--allow-files"
        raise click.UsageError(f"--schema asks nothing of the records, so that {other} has no use beside it.", context)
    if query == "-":
        query = sys.stdin.read()
    if not (query or "").strip() and not schema:
        offer = pasted("sql", "select * from executions", store=store_url(store))
        raise click.UsageError(f"Give a query: {offer}", context)
    history = history_of(store)
    if schema:
        columns = history.schema()
        heads: tuple[str, ...] = ("table", "column", "type", "documentation")
        rows: Iterator[tuple[Any, ...]] = ((c.table, c.column, c.type, c.documentation) for c in columns)
    else:
        relation = history.sql(str(query), allow_files=allow_files)
        heads = _distinct(relation.columns)
        rows = _rows_of(relation)
    if as_json:
        print_json([dict(zip(heads, row, strict=True)) for row in rows])
    elif as_csv:
        _print_csv(heads, rows)
    else:
        _print_table(heads, rows)


def _rows_of(relation: Any) -> Iterator[tuple[Any, ...]]:
    for row in relation.fetchall():
        yield tuple(map(_zoned, row))


def _zoned(cell: Any) -> Any:
    """A cell whose times, at any depth, say that they are UTC. (The store keeps UTC; its columns do not say so.)"""
    kind = type(cell)
    if kind is datetime:
        return cell.replace(tzinfo=UTC) if cell.tzinfo is None else cell
    if kind is list or kind is tuple:
        return kind(map(_zoned, cell))
    return {_zoned(key): _zoned(inner) for key, inner in cell.items()} if kind is dict else cell


def _distinct(heads: Sequence[str]) -> tuple[str, ...]:
    """The names of columns, each once: in JSON two of one name would be one."""
    found: list[str] = []
    for head in heads:
        name, number = head, 1
        while name in found:
            name, number = f"{head}_{number}", number + 1
        found.append(name)
    return tuple(found)


def _print_csv(heads: tuple[str, ...], rows: Iterator[tuple[Any, ...]]) -> None:
    out = for_programs(sys.stdout)
    for row in chain((heads,), rows):
        out.write(",".join(map(_csv_cell, row)) + "\n")


def _csv_cell(cell: Any) -> str:
    """A cell of CSV: nothing where it is missing, and an empty text in quotes, so that the two differ."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        text = "true" if cell else "false"
    elif isinstance(cell, bytes):
        text = cell.hex()
    elif isinstance(cell, datetime):
        text = cell.isoformat()
    elif isinstance(cell, list | tuple | dict):
        text = to_json(cell)
    else:
        text = str(cell)
    return '"' + text.replace('"', '""') + '"' if not text or _QUOTED.search(text) else text


_QUOTED = re.compile(r'[",\r\n]|^ | $')


def _print_table(heads: tuple[str, ...], rows: Iterator[tuple[Any, ...]]) -> None:
    most = MOST_ROWS if is_terminal(sys.stdout) else None
    shown = [tuple(map(_cell, row)) for row in islice(rows, most)]
    numbers = [head for number, head in enumerate(heads) if shown and all(_is_number(row[number]) for row in shown)]
    click.echo(table(heads, shown, sys.stdout, right=numbers), nl=False)
    left = sum(1 for _ in rows)
    if left:
        click.echo(f"... and {left:,} more rows; a pipe, --csv and --json get all of them", err=True)


def _cell(value: Any) -> Any:
    # As DuckDB shows it: in UTC and whole, so that it can be pasted into the next query.
    return str(value.replace(tzinfo=None)) if isinstance(value, datetime) else value


def _is_number(cell: Any) -> bool:
    return cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool))
