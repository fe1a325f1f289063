"""Between a run and its reporter: the log level, and warnings that repeat.

In: the calls of a `Reporter`. Out: the same calls to another reporter, without those that the log level leaves out.
Never: raises.

A Python warning that many calls give passes once. The others are counted, and the end of the run reports how many
there were.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from functools import partial

from rayflow.config import Config
from rayflow.records import JobRow
from rayflow.runtime.protocol.reports import WARNING, Progress, Reporter, Silent, Summary


def filtering(reporter: Reporter, config: Config) -> Reporter:
    """The reporter behind a filter for the configuration's log level; a silent one needs no filter."""
    if type(reporter) in (Silent, FilteringReporter):
        return reporter
    return FilteringReporter(reporter, config.log_level, config.logs)


def print_receiver(reporter: Reporter, execution_id: str) -> Callable[[str, str, str], None]:
    """The function that gives the prints and warnings of an execution's calls to the reporter."""
    return partial(reporter.printed_in, execution_id) if isinstance(reporter, FilteringReporter) else reporter.printed


class FilteringReporter:
    """A reporter that passes calls on to another one.

    level: quiet (only the end passes), normal, or verbose (each job that ends passes, too). prints: whether the prints
    of tasks pass.
    """

    def __init__(self, reporter: Reporter, level: str, prints: bool) -> None:
        self.reporter = reporter
        self.is_quiet = level == "quiet"
        self.is_verbose = level == "verbose"
        self.passes_prints = prints and not self.is_quiet
        self._lock = threading.Lock()
        self._came: dict[str, Counter[str]] = {}
        """How often each warning came, by execution."""

    def started(self, execution_id: str, store_url: str, is_new_store: bool) -> None:
        self.reporter.started(execution_id, store_url, is_new_store and not self.is_quiet)

    def recorded(self, execution_id: str) -> None:
        self.reporter.recorded(execution_id)

    def connecting(self, what: str) -> None:
        if not self.is_quiet:
            self.reporter.connecting(what)

    def progress(self, progress: Progress) -> None:
        if not self.is_quiet:
            self.reporter.progress(progress)

    def printed(self, call: str, stream: str, text: str) -> None:
        self.printed_in("", call, stream, text)

    def printed_in(self, execution_id: str, call: str, stream: str, text: str) -> None:
        """As `printed`, with the execution's id: several executions may run at a time."""
        if stream == WARNING:
            for line in text.splitlines():
                self._warned_by(execution_id, call, line)
        elif self.passes_prints:
            self.reporter.printed(call, stream, text)

    def _warned_by(self, execution_id: str, call: str, text: str) -> None:
        """A call has given a warning. In each execution, one warning of each class passes for each line of code."""
        parts = text.split(": ", 2)
        key = ": ".join(parts[:2]) if len(parts) == 3 else text
        with self._lock:
            came = self._came.setdefault(execution_id, Counter())
            came[key] += 1
            count = came[key]
        if count == 1:
            self.warned(text if call == "rayflow" else f"{text}  (in {call})")

    def warned(self, text: str) -> None:
        if not self.is_quiet:
            self.reporter.warned(text)

    def job_ended(self, row: JobRow) -> None:
        job_ended = getattr(self.reporter, "job_ended", None)  # a user's reporter may be older than this method
        if self.is_verbose and job_ended is not None:
            job_ended(row)

    def ended(self, summary: Summary) -> None:
        with self._lock:
            came = self._came.pop(summary.execution_id, Counter()) + self._came.pop("", Counter())
        for key, count in came.items():
            if count > 1:
                self.warned(f"{key} came {count:,} times in all; the log of each call has its own")
        self.reporter.ended(summary)
