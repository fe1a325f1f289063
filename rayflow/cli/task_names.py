"""Tasks by their names, as people give them: what a store knows of one.

In: a history and a name. Out: the full name, the task's versions and latest calls as text or records. Never: loads a
user's module.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rayflow.store.answers import Record
    from rayflow.store.history import History

MOST_CALLS = 20
"""So many of the latest calls of a task are shown."""


def task_named(history: History, what: str) -> str | None:
    """The full name of the task that is meant; None when no task has such a name. Raises NotFound when several have."""
    from rayflow.errors import NotFound

    if what.startswith(("-", "~")):  # the last execution, or one before
        return None
    rows = history.records("SELECT DISTINCT task_name FROM raw.tasks UNION SELECT DISTINCT task_name FROM raw.jobs")
    names = sorted(row["task_name"] for row in rows)
    if what in names:
        return what
    fitting = [name for name in names if name.rpartition(".")[2] == what]
    if len(fitting) > 1:
        raise NotFound(f"Several tasks are called {what}: {', '.join(fitting)}. Give the full name.")
    return fitting[0] if fitting else None


def latest_jobs(history: History, name: str, limit: int = MOST_CALLS) -> list[Record]:
    """The latest jobs of the task with this full name."""
    from rayflow.store.filters import Filter

    return history.jobs(Filter(task=name), limit=limit)


def show_task(history: History, name: str, as_json: bool) -> None:
    """Print the versions and the latest calls of the task with this full name."""
    versions = history.records(
        """SELECT * FROM raw.tasks WHERE task_name = $name
           QUALIFY row_number() OVER (PARTITION BY task_hash ORDER BY tasks."at") = 1 ORDER BY tasks."at" DESC""",
        {"name": name},
    )
    jobs = latest_jobs(history, name)
    if as_json:
        from rayflow.cli.stores import print_json

        print_json({"task_name": name, "versions": versions, "jobs": jobs})
        return
    from rayflow.cli.render import block, moment

    click.echo(name)
    told = [
        f"{row['task_hash'][:12]}  since {moment(row['recorded_at'])}  {row['place'] or ''}".rstrip()
        for row in versions
    ]
    if told:
        click.echo("\n" + block("versions, the latest first", "\n".join(told), sys.stdout), nl=False)
    lines = job_lines(history, jobs)
    if lines:
        click.echo("\n" + block("calls, the latest first", "\n".join(lines), sys.stdout), nl=False)


def job_lines(history: History, jobs: list[Record]) -> list[str]:
    """A line for each of these jobs: how, when, how long, the call, its result or error, its id."""
    from rayflow.cli.render import call_text, how_text, moment, seconds_taken
    from rayflow.cli.style import duration, short_job
    from rayflow.values.previews import shorten

    calls = [row["call_hash"] for row in jobs if row["call_hash"] is not None]
    arguments, results = history.arguments(calls), history.results(calls)
    lines = []
    for row in jobs:
        result = results.get(row["call_hash"])
        end = f" = {shorten(result['preview'], 80)}" if result else ""
        if row["status"] == "failed" and row["error"]:
            end = f" ! {shorten(row['error'], 100)}"
        call = row["call"] or call_text(row["task_name"], arguments.get(row["call_hash"], ()))
        took = duration(seconds_taken(row))
        lines.append(
            f"{how_text(row, sys.stdout)} {moment(row['queued_at'])} {took:>10} {call}{end}  {short_job(row['job_id'])}"
        )
    return lines
