"""Objects that contain themselves, such as a child that refers to its parent, and containers to store as one value.

In: a term, and objects in it. Out: whether an object contains itself; the containers that have to be one value. Never:
hashes, copies.

Normally each object in a list is a separate value, which is stored once for all lists. For objects that refer to each
other, this would store a copy of the whole family with each member. So a container of such objects is one value.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rayflow.errors import NotSerializable
from rayflow.values.encoding.nested import Container, only_scalars, parts_of
from rayflow.values.native import SCALARS
from rayflow.values.objects.handlers import handler_for
from rayflow.values.process.base_exceptions import contained

_CLOSED = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType, types.CodeType)


def may_know_others(value: Any) -> bool:
    """Whether a value may refer to others: it is a container, or an object of a class without a handler."""
    of = type(value)
    if of in SCALARS or isinstance(value, _CLOSED) or is_symbolic(value):
        return False
    return handler_for(of) is None or parts_of(value) is not None


def is_symbolic(value: Any) -> bool:
    """Whether a value represents another one, as an expression, a reference or a task does."""
    return hasattr(type(value), "__rayflow_identity__") or hasattr(type(value), "__rayflow_symbol__")


def contains_itself(value: Any) -> bool:
    """Whether a value, or a part of it, contains itself."""
    return _CycleSearch().is_in(value)


class _CycleSearch:
    """Finds the objects that contain a cycle. It follows each object once, however many others refer to it."""

    __slots__ = ("_alive", "_known")

    def __init__(self) -> None:
        self._known: dict[int, bool] = {}
        """id of an object -> whether it contains a cycle. While it is being followed, True: coming back is a cycle."""
        self._alive: list[Any] = []
        """The objects that were met, to keep them alive: then no other object gets their ids."""

    def is_in(self, value: Any) -> bool:
        known = self._known
        if id(value) in known:
            return known[id(value)]
        stack = [self._open(value)]
        while stack:
            here, coming = stack[-1]
            for part in coming:
                if type(part) in SCALARS:
                    continue
                found = known.get(id(part))
                if found:
                    return True  # so all on the stack contain a cycle, as `known` says already
                if found is None:
                    stack.append(self._open(part))
                    break
            else:
                known[here] = False
                stack.pop()
        return False

    def _open(self, value: Any) -> tuple[int, Iterator[Any]]:
        self._alive.append(value)
        self._known[id(value)] = True
        return id(value), iter(_parts_below(value))


def _parts_below(value: Any) -> Sequence[Any]:
    if isinstance(value, _CLOSED) or is_symbolic(value):
        return ()
    container = parts_of(value)
    if container is not None:
        return () if only_scalars(container.parts) else container.parts
    if handler_for(type(value)) is not None:
        return ()
    try:
        with contained:
            reduction = value.__reduce_ex__(4)
            return () if isinstance(reduction, str) else [*reduction[1:3], *map(list, filter(None, reduction[3:5]))]
    except Exception:  # it cannot be pickled: pickling it raises the error
        return ()


class _SearchFrame:
    """A container on the stack.

    groups: the objects below that contain themselves; those that are to be in one value are one group. whole: the
    containers below that are to be one value.
    """

    __slots__ = ("coming", "groups", "is_lazy", "source", "whole")

    def __init__(self, container: Container) -> None:
        self.source = container.source
        self.coming = iter(container.parts)
        self.is_lazy = False
        self.groups: list[dict[int, Any]] = []
        self.whole: dict[int, Any] = {}


def tied_in(term: Any, objects: Iterable[Any]) -> dict[int, Any]:
    """The containers of a term that have to be one value, by their ids.

    These are the outermost containers that hold several objects with cycles, and nothing lazy. objects: the objects in
    the term that may have cycles.

    Raises NotSerializable when objects refer to each other and a container holds them beside something lazy: each would
    be a separate value, and a body would see one or several copies, depending on which call was made first.
    """
    search = _CycleSearch()
    cyclic = {id(each) for each in objects if search.is_in(each)}
    root = parts_of(term)
    if len(cyclic) < 2 or root is None:
        return {}
    seen = {id(term)}
    stack = [_SearchFrame(root)]
    while True:
        frame = stack[-1]
        for part in frame.coming:
            if type(part) in SCALARS:
                continue
            if is_symbolic(part):
                frame.is_lazy = True
            elif id(part) in cyclic:
                frame.groups.append({id(part): part})
            elif id(part) not in seen:
                container = parts_of(part)
                if container is not None and not only_scalars(container.parts):
                    seen.add(id(part))
                    stack.append(_SearchFrame(container))
                    break
        else:
            stack.pop()
            if len(frame.groups) > 1 and frame.is_lazy:
                _refuse_tied(frame)
            elif len(frame.groups) > 1:
                frame.whole = {id(frame.source): frame.source}
                frame.groups = [{key: each for group in frame.groups for key, each in group.items()}]
            if not stack:
                return frame.whole
            outer = stack[-1]
            outer.is_lazy = outer.is_lazy or frame.is_lazy
            outer.groups += frame.groups
            outer.whole.update(frame.whole)


def _refuse_tied(frame: _SearchFrame) -> None:
    """Raise NotSerializable when an object of one group refers to an object of another one."""
    all_of_them = {key for group in frame.groups for key in group}
    for group in frame.groups:
        kept: dict[int, Any] = dict(group)
        waiting = list(group.values())
        for each in waiting:
            for part in _parts_below(each):
                if type(part) in SCALARS or id(part) in kept:
                    continue
                if id(part) in all_of_them:  # objects of the same group are in `kept` already
                    two = f"{type(next(iter(group.values()))).__qualname__} and {type(part).__qualname__}"
                    raise NotSerializable(
                        f"A {type(frame.source).__name__} holds objects that know each other ({two}), and beside them "
                        "something that is not computed yet: they would come apart. Put what knows each other into one "
                        "object or list of its own, or pass the lazy value as an argument of its own."
                    )
                kept[id(part)] = part
                waiting.append(part)
