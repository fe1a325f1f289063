"""Carry out a run from the command line: watch it, stop it well, show its answer or its failures.

In: a configuration, and what to ask of the scheduler. Out: the answer on stdout, all else on stderr, an exit code.
Never: parses words.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

from rayflow.cli.complaints import complain, show_failures
from rayflow.cli.output import shown
from rayflow.cli.progress import PlainReporter, reporter_for
from rayflow.cli.style import short_execution

if TYPE_CHECKING:
    from rayflow.api import Scheduler
    from rayflow.config import Config

STOPPED = 130
"""Exit code of a run that was stopped by Ctrl-C."""


def evaluate(
    config: Config, work: Callable[[Scheduler], Any], *, stdout: TextIO, as_json: bool, debug: bool = False
) -> int:
    """Let a scheduler do some work, and print the value that it gives as the last thing on `stdout`.

    debug: stop in the debugger where a task raises.
    """
    from rayflow.api import Scheduler

    # A table that is drawn anew all the time would write over what is typed into the debugger.
    reporter = PlainReporter(sys.stderr) if debug else reporter_for(sys.stderr)
    # As on workers: a path that is relative for a File is so for Python's own `open`, too.
    with _stopping_well(reporter), chdir(config.project_dir):
        try:
            scheduler = Scheduler(config=config, reporter=reporter, debug=debug)
            try:
                value = work(scheduler)
            finally:
                reporter.stop()
                scheduler.close()
        except KeyboardInterrupt:
            reporter.stop()
            reporter.finish()
            reporter.say(f"stopped; {_how_to_go_on(reporter)}")
            return STOPPED
        except Exception as error:
            return _failed(reporter, error)
        reporter.finish()
        _print_answer(value, stdout, as_json)
    return 0


def _failed(reporter: PlainReporter, error: Exception) -> int:
    """Show the failures of the run, or the error that came from elsewhere."""
    summary = reporter.summary
    if summary is None or summary.status != "failed" or not summary.failures:
        code = complain(error)
        reporter.finish()
        return code
    code = show_failures(summary.failures, reporter.stream)
    reporter.finish()
    return code


def _print_answer(value: Any, stdout: TextIO, as_json: bool) -> None:
    if as_json:
        from rayflow.cli.json_form import pieces

        stdout.writelines(pieces(value))
        stdout.write("\n")
    else:
        text, is_short = shown(value)
        if is_short:
            sys.stderr.write("the result is long and was shortened; --json prints all of it\n")
        stdout.write(f"{text}\n")
    stdout.flush()


def _how_to_go_on(reporter: PlainReporter) -> str:
    if reporter.execution_id is None:
        return "nothing had started."
    return f"what was finished is kept. Go on with: rayflow resume {short_execution(reporter.execution_id)}"


@contextmanager
def _stopping_well(reporter: PlainReporter) -> Iterator[None]:
    """The first Ctrl-C stops the run and keeps what is finished; the second one ends the process at once."""
    pressed = 0

    def interrupted(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed += 1
        if pressed > 1:
            reporter.stop()
            # Not through the reporter's lock: the thread that holds it may be the one that hangs.
            os.write(2, f"stopped at once; {_how_to_go_on(reporter)}\n".encode())
            os._exit(STOPPED)
        os.write(2, b"\nstopping; what is finished is being kept. Ctrl-C again stops at once.\n")
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGINT, interrupted)
    except ValueError:  # not the main thread: Ctrl-C is somebody else's there
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
