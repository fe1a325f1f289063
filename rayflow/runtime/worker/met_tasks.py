"""Entries for the task table, of the tasks that a body has called or returned and that the table lacks.

In: the calls that a body has made, the tasks that it returns as values. Out: their entries, so that the scheduler and
other workers know them. Never: an entry that the table has.
"""

from __future__ import annotations

from collections.abc import Collection

from rayflow.lang import tasks
from rayflow.lang.created_calls import CreatedCalls
from rayflow.lang.task_table import TaskEntry


def entries_of(created: CreatedCalls, table: Collection[str]) -> tuple[TaskEntry, ...]:
    """Entries of the tasks that the body has called or returns as values, and that the table lacks.

    It adds all other tasks that are defined here, and the tasks that a function sent by value has captured: the called
    tasks may call them. Call this while `created` still collects.
    """
    waiting = sorted({call._task for call in created}.union(created.tasks or ()).difference(table))
    if not waiting:
        return ()
    found: dict[str, TaskEntry | None] = {}
    for name in waiting:
        created.tasks = None
        found[name] = _entry_of(name, needed=True)
        # `created` has collected the tasks that were packed into the entry.
        captured: set[str] = created.tasks or set()
        waiting.extend(sorted(captured.difference(waiting, table)))
    for name, task in tasks.registered().items():
        if name not in found and name not in table and "<locals>" not in task.func.__qualname__:
            found[name] = _entry_of(name, needed=False)
    return tuple(entry for _, entry in sorted(found.items()) if entry is not None)


def _entry_of(name: str, *, needed: bool) -> TaskEntry | None:
    """The entry of a task. needed: raise the error when it cannot be hashed; else give None, and a later call of that
    task reports the error."""
    try:
        entry: TaskEntry = tasks.find_task(name).entry()
    except Exception:
        if needed:
            raise
        return None
    return entry
