"""The progress of a run: a live table on a terminal, plain lines elsewhere. All of it goes to stderr.

In: the calls of a `Reporter`, from any thread. Out: text. Never: writes to stdout, raises.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from typing import Any, TextIO

from rayflow.cli.output.output import showing
from rayflow.cli.output.style import (
    STATUS_COLOURS,
    beneath,
    counted,
    duration,
    is_terminal,
    on_terminal,
    short_execution,
    styled,
    visible,
)
from rayflow.pasting import command
from rayflow.records import JobRow
from rayflow.runtime.protocol.reports import Progress, Summary, job_text
from rayflow.runtime.wording import busiest as busiest
from rayflow.runtime.wording import now_by_task, progress_text, sum_up

LIVE_AFTER_SECONDS = 0.4
"""A run that is over sooner shows no live table, and does not load what draws it."""

TOLD_STARTUP_SECONDS = 0.5
"""A start-up of more seconds is mentioned in the summary. It is recorded in any case."""

_FIRST_LINE_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 60.0


def reporter_for(stream: TextIO) -> PlainReporter:
    """The reporter that fits a stream."""
    return LiveReporter(stream) if is_terminal(stream) else PlainReporter(stream)


class PlainReporter:
    """Lines: for pipes, files and CI. A run that takes long says where it is after 5 s, then less and less often."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = showing(stream)
        self.execution_id: str | None = None
        self.store_url: str | None = None
        self.summary: Summary | None = None
        self._lock = threading.RLock()
        self._said: set[str] = set()
        self._next = _FIRST_LINE_SECONDS
        self._last = ""

    # --- the calls of a Reporter --------------------------------------------------------------------------------------

    def started(self, execution_id: str, store_url: str, is_new_store: bool) -> None:
        """Name the store, if it is new."""
        self.store_url = store_url
        if is_new_store:
            self.say(f"results are kept in {store_url}")

    def recorded(self, execution_id: str) -> None:
        """Remembers the id, to say how to go on."""
        self.execution_id = execution_id

    def connecting(self, what: str) -> None:
        """Say that Ray is being started or joined: it takes seconds."""
        self.say(f"{what} ...", "dim")

    def progress(self, progress: Progress) -> None:
        """Write a line if the last one is long ago and something has changed."""
        with self._lock:
            self._waiting(progress)
            if progress.elapsed_seconds < self._next or not progress.by_task:
                return  # when all has ended, there is nothing in the last one
            said = counted(sum_up(now_by_task(progress)))
            if said != self._last:
                self.say(f"{duration(progress.elapsed_seconds)}: {progress_text(progress)}", "dim")
            self._last = said
            self._next = progress.elapsed_seconds + min(max(progress.elapsed_seconds, 5.0), _LONGEST_PAUSE_SECONDS)

    def printed(self, call: str, stream: str, text: str) -> None:
        """Write the printed text of a task, with the task's name before each line."""
        # A carriage return ends a line, too: what follows (a progress bar) does not write over it.
        lines = re.split("\r\n?|\n", text.rstrip("\r\n"))
        self.say("\n".join(f"{self._name(call)} {line}" for line in lines))

    def warned(self, text: str) -> None:
        """Write a warning, each only once."""
        self._once("warning:", text)

    def job_ended(self, row: JobRow) -> None:
        """Write a line for the job, if lines for all jobs were asked for."""
        self.say(job_text(row), "dim")

    def ended(self, summary: Summary) -> None:
        """Kept for `finish`, which is called when nothing else is shown any more."""
        with self._lock:
            self.summary = summary

    # --- what the verb asks -------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End the live table."""

    def finish(self) -> None:
        """Sum up the run: the computed, cached and failed calls, and the time."""
        summary = self.summary
        if summary is None:
            return
        words = {"done": ("done", "green"), "failed": ("failed", "red")}
        said, colour = words.get(summary.status, (summary.status, "yellow"))
        counts = summary.counts
        log = command("log", short_execution(summary.execution_id), store=self.store_url)
        startup = summary.startup_seconds
        after = f", after {duration(startup)} to start up" if startup >= TOLD_STARTUP_SECONDS else ""
        self.say(
            f"{styled(said, colour, self.stream)} in {duration(summary.elapsed_seconds)}: {counted(counts)}{after}"
            f"  {styled(f'({log})', 'dim', self.stream)}"
        )
        if len(summary.by_task) > 1:
            width = max(map(len, summary.by_task))
            for name, numbers in busiest(summary.by_task):
                self.say(f"  {name:{min(width, 50)}}  {self._numbers(numbers)}")

    # --- how it is said -----------------------------------------------------------------------------------------------

    def say(self, text: str, style: str | None = None) -> None:
        """Write whole lines."""
        with self._lock:
            try:
                self.stream.write(f"{styled(text, style, self.stream)}\n")
                self.stream.flush()
            except (OSError, ValueError):  # the reader of stderr is gone, which must not end the run
                pass

    def pass_on(self, line: str) -> None:
        """Write a line of a run that reports elsewhere. What it warns of is not said again."""
        with self._lock:
            word, _, text = line.partition(" ")
            if word in ("warning:", "waiting:"):
                self._said.add(text)
            self.say(line)

    def _once(self, word: str, text: str) -> None:
        with self._lock:
            if text not in self._said:
                self._said.add(text)
                self.say(f"{styled(word, 'yellow', self.stream)} {text}")

    def _waiting(self, progress: Progress) -> None:
        for text in progress.waiting:
            self._once("waiting:", text)

    def _name(self, call: str) -> str:
        return styled(f"[{call}]", "blue", self.stream)

    def _numbers(self, numbers: Mapping[str, int]) -> str:
        said = counted({name: count for name, count in numbers.items() if name != "jobs"})
        for word in ("cached", "failed", "not run", "cancelled", "running"):
            said = said.replace(word, styled(word, STATUS_COLOURS.get(word.replace(" ", "_")), self.stream))
        return said


class LiveReporter(PlainReporter):
    """A table with a line for each task, drawn again a few times a second, below the printed lines."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._live: Any = None
        self._is_over = False
        self._progress: Progress | None = None
        self._progress_at = 0.0

    def progress(self, progress: Progress) -> None:
        """Draw the table, for the first time or again."""
        with self._lock:
            self._waiting(progress)
            if progress.by_task:  # there is nothing in the last one, when all has ended
                self._progress, self._progress_at = progress, time.monotonic()
            is_idle = self._live is None and self._progress is not None and not self._is_over
            if is_idle and progress.elapsed_seconds >= LIVE_AFTER_SECONDS:
                self._draw()

    def _draw(self) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(file=beneath(self.stream), highlight=False, markup=False, soft_wrap=True)
        self._live = Live(
            console=console,
            get_renderable=self._table,
            refresh_per_second=5,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def _table(self) -> Any:
        from rich.text import Text

        progress = self._progress
        assert progress is not None
        elapsed = progress.elapsed_seconds + time.monotonic() - self._progress_at
        by_task = now_by_task(progress)
        text = Text(f"{duration(elapsed)}  {progress_text(progress)}\n", no_wrap=True, overflow="ellipsis")
        width = min(max(map(len, by_task), default=0), 50)
        for name, numbers in busiest(by_task):
            text.append(f"  {visible(name):{width}}  ")
            text.append(f"{counted(numbers)}\n", "dim")
        return text

    def say(self, text: str, style: str | None = None) -> None:
        """Write whole lines, above the table where there is one."""
        with self._lock:
            if self._live is None:
                super().say(text, style)
                return
            from rich.text import Text

            self._live.console.print(Text.from_ansi(on_terminal(styled(text, style, self.stream))))

    def stop(self) -> None:
        """Take the table away."""
        with self._lock:
            live, self._live, self._is_over = self._live, None, True
        if live is not None:
            live.stop()
