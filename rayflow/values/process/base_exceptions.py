"""Turns a BaseException from a method of a user's class, such as SystemExit, into an Exception.

In: a block that calls methods of values. Out: Escaped in place of SystemExit and the like. Never: changes Ctrl-C.
"""

from __future__ import annotations

from types import TracebackType


class Escaped(Exception):
    """A method of a value raised a BaseException, such as SystemExit, which would end the process and not the call."""


class Contained:
    """A context manager that raises Escaped for a BaseException other than Exception and KeyboardInterrupt."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, of: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is not None and not isinstance(error, Exception | KeyboardInterrupt):
            raise Escaped(f"a method raised {type(error).__name__}, which is no Exception: {error}") from error


contained = Contained()
"""The only instance needed, since it has no state."""
