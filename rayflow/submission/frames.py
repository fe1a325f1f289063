"""What a job tells the one who follows it, as lines among those that it prints.

In: progress and the answer; the bytes of a job's log. Out: lines; what they say. Never: asks a cluster.

A line is a text for people, or a frame: a mark with the id of the execution, then JSON with one name:

    begun      what the job's Python is and has (`rayflow.submission.bootstrap`); all before it is Ray's
    progress   the counts of the execution
    answer     a piece of the result, as it is to be printed
    ended      the exit code: all is recorded and printed, and only the program's own end is left
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rayflow.runtime.live.outlook import TimeLeft
from rayflow.runtime.protocol.reports import Progress
from rayflow.submission.bootstrap import frame, mark

PIECE_CHARACTERS = 16_384
"""The most characters of an answer in one line."""

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
"""The times between two lines of progress, at first and of a long execution: a day of it has about a megabyte."""


@dataclass(frozen=True, slots=True)
class JobText:
    """A line that a job has printed for people, without its end."""

    text: str


@dataclass(frozen=True, slots=True)
class JobBegun:
    """The job has found its Python. facts: what that is and has."""

    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class JobAnswer:
    """A piece of the answer."""

    piece: str


@dataclass(frozen=True, slots=True)
class JobEnded:
    """The job has recorded and printed everything. code: its exit code."""

    code: int


FrameWord = JobText | JobBegun | JobAnswer | JobEnded | Progress


class FrameWriter:
    """Writes the frames of one execution, each as one piece, so that other output of the job does not mix with it."""

    def __init__(self, execution_id: str, descriptor: int) -> None:
        self._execution_id = execution_id
        self._descriptor = descriptor
        self._next = 0.0

    def progress(self, progress: Progress) -> None:
        """Write the counts, unless the last ones were written a moment ago."""
        if progress.elapsed_seconds < self._next or not progress.by_task:
            return
        pause = min(max(progress.elapsed_seconds / 60, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
        self._next = progress.elapsed_seconds + pause
        self._write("progress", asdict(progress))

    def answer(self, text: str) -> None:
        """Write the answer, in pieces."""
        for start in range(0, len(text), PIECE_CHARACTERS):
            self._write("answer", text[start : start + PIECE_CHARACTERS])

    def ended(self, code: int) -> None:
        """Write the exit code, as the last frame."""
        self._write("ended", code)

    def _write(self, kind: str, value: object) -> None:
        os.write(self._descriptor, frame(self._execution_id, kind, value).encode())


class FrameReader:
    """Takes a job's log apart, however its bytes are cut into pieces."""

    def __init__(self, execution_id: str) -> None:
        self._mark = mark(execution_id)
        self._rest = b""

    def read(self, data: bytes) -> Iterator[FrameWord]:
        """What the whole lines say of which `data` has the end."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield from self._line(line.decode("utf-8", "backslashreplace"))

    def end(self) -> Iterator[FrameWord]:
        """What the last line says, when it has no end."""
        if self._rest:
            yield from self._line(self._rest.decode("utf-8", "backslashreplace"))
        self._rest = b""

    def _line(self, line: str) -> Iterator[FrameWord]:
        text, found, data = line.partition(self._mark)
        word = _word(data) if found else None
        if word is None:
            yield JobText(line)
            return
        if text:  # something else has printed a line without an end
            yield JobText(text)
        yield word


def _progress(told: dict[str, Any]) -> Progress:
    """The counts as they were written. JSON has made lists of their tuples."""
    left = told.get("left")
    return Progress(**{**told, "waiting": tuple(told["waiting"]), "left": None if left is None else TimeLeft(*left)})


def _word(data: str) -> FrameWord | None:
    """What a frame says; None for what is none, or comes from a newer rayflow."""
    try:
        value = json.loads(data)
        if "progress" in value:
            return _progress(value["progress"])
        if "answer" in value:
            return JobAnswer(value["answer"])
        if "ended" in value:
            return JobEnded(int(value["ended"]))
        return JobBegun(value["begun"])
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
