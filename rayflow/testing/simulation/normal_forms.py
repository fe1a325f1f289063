"""Values and failures in a normal form: equal exactly where their meaning is equal.

In: symbolic values, failures. Out: hashable objects. Never: anything about how they came about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rayflow.lang.terms.expressions import Quoted, TaskRef
from rayflow.values.failures import Failure
from rayflow.values.refs import ValueRef


@dataclass(frozen=True)
class Wrong:
    """A failure in normal form."""

    type_name: str
    message: str
    classes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def summary(self) -> str:
        """Type and message on one line."""
        return f"{self.type_name.removeprefix('builtins.')}: {self.message}"


@dataclass(frozen=True)
class ErrorValue:
    """A caught error, as a value."""

    summary: str


FLAKY = Failure(
    "builtins.RuntimeError",
    ("builtins.RuntimeError", "builtins.Exception", "builtins.BaseException"),
    "flaky",
    b"flaky-flaky-flaky-20",
    b"flaky",
)
"""The error that a flaky task raises."""


def wrong_by(error: BaseException) -> Wrong:
    """The normal form of an error that Python raised."""
    classes = tuple(f"{each.__module__}.{each.__qualname__}" for each in type(error).__mro__)
    return Wrong(classes[0], str(error), classes)


def wrong_of(failure: Failure) -> Wrong:
    """A failure, as far as it has meaning."""
    return Wrong(failure.type_name, failure.message, failure.classes)


def normal(value: Any) -> Any:
    """A value in a form that is hashable and compares by type and content (1 is not True); references by preview."""
    if isinstance(value, Failure):
        return wrong_of(value)
    if type(value) in (list, tuple):
        return (type(value).__name__, *map(normal, value))
    if isinstance(value, Mapping):
        return ("dict", tuple((normal(key), normal(item)) for key, item in value.items()))
    if isinstance(value, ValueRef):
        return ("error", value.preview)
    if isinstance(value, ErrorValue):
        return ("error", value.summary)
    if isinstance(value, Quoted):
        return ("quoted", value._digest)
    if isinstance(value, TaskRef):
        return ("task", value.name, value.hash)
    if isinstance(value, Wrong):
        return value
    return (type(value).__name__, repr(value) if isinstance(value, float) else value)
