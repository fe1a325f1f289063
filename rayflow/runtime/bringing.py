"""The tasks that a body has met, as entries of the task table: what others have to know to go on.

In: the calls that a body has made, the tasks that it gives as values. Out: their entries. Never: what the table has.
"""

from __future__ import annotations

from collections.abc import Collection

from rayflow.lang import tasks
from rayflow.lang.collecting import Created
from rayflow.lang.entries import TaskEntry


def entries_of(created: Created, table: Collection[str]) -> tuple[TaskEntry, ...]:
    """Entries of tasks that the body has called, or gives as values, and the table that was sent does not know.

    With them go the tasks of the modules that it has imported, and those that a function which travels by value has
    captured: those that were called may call them. To be asked while `created` still collects.
    """
    waiting = sorted({call._task for call in created}.union(created.tasks or ()).difference(table))
    if not waiting:
        return ()
    found: dict[str, TaskEntry | None] = {}
    for name in waiting:
        created.tasks = None
        found[name] = _entry_of(name, needed=True)
        # The making of the entry has packed them.
        captured: set[str] = created.tasks or set()
        waiting.extend(sorted(captured.difference(waiting, table)))
    for name, task in tasks.registered().items():
        if name not in found and name not in table and "<locals>" not in task.func.__qualname__:
            found[name] = _entry_of(name, needed=False)
    return tuple(entry for _, entry in sorted(found.items()) if entry is not None)


def _entry_of(name: str, *, needed: bool) -> TaskEntry | None:
    """The entry of a task that was met. One that nobody has called, and that has none (it holds what cannot be hashed),
    is left out: whoever calls it will hear why."""
    try:
        entry: TaskEntry = tasks.find_task(name).entry()
    except Exception:
        if needed:
            raise
        return None
    return entry
