"""What a run prints that was submitted: text for people and, between its lines, frames for the one who follows it.

In: the calls of a `Reporter`, the answer. Out: lines of the job's log. Never: draws a table: the one who follows does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TextIO

from rayflow.cli.output.progress import PlainReporter
from rayflow.runtime.protocol.reports import Progress
from rayflow.submission.frames import FrameWriter


@dataclass(frozen=True, slots=True)
class JobOutput:
    """Where a submitted run writes, instead of a terminal."""

    frames: FrameWriter

    def reporter(self, stream: TextIO) -> PlainReporter:
        """The reporter of the run. stream: for the texts."""
        return JobReporter(stream, self.frames)

    def answer(self, text: str) -> None:
        """Print the answer."""
        self.frames.answer(text)

    def ended(self, code: int) -> None:
        """Tell the one who follows that nothing more comes, and the exit code."""
        self.frames.ended(code)


class JobReporter(PlainReporter):
    """Lines; the progress goes into frames."""

    def __init__(self, stream: TextIO, frames: FrameWriter) -> None:
        super().__init__(stream)
        self._frames = frames

    def progress(self, progress: Progress) -> None:
        """Write the counts for the one who follows."""
        with self._lock:
            self._waiting(progress)
            self._frames.progress(progress)
