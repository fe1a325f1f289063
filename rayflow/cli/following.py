"""Watch an execution from any machine that reaches its store, until it ends.

In: a history and an execution's id. Out: its jobs as they end, what it does now, how it ended; the exit code of its
run. Never: changes or ends the execution.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from rayflow.cli.job_lines import job_lines
from rayflow.cli.live_text import progress_of
from rayflow.cli.output.progress import PlainReporter, reporter_for
from rayflow.cli.output.render import seconds_between
from rayflow.cli.output.style import is_terminal
from rayflow.cli.stores import print_json
from rayflow.errors import UserError
from rayflow.pasting import command as pasted
from rayflow.runtime.live.outlook import BodySpan, Outlook
from rayflow.runtime.protocol.reports import Summary
from rayflow.runtime.wording import progress_text
from rayflow.store.history.answer_types import own_error

if TYPE_CHECKING:
    from rayflow.store.history.answer_types import Record
    from rayflow.store.history.history import History

MOST_LINES = 50
"""The most jobs that are listed each time that the store is looked at. The others are counted."""

FIRST_LINES = 10
"""So many of the jobs that had ended before are listed first."""

OVERLAP = timedelta(seconds=15)
"""Nested executions record their jobs by the clocks of their workers. So jobs count as new also if they ended so long
before the last one that was listed."""

COUNTS = ("jobs", "computed", "cached", "shared", "failed", "not_run", "cancelled", "retries")


def follow(history: History, execution_id: str, as_json: bool) -> int:
    """Watch an execution until it ends, and return the exit code of its run; 2 when it is lost."""
    reporter = reporter_for(sys.stderr)
    reporter.started(execution_id, history.url, is_new_store=False)
    ended = _EndedJobs(history, execution_id)
    outlook = Outlook(lambda names: {name: BodySpan(*span) for name, span in history.task_spans(names).items()})
    is_first = True
    try:
        while True:
            row = history.execution(execution_id)
            now = history.statuses()
            status, state = now.status(row), now.state(row)
            jobs, more = ended.news()
            if as_json:
                print_json({"status": status, "live": None if state is None else asdict(state), "jobs": jobs})
            else:
                _say(reporter, [*job_lines(history, jobs), *((f"... and {more:,} more jobs",) if more else ())])
                if state is not None:
                    progress = progress_of(state)
                    left = outlook.left(state.tasks, progress.elapsed_seconds)
                    if is_first:
                        reporter.say(f"on {state.host}: {progress_text(progress)}", "dim")
                    reporter.progress(replace(progress, left=left))
            is_first = False
            if status != "running":
                break
            time.sleep(history.live_seconds)
    finally:
        reporter.stop()
    if not as_json:
        _end(reporter, row, status, history.url)
    return exit_code(row, status)


class _EndedJobs:
    """The jobs of an execution that have ended since they were last asked for."""

    def __init__(self, history: History, execution_id: str) -> None:
        self._history = history
        self._execution_id = execution_id
        self._since: datetime | None = None
        self._seen: dict[str, datetime] = {}

    def news(self) -> tuple[list[Record], int]:
        """The new ones, in the order in which they ended, and how many there are besides."""
        is_first = self._since is None
        found = self._history.ended_jobs(self._execution_id, None if is_first else self._since)
        new = [(job_id, at) for job_id, at in found if job_id not in self._seen]
        if found:
            self._since = max(at for _, at in found) - OVERLAP
            self._seen = {job_id: at for job_id, at in found if at >= self._since}
        listed = new[-(FIRST_LINES if is_first else MOST_LINES) :]
        rows = self._history.jobs_of([job_id for job_id, _ in listed])
        return rows, 0 if is_first else len(new) - len(listed)


def _say(reporter: PlainReporter, lines: list[str]) -> None:
    """Lines on stdout; above the live table, where both streams are terminals."""
    if not lines:
        return
    if is_terminal(sys.stdout) and is_terminal(sys.stderr):
        reporter.say("\n".join(lines))
        return
    for line in lines:
        click.echo(line)
    sys.stdout.flush()


def _end(reporter: PlainReporter, row: Record, status: str, store: str) -> None:
    if status == "lost":
        resume = pasted("resume", row["execution_id"], store=store)
        reporter.say(f"lost: nothing is heard from it any more. Go on with: {resume}")
        return
    seconds = seconds_between(row["started_at"], row["finished_at"]) or 0.0
    counts = {name: row[name] for name in COUNTS if row[name] is not None}
    reporter.ended(Summary(row["execution_id"], status, seconds, counts, {}))
    if row["error"]:
        reporter.say(row["error"])
    reporter.finish()


def exit_code(row: Record, status: str) -> int:
    """The exit code with which the run of an execution has ended, or would have."""
    if status == "done":
        return 0
    if status == "cancelled":
        return 130
    if status == "lost":
        return 2
    return (own_error(row) or UserError).exit_code
