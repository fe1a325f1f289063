"""The values that a task's local function has captured. They are part of the task's name, since each call of a factory
function makes a task of its own.

In: a task. Out: a digest of the captured values. Never: looks at the code (identity.py does).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from rayflow.errors import NotSerializable
from rayflow.values.encoding.identity import value_hash

Task: TypeAlias = Any
"""A `rayflow.lang.tasks.Task` (which asks here for its name, so it cannot be imported)."""


def captured_by(task: Task) -> bytes | None:
    """The digest of the values that a task's local function has captured; None when there are none.

    A captured task is part of the digest by its name and its own captured values. Raises NotSerializable for a value
    that has no hash.
    """
    found: list[Any] = []
    waiting: list[Task] = [task]
    seen = {id(task.func)}
    for each in waiting:
        contents: list[Any] = []
        for variable, content in _variables_of(each):
            if not hasattr(type(content), "__rayflow_symbol__"):
                contents.append((variable, content))
                continue
            if content.func is not task.func and content is not each._inner:
                contents.append((variable, content._bare_name, content._args, content._kwargs))
            if id(content.func) not in seen:
                seen.add(id(content.func))
                waiting.append(content)
        if contents:
            found.append((each._bare_name, contents))
    if not found:
        return None
    try:
        return value_hash(found)
    except NotSerializable as error:
        raise NotSerializable(
            f"The task {task._bare_name} at {task.place} has captured a variable that cannot be kept: pass it as "
            f"an argument, or make it in the body. {error}"
        ) from error


def _variables_of(task: Task) -> Iterator[tuple[str, Any]]:
    """The captured variables of a task's function, where it is a local one; and of a task's wrapper, if it has one."""
    functions = [task.origin] if task._inner is None else [task.func, task.origin]
    for function in functions:
        if "<locals>" not in function.__qualname__:
            continue
        for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                yield variable, cell.cell_contents
            except ValueError:  # not yet bound
                continue
