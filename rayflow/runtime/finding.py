"""The tasks that a worker's process has, or can have: the code that a call asks for, by its name and its hash.

In: the table of tasks that was sent. Out: tasks whose code is exactly the one that was submitted. Never: runs one.
"""

from __future__ import annotations

import contextlib
import importlib
import linecache
import os
import socket
import sys
from collections.abc import Iterable
from typing import Any

from rayflow.errors import BadModule, NoSuchTask
from rayflow.lang import modules, tasks
from rayflow.lang.entries import TaskEntry
from rayflow.runtime.calls import Surroundings
from rayflow.values.encoding import decode, from_bytes

HOST = socket.gethostname()


class Finder:
    """Finds tasks for this process.

    is_users_process: whether it is the user's own, whose modules are theirs to change.
    """

    def __init__(self, surroundings: Surroundings, *, is_users_process: bool) -> None:
        self.surroundings = surroundings
        self.table = dict(surroundings.table)
        self.is_users_process = is_users_process
        self._verified: dict[tuple[str, bytes], tasks.Task[..., Any]] = {}
        self._provided: dict[str, tasks.Task[..., Any]] = {}

    def learn(self, entries: Iterable[TaskEntry]) -> None:
        """Take in tasks that the table lacks: other calls have met them."""
        for entry in entries:
            self.table.setdefault(entry.name, entry)

    def find(self, name: str, task_hash: bytes) -> tasks.Task[..., Any]:
        """The task of this name with exactly this code. Raises BadModule when this process cannot have that."""
        found = self._verified.get((name, task_hash))
        if found is None:
            found = tasks.registered().get(name)
            if found is None or found.hash != task_hash:
                found = self.provide(name) or tasks.find_task(name)
            if found.hash != task_hash and not self.is_users_process:
                found = self._among_all(found)
            if found.hash != task_hash:
                raise BadModule(
                    f"The code of {name} on this worker ({found.place} on {HOST}) is not the code that was submitted: "
                    "the file was changed after the run had started, or this machine has another copy of the project, "
                    f"or a value is another one in each process. {self._differences(found)}Run it again."
                )
            self._verified[name, task_hash] = found
        return found

    def _differences(self, task: tasks.Task[..., Any]) -> str:
        """What of a task's code is not as it was submitted, as a sentence; empty where that cannot be told."""
        entry = self.table.get(task.fullname)
        there = {each.name: each for each in entry.definitions} if entry is not None else {}
        here = {each.name: each for each in task.code.definitions} if there else {}
        told = []
        for name in dict.fromkeys((*there, *here)):
            one, other = there.get(name), here.get(name)
            if one is None or other is None:
                told.append(f"{name} ({'only here' if one is None else 'not here'})")
            elif one.digest != other.digest and one.kind == "constant":
                told.append(f"{name} (was {one.source}, here {other.source})")
            elif one.digest != other.digest:
                told.append(name)
        return f"What differs: {', '.join(told[:3])}{', ...' if told[3:] else ''}. " if told else ""

    def _among_all(self, task: tasks.Task[..., Any]) -> tasks.Task[..., Any]:
        """The task once all modules with tasks are imported, as they are where the run was started: one may fill a
        table, or replace a method, that another uses."""
        for module in sorted({entry.module for entry in self.table.values() if entry.module is not None}):
            with contextlib.suppress(Exception):  # whoever needs that one is told
                importlib.import_module(module)
        for kept in ("code", "hash"):
            task.__dict__.pop(kept, None)
        return task

    def provide(self, name: str) -> tasks.Task[..., Any] | None:
        """A task that no module here has defined yet: import its module, or take the function that travelled."""
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
        """The task of a function that travelled. It may name itself, or another that names it, as a global."""
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
        # An entry lists what its code reaches, but where that does not count.
        task.__dict__.update(fullname=entry.name, hash=entry.hash, follows_code=bool(entry.definitions))
        for partial, changes in partials:
            partial.__dict__.update(task._again(**changes).__dict__)
        return task

    def _by_module(self, entry: TaskEntry) -> tasks.Task[..., Any] | None:
        """The task of a module that is imported here. An older version of the project's modules is let go of first."""
        assert entry.module is not None
        if self.is_users_process:
            if entry.name in tasks.registered():
                return None
        elif entry.module in sys.modules or entry.name in tasks.registered():
            forget_modules(self.surroundings.project_dir)
        try:
            importlib.import_module(entry.module)
        except ImportError as error:
            if entry.file is None or not os.path.exists(entry.file):
                raise BadModule(
                    f"{entry.name} cannot be run on {HOST}: its module {entry.module} does not import there ({error}). "
                    "Install what it needs on the workers, or give them an environment: runtime_env in rayflow.toml."
                ) from error
            modules.load_file(entry.file)
        known: tasks.Task[..., Any] | None = tasks.registered().get(entry.name)
        if known is None and entry.file is not None and os.path.exists(entry.file):
            # Another module of that name came first on this worker's path.
            modules.load_file(entry.file)
            known = tasks.registered().get(entry.name)
        if known is None:
            raise NoSuchTask(f"The module {entry.module} on this worker ({HOST}) defines no task {entry.name!r}.")
        return known


def forget_modules(project_dir: str | None) -> None:
    """Let go of the project's modules, so that the next import reads their files as they are now."""
    if project_dir is None:
        return
    inside = os.path.join(os.path.abspath(project_dir), "")
    gone = {
        name
        for name, module in list(sys.modules.items())
        if (file := getattr(module, "__file__", None)) is not None
        and os.path.abspath(file).startswith(inside)
        and not modules.is_installed(file)
        and name.partition(".")[0] not in ("rayflow", "__main__")
    }
    for name in gone:
        del sys.modules[name]
    tasks.forget_tasks(gone)
    importlib.invalidate_caches()
    linecache.checkcache()
