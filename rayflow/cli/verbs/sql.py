"""`rayflow sql`: ask the history anything."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click

from rayflow.cli.stores import history_of, json_option, print_json, store_option

MOST_ROWS = 500
"""On a terminal; a pipe, --json and --csv get all rows."""


@click.command("sql")
@click.argument("query", required=False)
@click.option("--schema", is_flag=True, help="List the tables and views with their columns.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@json_option
@store_option
@click.pass_context
def command(
    context: click.Context, query: str | None, schema: bool, as_csv: bool, as_json: bool, store: str | None
) -> None:
    """Answer a SQL query (DuckDB's) over everything that was recorded; - reads the query from stdin.

    \b
    rayflow sql "select task_name, count(*) from jobs group by all"
    rayflow sql --schema

    Only what reads is run, one statement at a time. --json prints an array of objects, one a row.
    """
    if as_csv and as_json:
        raise click.UsageError("Choose one of --csv and --json.", context)
    if query == "-" and not schema:
        query = sys.stdin.read()
    if not (query or "").strip() and not schema:
        raise click.UsageError('Give a query: rayflow sql "select * from executions"', context)
    history = history_of(store)
    if schema:
        columns = history.schema()
        heads: tuple[str, ...] = ("table", "column", "type", "documentation")
        rows: Iterator[tuple[Any, ...]] = ((c.table, c.column, c.type, c.documentation) for c in columns)
    else:
        relation = history.sql(str(query))
        heads = tuple(relation.columns)
        rows = _rows_of(relation)
    if as_json:
        print_json([dict(zip(heads, row, strict=True)) for row in rows])
    elif as_csv:
        _print_csv(heads, rows)
    else:
        _print_table(heads, rows)


def _rows_of(relation: Any) -> Iterator[tuple[Any, ...]]:
    from datetime import UTC, datetime

    for row in relation.fetchall():
        # The store keeps UTC and says so nowhere in the column: say it in the answer.
        yield tuple(
            cell.replace(tzinfo=UTC) if type(cell) is datetime and cell.tzinfo is None else cell for cell in row
        )


def _print_csv(heads: tuple[str, ...], rows: Iterator[tuple[Any, ...]]) -> None:
    import csv
    from datetime import datetime

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(heads)
    for row in rows:
        cells = (cell.isoformat() if isinstance(cell, datetime) else cell for cell in row)
        writer.writerow([cell.hex() if isinstance(cell, bytes) else cell for cell in cells])


def _print_table(heads: tuple[str, ...], rows: Iterator[tuple[Any, ...]]) -> None:
    from itertools import islice

    from rayflow.cli.render import table
    from rayflow.cli.style import is_terminal

    most = MOST_ROWS if is_terminal(sys.stdout) else None
    shown = [tuple(map(_cell, row)) for row in islice(rows, most)]
    numbers = [head for number, head in enumerate(heads) if shown and all(_is_number(row[number]) for row in shown)]
    click.echo(table(heads, shown, sys.stdout, right=numbers), nl=False)
    left = sum(1 for _ in rows)
    if left:
        click.echo(f"... and {left:,} more rows; a pipe, --csv and --json get all of them", err=True)


def _cell(value: Any) -> Any:
    from datetime import datetime

    # As DuckDB shows it: in UTC and whole, so that it can be pasted into the next query.
    return str(value.replace(tzinfo=None)) if isinstance(value, datetime) else value


def _is_number(cell: Any) -> bool:
    return cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool))
