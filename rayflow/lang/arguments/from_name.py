"""Texts to functions, tasks and classes: by their names.

In: a dotted name, or the short name of a task. Out: the object with that name. Never: calls it.
"""

from __future__ import annotations

import builtins
from typing import Any

from rayflow.errors import BadArguments, BadModule, NoSuchTask
from rayflow.lang.arguments.scalars import quoted
from rayflow.lang.modules import load, pick
from rayflow.lang.registry import registered


def task_named(text: str) -> Any:
    """The task of this full or short name; its module is imported when the name is a dotted one that no loaded module
    has defined. Raises BadArguments."""
    try:
        return pick(registered().values(), text, where="This project")
    except NoSuchTask as error:
        found = _imported(text)
        if found is None or not hasattr(found, "fullname"):
            raise BadArguments(f"{quoted(text)} is not a task. {error}") from None
        return found


def function_named(text: str) -> Any:
    """The task, function or class of this name: `flow.double`, `math.sqrt`, `len`. Raises BadArguments."""
    known = [task for name, task in registered().items() if text in (name, name.rpartition(".")[2])]
    if len(known) == 1:
        return known[0]
    if known:
        names = ", ".join(sorted(task.fullname for task in known))
        raise BadArguments(f"{quoted(text)} names {len(known)} tasks: write one of {names}")
    found = _imported(text) if "." in text else getattr(builtins, text, None)
    if not callable(found):
        raise BadArguments(f"{quoted(text)} names no function; write a task's name, or module.function")
    return found


def class_named(text: str) -> Any:
    """The class of this name: `flow.Point`, `int`. Raises BadArguments."""
    found = _imported(text) if "." in text else getattr(builtins, text, None)
    if not isinstance(found, type):
        raise BadArguments(f"{quoted(text)} names no class; write module.Class")
    return found


def _imported(text: str) -> Any:
    """The object that a dotted name leads to; None where there is none. Raises BadArguments for a module that does not
    import."""
    parts = text.split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    for length in range(len(parts) - 1, 0, -1):
        try:
            found: Any = load(".".join(parts[:length]))
        except BadModule as error:
            if not str(error).startswith("No module named"):
                raise BadArguments(f"{quoted(text)}: {error}") from None
            continue
        for part in parts[length:]:
            found = getattr(found, part, None)
        return found
    return None
