"""The command `rayflow`: carry out a verb, and end with the exit code that says whose fault an error was.

In: the command line. Out: an exit code. Never: imports more than the verb needs, shows a user a traceback of ours
unless the mistake is ours.

Exit codes: 0 done; 1 something of the user's has to change; 2 the world failed; 3 a mistake in rayflow; 130 stopped by
Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line and return its exit code. arguments: without the program's name; the process's own by
    default."""
    from rayflow.cli.main import command

    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with command.make_context("rayflow", words) as context:
            code = command.invoke(context)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has enough of it (`| head`). Python would complain once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except Exception as error:
        from rayflow.cli.complaints import complain

        return complain(error)


if __name__ == "__main__":
    sys.exit(main())
