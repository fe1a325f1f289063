"""What a body makes while it runs: calls, and tasks that it gives as values.

In: each call and each packed task, as it is made. Out: the lot, for whoever runs the body: to tell which calls were
never returned, and to send along what others do not know of. Never: holds anything when nobody asks.
"""

from __future__ import annotations

from rayflow.lang.expressions import TaskCall


class Created(list[TaskCall]):
    """Calls that a body has made. tasks: names of the tasks that stand as values in what it gives, if there are any."""

    __slots__ = ("tasks",)

    def __init__(self) -> None:
        self.tasks: set[str] | None = None


created: Created | None = None
"""Where calls are collected now."""


def meet(name: str) -> None:
    """A task is being packed, as a value or as part of one."""
    if created is not None:
        if created.tasks is None:
            created.tasks = set()
        created.tasks.add(name)


class collecting_calls:
    """Collects the calls that a body makes, and the tasks that are packed: `with collecting_calls() as created`."""

    def __enter__(self) -> Created:
        global created
        self._before = created
        created = Created()
        return created

    def __exit__(self, *_: object) -> None:
        global created
        created = self._before
