"""What a run tells while it goes: a live table on a terminal, plain lines elsewhere. All of it on stderr.

In: what a `Reporter` is told, from any thread. Out: text. Never: stdout, raises.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any, TextIO

from rayflow.cli.style import STATUS_COLOURS, counted, duration, is_terminal, short_execution, styled
from rayflow.runtime.reports import Progress, Summary

MOST_TASKS = 15
"""Of more tasks than this the rest is summed up."""

LIVE_AFTER_SECONDS = 0.4
"""A run that is over sooner shows no live table, and does not load what draws it."""

_FIRST_LINE_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 60.0


def reporter_for(stream: TextIO) -> PlainReporter:
    """The reporter that fits a stream."""
    return LiveReporter(stream) if is_terminal(stream) else PlainReporter(stream)


class PlainReporter:
    """Lines: for pipes, files and CI. A run that takes long says where it is after 5 s, then less and less often."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.execution_id: str | None = None
        self.summary: Summary | None = None
        self._lock = threading.RLock()
        self._said: set[str] = set()
        self._next = _FIRST_LINE_SECONDS
        self._last = ""

    # --- what a Reporter is told --------------------------------------------------------------------------------------

    def started(self, execution_id: str, store_url: str, is_new_store: bool) -> None:
        """A new store is named once."""
        if is_new_store:
            self.say(f"results are kept in {store_url}")

    def recorded(self, execution_id: str) -> None:
        """Remembers the id, to say how to go on."""
        self.execution_id = execution_id

    def connecting(self, what: str) -> None:
        """Says what takes seconds."""
        self.say(f"{what} ...", "dim")

    def progress(self, progress: Progress) -> None:
        """One line, if the last one is long ago and something has changed."""
        with self._lock:
            self._waiting(progress)
            if progress.elapsed_seconds < self._next:
                return
            said = counted(sum_up(_now(progress)))
            if said != self._last:
                self.say(f"{duration(progress.elapsed_seconds)}: {said}", "dim")
            self._last = said
            self._next = progress.elapsed_seconds + min(max(progress.elapsed_seconds, 5.0), _LONGEST_PAUSE_SECONDS)

    def printed(self, task_name: str, stream: str, text: str) -> None:
        """A task's own prints, each line behind the task's name."""
        self.say("\n".join(f"{self._name(task_name)} {line}" for line in text.rstrip("\n").split("\n")))

    def warned(self, text: str) -> None:
        """A warning, once."""
        self._once(f"{styled('warning:', 'yellow', self.stream)} {text}")

    def ended(self, summary: Summary) -> None:
        """Kept for `finish`, which is called when nothing else is shown any more."""
        with self._lock:
            self.summary = summary

    # --- what the verb asks -------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Show nothing live any more."""

    def finish(self) -> None:
        """Sum up the run: what was computed, what was cached, what failed, and how long it took."""
        summary = self.summary
        if summary is None:
            return
        words = {"done": ("done", "green"), "failed": ("failed", "red")}
        said, colour = words.get(summary.status, (summary.status, "yellow"))
        counts = summary.counts
        self.say(
            f"{styled(said, colour, self.stream)} in {duration(summary.elapsed_seconds)}: {counted(counts)}"
            f"  {styled(f'(rayflow log {short_execution(summary.execution_id)})', 'dim', self.stream)}"
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
            except (OSError, ValueError):  # whoever read stderr is gone; the run is not to end for it
                pass

    def _once(self, text: str) -> None:
        with self._lock:
            if text not in self._said:
                self._said.add(text)
                self.say(text)

    def _waiting(self, progress: Progress) -> None:
        for text in progress.waiting:
            self._once(f"{styled('waiting:', 'yellow', self.stream)} {text}")

    def _name(self, task_name: str) -> str:
        return styled(f"[{task_name.rpartition('.')[2]}]", "blue", self.stream)

    def _numbers(self, numbers: Mapping[str, int]) -> str:
        said = counted({name: count for name, count in numbers.items() if name != "jobs"})
        for word in ("cached", "failed", "cancelled", "running"):
            said = said.replace(word, styled(word, STATUS_COLOURS.get(word), self.stream))
        return said


class LiveReporter(PlainReporter):
    """A table of what each task does, drawn again a few times a second under what is printed."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._live: Any = None
        self._is_over = False
        self._progress: Progress | None = None
        self._progress_at = 0.0

    def progress(self, progress: Progress) -> None:
        """Draws, or draws again."""
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

        console = Console(file=self.stream, highlight=False, markup=False, soft_wrap=True)
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
        by_task = _now(progress)
        text = Text(f"{duration(elapsed)}  {counted(sum_up(by_task))}\n", no_wrap=True, overflow="ellipsis")
        width = min(max(map(len, by_task), default=0), 50)
        for name, numbers in busiest(by_task):
            text.append(f"  {name:{width}}  ")
            text.append(f"{counted(numbers)}\n", "dim")
        return text

    def say(self, text: str, style: str | None = None) -> None:
        """Write whole lines, above the table where there is one."""
        with self._lock:
            if self._live is None:
                super().say(text, style)
                return
            from rich.text import Text

            self._live.console.print(Text.from_ansi(styled(text, style, self.stream)))

    def stop(self) -> None:
        """Take the table away."""
        with self._lock:
            live, self._live, self._is_over = self._live, None, True
        if live is not None:
            live.stop()


def _now(progress: Progress) -> dict[str, dict[str, int]]:
    """What each task does now: open calls are running ones and those that wait for arguments, capacity or children."""
    now = {}
    for name, numbers in progress.by_task.items():
        told = {key: count for key, count in numbers.items() if key not in ("jobs", "open")}
        now[name] = {**told, "waiting": max(numbers.get("open", 0) - numbers.get("running", 0), 0)}
    return now


def sum_up(by_task: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Counts of all tasks together."""
    sums: dict[str, int] = {}
    for numbers in by_task.values():
        for name, count in numbers.items():
            sums[name] = sums.get(name, 0) + count
    return sums


def busiest(by_task: Mapping[str, Mapping[str, int]]) -> list[tuple[str, dict[str, int]]]:
    """Tasks in the order in which they were met; of many, those that run or have failed, and the rest as one."""
    named = [(name, dict(numbers)) for name, numbers in by_task.items()]
    if len(named) <= MOST_TASKS:
        return named
    ranked = sorted(named, key=lambda pair: (-pair[1].get("failed", 0), -pair[1].get("running", 0)))
    kept = {name for name, _ in ranked[: MOST_TASKS - 1]}
    rest = {name: numbers for name, numbers in named if name not in kept}
    return [pair for pair in named if pair[0] in kept] + [(f"{len(rest)} other tasks", sum_up(rest))]
