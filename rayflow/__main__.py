"""The command `rayflow`: carry out a verb, and end with the exit code that says whose fault an error was.

In: the command line. Out: an exit code. Never: imports more than the verb needs, shows a user a traceback of ours
unless the mistake is ours.

Exit codes: 0 done; 1 something of the user's has to change; 2 the world failed; 3 a mistake in rayflow; 128 and the
number of the signal that has stopped it: 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

MANY_OBJECTS = 20_000
"""The new objects after which Python looks for cycles: imports make many objects, and hardly any cycles to free."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line and return its exit code. arguments: without the program's name; the process's own by
    default."""
    from rayflow.cli.output.output import all_shown

    with all_shown():
        code = _main(arguments)
        if arguments is None:
            _leave_ray()
        return code


def _main(arguments: Sequence[str] | None) -> int:
    begun = time.monotonic()
    from rayflow import pasting
    from rayflow.cli.main import COMPLETE, command
    from rayflow.cli.output.output import give_up_stdout
    from rayflow.errors import OutputUnavailable
    from rayflow.runtime.driver import start_time
    from rayflow.values.display import python_warnings
    from rayflow.values.process import waits

    if arguments is None and os.environ.get(COMPLETE):
        from rayflow.cli.parsing.completion import answer

        return answer(command, os.environ[COMPLETE])
    waits.listen(_say)
    start_time.begin(begun)
    before = pasting.typed_in(_directory())
    write_as_before = python_warnings.write_warnings(lambda text, file: f"warning: {text}\n")
    words = list(sys.argv[1:] if arguments is None else arguments)
    thresholds = gc.get_threshold()
    gc.set_threshold(MANY_OBJECTS, *thresholds[1:])
    try:
        # In colour: click would take out of a text what stdout shows.
        with command.make_context("rayflow", words, color=True) as context:
            code = command.invoke(context)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output has enough of it (`| head`).
        give_up_stdout()
        return 141
    except Exception as error:
        from rayflow.cli.output.errors import complain

        if isinstance(error, OutputUnavailable):
            give_up_stdout()
        return complain(error)
    finally:
        gc.set_threshold(*thresholds)
        waits.stop_listening(_say)
        start_time.begin(None)
        pasting.typed_in(before)
        write_as_before()


def _leave_ray() -> None:
    """End this process's connection to Ray, if a verb has made one."""
    if "ray" in sys.modules:
        from rayflow.runtime.on_ray.connection.connecting import disconnect

        with suppress(KeyboardInterrupt):  # the verb has ended, and the process ends
            disconnect()


def _directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    # `python -m` lets everything be imported from the current directory first, a numpy.py of the project, too.
    from rayflow.installation import FOLDER

    if sys.path and sys.path[0] != FOLDER and sys.path[0] == os.path.abspath("."):
        del sys.path[0]
    sys.exit(main())
