"""Finds the task of a call in this process, by its name and the hash of its code.

In: the task table that the driver has sent. Out: tasks whose code is exactly the submitted one. Never: runs a task.
"""

from __future__ import annotations

import contextlib
import importlib
import linecache
import os
import socket
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from rayflow.errors import BadModule, NoSuchTask, VersionMismatch
from rayflow.installation import is_installed
from rayflow.lang import modules, tasks
from rayflow.lang.code.counted_distributions import differing
from rayflow.lang.task_table import TaskEntry
from rayflow.runtime.protocol.attempts import WorkerContext
from rayflow.runtime.worker.nested_runs import imported_by_worker
from rayflow.runtime.worker.process_policy import ProcessPolicy
from rayflow.values.encoding.encoding import decode, from_bytes

HOST = socket.gethostname()


class TaskFinder:
    """Finds the tasks of one project in this process. policy: whether modules that are loaded are trusted."""

    def __init__(self, surroundings: WorkerContext, policy: ProcessPolicy) -> None:
        self.surroundings = surroundings
        self.table = dict(surroundings.table)
        self.policy = policy
        self._verified: dict[tuple[str, bytes], tasks.Task[..., Any]] = {}
        self._provided: dict[str, tasks.Task[..., Any]] = {}

    def learn(self, entries: Iterable[TaskEntry]) -> None:
        """Add tasks to the table that other calls have met, and that it lacks."""
        for entry in entries:
            self.table.setdefault(entry.name, entry)

    def found(self, name: str, task_hash: bytes) -> tasks.Task[..., Any] | None:
        """The task that `find` has given before; None where it has to look for it."""
        return self._verified.get((name, task_hash))

    def find(self, name: str, task_hash: bytes) -> tasks.Task[..., Any]:
        """The task of this name with exactly this code. Raises BadModule when this process does not have that code."""
        found = self._verified.get((name, task_hash))
        if found is None:
            self._check_distributions(name, task_hash)
            found = tasks.registered().get(name)
            if found is None or found.hash != task_hash:
                found = self.provide(name) or tasks.find_task(name)
            if found.hash != task_hash and not self.policy.trusts_modules:
                found = self._among_all(found)
            if found.hash != task_hash:
                raise BadModule(
                    f"The code of {name} on this worker ({found.place} on {HOST}) is not the code that was submitted: "
                    "the file was changed after the run had started, or this machine has another copy of the project, "
                    f"or a value is another one in each process. {self._differences(found)}Run it again."
                )
            self._verified[name, task_hash] = found
        return found

    def _check_distributions(self, name: str, task_hash: bytes) -> None:
        """Raise VersionMismatch where this process lacks the distributions that count for a task."""
        entry = self.table.get(name)
        others = differing(entry.counted) if entry is not None and entry.hash == task_hash else []
        if others:
            raise VersionMismatch(
                f"{name} counts distributions for its cache that this worker ({HOST}) has not: {', '.join(others)}. "
                "Install the same versions on the workers. If the task has a runtime_env with versions of its own, "
                "state them: environment={'numpy': '2.1.0'}."
            )

    def _differences(self, task: tasks.Task[..., Any]) -> str:
        """How a task's code differs from the submitted one, as a sentence; empty where the table does not say."""
        entry = self.table.get(task.fullname)
        there = {each.name: each for each in entry.definitions} if entry is not None else {}
        here = {each.name: each for each in task.code.definitions} if there else {}
        differing = []
        for name in dict.fromkeys((*there, *here)):
            one, other = there.get(name), here.get(name)
            if one is None or other is None:
                differing.append(f"{name} ({'only here' if one is None else 'not here'})")
            elif one.digest != other.digest and one.kind == "constant":
                differing.append(f"{name} (was {one.source}, here {other.source})")
            elif one.digest != other.digest:
                differing.append(name)
        return f"What differs: {', '.join(differing[:3])}{', ...' if differing[3:] else ''}. " if differing else ""

    def _among_all(self, task: tasks.Task[..., Any]) -> tasks.Task[..., Any]:
        """The task, after an import of all modules with tasks, which the driver has imported, too: one of them may fill
        a table, or replace a method, that another one uses."""
        for module in sorted({entry.module for entry in self.table.values() if entry.module is not None}):
            with contextlib.suppress(Exception), imported_by_worker(module):  # a call that needs this module reports it
                _import(module)
        for kept in ("code", "hash"):
            task.__dict__.pop(kept, None)
        return task

    def provide(self, name: str) -> tasks.Task[..., Any] | None:
        """A task of the table that no module here has defined yet: import its module, or unpack its function."""
        known = self._provided.get(name)
        if known is not None:
            return known
        entry = self.table.get(name)
        if entry is None:
            return None
        if entry.code is not None:
            return self._by_value(entry, entry.code)
        return self._by_module(entry)

    def _by_value(self, entry: TaskEntry, code: bytes) -> tasks.Task[..., Any]:
        """The task of a function that was sent by value. Its globals may name the task itself, or one that names it."""
        task: tasks.Task[..., Any] = tasks.Task.__new__(tasks.Task)
        partials: list[tuple[tasks.Task[..., Any], dict[str, Any]]] = []

        def partial_later(**changes: Any) -> tasks.Task[..., Any]:
            partials.append((tasks.Task.__new__(tasks.Task), changes))
            return partials[-1][0]

        task.__dict__["_again"] = partial_later
        self._provided[entry.name] = task
        try:
            function = decode(from_bytes(code))
        except BaseException:
            del self._provided[entry.name]
            raise
        del task.__dict__["_again"]
        tasks.Task.__init__(task, function, entry.options)
        # If an entry has no definitions, the version of the task replaces its code.
        task.__dict__.update(fullname=entry.name, hash=entry.hash, follows_code=bool(entry.definitions))
        for partial, changes in partials:
            partial.__dict__.update(task._again(**changes).__dict__)
        return task

    def _by_module(self, entry: TaskEntry) -> tasks.Task[..., Any] | None:
        """The task of a module that is imported here. An older version of the project's modules is dropped first."""
        assert entry.module is not None
        if self.policy.trusts_modules:
            if entry.name in tasks.registered():
                return None
        elif entry.module in sys.modules or entry.name in tasks.registered():
            forget_modules(self.surroundings.project_dir)
        with imported_by_worker(entry.module):
            try:
                _import(entry.module)
            except ImportError as error:
                if entry.file is None or not os.path.exists(entry.file):
                    raise BadModule(
                        f"{entry.name} cannot be run on {HOST}: its module {entry.module} does not import there "
                        f"({error}). Install what it needs on the workers, or name it in [environment] "
                        "of rayflow.toml."
                    ) from error
                modules.load_file(entry.file)
            known: tasks.Task[..., Any] | None = tasks.registered().get(entry.name)
            if known is None and entry.file is not None and os.path.exists(entry.file):
                # Another module of that name came first on this worker's path.
                modules.load_file(entry.file)
                known = tasks.registered().get(entry.name)
        if known is None:
            raise NoSuchTask(f"The module {entry.module} on this worker ({HOST}) defines no task {entry.name!r}.")
        _hash_tasks_of(sys.modules.get(known.func.__module__))
        return known


def _import(module: str) -> None:
    """Import a module of the project. Raises the errors of its code; BadModule in place of a BaseException such as that
    of sys.exit(), which would look like the end of a body."""
    try:
        importlib.import_module(module)
    except BaseException as error:
        if isinstance(error, Exception | KeyboardInterrupt):
            raise
        raise modules.not_imported(f"The module {module}", error) from None


def _hash_tasks_of(module: ModuleType | None) -> None:
    """Hash the code of a module's tasks, before a body changes an object that they use, such as a generator or a table
    that is filled as it goes."""
    for task in tasks.tasks_of(module) if module is not None else ():
        with contextlib.suppress(Exception):  # a call of that task reports it
            task.hash  # noqa: B018  the task keeps it


def forget_modules(project_dir: str | None) -> None:
    """Drop the project's modules, so that the next import reads their files as they are now."""
    if project_dir is None:
        return
    inside = os.path.join(os.path.abspath(project_dir), "")
    gone = {
        name
        for name, module in list(sys.modules.items())
        if (file := getattr(module, "__file__", None)) is not None
        and os.path.abspath(file).startswith(inside)
        and not is_installed(file)
        and name.partition(".")[0] not in ("rayflow", "__main__")
    }
    for name in gone:
        del sys.modules[name]
    tasks.forget_tasks(gone)
    importlib.invalidate_caches()
    linecache.checkcache()
