"""What a task that is made by a factory has captured: it is part of its name.

In: a task. Out: a digest of the variables that its function, and those of the tasks among them, have captured. Never:
looks at a module's own functions, which have captured nothing that matters to a name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from rayflow.errors import NotSerializable
from rayflow.values.identity import value_hash

Task: TypeAlias = Any
"""A `rayflow.lang.tasks.Task` (which asks here, so it cannot be imported)."""


def captured_by(task: Task, kind: type) -> bytes | None:
    """The digest of what a local function has captured; None when that is nothing.

    kind: the class of tasks: they count by name and by what they have captured in turn. Raises NotSerializable.
    """
    found: list[Any] = []
    waiting: list[Task] = [task]
    seen = {id(task.func)}
    for each in waiting:
        contents: list[Any] = []
        for variable, content in _captures_of(each.origin):
            if not isinstance(content, kind):
                contents.append((variable, content))
                continue
            inner: Task = content
            if inner.func is not task.func:
                contents.append((variable, inner._bare_name, inner._args, inner._kwargs))
            if id(inner.func) not in seen:
                seen.add(id(inner.func))
                waiting.append(inner)
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


def _captures_of(function: Any) -> Iterator[tuple[str, Any]]:
    if "<locals>" not in function.__qualname__:
        return
    for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield variable, cell.cell_contents
        except ValueError:  # not yet bound
            continue
