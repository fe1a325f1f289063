"""Errors as a user sees them: one clear line, and the exit code that says whose fault it is.

In: exceptions and failures. Out: text on stderr, exit codes. Never: a traceback of ours, unless the mistake is ours.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import TextIO

import click

from rayflow.cli.output.style import short_execution, styled
from rayflow.errors import Bug, RayflowError
from rayflow.pasting import command
from rayflow.values.display.tracebacks import frames_of, is_full, is_the_users, traceback_lines
from rayflow.values.encoding.previews import one_line
from rayflow.values.failures import Failure, render, shortened

MOST_FAILURES = 20
"""The most failures that are shown. The others are only counted."""

CODES = {"user": 1, "world": 2, "bug": 3}
"""The exit code by the fault: whose mistake it is."""

_OF_THE_WORLD = frozenset(
    {
        errno.EACCES, errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EDQUOT, errno.EFBIG, errno.EIO,
        errno.ELOOP, errno.EMFILE, errno.ENAMETOOLONG,
        errno.ENFILE, errno.ENODEV, errno.ENOMEM, errno.ENOSPC, errno.ENOTCONN, errno.ENXIO, errno.EPERM, errno.EROFS,
        errno.ESTALE, errno.ETIMEDOUT, errno.ETXTBSY,
    }
)  # fmt: skip
"""Errors of the system that a disk, a network or a limit causes, anywhere in rayflow. A missing file is not among them:
rayflow looks before it opens one of its own files."""

REPORT = "This is a mistake in rayflow, not in your code. Please report it with all of the text above."


def complain(error: Exception) -> int:
    """Write an error to stderr. Returns the exit code."""
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
    if isinstance(error, RayflowError):
        _say(stream, str(error))
        stream.writelines(f"{line}\n" for line in _users_lines(error))
        return error.exit_code
    if isinstance(error, FileNotFoundError) and _stands_nowhere():
        _say(stream, "The current directory is there no longer: change to one that is.")
        return CODES["user"]
    if isinstance(error, OSError) and error.errno in _OF_THE_WORLD:
        where = f": {error.filename}" if error.filename is not None else ""
        _say(stream, f"{error.strerror}{where}.")
        return CODES["world"]
    from rayflow.lang.modules import hiding_file

    hiding = hiding_file()
    if hiding is not None:
        _say(
            stream,
            f"{hiding} was imported in place of the library of this name, which rayflow needs: rename it "
            f"({type(error).__name__}: {error}).",
        )
        return CODES["user"]
    if not isinstance(error, Bug):
        import traceback

        stream.write("".join(traceback.format_exception(error)))
    _say(stream, f"{type(error).__name__}: {error}")
    stream.write(f"{REPORT}\n")
    return 3


def _users_lines(error: BaseException) -> list[str]:
    """The lines of the user's modules that led to an error which was raised as they were imported."""

    def is_not_theirs(file: str) -> bool:
        return not is_full() and not is_the_users(file)

    here = None if _stands_nowhere() else os.getcwd()
    return traceback_lines(frames_of(error.__traceback__, project_dir=here, hide=is_not_theirs))[1:]


def _stands_nowhere() -> bool:
    try:
        os.getcwd()
    except OSError:
        return True
    return False


def _say(stream: TextIO, text: str) -> None:
    stream.write(f"{styled('error:', 'red', stream)} {text.rstrip()}\n")


def show_failures(
    failures: Sequence[tuple[str, str, Failure]], stream: TextIO, *, execution_id: str = "-", store: str | None = None
) -> int:
    """Show all failures of an execution: the first in full, the others on one line each. Returns the first's exit code.

    failures: (job id as hex, task name, failure): first the failure of the execution, then the others in the order in
    which they failed. store: the store of the execution, for the commands in the text.
    """
    job_id, task_name, first = failures[0]
    # A traceback ends with the error, as Python's do. What no line of the user's raised is said once.
    is_traced = bool(first.related) or (bool(first.frames) and not first.type_name.startswith("rayflow."))
    whole = f"`{hint(job_id, store)}` shows all of it"
    said = one_line(first.summary, 300) if is_traced else shortened(first.summary, whole)
    _say(stream, f"{task_name} failed: {said}")
    rest = render(first, with_summary=is_traced, whole=whole)
    if rest:
        stream.write(f"{rest}\n")
    if first.fault == "bug":
        stream.write(f"{REPORT}\n")
    stream.write(f"  {hint(job_id, store)}\n")
    for job_id, task_name, failure in failures[1:MOST_FAILURES]:
        stream.write(f"also failed: {task_name}: {one_line(failure.summary, 160)}  ({hint(job_id, store)})\n")
    if len(failures) > MOST_FAILURES:
        more = command("log", short_execution(execution_id), "--failed", store=store)
        stream.write(f"... and {len(failures) - MOST_FAILURES:,} more; `{more}` lists them\n")
    return CODES.get(first.fault, 1)


def hint(job_id: str, store: str | None) -> str:
    """The command that shows more about a job of a store."""
    return command("log", job_id[:12], store=store)
