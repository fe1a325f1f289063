"""Reports about a run, for the user who watches it.

In: counts, warnings and rows. Out: plain data for a `Reporter`, and two reporters that need no terminal. Never: decides
anything.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TextIO

from rayflow.records import JobRow
from rayflow.runtime.durations import duration
from rayflow.runtime.live.outlook import TimeLeft
from rayflow.values.failures import Failure

WARNING = "warning"
"""The stream name for the Python warnings of a call. A reporter gets them through `warned`."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of an execution.

    by_task: counts for each task's full name: open, running (on a worker), queued (for a worker), computed, cached,
    shared, failed, not_run (an argument had failed), cancelled, and retries (attempts after the first).
    waiting: sentences about calls that cannot start, such as a call that needs a GPU that no node has.
    rates: jobs that ended a second, over the last ten, by how; in all as "ended". left: how long the known jobs may
    still take, from what bodies of their tasks took before; None if that is not known.
    """

    execution_id: str
    elapsed_seconds: float
    by_task: Mapping[str, Mapping[str, int]]
    waiting: tuple[str, ...] = ()
    rates: Mapping[str, float] = field(default_factory=dict)
    left: TimeLeft | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """How an execution ended.

    elapsed_seconds: from its begin to its end, as it is recorded. startup_seconds: the time before that, for imports,
    Ray and the scheduler.

    counts: jobs, computed, cached, shared, failed, not_run, cancelled, retries. failures: (job id as hex, task name,
    Failure) of every job that failed by itself.
    """

    execution_id: str
    status: str
    elapsed_seconds: float
    counts: Mapping[str, int]
    by_task: Mapping[str, Mapping[str, int]]
    failures: tuple[tuple[str, str, Failure], ...] = ()
    startup_seconds: float = 0.0


class Reporter(Protocol):
    """Watches runs. Any thread may call the methods; none of them may raise or change anything."""

    def started(self, execution_id: str, store_url: str, is_new_store: bool) -> None:
        """The execution begins."""

    def recorded(self, execution_id: str) -> None:
        """The execution is recorded: from now on it can be resumed."""

    def connecting(self, what: str) -> None:
        """A slow step begins: rayflow starts a local Ray, or joins a cluster."""

    def progress(self, progress: Progress) -> None:
        """The counts have changed. This is called at most a few times a second."""

    def printed(self, call: str, stream: str, text: str) -> None:
        """A call has printed one or more whole lines. call: a short text, `step(n=3)`. stream: stdout or stderr."""

    def warned(self, text: str) -> None:
        """Show a text to the user. Each text comes once."""

    def job_ended(self, row: JobRow) -> None:
        """A job has ended. Called only when `log_level` is verbose."""

    def ended(self, summary: Summary) -> None:
        """The execution has ended."""


def shows_progress(reporter: Reporter) -> bool:
    """Whether a reporter shows the progress of a run to anybody."""
    behind = getattr(reporter, "reporter", reporter)  # that of a filter
    shown = getattr(type(behind), "progress", None)  # a reporter of the user's may answer to any name
    return shown is not Silent.progress and not getattr(reporter, "is_quiet", False)


class Silent:
    """A reporter that says nothing."""

    def started(self, execution_id: str, store_url: str, is_new_store: bool) -> None:
        pass

    def recorded(self, execution_id: str) -> None:
        pass

    def connecting(self, what: str) -> None:
        pass

    def progress(self, progress: Progress) -> None:
        pass

    def printed(self, call: str, stream: str, text: str) -> None:
        pass

    def warned(self, text: str) -> None:
        pass

    def job_ended(self, row: JobRow) -> None:
        pass

    def ended(self, summary: Summary) -> None:
        pass


class Printing(Silent):
    """The default reporter of scripts. It writes prints of tasks and warnings to stderr, and shows no progress."""

    def __init__(self) -> None:
        # The stream is taken now. Later, while a body runs in this process, sys.stderr collects its prints.
        self._stream: TextIO | None = sys.stderr
        """None in a process without stderr, such as a service."""

    def printed(self, call: str, stream: str, text: str) -> None:
        self._write("".join(f"[{call}] {line}\n" for line in text.splitlines()))

    def warned(self, text: str) -> None:
        self._write(f"rayflow: {text}\n")

    def job_ended(self, row: JobRow) -> None:
        self._write(f"rayflow: {job_text(row)}\n")

    def _write(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(text)


def job_text(row: JobRow) -> str:
    """One line for a job that has ended: how it ended, its call, the seconds of its body, its id."""
    how = row.how if row.status == "done" and row.how else row.status
    took = "" if row.wall_seconds is None or how in ("cached", "shared") else f"  {duration(row.wall_seconds)}"
    return f"{how} {row.call or row.label or row.task_name}{took}  {row.job_id.hex()[:12]}"
