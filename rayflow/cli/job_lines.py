"""A task in the store, printed: its versions and its latest calls.

In: a history and a task's full name. Out: text or JSON. Never: loads a user's module.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rayflow.store.history.answer_types import Record
    from rayflow.store.history.history import History

MOST_CALLS = 20
"""So many of the latest calls of a task are shown."""


def latest_jobs(history: History, name: str, limit: int = MOST_CALLS) -> list[Record]:
    """The latest jobs of the task with this full name."""
    from rayflow.store.history.filters import Filter

    return history.jobs(Filter(task=name), limit=limit)


def show_task(history: History, name: str, as_json: bool) -> None:
    """Print the versions and the latest calls of the task with this full name."""
    versions = history.task_versions(name)
    jobs = latest_jobs(history, name)
    if as_json:
        from rayflow.cli.stores import print_json

        print_json({"task_name": name, "versions": versions, "jobs": jobs})
        return
    from rayflow.cli.output.render import block, moment

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
    from rayflow.cli.output.render import call_text, how_text, moment, seconds_taken, tries_text
    from rayflow.cli.output.style import duration, short_job
    from rayflow.values.encoding.previews import shorten

    history.count_tries(jobs)
    calls = [row["call_hash"] for row in jobs if row["call_hash"] is not None]
    arguments, results = history.arguments_of(calls, with_sources=False), history.results(calls)
    lines = []
    for row in jobs:
        result = results.get(row["call_hash"])
        end = f" = {shorten(result['preview'], 80)}" if result else ""
        if row["status"] in ("failed", "not_run") and row["error"]:
            end = f" ! {shorten(row['error'], 100)}"
        call = row["call"] or call_text(row, arguments.get(row["call_hash"], ()))
        took = duration(seconds_taken(row))
        lines.append(
            f"{how_text(row, sys.stdout)} {moment(row['queued_at'])} {took:>10} {call}{end}{tries_text(row)}  "
            f"{short_job(row['job_id'])}"
        )
    return lines
