"""Carry out a run from the command line: watch it, stop it well, show its answer or its failures.

In: a configuration, and what to ask of the scheduler. Out: the answer on stdout, all else on stderr, an exit code.
Never: parses words.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, TextIO

from rayflow.cli.output.errors import complain, show_failures
from rayflow.cli.output.output import for_programs, shown, write_json
from rayflow.cli.output.progress import PlainReporter, reporter_for
from rayflow.cli.output.style import short_execution
from rayflow.errors import Cancelled, ClusterLost, OutputUnavailable
from rayflow.pasting import command
from rayflow.runtime import signals
from rayflow.runtime.protocol import git_commit
from rayflow.values.display.python_warnings import write_warnings

if TYPE_CHECKING:
    from rayflow.api import Scheduler
    from rayflow.cli.output.job_output import JobOutput
    from rayflow.config import Config


def evaluate(
    config: Config,
    work: Callable[[Scheduler], Any],
    *,
    stdout: TextIO,
    as_json: bool,
    debug: bool = False,
    output: JobOutput | None = None,
) -> int:
    """Call `work` with a scheduler, and print its value as the last thing on `stdout`.

    debug: stop in the debugger where a task raises. output: where a submitted run writes, in place of stdout and a
    terminal.
    """
    git_commit.ask(config.project_dir)  # git answers while the next line imports for a tenth of a second
    from rayflow.api import Scheduler

    # A table that is drawn again and again would overwrite the text that the user types into the debugger.
    if output is not None:
        reporter = output.reporter(sys.stderr)
    else:
        reporter = PlainReporter(sys.stderr) if debug else reporter_for(sys.stderr)
    is_quiet = config.log_level == "quiet"
    # As on workers: a path that is relative for a File is so for Python's own `open`, too.
    with _stopping_well(reporter, config), chdir(config.project_dir), _silent_warnings() if is_quiet else nullcontext():
        try:
            scheduler = Scheduler(config=config, reporter=reporter, debug=debug)
            try:
                value = work(scheduler)
            finally:
                reporter.stop()
                scheduler.close()
        except KeyboardInterrupt as error:
            reporter.stop()
            if not is_quiet:
                reporter.finish()
            reporter.say(f"stopped; {_how_to_go_on(reporter, config)}")
            return signals.exit_code_of(error)
        except Cancelled as error:
            # Another process has asked for the end; the run has done all that Ctrl-C does.
            if not is_quiet:
                reporter.finish()
            reporter.say(f"stopped: {error}")
            return 128 + signal.SIGINT
        except Exception as error:
            code = _failed(reporter, error, is_quiet)
            if isinstance(error, ClusterLost):
                # Ray would wait for its lost cluster for up to half a minute.
                sys.stderr.flush()
                os._exit(code)
            return code
        if not is_quiet:
            reporter.finish()
        try:
            if output is None:
                _print_answer(value, stdout, as_json)
            else:
                written = io.StringIO()
                _print_answer(value, written, as_json)
                output.answer(written.getvalue())
        except OutputUnavailable as error:
            raise OutputUnavailable(f"{error} The run itself is done, and recorded.") from None
    return 0


@contextmanager
def _silent_warnings() -> Iterator[None]:
    put_back = write_warnings(lambda text, file: "")
    try:
        yield
    finally:
        put_back()


def _failed(reporter: PlainReporter, error: Exception, is_quiet: bool) -> int:
    """Show the failures of the run, or the error that came from elsewhere."""
    summary = reporter.summary
    if summary is None or summary.status != "failed" or not summary.failures:
        code = complain(error)
        if not is_quiet:
            reporter.finish()
        return code
    code = show_failures(summary.failures, reporter.stream, execution_id=summary.execution_id, store=reporter.store_url)
    if not is_quiet:
        reporter.finish()
    return code


def _print_answer(value: Any, stdout: TextIO, as_json: bool) -> None:
    if as_json:
        write_json(stdout, value)
    else:
        text, is_short = shown(value)
        if is_short:
            sys.stderr.write("the result is long and was shortened; --json prints all of it\n")
        for_programs(stdout).write(f"{text}\n")
    stdout.flush()


def _how_to_go_on(reporter: PlainReporter, config: Config) -> str:
    if reporter.execution_id is None:
        return "nothing had started."
    here = ("--inline",) if config.inline else ()
    resume = command("resume", short_execution(reporter.execution_id), *here, store=reporter.store_url)
    return f"what was finished is kept. Go on with: {resume}"


def _say_at_once(text: str) -> None:
    with suppress(OSError):  # a full disk must not keep a run from being stopped
        os.write(2, text.encode())


@contextmanager
def _stopping_well(reporter: PlainReporter, config: Config) -> Iterator[None]:
    """The first Ctrl-C, SIGTERM or SIGHUP stops the run and keeps what is finished; a further one ends the process at
    once."""

    def first(number: int) -> None:
        asked = "" if number == signal.SIGINT else f"{signals.name_of(number)}: "
        again = "A second signal" if asked else "Ctrl-C again"
        _say_at_once(f"\n{asked}stopping; what is finished is being kept. {again} stops at once.\n")

    def at_once(number: int) -> None:
        reporter.stop()
        # Not through the reporter's lock: perhaps the thread that holds it hangs.
        _say_at_once(f"stopped at once; {_how_to_go_on(reporter, config)}\n")
        os._exit(128 + number)

    with signals.raised((signal.SIGINT, *signals.ENDING), first, at_once):
        yield
