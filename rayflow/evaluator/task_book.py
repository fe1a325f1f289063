"""The tasks that an execution knows. It tells whether a recorded task hash is the hash of the current code.

In: the task table of the driver, entries that workers report. Out: `TaskBook`. Never: loads a task's module.
"""

from __future__ import annotations

from collections.abc import Mapping

from rayflow.lang.task_table import TaskEntry
from rayflow.lang.terms.codec import loads
from rayflow.lang.terms.expressions import Term


class TaskBook:
    """The tasks of one execution.

    table: the entries by name. unknown: names or hashes of tasks that recorded results call, but the table lacks. Each
    is there with the task whose result calls it.
    """

    def __init__(self, table: Mapping[str, TaskEntry]) -> None:
        self.table: dict[str, TaskEntry] = dict(table)
        self.unknown: dict[str | bytes, str] = {}
        self._defaults: dict[str, dict[str, Term]] = {}
        self._hashes: frozenset[bytes] | None = None

    def defaults_of(self, entry: TaskEntry) -> dict[str, Term]:
        """Default values of a task's parameters by name."""
        defaults = self._defaults.get(entry.name)
        if defaults is None:
            defaults = self._defaults[entry.name] = loads(entry.defaults) if entry.defaults else {}
        return defaults

    def learn(self, entries: tuple[TaskEntry, ...]) -> list[str]:
        """Add tasks that a worker has met and the table lacks. Gives a warning for each task that ran only for that."""
        first: dict[tuple[str, str], str] = {}
        for entry in entries:
            if entry.name not in self.table:
                self.table[entry.name] = entry
                self._hashes = None
                caller = self.unknown.pop(entry.name, None) or self.unknown.pop(entry.hash, None)
                if caller is not None and entry.module is not None:
                    first.setdefault((caller, entry.module), entry.name)
        return [
            f"{caller} runs in every run: it calls {name}, and no module imports {module} before a run starts. Import "
            "it at the top of a module, or by an import statement in the body."
            for (caller, module), name in first.items()
        ]

    def lacking_of(self, task_set: frozenset[bytes]) -> frozenset[bytes]:
        """The hashes of this set that no task of the table has. Their code was changed, or is not known."""
        if self._hashes is None:
            self._hashes = frozenset(entry.hash for entry in self.table.values())
        return task_set - self._hashes

    def has_all(self, task_set: frozenset[bytes]) -> bool:
        """Whether all these tasks are in the table with exactly this code."""
        return not self.lacking_of(task_set)
