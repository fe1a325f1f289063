"""The reporter for notebooks: one display below the cell for each run, and the prints of tasks as the cell's output.

In: the calls of a `Reporter`. Out: a display that is redrawn in its place. Never: adds a script to the page.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from rayflow.records import JobRow
from rayflow.runtime import wording
from rayflow.runtime.durations import duration
from rayflow.runtime.protocol.reports import Progress, Silent, Summary, job_text
from rayflow.runtime.wording import busiest, counted, now_by_task

SHOWN_AFTER_SECONDS = 0.5
"""A run that ends sooner shows only its result."""

PERIOD_SECONDS = 0.5
"""The display is redrawn at most so often."""


def is_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return getattr(shell, "kernel", None) is not None


class NotebookText:
    """A text, in the two forms that a notebook displays."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        import html

        whole = f'<pre style="margin:0;line-height:1.3">{html.escape(self.text)}</pre>'
        return {"text/plain": self.text, "text/html": whole}


class Notebook(Silent):
    """Draws each run in one display of its own; warnings and the prints of tasks are lines of the cell."""

    def __init__(self) -> None:
        # Taken now: while a body runs in this process, sys.stdout and sys.stderr collect its prints.
        self._out, self._err = sys.stdout, sys.stderr
        self._lock = threading.Lock()
        self._displays: dict[str, Any] = {}
        self._drawn = 0.0

    def connecting(self, what: str) -> None:
        self._err.write(f"rayflow: {what} ...\n")

    def progress(self, progress: Progress) -> None:
        moment = time.monotonic()
        is_early = progress.elapsed_seconds < SHOWN_AFTER_SECONDS or moment - self._drawn < PERIOD_SECONDS
        if is_early or not progress.by_task:
            return
        self._drawn = moment
        self._draw(progress.execution_id, progress_text(progress))

    def _draw(self, execution_id: str, text: str) -> None:
        with self._lock:
            known = self._displays.get(execution_id)
            if known is None:
                display = sys.modules["IPython"].display.display  # it is loaded where there is a notebook
                self._displays[execution_id] = display(NotebookText(text), display_id=True)
            else:
                known.update(NotebookText(text))

    def printed(self, call: str, stream: str, text: str) -> None:
        self._out.write("".join(f"[{call}] {line}\n" for line in text.splitlines()))

    def warned(self, text: str) -> None:
        self._err.write(f"rayflow: {text}\n")

    def job_ended(self, row: JobRow) -> None:
        self._out.write(f"rayflow: {job_text(row)}\n")

    def ended(self, summary: Summary) -> None:
        if summary.execution_id in self._displays:
            self._draw(summary.execution_id, summary_text(summary))
            self._displays.pop(summary.execution_id, None)


def progress_text(progress: Progress) -> str:
    """The progress of a run: first the totals, then each task, then the calls that cannot start."""
    by_task = now_by_task(progress)
    lines = [f"{duration(progress.elapsed_seconds)}  {wording.progress_text(progress)}", *_rows(by_task)]
    return "\n".join([*lines, *(f"  waiting: {text}" for text in progress.waiting)])


def summary_text(summary: Summary) -> str:
    """The end of a run: first the totals, then each task."""
    startup = f", after {duration(summary.startup_seconds)} to start up" if summary.startup_seconds >= 0.5 else ""
    first = f"{summary.status} in {duration(summary.elapsed_seconds)}: {counted(summary.counts)}{startup}"
    return "\n".join([first, *_rows(summary.by_task)])


def _rows(by_task: Any) -> list[str]:
    width = max(map(len, by_task), default=0)
    return [
        f"  {name:{min(width, 50)}}  {counted({key: count for key, count in numbers.items() if key != 'jobs'})}"
        for name, numbers in busiest(by_task)
    ]
