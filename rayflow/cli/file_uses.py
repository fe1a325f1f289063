"""What happened to a file: its states, and for each the calls that made it, passed it on and read it.

In: the path of a recorded file. Out: lines, or JSON. Never: looks at the file itself.
"""

from __future__ import annotations

import sys
from itertools import groupby
from typing import TYPE_CHECKING

import click

from rayflow.cli.stores import print_json
from rayflow.cli.task_names import job_lines

if TYPE_CHECKING:
    from rayflow.store.answers import Record
    from rayflow.store.history import History

MOST_CALLS = 20
"""So many calls of each sort are listed."""

_TITLES = (("made", "made by"), ("passed on", "passed on by"), ("read", "read by"))


def show_file(history: History, path: str, as_json: bool) -> None:
    """Print the states of the file, the latest first, each with its calls and their code."""
    rows = history.calls_of_file(path)
    if as_json:
        print_json(rows)
        return
    from rayflow.cli.render import block

    for number, (_, uses) in enumerate(groupby(rows, key=lambda row: row["value_hash"])):
        listed = list(uses)
        click.echo(("\n" if number else "") + _state_text(path, listed[0]))
        for role, title in _TITLES:
            lines = _lines(history, [row for row in listed if row["role"] == role])
            if lines:
                click.echo(block(title, "\n".join(lines), sys.stdout), nl=False)


def _state_text(path: str, row: Record) -> str:
    from rayflow.cli.render import moment
    from rayflow.cli.style import size

    modified = f"modified {moment(row['modified_at'])}" if row["modified_at"] is not None else None
    parts = [path, size(row["size_bytes"]), modified, row["version"], row["value_hash"][:12]]
    return "  ".join(str(part) for part in parts if part)


def _lines(history: History, uses: list[Record]) -> list[str]:
    ids = list(dict.fromkeys(row["job_id"] for row in reversed(uses) if row["job_id"] is not None))
    jobs = history.records(
        """SELECT * FROM raw.jobs WHERE job_id IN (SELECT unnest($ids))
           QUALIFY row_number() OVER (PARTITION BY job_id ORDER BY finished_at DESC NULLS LAST) = 1
           ORDER BY queued_at DESC""",
        {"ids": [bytes.fromhex(job) for job in ids[:MOST_CALLS]]},
    )
    places = history.records(
        "SELECT DISTINCT ON (task_hash) task_hash, place FROM raw.tasks WHERE task_hash IN (SELECT unnest($hashes))",
        {"hashes": [bytes.fromhex(row["task_hash"]) for row in uses]},
    )
    place_of = {row["task_hash"]: row["place"] for row in places}
    lines = []
    for row, line in zip(jobs, job_lines(history, jobs), strict=True):
        place = place_of.get(row["task_hash"])
        lines.append(f"{line}  by code {row['task_hash'][:12]}{f' at {place}' if place else ''}")
    # Calls of other stores (of a cluster, or pulled from elsewhere) may have come without their jobs.
    others = dict.fromkeys(f"{row['task_name']}  call {row['call_hash'][:12]}" for row in uses if row["job_id"] is None)
    lines.extend(others)
    if len(ids) > MOST_CALLS:
        lines.append(f"... and {len(ids) - MOST_CALLS} more: rayflow sql \"from calls_of_file('PATH')\"")
    return lines
