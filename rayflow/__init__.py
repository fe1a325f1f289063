"""rayflow: a Ray-native distributed evaluator for Python workflows.

Write plain functions, mark the pure ones with `@task`, call them, and `run` the lazy expression that a call gives. What
was computed before, with the same code and the same arguments, is not computed again; what happened is recorded and can
be asked with SQL.

The names below are the whole public surface. They are loaded when they are first used, so that `import rayflow` is
quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rayflow.api import Scheduler, history, run
    from rayflow.lang.combinators import catch, cond, len_, not_, quote, seq
    from rayflow.lang.tasks import Task, task

__all__ = ["Scheduler", "Task", "catch", "cond", "history", "len_", "not_", "quote", "run", "seq", "task"]

_PLACES = {
    "Scheduler": "rayflow.api",
    "history": "rayflow.api",
    "run": "rayflow.api",
    "catch": "rayflow.lang.combinators",
    "cond": "rayflow.lang.combinators",
    "len_": "rayflow.lang.combinators",
    "not_": "rayflow.lang.combinators",
    "quote": "rayflow.lang.combinators",
    "seq": "rayflow.lang.combinators",
    "Task": "rayflow.lang.tasks",
    "task": "rayflow.lang.tasks",
}


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'rayflow' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(place), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
