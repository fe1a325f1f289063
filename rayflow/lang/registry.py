"""All tasks of this process by full name.

In: tasks, as they are defined. Out: the task with a name; an error if two functions have the same name. Never: makes
a task.
"""

from __future__ import annotations

import ast
import os
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeAlias

from rayflow.errors import DuplicateTask, NoSuchTask
from rayflow.lang.code.constants.constant_leaves import forget_leaves
from rayflow.lang.code.definition import forget_classes
from rayflow.lang.modules import pick
from rayflow.lang.terms.expressions import Term
from rayflow.values.encoding.identity import value_hash
from rayflow.values.process.class_codes import forget_codes

Task: TypeAlias = Any
"""A `rayflow.lang.tasks.Task` (which registers itself here, so it cannot be imported)."""

_registry: dict[str, Task] = {}
_unregistered: list[Task] = []
"""Tasks defined since the registry was last read. They wait, as a full name may need a closure that is not complete."""


def register(task: Task, *, at_once: bool) -> None:
    """Add a new task. at_once: whether its name is complete, so that DuplicateTask can be raised here."""
    _unregistered.append(task)
    if at_once:
        registered()


def rename(task: Task, suffix: str) -> None:
    """Replace the name of a new task by a longer one. The caller registers the task again."""
    if any(each is task for each in _unregistered):
        _unregistered[:] = [each for each in _unregistered if each is not task]
    else:
        fullname = task.fullname
        if _registry.get(fullname) is task:
            del _registry[fullname]
    for name in ("_bare_name", "fullname", "hash"):
        task.__dict__.pop(name, None)
    task._suffix = suffix


def registered() -> Mapping[str, Task]:
    """Every task of this process by full name. Raises DuplicateTask for two functions under one name."""
    while _unregistered:
        _register(_unregistered.pop(0))
    return _registry


def _register(task: Task) -> None:
    known = _registry.get(task.fullname)
    if known is not None and not _replaces(task, known):
        if "<locals>" in task.func.__qualname__:
            # Both may be in use already: neither keeps this name.
            del _registry[task.fullname]
        raise DuplicateTask(
            f"Two tasks are called {task.fullname!r}: one at {known.place}, one at {task.place}. Rename one, or give "
            "it @task(name=...) or a namespace of its own."
        )
    _registry[task.fullname] = task


def _replaces(task: Task, known: Task) -> bool:
    """Whether the new task is the known task, defined again, because a module or a notebook cell ran again."""
    new, old = task.origin, known.origin
    if new is old:
        # One function can give several tasks, with different wrappers or with none.
        return task.func is known.func or (task._inner is None and known._inner is None)
    if new.__code__ is old.__code__:
        # A loop or a factory has run one `def` again. Different defaults or wrappers make two tasks of it.
        return task.func.__code__ is known.func.__code__ and _defaults_hash(task) == _defaults_hash(known)
    module = sys.modules.get(old.__module__)
    if module is None or vars(module) is not old.__globals__:
        return True  # its module was unloaded
    old_file, new_file = (os.path.realpath(each.__code__.co_filename) for each in (old, new))
    if not os.path.exists(old_file):
        return True  # a notebook cell, or a file that is gone
    if new_file != old_file:
        return False
    # The file was loaded again, perhaps after an edit, unless the file now contains both definitions.
    starts = _definitions_in(old_file)
    here = (old.__code__.co_name, old.__code__.co_firstlineno), (new.__code__.co_name, new.__code__.co_firstlineno)
    if here[0] == here[1]:
        return starts[here[0]] < 2  # more: lambdas on one line
    return not (starts[here[0]] and starts[here[1]])


def _defaults_hash(task: Task) -> bytes | None:
    return value_hash(task.defaults) if task.defaults else None


def _definitions_in(file: str) -> Counter[tuple[str, int]]:
    """Counts the functions of a file by name and first line; empty for a file that does not parse."""
    found: Counter[tuple[str, int]] = Counter()
    try:
        with tokenize.open(file) as stream:
            tree = ast.parse(stream.read())
    except (OSError, SyntaxError, ValueError):
        return found
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name, min([node.lineno, *(each.lineno for each in node.decorator_list)])] += 1
        elif isinstance(node, ast.Lambda):
            found["<lambda>", node.lineno] += 1
    return found


def find_task(
    fullname: str,
    args: tuple[Term, ...] = (),
    kwargs: Mapping[str, Term] | None = None,
    call_options: Mapping[str, Any] | None = None,
) -> Task:
    """The task of this full name in this process. Raises NoSuchTask with the nearest names."""
    known = registered().get(fullname)
    if known is None:
        known = _source.provide(fullname) if _source is not None else None
    if known is None:
        known = pick(_registry.values(), fullname, where="This process")
        raise NoSuchTask(f"No task has the full name {fullname!r}.")
    if args or kwargs or call_options:
        return known._again(args=args, kwargs=dict(kwargs or {}), call_options=dict(call_options or {}))
    return known


class TaskSource(Protocol):
    """Finds tasks that no module of this process has defined yet. A worker finds them in its task table."""

    def provide(self, name: str) -> Task | None:
        """The task of this full name; None when there is none."""


_source: TaskSource | None = None
"""The task source of the worker that ran last in this process; None if no worker has run."""


def task_source() -> TaskSource | None:
    """The source that this process asks for tasks that it has not defined."""
    return _source


def use_task_source(source: TaskSource | None) -> TaskSource | None:
    """Ask `source` from now on for tasks that this process has not defined. Gives the previous source."""
    global _source
    before, _source = _source, source
    return before


def refresh_code(*, at_all: bool) -> None:
    """Drop the code hash of each task whose global names are bound to other objects now.

    at_all: drop the code hashes of all tasks. A notebook or a shell needs this, because an object may change inside.
    """
    if at_all:
        _forget()
        forget_leaves()
    for each in registered().values():
        code = each.__dict__.get("code")
        if code is not None and (at_all or not code.is_valid()):
            _forget()
            for name in ("code", "hash"):
                each.__dict__.pop(name, None)


def _forget() -> None:
    forget_codes()
    forget_classes()


def forget_tasks(module_names: Iterable[str]) -> None:
    """Forget the tasks of these modules. The modules will be imported again."""
    names = frozenset(module_names)
    for name in [name for name, known in registered().items() if known.func.__module__ in names]:
        del _registry[name]


def forget_named(names: Iterable[str]) -> None:
    """Forget the tasks of these full names, so that others may have them."""
    known = registered()
    for name in [name for name in names if name in known]:
        del _registry[name]
