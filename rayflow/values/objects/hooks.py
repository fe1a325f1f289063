"""Calls the hooks of classes while their instances are encoded or decoded.

In: each object that is pickled, when it is pickled. Out: how to pickle it, if its class has a hook for that; its
witness, for the collector. Never: defines a hook (the class or its handler does: custom.py).

The pickler calls these functions for each object, so hooks work inside containers, dataclasses and objects of unknown
classes. Values without such objects cost nothing.
"""

from __future__ import annotations

import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rayflow.values.objects.definition_witnesses import definition_witness
from rayflow.values.objects.handlers import handler_for
from rayflow.values.witnesses import Witness, collector, notice

_here = threading.local()


class HookFailed(Exception):
    """A hook of the user raised `error`, which is shown to the user as it is."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class Hooks:
    """The hooks of a class. This base class is for classes that only have witnesses.

    is_part: whether such an object inside another value is a part of that, for its lineage and its validity.
    checks: whether the class defines `is_valid`.
    """

    __slots__ = ("checks", "is_part")

    def __init__(self, *, is_part: bool = True, checks: bool = False) -> None:
        self.is_part = is_part
        self.checks = checks

    def witness(self, value: Any) -> Witness | None:
        """The witness of the object."""
        found: Witness | None = value.__rayflow_witness__()
        return found

    def reduce(self, value: Any) -> tuple[Any, ...] | None:
        """How to pickle the object, in the form of `__reduce__`; None for Python's usual way."""
        return None

    def finish(self, value: Any) -> Any:
        """The object that leaves a task in place of this one."""
        return value

    def parts(self, value: Any) -> list[Any]:
        """Values inside that have a lineage of their own."""
        return []


_WITNESSED = Hooks()
_FOUND: dict[type, Hooks | None] = {}
_CLASSES: dict[type, Witness | None] = {}


def forget() -> None:
    """Forget the hooks that were found, because a handler was registered."""
    _FOUND.clear()


def _find(of: type) -> Hooks | None:
    hooks_of = getattr(handler_for(of), "hooks_of", None)
    found: Hooks | None = hooks_of(of) if hooks_of is not None else None
    if found is None and hasattr(of, "__rayflow_witness__"):
        found = _WITNESSED
    if len(_FOUND) > 10_000:
        _FOUND.clear()
        _CLASSES.clear()
    _CLASSES[of] = definition_witness(of)
    _FOUND[of] = found
    return found


def hooks_of(of: type) -> Hooks | None:
    """The hooks of a class; None if it has none."""
    try:
        return _FOUND[of]
    except KeyError:
        return _find(of)


def reduced(value: Any) -> Any:
    """How to pickle an object whose class has hooks; NotImplemented for Python's usual way. Collects its witness.

    Raises HookFailed with the error of a hook.
    """
    of = type(value)
    hooks = hooks_of(of)
    is_definition = of is types.FunctionType or isinstance(value, type)
    witness = definition_witness(value) if is_definition else _CLASSES[of]
    if witness is not None:
        notice(witness)
    if hooks is None:
        return NotImplemented
    try:
        return _reduced(value, hooks)
    except RecursionError:
        raise
    except Exception as error:
        raise HookFailed(error) from error


def _reduced(value: Any, hooks: Hooks) -> Any:
    done = _finished(value, hooks)
    noticed = collector()
    if noticed is not None and hooks.is_part:
        witness = hooks.witness(done)
        if witness is not None:
            noticed.found[witness] = None
        if witness is not None or hooks is not _WITNESSED:
            noticed.objects[id(done)] = done
    reduction = hooks.reduce(done)
    if reduction is None:
        return NotImplemented if done is value else (same, (done,))
    return reduction


def same(value: Any) -> Any:
    """The value itself: for the reduction of an object that is pickled as another one."""
    return value


_same = same
"""Its name in older stores."""


# --- leaving a task ---------------------------------------------------------------------------------------------------


@contextmanager
def leaving() -> Iterator[None]:
    """While the block runs, this thread encodes values that leave a task: each object is finished first, once."""
    before = getattr(_here, "finished", None)
    _here.finished = {}
    try:
        yield
    finally:
        _here.finished = before


def _finished(value: Any, hooks: Hooks) -> Any:
    finished: dict[int, tuple[Any, Any]] | None = getattr(_here, "finished", None)
    if finished is None:
        return value
    known = finished.get(id(value))
    if known is None:
        done = hooks.finish(value)
        if type(done) is not type(value):
            raise TypeError(
                f"finish of {type(value).__qualname__} gave a {type(done).__qualname__}: it has to give a value of the "
                "same class"
            )
        known = finished[id(value)] = (value, done)  # both are kept alive, so that their ids stay unique
        finished.setdefault(id(done), (done, done))
    return known[1]


def as_finished(value: Any) -> Any:
    """The finished object, if this one was finished in the present `leaving` block; else the object itself."""
    finished: dict[int, tuple[Any, Any]] | None = getattr(_here, "finished", None)
    known = finished.get(id(value)) if finished else None
    return value if known is None else known[1]


# --- entering a task --------------------------------------------------------------------------------------------------


@contextmanager
def entering() -> Iterator[None]:
    """While the block runs, this thread decodes values that enter a task: each object is prepared."""
    before = is_entering()
    _here.entering = True
    try:
        yield
    finally:
        _here.entering = before


def is_entering() -> bool:
    """Whether this thread decodes values that enter a task."""
    found: bool = getattr(_here, "entering", False)
    return found
