"""The executions that run now, printed.

In: a history. Out: a table, or JSON. Never: asks another machine.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from rayflow.cli.live_text import counts_text
from rayflow.cli.output.render import moment, table
from rayflow.cli.output.style import duration, short_execution
from rayflow.cli.stores import print_json
from rayflow.runtime.wording import rate_text

if TYPE_CHECKING:
    from rayflow.store.history.answer_types import Record
    from rayflow.store.history.execution_status import ExecutionStatuses
    from rayflow.store.history.history import History


def show_running(history: History, limit: int, as_json: bool) -> None:
    """Print the executions that run: where, how far they are, and when they were heard from."""
    from rayflow.store.history.filters import Filter

    rows = history.executions_now(Filter(status="running"), limit=limit)
    now = history.statuses()
    if as_json:
        print_json([_for_json(row, now) for row in rows])
        return
    if not rows:
        click.echo("Nothing runs.")
        return
    cells = []
    for row in rows:
        state, heard = now.state(row), now.heard_seconds(row)
        done = "" if state is None else counts_text(state)
        rate = "" if state is None else rate_text(state.rates)
        cells.append(
            (
                short_execution(row["execution_id"]),
                moment(row["started_at"]),
                row["host"] if state is None else state.host,
                row["arguments"],
                done,
                rate,
                "" if heard is None else f"{duration(max(0.0, heard))} ago",
            )
        )
    heads = ("execution", "started", "host", "what", "jobs", "rate", "heard")
    click.echo(table(heads, cells, sys.stdout, right=("heard",), flexible=("what", "jobs")), nl=False)


def _for_json(row: Record, now: ExecutionStatuses) -> Record:
    """An execution with its live state, without the columns that only rayflow can read."""
    state = now.state(row)
    shown = {name: value for name, value in row.items() if name != "root"}
    return {**shown, "heard_seconds": now.heard_seconds(row), "live": None if state is None else asdict(state)}
