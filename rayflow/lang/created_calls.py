"""The calls that a body makes while it runs, and the tasks that it uses as values.

In: each call when it is made, each task when it is packed. Out: `CreatedCalls`, one for each body that runs. The worker
reads there which calls the body never returned, and which tasks the scheduler may not know yet. Never: keeps a call
while no body runs.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar

from rayflow.lang.terms.expressions import TaskCall


class CreatedCalls(list[TaskCall]):
    """Calls that one body has made. tasks: names of the tasks that it has packed as values; None for none."""

    __slots__ = ("tasks",)

    def __init__(self) -> None:
        self.tasks: set[str] | None = None


_mine: ContextVar[CreatedCalls | None] = ContextVar("rayflow_created")
"""The calls of the body that runs here. None in a worker's thread between two bodies; unset in a thread that a body
has started."""

active: tuple[CreatedCalls, ...] = ()
"""The collections of all bodies that run now, in any thread of this process."""

_active_lock = threading.Lock()


def note_call(call: TaskCall) -> None:
    """Note a new call for the body that runs here. Only called while `active` is not empty."""
    mine = _mine.get(None)
    if mine is not None:
        mine.append(call)
    else:
        _note_for_all(call._task)


def note_task(name: str) -> None:
    """Note for the body that runs here that a task is packed, as a value or as part of one."""
    if not active:
        return
    mine = _mine.get(None)
    if mine is not None:
        _add_task(mine, name)
    else:
        _note_for_all(name)


def _note_for_all(name: str) -> None:
    """A thread that a body has started does not know its body: any of those that run now may need the task."""
    if _mine.get(_UNSET) is _UNSET and threading.current_thread() is not threading.main_thread():
        for each in active:
            _add_task(each, name)


def _add_task(created: CreatedCalls, name: str) -> None:
    if created.tasks is None:
        created.tasks = set()
    created.tasks.add(name)


_UNSET = CreatedCalls()


class collecting_calls:
    """Collects the calls that a body makes, and the tasks that are packed: `with collecting_calls() as created`.

    created: the calls so far of a body that continues; the new ones are added to these.
    """

    def __init__(self, created: CreatedCalls | None = None) -> None:
        self.created = CreatedCalls() if created is None else created

    def __enter__(self) -> CreatedCalls:
        global active
        self._before = _mine.get(None)
        _mine.set(self.created)
        with _active_lock:
            active = (*active, self.created)
        return self.created

    def __exit__(self, *_: object) -> None:
        global active
        with _active_lock:
            active = tuple(each for each in active if each is not self.created)
        _mine.set(self._before)
