"""All tasks of this process by full name.

In: tasks, as they are defined. Out: the task of a name; an error for two functions under one. Never: makes a task.
"""

from __future__ import annotations

import ast
import os
import sys
import tokenize
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from rayflow.errors import DuplicateTask, NoSuchTask
from rayflow.lang.analysis import look_at_classes_again
from rayflow.lang.expressions import Term
from rayflow.lang.modules import pick
from rayflow.values.class_codes import forget_codes
from rayflow.values.identity import value_hash

Task: TypeAlias = Any
"""A `rayflow.lang.tasks.Task` (which registers itself here, so it cannot be imported)."""

_registry: dict[str, Task] = {}
_unregistered: list[Task] = []
"""Tasks defined since the registry was last asked: a full name may need a closure that is only complete later."""


def register(task: Task, *, at_once: bool) -> None:
    """Make a new task known. at_once: its name is complete, so that DuplicateTask can be raised here."""
    _unregistered.append(task)
    if at_once:
        registered()


def rename(task: Task, suffix: str) -> None:
    """Give a task that was just defined a longer name, and its old one up. It is then to be registered again."""
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
            # Both are in use by now: none of them may go on under this name.
            del _registry[task.fullname]
        raise DuplicateTask(
            f"Two tasks are called {task.fullname!r}: one at {known.place}, one at {task.place}. Rename one, or give "
            "it @task(name=...) or a namespace of its own."
        )
    _registry[task.fullname] = task


def _replaces(task: Task, known: Task) -> bool:
    """Whether a definition is the same one made again: a module loaded again, a notebook cell run again."""
    new, old = task.origin, known.origin
    if new is old:
        # Wrapped or not, and by what, makes several tasks of one function.
        return task.func is known.func or (task._inner is None and known._inner is None)
    if new.__code__ is old.__code__:
        # One `def`, carried out again by a loop or a factory: defaults, or wrappers, can make two tasks of it.
        return task.func.__code__ is known.func.__code__ and _defaults_hash(task) == _defaults_hash(known)
    module = sys.modules.get(old.__module__)
    if module is None or vars(module) is not old.__globals__:
        return True  # its module was unloaded
    old_file, new_file = (os.path.realpath(each.__code__.co_filename) for each in (old, new))
    if not os.path.exists(old_file):
        return True  # a notebook cell, or a file that is gone
    if new_file != old_file:
        return False
    # The file was loaded again, maybe edited, unless both definitions stand in it as it is now.
    starts = _definitions_in(old_file)
    here = (old.__code__.co_name, old.__code__.co_firstlineno), (new.__code__.co_name, new.__code__.co_firstlineno)
    if here[0] == here[1]:
        return starts[here[0]] < 2  # more: lambdas on one line
    return not (starts[here[0]] and starts[here[1]])


def _defaults_hash(task: Task) -> bytes | None:
    return value_hash(task.defaults) if task.defaults else None


def _definitions_in(file: str) -> Counter[tuple[str, int]]:
    """Name and first line of each function in a file, and how many begin there; empty for what does not parse."""
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
        for provide in _providers:
            known = provide(fullname)
            if known is not None:
                break
    if known is None:
        known = pick(_registry.values(), fullname, where="This process")
        raise NoSuchTask(f"No task has the full name {fullname!r}.")
    if args or kwargs or call_options:
        return known._again(args=args, kwargs=dict(kwargs or {}), call_options=dict(call_options or {}))
    return known


_providers: list[Callable[[str], Task | None]] = []
"""Who can find a task that no module of this process has defined yet (a worker, in its task table)."""


def provide_tasks(provider: Callable[[str], Task | None]) -> None:
    """Ask `provider` for tasks that this process has not defined."""
    _providers.append(provider)


def look_again(*, at_all: bool) -> None:
    """Find out anew what the code of each task is whose names mean other objects than they did; of all, where
    definitions change in any way (`at_all`)."""
    if at_all:
        _forget()
    for each in registered().values():
        code = each.__dict__.get("code")
        if code is not None and (at_all or not code.holds()):
            _forget()
            for name in ("code", "hash"):
                each.__dict__.pop(name, None)


def _forget() -> None:
    forget_codes()
    look_at_classes_again()


def forget_tasks(module_names: Iterable[str]) -> None:
    """Forget the tasks that these modules have defined: they are about to be imported anew."""
    names = frozenset(module_names)
    for name in [name for name, known in registered().items() if known.func.__module__ in names]:
        del _registry[name]
