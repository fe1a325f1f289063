"""Keeps Ray's own lines out of the user's output, and picks the tasks' own prints out of them.

In: what Ray would print in the driver. Out: the prints of tasks to the reporter, the rest to a log file. Never: prints.
"""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Iterator
from typing import Any

from rayflow.runtime.remote import MARK
from rayflow.runtime.reports import Reporter

_reporter: Reporter | None = None
_last_line_at = 0.0
_lock = threading.Lock()

FLUSH_SECONDS = 0.3
"""How long to wait at the end of a run for prints that are still on their way."""


def quiet(reporter: Reporter) -> None:
    """Have the lines that Ray's workers print go to this reporter."""
    global _reporter
    _reporter = reporter
    import ray._private.worker as worker

    # Private: Ray prints the lines of its workers and of the raylet to stdout, where they would stand in the middle of
    # a result, and has no public way to take them. Where the name is gone, they are printed as Ray does.
    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = _take


def silence() -> None:
    """The run is over: what comes now is of no interest to anybody."""
    global _reporter
    _reporter = None


def _take(data: Any, *_: Any, **__: Any) -> None:
    global _last_line_at
    reporter = _reporter
    if not isinstance(data, dict) or reporter is None:
        return
    with _lock:
        _last_line_at = time.monotonic()
        for line in data.get("lines", ()):
            if line.startswith(MARK):
                task, _, rest = line[len(MARK) :].partition("\x1f")
                stream, _, text = rest.partition("\x1f")
                reporter.printed(task, stream, text + "\n")
            elif data.get("task_name", "").startswith("rayflow:"):
                # Printed past Python (a program that the task has started, C code).
                stream = "stderr" if data.get("is_err") else "stdout"
                reporter.printed(data["task_name"].removeprefix("rayflow:"), stream, line + "\n")


def flush() -> None:
    """Wait, briefly, until the prints of a run that has ended have come in."""
    end = time.monotonic() + FLUSH_SECONDS
    while time.monotonic() < end and time.monotonic() - _last_line_at < 0.1:
        time.sleep(0.02)


@contextlib.contextmanager
def hidden() -> Iterator[None]:
    """Hide what is printed while Ray starts."""
    kept = io.StringIO()
    with contextlib.redirect_stdout(kept), contextlib.redirect_stderr(kept):
        yield


def own_address() -> str | None:
    """This machine's address as Ray sees it."""
    from ray.util import get_node_ip_address

    try:
        address: str = get_node_ip_address()
    except OSError:
        return None
    return address

