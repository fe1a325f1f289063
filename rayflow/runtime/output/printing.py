"""Collects what bodies print.

In: text that is written to sys.stdout and sys.stderr while bodies run, and items for streams. Out: log rows, lines for
the driver to show, numbered items. Never: mixes the output of two bodies, or leaves anything behind when no body runs.

sys.stdout and sys.stderr belong to the process, and bodies may run in several of its threads. While there are bodies, a
stand-in replaces each of the two streams, and gives each text to the body in whose context it was written.
"""

from __future__ import annotations

import codecs
import contextlib
import functools
import io
import os
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, TextIO

from rayflow.evaluator.explanations import LABEL_CHARACTERS
from rayflow.lang.parameters.job_info import JobInfo
from rayflow.lang.parameters.kept import KeptObject
from rayflow.records import LogRow, Row
from rayflow.runtime.output.item_writer import ItemWriter
from rayflow.runtime.output.sieve import SIEVE
from rayflow.runtime.protocol.attempts import Call, VectorCall
from rayflow.runtime.protocol.reports import WARNING
from rayflow.runtime.protocol.stream_items import TakeItems
from rayflow.store.store import Store
from rayflow.values.digests import digest
from rayflow.values.display.masking import MaskingStream, masked, watch
from rayflow.values.display.python_warnings import WarningText, write_warnings
from rayflow.values.encoding.previews import one_line, preview
from rayflow.values.forks import at_fork
from rayflow.values.refs import Encoded

INLINE_LOG_BYTES = 65536
"""The size in bytes up to which the output of a call is stored in a row. A larger output is stored as a blob."""

MOST_KEPT_CHARACTERS = 8 * 1024 * 1024
"""The length of the first part and of the last part that are kept of a very long stream."""

LONGEST_LINE_CHARACTERS = 65536
"""A longer line is shown in parts."""

LONGEST_ARGUMENT = 24
"""How many characters of an argument are shown in the label before the lines of a call."""


_new_decoder = codecs.getincrementaldecoder("utf-8")


class _BoundedText:
    """The text of a stream. If the text is very long, only its first part and its last part are kept."""

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


def call_label(task: str, arguments: Mapping[str, Any]) -> str:
    """The short text of a call, such as `step(n=3)`. It is printed before each line of the call."""
    shown = [
        f"{name}={preview(value, LONGEST_ARGUMENT)}"
        for name, value in arguments.items()
        if not isinstance(value, JobInfo | KeptObject)
    ]
    short = task.rpartition(".")[2]
    return f"{short}({one_line(', '.join(shown), LABEL_CHARACTERS)})" if shown else short


class Output:
    """The output of one body. It becomes the body's log, and each line goes at once to `printed`. take_items: gets what
    the body writes to streams."""

    def __init__(
        self, task: str, printed: Callable[[str, str, str], None] | None, take_items: TakeItems | None = None
    ) -> None:
        self._label = task
        self._arguments: Mapping[str, Any] | None = None
        self._printed = printed
        self._kept: dict[str, _BoundedText] = {}
        self._lines: dict[str, str] = {}
        """The beginning of a line that has not ended, by stream."""
        self._masking: dict[str, MaskingStream] = {}
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}
        self._outer: Output | None = None
        self._streams: tuple[object, object] = (None, None)
        self._take_items = take_items
        self._caller: Call | tuple[VectorCall, int] | None = None
        self._items: ItemWriter | None = None

    def begin(self, task: str, arguments: Mapping[str, Any] | None, caller: Call | tuple[VectorCall, int]) -> None:
        """The next body begins, of a call of this task. arguments: for the label, where they belong there. caller: the
        call, or a vector and the call's position in it."""
        self._caller = caller
        self._items = None
        self._label = task
        self._arguments = arguments if self._printed is not None else None

    def is_as_before(self) -> bool:
        """Whether nothing was written, and the process's streams are still the stand-ins."""
        return (
            not (self._kept or self._masking or self._decoders)
            and (sys.stdout, sys.stderr) == self._streams
            and sys.stdin is not None
            and not sys.stdin.closed
        )

    def label(self) -> str:
        """The text before the lines of the call: `step(n=3)`, or the label that was given."""
        if self._arguments is not None:
            self._label = call_label(self._label, self._arguments)
            self._arguments = None
        return self._label

    def __enter__(self) -> None:
        # Python shows a warning once for each line of code and process. This makes it show all of them again.
        with warnings.catch_warnings():
            pass
        self._outer = _mine.get(None)
        _mine.set(self)
        _stand_in(self)
        self._streams = sys.stdout, sys.stderr

    def __exit__(self, *_: object) -> None:
        _flush_left()
        for stream in list(self._decoders):
            self.write_bytes(stream, b"", final=True)
        for stream, masking in self._masking.items():
            self._take(stream, masking.finish())
        for stream in list(self._lines):
            self._finish(stream)
        _stand_back(self)
        _mine.set(self._outer)

    def write(self, stream: str, text: str) -> None:
        """Take in a text that the body has written."""
        if type(text) is WarningText:
            said = masked(str(text))
            self.add(stream, said)
            self.show(WARNING, said)
            return
        masking = self._masking.get(stream)
        if masking is None:
            masking = self._masking[stream] = MaskingStream()
        self._take(stream, masking.feed(text))

    def write_bytes(self, stream: str, data: bytes, *, final: bool = False) -> None:
        """Take in a part of a UTF-8 text that the body has written. final: whether it is the last part."""
        decoder = self._decoders.get(stream)
        if decoder is None:
            decoder = self._decoders[stream] = _new_decoder("replace")
        self.write(stream, decoder.decode(data, final))

    def _take(self, stream: str, text: str) -> None:
        if not text:
            return
        self.add(stream, text)
        line = self._lines.get(stream, "") + text
        whole, ending, line = line.rpartition("\n")
        self._lines[stream] = line
        if ending:
            self.show(stream, whole + ending)
        if len(line) > LONGEST_LINE_CHARACTERS:
            self._finish(stream)

    def _finish(self, stream: str) -> None:
        """Show the beginning of a line that did not end."""
        line = self._lines.pop(stream, "")
        if line:
            self.show(stream, line + "\n")

    def write_item(self, stream: str, text: str) -> None:
        """Take in an item for a stream, as JSON."""
        if self._items is None:
            take, caller = self._take_items, self._caller
            if take is None or caller is None:
                return
            with _changing:
                if self._items is None:
                    self._items = ItemWriter(caller if isinstance(caller, Call) else caller[0].call(caller[1]), take)
        self._items.write(stream, text)

    def add(self, stream: str, text: str) -> None:
        kept = self._kept.get(stream)
        if kept is None:
            kept = self._kept[stream] = _BoundedText()
        kept.add(text)

    def show(self, stream: str, text: str) -> None:
        if self._printed is None:
            return
        # `printed` may write to the same stream.
        before = _mine.get(None)
        _mine.set(self._outer)
        try:
            self._printed(self.label(), stream, text)
        finally:
            _mine.set(before)

    def tell(self, text: str) -> None:
        """Add a line from rayflow about the task. An empty text adds nothing."""
        if not text:
            return
        self.add("stderr", text)
        self.show("stderr", masked(text))

    def rows(self, call: Call, store: Store) -> tuple[Row, ...]:
        """The output of this attempt as log rows. Raises StoreUnavailable when a long text cannot be stored."""
        rows = []
        printed, self._kept = self._kept, {}
        for stream, kept in printed.items():
            text = masked(kept.text())  # also a secret that was printed before it was known as one
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
"""The output of the body that runs in this thread. None between two bodies; unset before the first body."""

_open: tuple[Output, ...] = ()
"""The outputs of all bodies that run now, in any thread."""

_before: tuple[TextIO | None, TextIO | None] | None = None
"""sys.stdout and sys.stderr as they were before the first body."""

_changing = threading.Lock()

_NEVER = Output("", None)


def prints_for_itself() -> None:
    """Note that no body has started this thread. So the text that it prints between its bodies belongs to no body."""
    if _mine.get(_NEVER) is _NEVER:
        _mine.set(None)


_held = 0
"""How many callers of `many_bodies` want the stand-ins to stay between bodies."""


class many_bodies:
    """While this lasts, the stand-ins for the streams stay, also between bodies."""

    def __enter__(self) -> None:
        global _held
        with _changing:
            _install()
            _held += 1

    def __exit__(self, *_: object) -> None:
        global _held
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


def _warning_of_a_body(text: str, file: str) -> str | None:
    return WarningText(f"{text}\n") if _output() is not None else None


_writes_as_before: Callable[[], None] | None = None
"""Restores the way in which warnings were written before the first body."""


def _install() -> None:
    """Replace both streams by stand-ins, even if the user's code has already replaced a stream."""
    global _before, _writes_as_before
    if _before is None:
        _watch_process()
        _before = _beneath(sys.stdout), _beneath(sys.stderr)
        _writes_as_before = write_warnings(_warning_of_a_body)
    if type(sys.stdout) is not _StandInStream:
        sys.stdout = _stand_in_for("stdout", sys.stdout)
    if type(sys.stderr) is not _StandInStream:
        sys.stderr = _stand_in_for("stderr", sys.stderr)
    if sys.stdin is None or sys.stdin.closed:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115  # as long as the process: input() has its end
    SIEVE.cover()


def _cover() -> None:
    """Mask the new secrets from now on, while bodies run."""
    with _changing:
        if _before is not None:
            SIEVE.cover()


def _flush_streams() -> None:
    """Before a body forks: flush the streams, so that the child does not write the same text again."""
    for stream in _before or ():
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):  # closed: nothing waits there
                stream.flush()


def _flush_left() -> None:
    """Flush a stream that a body has put in place of ours (a wrapper around `sys.stdout.buffer`, say): it may hold some
    of the body's text."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and type(stream) is not _StandInStream:
            with contextlib.suppress(Exception):  # an object of the user's may do anything when it is flushed
                stream.flush()


def _forked() -> None:
    """Note, in a child that a body has forked, that no body runs. The child writes to the process's own descriptors."""
    global _open, _changing
    _open, _changing = (), threading.Lock()


@functools.cache
def _watch_process() -> None:
    """Notice new secrets and forks of this process from now on. It does this once in a process."""
    watch(_cover)
    at_fork(in_child=_forked, before=_flush_streams)


def _restore() -> None:
    """Restore the streams if no body runs. While `many_bodies` lasts, put the stand-ins back instead."""
    global _before, _writes_as_before
    if _open or _before is None:
        return
    out, err = _before
    if not _held:
        sys.stdout, sys.stderr = out, err  # None, as Python has it, too
        _before = None
        if _writes_as_before is not None:
            _writes_as_before()
            _writes_as_before = None
        SIEVE.uncover()
        return
    if type(sys.stdout) is not _StandInStream or sys.stdout.beneath is not out:
        sys.stdout = _stand_in_for("stdout", out)
    if type(sys.stderr) is not _StandInStream or sys.stderr.beneath is not err:
        sys.stderr = _stand_in_for("stderr", err)


_stand_ins: dict[str, _StandInStream] = {}
"""The newest stand-in for each stream. It serves again for the same stream beneath."""


def _stand_in_for(name: str, stream: TextIO | None) -> _StandInStream:
    found = _stand_ins.get(name)
    if found is None or found.beneath is not stream or found.closed:
        found = _stand_ins[name] = _StandInStream(name, stream)
    return found


def _beneath(stream: TextIO | None) -> TextIO | None:
    return stream.beneath if isinstance(stream, _StandInStream) else stream


def _output() -> Output | None:
    """The output of the body that writes.

    A thread that a body has started does not know its body. If only one body runs, the thread's text belongs to it.
    """
    mine = _mine.get(_NEVER)
    if mine is not _NEVER:
        return mine if mine in _open else None
    running = _open
    if len(running) == 1 and threading.current_thread() is not threading.main_thread():
        return running[0]
    return None


def write_item(stream: str, text: str) -> None:
    """Take in an item that a body writes to a stream, as JSON. One that no body writes goes nowhere."""
    output = _output()
    if output is not None:
        output.write_item(stream, text)


class _StandInStream(io.TextIOBase):
    """Stands in for sys.stdout or sys.stderr while bodies run. Later it writes to the stream beneath.

    beneath: None in a process that was started without the stream.
    """

    errors = "backslashreplace"
    newlines = None
    line_buffering = True
    write_through = False
    mode = "w"

    def __init__(self, name: str, beneath: TextIO | None) -> None:
        self._name = name
        self.beneath = beneath
        self.name = f"<{name}>"
        self.buffer = _StandInBuffer(self)

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a read-only attribute in typeshed
        return "utf-8" if _output() is not None or self.beneath is None else self.beneath.encoding

    def __getattr__(self, name: str) -> Any:
        if _output() is not None or self.beneath is None:
            raise AttributeError(f"sys.{self._name}, as a task's body has it, has no attribute {name!r}")
        return getattr(self.beneath, name)

    def reconfigure(
        self,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        line_buffering: bool | None = None,
        write_through: bool | None = None,
    ) -> None:
        """Change the stream beneath. For a body it does nothing: other bodies share the stream."""
        if _output() is not None or self.beneath is None:
            return
        given = {
            "encoding": encoding,
            "errors": errors,
            "newline": newline,
            "line_buffering": line_buffering,
            "write_through": write_through,
        }
        beneath: Any = self.beneath
        beneath.reconfigure(**{name: value for name, value in given.items() if value is not None})

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return _output() is None and self.beneath is not None and self.beneath.isatty()

    def fileno(self) -> int:
        if self.beneath is None:
            raise io.UnsupportedOperation(f"fileno: this process was started without {self._name}")
        return self.beneath.fileno()

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        output = _output()
        if output is not None:
            output.write(self._name, text)
        elif self.beneath is not None:
            return self.beneath.write(text)
        return len(text)

    def write_bytes(self, data: bytes) -> None:
        """Write a text in UTF-8. One call may end, and the next one begin, inside a character."""
        output = _output()
        if output is not None:
            output.write_bytes(self._name, data)
        elif (buffer := getattr(self.beneath, "buffer", None)) is not None:
            buffer.write(data)
        elif self.beneath is not None:  # a stream of text alone
            self.beneath.write(data.decode("utf-8", "replace"))

    def flush(self) -> None:
        if _output() is None and self.beneath is not None:
            self.beneath.flush()

    def detach(self) -> Any:
        """Refused: the stream is not the body's."""
        raise io.UnsupportedOperation(f"detach: all bodies here share sys.{self._name}; write to its .buffer")

    def close(self) -> None:
        """Does nothing: the stream is not the body's."""


class _StandInBuffer(io.BufferedIOBase):
    """The `buffer` of a stand-in: it takes bytes."""

    mode = "wb"

    def __init__(self, above: _StandInStream) -> None:
        self._above = above
        self.name = above.name

    @property
    def raw(self) -> Any:
        return self

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._above.isatty()

    def fileno(self) -> int:
        return self._above.fileno()

    def write(self, data: Any) -> int:
        if isinstance(data, str):
            raise TypeError("a bytes-like object is required, not 'str'")
        taken = memoryview(data).tobytes()
        self._above.write_bytes(taken)
        return len(taken)

    def flush(self) -> None:
        self._above.flush()

    def detach(self) -> Any:
        """Refused: the stream is not the body's."""
        return self._above.detach()

    def close(self) -> None:
        """Does nothing: a wrapper around it closes it when the wrapper is deleted."""
