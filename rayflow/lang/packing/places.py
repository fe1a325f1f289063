"""The place of a value in an expression, in words.

In: an expression and one of its parts. Out: text for an error. Never: raises it.
"""

from __future__ import annotations

from typing import Any

from rayflow.lang.registry import registered
from rayflow.lang.terms.codec import children
from rayflow.lang.terms.expressions import Expression, Form, Operation, TaskCall, render


def place_in(item: Expression, value: Any) -> str | None:
    """The place of a value in an expression, for an error; None when it is not a part of it."""
    if not isinstance(item, TaskCall | Form | Operation):
        return None
    position = next((position for position, part in enumerate(children(item)) if part is value), None)
    if position is None:
        return None
    if isinstance(item, Operation):
        return f"in {render(item, 60)}, a value"
    if isinstance(item, Form):
        return f"in the call of {item._name}, argument {position + 1}"
    named = list(item._kwargs or ())
    rest = position - len(item._args)
    what = _parameter_at(item._task, position) if rest < 0 else named[rest] if rest < len(named) else "an option"
    return f"in the call of {item._task.rpartition('.')[2]}, {what}"


def _parameter_at(task: str, position: int) -> str:
    """The name of the argument at a position, for an error; with its parameter's, where the task is known here."""
    known = registered().get(task)
    names = known.parameters.positional if known is not None else ()
    return f"argument {position + 1}{f' ({names[position]})' if position < len(names) else ''}"
