"""A task's entry in the task table: what crosses to processes without its module.

In: a task. Out: its `TaskEntry`. Never: makes a task, calls one.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any, TypeAlias

from rayflow.errors import BadOption
from rayflow.lang.codec import dumps
from rayflow.lang.entries import TaskEntry
from rayflow.lang.job_info import JobInfo
from rayflow.lang.packing import pack
from rayflow.lang.signatures import without_lazy_defaults
from rayflow.values.encoding import encode, to_bytes
from rayflow.values.refs import Encoded, ValueRef

Task: TypeAlias = Any
"""A `rayflow.lang.tasks.Task` (which asks for its entry here, so it cannot be imported)."""

_ONLY_HERE = frozenset(
    {"name", "namespace", "hash_includes", "version", "source", "load_module", "track_helpers", "tags"}
)
"""Options that say who the task is: the entry holds what they come to, and may be read where user code is not."""


def entry_of(task: Task) -> TaskEntry:
    """What the evaluator and the workers have to know of this task."""
    module, file = _home(task)
    job_info = tuple([name for name, value in task.defaults.items() if isinstance(value, JobInfo)])
    given = {name: value for name, value in task.defaults.items() if name not in job_info}
    defaults = pack(given, _refuse_large, root=f"{task.fullname}'s defaults") if given else None
    options = {name: value for name, value in task.definition_options.items() if name not in _ONLY_HERE}
    if job_info:
        options["config_args"] = (*options.get("config_args", ()), *job_info)
    version = task.definition_options.get("version")
    counts = version is None and task.definition_options.get("source") is None
    return TaskEntry(
        name=task.fullname,
        hash=task.hash,
        parameters=task.parameters,
        defaults=dumps(defaults) if defaults is not None else None,
        options=options,
        module=module,
        file=file,
        qualname=task.func.__qualname__,
        code=None if module else to_bytes(encode(without_lazy_defaults(task.func), by_value=True)),
        source=task.source if version is None else None,
        place=task.place,
        doc=(inspect.getdoc(task.func) or "").partition("\n")[0] or None,
        version=None if version is None else str(version),
        definitions=task.code.definitions if counts else (),
        unresolved=task.code.unresolved if counts else (),
        tags=task.definition_options.get("tags"),
        job_info=job_info,
    )


def _home(task: Task) -> tuple[str | None, str | None]:
    """Module and file by which a worker can import the function; (None, None) when it has to travel by value."""
    given = task.definition_options.get("load_module")
    if given is not None:
        return given, None
    if task._outer is not None:
        return _home(task._outer)  # whoever imports the task that wraps it has this one, too
    module = sys.modules.get(task.func.__module__)
    if task.func.__module__ == "__main__" or module is None or "<locals>" in task.func.__qualname__:
        return None, None
    found: Any = module
    for part in task.func.__qualname__.split("."):
        found = getattr(found, part, None)
    if not (found is task.func or getattr(found, "func", None) is task.func):
        return None, None  # a lambda, or a name that was bound again: importing would find another function
    return task.func.__module__, getattr(module, "__file__", None)


def _refuse_large(ref: ValueRef, encoded: Encoded, value: Any) -> None:
    raise BadOption(
        f"A default value of type {ref.kind} is {ref.size:,} bytes: too large for a default. Pass it as an argument, "
        "or make it in the body."
    )
