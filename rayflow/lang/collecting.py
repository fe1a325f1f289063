"""What a body makes while it runs: calls, and tasks that it gives as values.

In: each call and each packed task, as it is made. Out: the lot, for whoever runs the body: to tell which calls were
never returned, and to send along what others do not know of. Never: holds anything when nobody asks.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar

from rayflow.lang.expressions import TaskCall


class Created(list[TaskCall]):
    """Calls that a body has made. tasks: names of the tasks that stand as values in what it gives, if there are any."""

    __slots__ = ("tasks",)

    def __init__(self) -> None:
        self.tasks: set[str] | None = None


_mine: ContextVar[Created | None] = ContextVar("rayflow_created")
"""What the body that runs here has made; None in a thread between its bodies, unset in one that has never had any."""

active: tuple[Created, ...] = ()
"""All that collect now, in whatever thread."""

_changing = threading.Lock()


def made(call: TaskCall) -> None:
    """A call has been made while somebody collects."""
    mine = _mine.get(None)
    if mine is not None:
        mine.append(call)
    else:
        _tell_all(call._task)


def meet(name: str) -> None:
    """A task is being packed, as a value or as part of one."""
    if not active:
        return
    mine = _mine.get(None)
    if mine is not None:
        _note(mine, name)
    else:
        _tell_all(name)


def _tell_all(name: str) -> None:
    """A thread that a body has started has no mark of that body: whichever it is may need the task."""
    if _mine.get(_NEVER) is _NEVER and threading.current_thread() is not threading.main_thread():
        for each in active:
            _note(each, name)


def _note(created: Created, name: str) -> None:
    if created.tasks is None:
        created.tasks = set()
    created.tasks.add(name)


_NEVER = Created()


class collecting_calls:
    """Collects the calls that a body makes, and the tasks that are packed: `with collecting_calls() as created`.

    created: goes on with these, of a body that goes on.
    """

    def __init__(self, created: Created | None = None) -> None:
        self._created = Created() if created is None else created

    def __enter__(self) -> Created:
        global active
        self._before = _mine.get(None)
        _mine.set(self._created)
        with _changing:
            active = (*active, self._created)
        return self._created

    def __exit__(self, *_: object) -> None:
        global active
        with _changing:
            active = tuple(each for each in active if each is not self._created)
        _mine.set(self._before)
