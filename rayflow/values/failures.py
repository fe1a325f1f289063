"""A task's error as a value.

In: an exception, on the worker where it was raised. Out: `Failure`, plain data that any process can hold. Never: raises.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of a traceback, the user's or a task call between two tasks."""

    file: str
    line: int
    function: str
    text: str


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, as data.

    type_name: full name of the exception class ("builtins.ValueError").
    classes: full names of its class and all bases, most special first: what `catch` matches on.
    message: str() of the exception.
    digest: the error's identity: type and arguments, never traceback or line numbers.
    pickled: the encoded exception, or None when it cannot be pickled.
    frames: the user's own frames, outermost first.
    trail: the calls that led here, root first, each as text ("main(n=3)"); filled in as the failure rises.
    fault: "user", "world" or "bug".
    """

    type_name: str
    classes: tuple[str, ...]
    message: str
    digest: bytes
    pickled: bytes | None = None
    frames: tuple[Frame, ...] = ()
    trail: tuple[str, ...] = ()
    fault: str = "user"

    @property
    def summary(self) -> str:
        """Type and message on one line, as Python prints them."""
        name = self.type_name.removeprefix("builtins.")
        return f"{name}: {self.message}" if self.message else name


Outcome: TypeAlias = object
"""How a reduction ends: a `Failure`, or any other object, which is the value."""
