"""Keeps Ray's own lines out of the user's output, and passes the prints of tasks on to their reporter.

In: the lines that Ray would print in the driver. Out: the prints of tasks, to the reporter of their channel. Never:
prints.

Each reporter has a channel, whose name stands before every line that its tasks print on a worker. The scheduler counts
those lines, so that the end of a run can wait for lines that are still on their way.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from rayflow.runtime.on_ray.remote import MARK, NAME, SEPARATOR
from rayflow.runtime.protocol.reports import Reporter, Silent

FLUSH_SECONDS = 3.0
"""The longest time that the end of a run waits for prints that are still on their way."""

QUIET_SECONDS = 0.15
"""How long the end of a run waits for another line after one that a task's child program printed, which no worker
counts."""


class _Channel:
    """A reporter, and how many lines have come for it."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter: Callable[[], Reporter | None]
        try:
            self.reporter = weakref.ref(reporter)
        except TypeError:  # a class that allows no weak references: it is kept
            self.reporter = lambda: reporter
        self.came = 0
        self.is_dead = False


_channels: dict[str, _Channel] = {}
_numbers = itertools.count()
_news = threading.Condition()
_uncounted_at = 0.0


def channel_for(reporter: Reporter) -> str:
    """The name of a reporter's channel, whose prints it gets from now on. Empty for a silent reporter."""
    if type(reporter) is Silent:
        return ""
    with _news:
        for name, channel in list(_channels.items()):
            known = channel.reporter()
            if known is None:
                del _channels[name]
            elif known is reporter:
                return name
        name = str(next(_numbers))
        _channels[name] = _Channel(reporter)
        return name


def listen() -> None:
    """Take the lines that Ray would print. May be called again."""
    import ray._private.worker as worker

    # Private: Ray prints the lines of its workers and of the raylet to stdout, where they would stand in the middle of
    # a result, and has no public way to take them. Where the name is gone, they are printed as Ray does.
    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = _take


def silence() -> None:
    """Drop all further output, because the process ends."""
    with _news:
        _channels.clear()


def _take(data: Any, *_: Any, **__: Any) -> None:
    global _uncounted_at
    if not isinstance(data, dict):
        return
    prints: list[tuple[Reporter, str, str, str]] = []
    with _news:
        for line in data.get("lines", ()):
            if line.startswith(MARK):
                name, task, stream, text = [*line[len(MARK) :].split(SEPARATOR, 3), "", "", ""][:4]
                channel = _channels.get(name)
                if channel is not None:
                    channel.came += 1
                    reporter = channel.reporter()
                    if reporter is not None:
                        prints.append((reporter, task, stream, text))
            elif str(data.get("task_name") or "").startswith(NAME):
                # Printed past Python: by a program that the task has started, or by C code.
                stream = "stderr" if data.get("is_err") else "stdout"
                _uncounted_at = time.monotonic()
                for channel in _channels.values():
                    reporter = channel.reporter()
                    if reporter is not None:
                        prints.append((reporter, data["task_name"].rpartition(".")[2].removeprefix(NAME), stream, line))
        _news.notify_all()
    for reporter, task, stream, text in prints:
        reporter.printed(task, stream, text + "\n")


def flush(name: str, lines: int) -> None:
    """Wait, not for ever, until so many lines of a channel have come in."""
    channel = _channels.get(name)
    if channel is None or channel.is_dead:
        return
    end = time.monotonic() + FLUSH_SECONDS
    with _news:
        while channel.came < lines and (left := end - time.monotonic()) > 0:
            _news.wait(left)
        # Where none comes at all, Ray was started without the passing on of prints.
        channel.is_dead = channel.came == 0 and lines > 0
    while (left := _uncounted_at + QUIET_SECONDS - time.monotonic()) > 0:
        time.sleep(left)


@contextlib.contextmanager
def hidden() -> Iterator[None]:
    """Hide what is printed while Ray starts."""
    kept = io.StringIO()
    with contextlib.redirect_stdout(kept), contextlib.redirect_stderr(kept):
        yield
