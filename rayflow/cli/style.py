"""Colours, where they are wanted, and the small texts that several verbs share.

In: plain data. Out: text. Never: prints.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TextIO

_CODES = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "dim": "2", "bold": "1"}

STATUS_COLOURS = {
    "failed": "red",
    "lost": "red",
    "cancelled": "yellow",
    "running": "blue",
    "open": "blue",
    "cached": "green",
    "shared": "dim",
}
"""Colours of what a status or a `how` says; the others have none."""


def has_colours(stream: TextIO) -> bool:
    """Whether a stream is a terminal that shows colours, and the user wants them (NO_COLOR is not set)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def is_terminal(stream: TextIO) -> bool:
    """Whether somebody is looking at a stream as it is written."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def styled(text: str, style: str | None, stream: TextIO) -> str:
    """The text in a colour, where the stream shows colours."""
    if style is None or not has_colours(stream):
        return text
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m"


def duration(seconds: float | None) -> str:
    """A duration as people say it: 0.02 s, 3.1 s, 2 min 5 s, 3 h 12 min."""
    if seconds is None:
        return ""
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def size(count: float | None) -> str:
    """A number of bytes as people say it: 512 B, 3.4 KiB, 1.2 GiB."""
    if count is None:
        return ""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def many(count: int, noun: str) -> str:
    """A number of things: 1 value, 1,200 values."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def counted(counts: Mapping[str, Any]) -> str:
    """Counts in words, without those that are zero: "3 jobs, 2 computed, 1 cached"."""
    said = [many(counts["jobs"], "job")] if counts.get("jobs") else []
    for name in ("running", "open", "waiting", "computed", "cached", "shared", "failed", "cancelled"):
        if counts.get(name):
            said.append(f"{counts[name]:,} {name}")
    return ", ".join(said) or "no jobs"


def short_execution(execution_id: str) -> str:
    """Enough of an execution's id to be told from others: its first 48 bits are the time in milliseconds."""
    return execution_id[:18]


def short_job(job_id: str) -> str:
    """Enough of a job's id to be told from others."""
    return job_id[:12]
