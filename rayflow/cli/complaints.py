"""Errors as a user sees them: one clear line, and the exit code that says whose fault it is.

In: exceptions and failures. Out: text on stderr, exit codes. Never: a traceback of ours, unless the mistake is ours.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

import click

from rayflow.cli.style import styled

if TYPE_CHECKING:
    from rayflow.values.failures import Failure

MOST_FAILURES = 20
"""Of more failures than this the rest is counted."""

CODES = {"user": 1, "world": 2, "bug": 3}
"""Whose fault -> exit code."""

REPORT = "This is a mistake in rayflow, not in your code. Please report it with all of the text above."


def complain(error: Exception) -> int:
    """Say on stderr what went wrong; returns the exit code."""
    stream = sys.stderr
    if isinstance(error, click.exceptions.Exit):
        return int(error.exit_code)
    if isinstance(error, click.Abort):
        return 130
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        stream.write(f"{error.format_message()}\n")
        return 1
    if isinstance(error, click.ClickException):
        _say(stream, error.format_message())
        if isinstance(error, click.UsageError) and error.ctx is not None:
            stream.write(f"See `{error.ctx.command_path} --help`.\n")
        return 1
    from rayflow.errors import Bug, RayflowError

    if isinstance(error, RayflowError):
        _say(stream, str(error))
        return error.exit_code
    if not isinstance(error, Bug):
        import traceback

        stream.write("".join(traceback.format_exception(error)))
    _say(stream, f"{type(error).__name__}: {error}")
    stream.write(f"{REPORT}\n")
    return 3


def _say(stream: TextIO, text: str) -> None:
    stream.write(f"{styled('error:', 'red', stream)} {text.rstrip()}\n")


def show_failures(failures: Sequence[tuple[str, str, Failure]], stream: TextIO) -> int:
    """All failures of an execution: the first whole, the others one line each. Returns the exit code of the first.

    failures: (job id as hex, task name, failure): what it ended with, then in the order in which they failed.
    """
    from rayflow.values.failures import render

    job_id, task_name, first = failures[0]
    # A traceback ends with the error, as Python's do. What no line of the user's raised is said once.
    is_traced = bool(first.frames) and not first.type_name.startswith("rayflow.")
    _say(stream, f"{task_name} failed: {_cut(first.summary, 300) if is_traced else first.summary}")
    rest = render(first, with_summary=is_traced)
    if rest:
        stream.write(f"{rest}\n")
    if first.fault == "bug":
        stream.write(f"{REPORT}\n")
    stream.write(f"  {hint(job_id)}\n")
    for job_id, task_name, failure in failures[1:MOST_FAILURES]:
        stream.write(f"also failed: {task_name}: {_cut(failure.summary, 160)}  ({hint(job_id)})\n")
    if len(failures) > MOST_FAILURES:
        stream.write(f"... and {len(failures) - MOST_FAILURES:,} more; `rayflow log -` sums them up\n")
    return CODES.get(first.fault, 1)


def _cut(text: str, limit: int) -> str:
    """The text on one line, its end left out when it is longer than the limit: an error's beginning says most."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def hint(job_id: str) -> str:
    """How to see more of a job."""
    return f"rayflow log {job_id[:12]}"
