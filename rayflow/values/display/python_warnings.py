"""Python's warnings as one line each: the place in the user's code, and the message, without a line of source.

In: a warning from Python's `warnings`. Out: its text. Never: decides which warnings are shown; hides one from code that
records warnings: it changes only how warnings are printed.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable


class WarningText(str):
    """The text of a warning: its class distinguishes it from other texts that are written to stderr."""

    __slots__ = ()


def warning_text(message: Warning | str, category: type[Warning], filename: str, lineno: int) -> str:
    """A warning on one line: `flow.py:12: UserWarning: odd value`; only the message if no user line led here."""
    said = " ".join(str(message).split())
    place = (filename, lineno)
    if _is_hidden(filename):
        from rayflow.values.display.tracebacks import users_frame  # not for every command line

        found = users_frame(sys._getframe(1))
        if found is None:
            return said
        place = found.f_code.co_filename, found.f_lineno
    return f"{_shown(place[0])}:{place[1]}: {category.__name__}: {said}"


def _shown(file: str) -> str:
    """The path, relative to the current directory if it is in it."""
    if os.path.basename(os.path.dirname(file)).startswith("ipykernel_"):
        return "<cell>"
    try:
        here = os.getcwd() + os.sep
    except OSError:
        return file
    return file.removeprefix(here)


def _is_hidden(file: str) -> bool:
    from rayflow.values.display.tracebacks import hidden_by_default  # not for every command line

    return hidden_by_default(file)


_is_written = False


def write_own_warnings() -> None:
    """Print each warning at a line of rayflow itself as one line, unless all warnings are printed so already."""
    if not _is_written:
        write_warnings(lambda text, file: f"rayflow: {text}\n" if _is_hidden(file) else None)


def write_warnings(text_of: Callable[[str, str], str | None]) -> Callable[[], None]:
    """Print each Python warning as one line from now on. Returns a function that restores the earlier form.

    text_of: returns the text to print, from that line and from the warning's file; None prints the warning as before.
    """
    global _is_written
    before, was_written = warnings.formatwarning, _is_written

    def write(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        text = text_of(warning_text(message, category, filename, lineno), filename)
        return before(message, category, filename, lineno, line) if text is None else text

    def put_back() -> None:
        global _is_written
        if warnings.formatwarning is write:
            warnings.formatwarning, _is_written = before, was_written

    warnings.formatwarning, _is_written = write, True
    return put_back
