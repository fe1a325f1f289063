"""What stands around a task's body while it runs: its deadline, what catches its output, what is said of its end.

In: a call, and whoever wants to hear what it prints. Out: log rows, TaskTimeout. Never: runs the body, looks at values.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import io
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from rayflow.errors import TaskTimeout
from rayflow.lang.expressions import TaskCall, render
from rayflow.records import LogRow, Row
from rayflow.runtime.calls import Call
from rayflow.store.base import Store
from rayflow.values.digests import digest
from rayflow.values.masking import masked
from rayflow.values.refs import Encoded

INLINE_LOG_BYTES = 65536
"""Output of a call up to this size is a row; more is a blob. In bytes."""

TIMEOUT_GRACE_SECONDS = 3.0
"""How long after its timeout a call that cannot be interrupted keeps its worker, before that is ended."""

MOST_KEPT_CHARACTERS = 8 * 1024 * 1024
"""Of a stream that is longer than twice this, so much of its beginning and of its end is kept."""

LONGEST_LINE_CHARACTERS = 65536
"""A line that has not ended by then is shown in parts to whoever watches."""

_inside = threading.local()


def is_inside_body() -> bool:
    """Whether this thread is running a task's body."""
    return getattr(_inside, "depth", 0) > 0


@contextlib.contextmanager
def inside_body() -> Iterator[None]:
    """While this lasts, the thread is running a body."""
    _inside.depth = getattr(_inside, "depth", 0) + 1
    try:
        yield
    finally:
        _inside.depth -= 1


@contextlib.contextmanager
def deadline(call: Call, timed: Callable[[Call], None] | None) -> Iterator[None]:
    """Raise TaskTimeout in the body when its time is over; end the process when even that does not stop it."""
    if call.timeout is None:
        yield
        return
    message = f"{call.task} ran longer than its timeout of {call.timeout:g} s"
    if timed is not None:
        timed(call)
        # A thread of C that does not need Python's lock, which the body may never give back.
        faulthandler.dump_traceback_later(call.timeout + TIMEOUT_GRACE_SECONDS, exit=True, file=_nowhere())
    on_main = threading.current_thread() is threading.main_thread()
    thread = threading.get_ident()
    timer: threading.Timer | None = None
    previous: Any = None

    def ring(*_: Any) -> None:
        raise TaskTimeout(message)

    if on_main:
        previous = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, call.timeout)
    else:
        # Another thread can only be told between two of its bytecodes.
        import ctypes

        raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
        timer = threading.Timer(call.timeout, raise_in, (ctypes.c_ulong(thread), ctypes.py_object(TaskTimeout)))
        timer.daemon = True
        timer.start()
    try:
        yield
    except TaskTimeout as error:
        if error.args:
            raise
        raise TaskTimeout(message) from None
    finally:
        if on_main:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
        if timer is not None:
            timer.cancel()
        if timed is not None:
            faulthandler.cancel_dump_traceback_later()


@functools.cache
def _nowhere() -> TextIO:
    return open(os.devnull, "w")


class _Kept:
    """The text of a stream; of a very long one its first and last part."""

    def __init__(self) -> None:
        self._first: list[str] = []
        self._room = MOST_KEPT_CHARACTERS
        self._last: deque[str] = deque()
        self._last_size = 0
        self._missing = 0

    def add(self, text: str) -> None:
        if self._room:
            self._first.append(text[: self._room])
            text, self._room = text[self._room :], max(0, self._room - len(text))
            if not text:
                return
        if len(text) > MOST_KEPT_CHARACTERS:
            self._missing += len(text) - MOST_KEPT_CHARACTERS
            text = text[-MOST_KEPT_CHARACTERS:]
        self._last.append(text)
        self._last_size += len(text)
        while self._last_size - len(self._last[0]) >= MOST_KEPT_CHARACTERS:
            self._drop(len(self._last.popleft()))

    def _drop(self, count: int) -> None:
        self._last_size -= count
        self._missing += count

    def text(self) -> str:
        first, last = "".join(self._first), "".join(self._last)
        missing = self._missing + max(0, len(last) - MOST_KEPT_CHARACTERS)
        if not missing:
            return first + last
        return f"{first}\n[rayflow: {missing} characters are missing here]\n{last[-MOST_KEPT_CHARACTERS:]}"


class Output:
    """What a body prints: kept for its log, and told at once, line by line, to whoever watches."""

    def __init__(self, task: str, printed: Callable[[str, str, str], None] | None) -> None:
        self._task = task
        self._printed = printed
        self._kept: dict[str, _Kept] = {}
        self._before: tuple[TextIO, TextIO] | None = None

    def __enter__(self) -> None:
        self._before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = _Stream(self, "stdout", sys.stdout), _Stream(self, "stderr", sys.stderr)

    def __exit__(self, *_: object) -> None:
        assert self._before is not None
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, _Stream):
                stream.finish()
        sys.stdout, sys.stderr = self._before

    def add(self, stream: str, text: str) -> None:
        kept = self._kept.get(stream)
        if kept is None:
            kept = self._kept[stream] = _Kept()
        kept.add(text)

    def show(self, stream: str, text: str) -> None:
        if self._printed is not None:
            self._printed(self._task, stream, masked(text))

    def tell(self, text: str) -> None:
        """A line of our own about the task; none for an empty text."""
        if not text:
            return
        self.add("stderr", text)
        self.show("stderr", text)

    def rows(self, call: Call, store: Store) -> tuple[Row, ...]:
        """What was printed, as records. Raises StoreUnavailable when a long text cannot be kept."""
        rows = []
        for stream, kept in self._kept.items():
            text = masked(kept.text())
            data = text.encode("utf-8", "replace")
            if len(data) <= INLINE_LOG_BYTES:
                rows.append(LogRow(call.job_id, call.attempt, stream, text, None))
            else:
                name = digest("log", data)
                store.put_blob(name, Encoded("text", b"", (data,)))
                rows.append(LogRow(call.job_id, call.attempt, stream, None, name))
        return tuple(rows)


class _Stream(io.TextIOBase):
    """Stands in for sys.stdout or sys.stderr while a body runs."""

    def __init__(self, output: Output, name: str, beneath: TextIO) -> None:
        self._output = output
        self._name = name
        self._beneath = beneath
        self._line = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a read-only attribute in typeshed
        return "utf-8"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._beneath.fileno()

    def write(self, text: str) -> int:
        self._output.add(self._name, text)
        self._line += text
        if "\n" in self._line:
            whole, _, self._line = self._line.rpartition("\n")
            self._output.show(self._name, whole + "\n")
        if len(self._line) > LONGEST_LINE_CHARACTERS:
            self.finish()
        return len(text)

    def finish(self) -> None:
        """Show what there is of a line that did not end."""
        if self._line:
            self._output.show(self._name, self._line + "\n")
            self._line = ""


def ended_text(error: BaseException, what: str) -> str:
    """What is said of a body that ended by what is no Exception."""
    if isinstance(error, SystemExit):
        return f"{what} called sys.exit({'' if error.code is None else repr(error.code)}); a task ends by returning"
    return f"{what} raised {type(error).__name__}, which is no Exception: {error}"


def unused_text(unused: list[TaskCall]) -> str:
    """What is said of calls that a body has made and not returned."""
    shown = ", ".join(render(call, 80) for call in unused[:3])
    more = f" and {len(unused) - 3} more" if len(unused) > 3 else ""
    return (
        f"rayflow: created and not returned: {shown}{more}. A call is lazy: it runs only if it is part of what the "
        "task returns.\n"
    )


def post_mortem(error: BaseException) -> None:
    """Stop in the debugger where the user's code has raised; our frames above it are left out."""
    import pdb
    import traceback

    ours = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    place = error.__traceback__
    while place is not None and place.tb_next is not None and place.tb_frame.f_code.co_filename.startswith(ours):
        place = place.tb_next
    traceback.print_exception(type(error), error, place)
    sys.stderr.write("The debugger is where the task raised; q goes on with the run.\n")
    pdb.post_mortem(place)
