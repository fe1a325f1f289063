"""What bodies print.

In: what is written to sys.stdout and sys.stderr while bodies run. Out: log rows, lines for whoever watches. Never:
takes what another body has printed, or leaves anything behind when no body runs.

sys.stdout and sys.stderr belong to the process, and bodies may run in several of its threads: one stream stands in for
each while there are bodies, and what is written goes to the body in whose context that was done.
"""

from __future__ import annotations

import contextlib
import io
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, TextIO

from rayflow.records import LogRow, Row
from rayflow.runtime.calls import Call
from rayflow.store.base import Store
from rayflow.values.digests import digest
from rayflow.values.masking import masked
from rayflow.values.refs import Encoded

INLINE_LOG_BYTES = 65536
"""Output of a call up to this size is a row; more is a blob. In bytes."""

MOST_KEPT_CHARACTERS = 8 * 1024 * 1024
"""Of a stream that is longer than twice this, so much of its beginning and of its end is kept."""

LONGEST_LINE_CHARACTERS = 65536
"""A line that has not ended by then is shown in parts to whoever watches."""

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
        self._lines: dict[str, str] = {}
        """What there is of a line that has not ended, by stream."""
        self._outer: Output | None = None

    def __enter__(self) -> None:
        self._outer = _mine.get(None)
        _mine.set(self)
        _stand_in(self)

    def __exit__(self, *_: object) -> None:
        for stream in list(self._lines):
            self._finish(stream)
        _stand_back(self)
        _mine.set(self._outer)

    def write(self, stream: str, text: str) -> None:
        """The body has written this."""
        self.add(stream, text)
        line = self._lines.get(stream, "") + text
        whole, ending, line = line.rpartition("\n")
        self._lines[stream] = line
        if ending:
            self.show(stream, whole + ending)
        if len(line) > LONGEST_LINE_CHARACTERS:
            self._finish(stream)

    def _finish(self, stream: str) -> None:
        """Show what there is of a line that did not end."""
        line = self._lines.pop(stream, "")
        if line:
            self.show(stream, line + "\n")

    def add(self, stream: str, text: str) -> None:
        kept = self._kept.get(stream)
        if kept is None:
            kept = self._kept[stream] = _Kept()
        kept.add(text)

    def show(self, stream: str, text: str) -> None:
        if self._printed is None:
            return
        # Who watches may write to the same stream.
        before = _mine.get(None)
        _mine.set(self._outer)
        try:
            self._printed(self._task, stream, masked(text))
        finally:
            _mine.set(before)

    def tell(self, text: str) -> None:
        """A line of our own about the task; none for an empty text."""
        if not text:
            return
        self.add("stderr", text)
        self.show("stderr", text)

    def rows(self, call: Call, store: Store) -> tuple[Row, ...]:
        """What was printed in this attempt, as records. Raises StoreUnavailable when a long text cannot be kept."""
        rows = []
        printed, self._kept = self._kept, {}
        for stream, kept in printed.items():
            text = masked(kept.text())
            data = text.encode("utf-8", "replace")
            if len(data) <= INLINE_LOG_BYTES:
                rows.append(LogRow(call.job_id, call.attempt, stream, text, None))
            else:
                name = digest("log", data)
                store.put_blob(name, Encoded("text", b"", (data,)))
                rows.append(LogRow(call.job_id, call.attempt, stream, None, name))
        return tuple(rows)


# --- the process's streams --------------------------------------------------------------------------------------------

_mine: ContextVar[Output | None] = ContextVar("rayflow_output")
"""Of the body that runs here; None in a thread between its bodies, unset in one that has never had any."""

_open: tuple[Output, ...] = ()
"""Of all bodies that run now, in whatever thread."""

_before: tuple[TextIO, TextIO] | None = None
"""sys.stdout and sys.stderr as they were before the first of these."""

_changing = threading.Lock()

_NEVER = Output("", None)


def prints_for_itself() -> None:
    """This thread is none that a body has started: between its own bodies, what it prints is nobody's."""
    if _mine.get(_NEVER) is _NEVER:
        _mine.set(None)


_held = 0
"""How many want the stand-ins to stay between bodies."""


@contextlib.contextmanager
def many_bodies() -> Iterator[None]:
    """Several bodies will run: what stands in for the streams stays between them."""
    global _held
    with _changing:
        _install()
        _held += 1
    try:
        yield
    finally:
        with _changing:
            _held -= 1
            _restore()


def _stand_in(output: Output) -> None:
    global _open
    with _changing:
        _install()
        _open = (*_open, output)


def _stand_back(output: Output) -> None:
    global _open
    with _changing:
        _open = tuple([each for each in _open if each is not output])
        _restore()


def _install() -> None:
    """Have something stand in for both streams, also when somebody has put a stream of their own there."""
    global _before
    if _before is None:
        _before = _beneath(sys.stdout), _beneath(sys.stderr)
    if type(sys.stdout) is not _Stream:
        sys.stdout = _Stream("stdout", sys.stdout)
    if type(sys.stderr) is not _Stream:
        sys.stderr = _Stream("stderr", sys.stderr)


def _restore() -> None:
    """When no body runs: away with what a body has left in their place, and with the stand-ins if nobody wants them."""
    global _before
    if _open or _before is None:
        return
    out, err = _before
    if not _held:
        sys.stdout, sys.stderr = out, err
        _before = None
        return
    if type(sys.stdout) is not _Stream or sys.stdout.beneath is not out:
        sys.stdout = _Stream("stdout", out)
    if type(sys.stderr) is not _Stream or sys.stderr.beneath is not err:
        sys.stderr = _Stream("stderr", err)


def _beneath(stream: TextIO) -> TextIO:
    return stream.beneath if isinstance(stream, _Stream) else stream


def _output() -> Output | None:
    """Of the body that writes. A thread that a body has started has no mark of it: it can be told while only one runs.
    """
    mine = _mine.get(_NEVER)
    if mine is not _NEVER:
        return mine if mine in _open else None
    running = _open
    if len(running) == 1 and threading.current_thread() is not threading.main_thread():
        return running[0]
    return None


class _Stream(io.TextIOBase):
    """Stands in for sys.stdout or sys.stderr while bodies run. Who keeps it longer writes to what is beneath."""

    def __init__(self, name: str, beneath: TextIO) -> None:
        self._name = name
        self.beneath = beneath

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a read-only attribute in typeshed
        return "utf-8" if _output() is not None else self.beneath.encoding

    def __getattr__(self, name: str) -> Any:
        if _output() is not None:
            raise AttributeError(f"what a body writes to is text only: it has no {name}")
        return getattr(self.beneath, name)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return _output() is None and self.beneath.isatty()

    def fileno(self) -> int:
        return self.beneath.fileno()

    def write(self, text: str) -> int:
        output = _output()
        if output is None:
            return self.beneath.write(text)
        output.write(self._name, text)
        return len(text)

    def flush(self) -> None:
        if _output() is None:
            self.beneath.flush()

    def close(self) -> None:
        """It is not the body's to close."""
