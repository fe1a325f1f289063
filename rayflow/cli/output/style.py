"""Colours, and the small texts that several verbs share.

In: plain data. Out: text. Never: prints; lets a text from outside rayflow control the terminal.

rayflow writes a colour into a text as a secret mark, which no text from outside can contain. `on_terminal` replaces
each mark by the terminal's own code, and makes all other control characters of the text visible.
"""

from __future__ import annotations

import os
import re
from typing import TextIO

from rayflow.runtime.durations import duration as duration
from rayflow.runtime.wording import counted as counted
from rayflow.runtime.wording import many as many
from rayflow.runtime.wording import size as size

_CODES = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "dim": "2", "bold": "1"}

STATUS_COLOURS = {
    "failed": "red",
    "lost": "red",
    "not_run": "yellow",
    "cancelled": "yellow",
    "running": "blue",
    "open": "blue",
    "cached": "green",
    "shared": "dim",
}
"""The colour of a status or a `how`; the others have no colour."""


def in_words(status: str) -> str:
    """A status, or how a job ended, as people read it."""
    return status.replace("_", " ")


def has_colours(stream: TextIO) -> bool:
    """Whether a stream is a terminal that shows colours, and the user wants them (NO_COLOR is not set)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def is_terminal(stream: TextIO) -> bool:
    """Whether a stream is a terminal, so that a person can see each line as it is written."""
    return beneath(stream).isatty() and os.environ.get("TERM") != "dumb"


def beneath(stream: TextIO) -> TextIO:
    """The stream beneath a `ShownStream`; any other stream itself."""
    found: TextIO = getattr(stream, "raw", stream)
    return found


_MARK = f"\ufdd0{os.urandom(8).hex()}:"

START_OVER = f"{_MARK}K"
"""The mark that goes back to the beginning of the line, and clears the line."""

OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""The invisible characters that control a terminal: control characters (except tab and newline), and characters that
change the direction of the text. It also finds halves of characters, which cannot be written."""


def visible(text: str) -> str:
    """The text with its control characters visible, as Python writes them: an escape as `\\x1b`."""
    return OBEYED.sub(lambda found: ascii(found[0])[1:-1], text)


def on_terminal(text: str) -> str:
    """The text for the terminal: control characters are visible, and the terminal's codes replace our marks."""
    shown = visible(text)
    if _MARK not in shown:
        return shown
    return re.sub(f"{_MARK}(K|[0-9]+m)", lambda found: "\r\x1b[K" if found[1] == "K" else f"\x1b[{found[1]}", shown)


def without_styles(text: str) -> str:
    """The text without its colour marks, as long as it looks on the screen."""
    return re.sub(f"{_MARK}[0-9]+m", "", text) if _MARK in text else text


def styled(text: str, style: str | None, stream: TextIO) -> str:
    """The text in a colour, where the stream shows colours."""
    if style is None or not has_colours(stream):
        return text
    return f"{_MARK}{_CODES[style]}m{text}{_MARK}0m"


def short_execution(execution_id: str) -> str:
    """The beginning of an execution's id, which is enough to distinguish it: 48 bits are the time in milliseconds."""
    return execution_id[:18]


def short_job(job_id: str) -> str:
    """The beginning of a job's id, which is enough to distinguish it from others."""
    return job_id[:12]
