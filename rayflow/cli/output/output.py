"""Writes the answer of a verb to stdout, alone and last. Everything else goes to stderr.

In: values. Out: text. Never: lets a print of a user's code, or of a library, into the answer; lets a text from a store,
a name or an error control the terminal.

While a verb runs, a `ShownStream` replaces stdout, and another one stderr. It makes control characters visible, in a
pipe, too, so that no verb can forget to do so. Data for programs (a result, CSV) does not go through it, unless a
terminal shows the data. Characters that the encoding of a stream lacks are escaped, in data as well. If stdout cannot
be written, that is an error (OutputUnavailable). If stderr cannot be written, the work goes on: there is no other place
for a message.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from typing import Any, TextIO

from rayflow.cli.output.json_form import chunks
from rayflow.cli.output.style import beneath, is_terminal, on_terminal
from rayflow.errors import OutputUnavailable
from rayflow.values.encoding.previews import preview
from rayflow.values.encoding.whole_numbers import digits, refuses_length
from rayflow.values.process.base_exceptions import contained

LONGEST = 10_000
"""The most characters of a result's repr. A longer repr is shortened. `--json` gives all of it."""

MOST_ITEMS = 2_000
"""The most items of a container whose whole repr is made. A larger container is shortened at once."""

_OWN_REPR = ("numpy", "pandas", "pyarrow", "polars", "xarray")
"""Libraries whose objects have a short repr of their own."""


class ShownStream(io.TextIOBase):
    """A stream that writes texts for people, with visible control characters.

    is_plain: whether the text is data, and is written as it is.
    """

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, raw: TextIO, *, is_plain: bool = False) -> None:
        self.raw = raw
        self.is_plain = is_plain

    def write(self, text: str) -> int:
        """Write a text. It escapes control characters and those that the encoding lacks. Raises OutputUnavailable."""
        coding = self.raw.encoding or "utf-8"
        shown = text if self.is_plain else on_terminal(text)
        with self._telling():
            self.raw.write(shown.encode(coding, "backslashreplace").decode(coding))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        """Any other attribute of the stream beneath: its name, its buffer, its settings."""
        return getattr(self.raw, name)

    def writable(self) -> bool:
        """True: the stream can be written."""
        return True

    def flush(self) -> None:
        """Flush the stream. Raises OutputUnavailable."""
        with self._telling():
            self.raw.flush()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Turn an OSError into OutputUnavailable, except BrokenPipeError: then the reader has seen enough."""
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputUnavailable(f"stdout cannot be written: {error.strerror or error}.") from None

    def fileno(self) -> int:
        """The file descriptor of the stream beneath."""
        return self.raw.fileno()

    def close(self) -> None:
        """Does nothing: rayflow does not own the stream beneath."""


class Aside(ShownStream):
    """A ShownStream for stderr. If a text cannot be written, it is lost, and the work goes on."""

    @contextmanager
    def _telling(self) -> Iterator[None]:
        with suppress(OSError):  # a full disk, a closed pipe: there is no other place for a message
            yield


def showing(stream: TextIO, *, aside: bool = False) -> TextIO:
    """A stream that makes control characters visible. aside: whether the stream is stderr."""
    made: Any = stream if isinstance(stream, ShownStream) else (Aside if aside else ShownStream)(stream)
    return made  # type: ignore[no-any-return]  # typeshed does not count it for a TextIO


@contextmanager
def all_shown() -> Iterator[None]:
    """Let stdout and stderr make control characters visible, as long as the context is open.

    A stream that was closed when this process began is replaced by os.devnull.
    """
    _take_descriptors()
    before = sys.stdin, sys.stdout, sys.stderr
    with ExitStack() as opened:
        if sys.stdin is None:
            sys.stdin = opened.enter_context(open(os.devnull, encoding="utf-8"))
        nowhere = opened.enter_context(open(os.devnull, "w", encoding="utf-8"))
        sys.stdout = showing(sys.stdout or nowhere)
        sys.stderr = showing(sys.stderr or nowhere, aside=True)
        try:
            yield
        finally:
            sys.stdin, sys.stdout, sys.stderr = before


def _take_descriptors() -> None:
    """Open os.devnull for each of the descriptors 0, 1 and 2 that is closed.

    Else the next file that is opened would get such a number, and a program that we start would print to that file.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def give_up_stdout() -> None:
    """Drop the text that stdout still holds. Else Python would complain about it again when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def for_programs(stream: TextIO) -> TextIO:
    """The stream for data of programs: it writes texts as they are, unless a terminal shows them."""
    made: Any = stream if is_terminal(stream) else ShownStream(beneath(stream), is_plain=True)
    return made  # type: ignore[no-any-return]  # typeshed does not count it for a TextIO


def write_json(stream: TextIO, value: Any) -> None:
    """Write a value in its JSON form, on one line."""
    coding = beneath(stream).encoding or "utf-8"
    for piece in chunks(value):
        # Characters that the encoding lacks are escaped as in JSON. ShownStream would escape them as in Python.
        stream.write(piece if piece.isascii() else piece.encode(coding, _JSON_ESCAPES).decode(coding))
    stream.write("\n")


_JSON_ESCAPES = "rayflow.json"


def _json_escapes(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)), error.end


codecs.register_error(_JSON_ESCAPES, _json_escapes)


@contextmanager
def answer_alone() -> Iterator[TextIO]:
    """Send all output for stdout to stderr, as long as the context is open. That includes C code and child processes.

    Gives the real stdout, for the answer.
    """
    real = sys.stdout
    raw = beneath(real)
    real.flush()
    try:
        is_first = os.path.sameopenfile(real.fileno(), 1)
    except (OSError, AttributeError):  # a stream in memory, as tests have it
        is_first = False
    if not is_first:
        with redirect_stdout(sys.stderr):
            yield real
        return
    kept = os.dup(1)
    os.dup2(2, 1)
    answer = open(kept, "w", encoding=raw.encoding, errors=raw.errors)  # noqa: SIM115  # closed below, in silence
    told = showing(answer)
    try:
        with redirect_stdout(sys.stderr):
            yield told
        told.flush()
    finally:
        sys.stderr.flush()
        os.dup2(kept, 1)
        with suppress(OSError):  # the flush above, or the error on its way, has reported it
            answer.close()


def shown(value: Any) -> tuple[str, bool]:
    """A result as text for people, and whether the text is shortened."""
    if type(value) is int:
        text = digits(value)
        return (text, False) if len(text) <= LONGEST else (preview(value), True)
    if type(value).__module__.partition(".")[0] in _OWN_REPR:
        try:
            with contained:
                return repr(value), False
        except Exception:  # of an object in it: a user's own, or a number that is too long for it
            return preview(value, LONGEST // 5), True
    try:
        with contained:
            is_long = len(value) > MOST_ITEMS and not isinstance(value, str | bytes | bytearray)
    except Exception:  # no length, or one of the user's own that raises
        is_long = False
    if not is_long:
        try:
            with contained:
                text = repr(value)
        except RecursionError:
            return preview(value, LONGEST // 5), True
        except Exception as error:  # a repr of the user's own, or a number that is too long for it
            if _of_python(type(value)) or refuses_length(error):
                return preview(value, LONGEST // 5), True
            return f"<{type(value).__qualname__} whose repr raises {type(error).__name__}>", False
        if len(text) <= LONGEST:
            return text, False
    return preview(value, LONGEST // 5), True


def _of_python(of: type) -> bool:
    return of.__module__ in ("builtins", "collections")
