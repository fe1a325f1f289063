"""Names of tasks and labels of calls, as people write them: whole, or only the last part.

In: a text, and the names of a store. Out: the full name that is meant; the nearest ones. Never: asks the store.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from rayflow.errors import NotFound


def short_name(full: str) -> str:
    """The last part of a full name."""
    return full.rpartition(".")[2]


def full_name(text: str, tasks: list[str], labels: list[str]) -> str | None:
    """The full name of the task, else the label, that a text means; None when nothing has such a name.

    Raises NotFound when several have.
    """
    for what, names in (("tasks", tasks), ("labels", labels)):
        if text in names:
            return text
        fitting = [name for name in names if short_name(name) == text]
        if len(fitting) > 1:
            raise NotFound(f"Several {what} are called {text}: {', '.join(fitting)}. Give the full name.")
        if fitting:
            return fitting[0]
    return None


def nearest(text: str, names: Iterable[str]) -> str | None:
    """The name that a text was perhaps meant to be."""
    near = difflib.get_close_matches(text, names, n=1)
    return near[0] if near else None
