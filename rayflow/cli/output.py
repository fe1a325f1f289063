"""What goes to stdout: the answer, alone and last. All else goes to stderr.

In: values. Out: text. Never: lets a print of a user's code, or of a library's, into the answer.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

LONGEST = 10_000
"""A result whose repr is longer is shortened, in characters. `--json` gives all of it."""

MOST_ITEMS = 2_000
"""A container with more items is shortened without being shown whole first."""

_OWN_REPR = ("numpy", "pandas", "pyarrow", "polars", "xarray")
"""Libraries whose objects know themselves how to be shown short."""


@contextmanager
def answer_alone() -> Iterator[TextIO]:
    """Whatever is written to stdout meanwhile goes to stderr, also by C code and by processes that are started.

    Gives the real stdout, for the answer.
    """
    real = sys.stdout
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
    with open(kept, "w", encoding=real.encoding, errors=real.errors) as answer:
        try:
            with redirect_stdout(sys.stderr):
                yield answer
            answer.flush()
        finally:
            sys.stderr.flush()
            os.dup2(kept, 1)


def shown(value: Any) -> tuple[str, bool]:
    """A result as text for people, and whether it had to be shortened."""
    from rayflow.values.previews import preview

    if type(value).__module__.partition(".")[0] in _OWN_REPR:
        return repr(value), False
    try:
        is_long = len(value) > MOST_ITEMS and not isinstance(value, str | bytes | bytearray)
    except Exception:  # no length, or one of the user's own that raises
        is_long = False
    if not is_long:
        try:
            text = repr(value)
        except RecursionError:
            return preview(value, LONGEST // 5), True
        except Exception as error:  # a repr of the user's own
            return f"<{type(value).__qualname__} whose repr raises {type(error).__name__}>", False
        if len(text) <= LONGEST:
            return text, False
    return preview(value, LONGEST // 5), True
