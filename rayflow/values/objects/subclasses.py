"""Instances of subclasses: the attributes and slots that they have besides the content of their base.

In: a value, and the base whose handler treats it. Out: its attributes, for the hash; a reduction that keeps them.
Never: calls the constructor of a user's class.

Many types lose the attributes of subclasses when they are pickled (arrays, frames, dates, Decimal), or call a
constructor with too few arguments (`class Metres(float)` with a `unit`). So rayflow lets the base rebuild instances of
its subclasses. A subclass that defines how it is pickled is pickled by its own definition.
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable, Mapping
from typing import Any

_HOOKS = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__", "__getnewargs_ex__")

_LIBRARIES = frozenset(
    {"builtins", "collections", "dataclasses", "attr", "attrs", "datetime", "decimal", "_decimal", "enum", "fractions"}
    | {"numpy", "pandas", "pathlib", "polars", "typing", "uuid", "abc"}
)
"""Top modules whose own pickling is known, and loses the attributes of subclasses."""


def reduces_itself(of: type, base: type) -> bool:
    """Whether a class, or one of its bases that are subclasses of `base`, defines how its instances are pickled."""
    known = frozenset(base.__mro__)
    for each in of.__mro__:
        if each in known:
            continue
        for name in _HOOKS:
            hook = vars(each).get(name)
            if hook is not None and not _is_known(hook, each):
                return True
    return False


def _is_known(hook: Any, of: type) -> bool:
    module = getattr(hook, "__module__", None) or of.__module__
    return module.partition(".")[0] in _LIBRARIES


_SLOTS: weakref.WeakKeyDictionary[type, dict[type, dict[str, Any]]] = weakref.WeakKeyDictionary()


def slots_of(of: type, base: type) -> Mapping[str, Any]:
    """name -> descriptor, for the slots of a class that its base does not have."""
    by_base = _SLOTS.get(of)
    if by_base is None:
        by_base = _SLOTS[of] = {}
    found = by_base.get(base)
    if found is None:
        found = by_base[base] = _slots_of(of, base)
    return found


def _slots_of(of: type, base: type) -> dict[str, Any]:
    known = frozenset(base.__mro__)
    return {
        name: member
        for each in reversed(of.__mro__)
        if each not in known and "__slots__" in vars(each)
        for name, member in sorted(vars(each).items())
        if isinstance(member, types.MemberDescriptorType)
    }


def attributes_of(value: Any, base: type, *, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The attributes of a value in their order, then its slots that the base does not have.

    without: names of the base's own attributes.
    """
    of = type(value)
    found: dict[str, Any] = {}
    for name, part in getattr(value, "__dict__", {}).items():
        if name not in without:
            found[name] = part
    for name, member in slots_of(of, base).items():
        try:
            found[name] = member.__get__(value)
        except AttributeError:  # a slot that was never set
            continue
    return found


def give(made: Any, attributes: Mapping[str, Any]) -> Any:
    """Set the attributes and slots of a rebuilt value, and return it."""
    slots = slots_of(type(made), object)
    for name, part in attributes.items():
        if name in slots:
            slots[name].__set__(made, part)
        else:
            vars(made)[name] = part
    return made


# --- pickling ---------------------------------------------------------------------------------------------------------


def is_of_library(of: type) -> bool:
    """Whether a class belongs to a library whose own pickling is known, and so is not the user's."""
    return of.__module__.partition(".")[0] in _LIBRARIES


def with_added(reduction: tuple[Any, ...], added: Mapping[str, Any]) -> tuple[Any, ...]:
    """A reduction in the form of `__reduce__`, with attributes to set at the end."""
    if not added:
        return reduction
    make, arguments, state, items, pairs = (*reduction, None, None, None)[:5]
    return make, arguments, (state, dict(added)), items, pairs, _set_state


def _set_state(made: Any, states: tuple[Any, dict[str, Any]]) -> None:
    state, added = states
    if state is not None:
        made.__setstate__(state)
    give(made, added)


def remade(base: type, of: type, arguments: tuple[Any, ...]) -> Any:
    """An instance of a class, created by `__new__` of its base."""
    make: Callable[..., Any] = base.__new__
    return make(of, *arguments)
