"""The history of a file: its states, and for each state the calls that made it, passed it on and read it.

In: the path of a recorded file. Out: lines, or JSON. Never: looks at the file itself.
"""

from __future__ import annotations

import sys
from itertools import groupby
from typing import TYPE_CHECKING

import click

from rayflow.cli.job_lines import job_lines
from rayflow.cli.stores import print_json
from rayflow.pasting import command

if TYPE_CHECKING:
    from rayflow.store.history.answer_types import Record
    from rayflow.store.history.history import History

MOST_CALLS = 20
"""So many calls of each sort are listed."""

_TITLES = (("made", "made by"), ("passed on", "passed on by"), ("read", "read by"))


def show_file(history: History, path: str, as_json: bool) -> None:
    """Print the states of the file, the latest first, each with its calls and their code."""
    rows = history.calls_of_file(path)
    if as_json:
        print_json(rows)
        return
    from rayflow.cli.output.render import block

    for number, (_, uses) in enumerate(groupby(rows, key=lambda row: row["value_hash"])):
        listed = list(uses)
        click.echo(("\n" if number else "") + _state_text(path, listed[0]))
        for role, title in _TITLES:
            lines = _lines(history, path, [row for row in listed if row["role"] == role])
            if lines:
                click.echo(block(title, "\n".join(lines), sys.stdout), nl=False)


def _state_text(path: str, row: Record) -> str:
    from rayflow.cli.output.render import moment
    from rayflow.cli.output.style import size

    modified = f"modified {moment(row['modified_at'])}" if row["modified_at"] is not None else None
    within = f"in {row['within']}" if row["within"] else None
    parts = [path, within, size(row["size_bytes"]), modified, row["version"], row["value_hash"][:12]]
    return "  ".join(str(part) for part in parts if part)


def _lines(history: History, path: str, uses: list[Record]) -> list[str]:
    ids = list(dict.fromkeys(row["job_id"] for row in reversed(uses) if row["job_id"] is not None))
    jobs = history.job_rows(ids[:MOST_CALLS])
    place_of = history.task_places([row["task_hash"] for row in uses])
    lines = []
    for row, line in zip(jobs, job_lines(history, jobs), strict=True):
        place = place_of.get(row["task_hash"])
        lines.append(f"{line}  by code {row['task_hash'][:12]}{f' at {place}' if place else ''}")
    # Calls of other stores (of a cluster, or pulled from elsewhere) may have come without their jobs.
    others = dict.fromkeys(f"{row['task_name']}  call {row['call_hash'][:12]}" for row in uses if row["job_id"] is None)
    lines.extend(others)
    if len(ids) > MOST_CALLS:
        as_text = path.replace("'", "''")
        query = f"from calls_of_file('{as_text}')"
        lines.append(f"... and {len(ids) - MOST_CALLS} more: {command('sql', query, store=history.url)}")
    return lines
