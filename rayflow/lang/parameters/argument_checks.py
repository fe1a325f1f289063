"""Whether arguments fit the annotations of their parameters: a quick look, not a proof.

In: a function, and the bound arguments of a call. Out: nothing, or BadArguments that names task, parameter, what was
expected and what was given. Never: raises a false alarm. A value is accepted if it cannot be checked for sure, or
cheaply.

Annotations are compiled once for each task, at its first call, when the names in them are known. Only the first few
items of a container are checked. A lazy argument is accepted at the call, and its value is checked before the body
runs.
"""

from __future__ import annotations

import collections.abc
import inspect
import numbers
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Literal, NamedTuple, TypeAlias, Union

from rayflow.errors import BadArguments
from rayflow.lang.parameters.hints import ANYTHING, is_empty_tuple, members, plain, resolved
from rayflow.lang.terms.expressions import Expression, Form, Operation, Quoted, TaskCall
from rayflow.values.encoding.previews import kind_of, preview
from rayflow.values.native import SCALARS

MOST_ITEMS = 10
"""How many items of a container are checked, on each level."""

MOST_LEVELS = 4
"""How many levels of a hint are checked. A type alias that names itself has endless levels."""

Check: TypeAlias = Callable[[Any], bool]
"""Whether a value fits a hint."""

LAZY = frozenset({TaskCall, Operation, Form, Quoted})

WIDER: dict[type, tuple[type, ...]] = {
    int: (int, numbers.Integral),
    float: (float, int, numbers.Real),
    complex: (complex, float, int, numbers.Number),
    bytes: (bytes, bytearray, memoryview),
}
"""The classes whose instances are accepted for a class. Type checkers accept the same; numpy's numbers fit, too."""

LOOSE = frozenset(
    {
        collections.abc.Sequence, collections.abc.MutableSequence, collections.abc.Collection,
        collections.abc.Iterable, collections.abc.Reversible, collections.abc.Container,
    }
)  # fmt: skip
"""Hints for which arrays, tables and the like are accepted, though they are not registered as such."""


class Parameter(NamedTuple):
    """One parameter that is checked.

    quick: types whose instances all fit. each: whether it takes several values, as *args or **kwargs do.
    """

    name: str
    hint: Any
    quick: frozenset[type]
    check: Check
    each: bool


def checks_of(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """The parameters of a function that can be checked.

    A function under a decorator has none: the decorator may change the arguments before the annotations apply.
    """
    if hasattr(function, "__wrapped__"):
        return ()
    namespace = getattr(function, "__globals__", {})
    found = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.annotation is inspect.Parameter.empty:
            continue
        hint = resolved(parameter.annotation, namespace)
        check = _compiled(hint)
        if check is None:
            continue
        quick = LAZY | {each for each in members(hint) if isinstance(each, type) and typing.get_origin(each) is None}
        quick |= {kind for kind in SCALARS for each in quick & WIDER.keys() if issubclass(kind, WIDER[each])}
        default = parameter.default
        if type(default) is Form and default._name == "get_context":
            default = default._args[1]  # the context may have no value
        if default is not inspect.Parameter.empty and not check(default):
            # The author's default counts as fitting, even if the annotation does not allow it.
            quick |= {type(default)}
        each = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        found.append(Parameter(name, hint, quick, check, each))
    return tuple(found)


def check_arguments(checks: Iterable[Parameter], bound: Mapping[str, Any], task_name: str) -> None:
    """Raise BadArguments when a bound argument does not fit its parameter's annotation."""
    for name, hint, quick, check, each in checks:
        if name not in bound:
            continue
        value = bound[name]
        if not each:
            if type(value) not in quick and not check(value):
                raise BadArguments(_text(task_name, name, value, hint))
        else:
            values = value.items() if isinstance(value, dict) else ((f"*{name}", item) for item in value)
            for part, item in islice(values, MOST_ITEMS):
                if type(item) not in quick and not check(item):
                    raise BadArguments(_text(task_name, part, item, hint))


def fit_by_type(checks: Iterable[Parameter], bound: Mapping[str, Any]) -> bool:
    """Whether all arguments of these types fit, whatever their values."""
    for name, _, quick, _, each in checks:
        if name not in bound:
            continue
        value = bound[name]
        values = (value,) if not each else value.values() if isinstance(value, dict) else value
        if not quick.issuperset(map(type, values)):
            return False
    return True


def _text(task_name: str, parameter: str, value: Any, hint: Any) -> str:
    given = f"not {preview(value, 80)} of type {kind_of(value)}"
    part, culprit = _culprit(value, hint)
    inside = f": its {part} is {preview(culprit, 80)} of type {kind_of(culprit)}" if part else ""
    return (
        f"{task_name}() takes {inspect.formatannotation(hint)} for {parameter!r}, {given}{inside}. "
        "(@task(check_types=False) leaves the annotations of a task unchecked.)"
    )


def _culprit(value: Any, hint: Any) -> tuple[str, Any]:
    """The item of a container that does not fit, and its place; without a place if it is the value itself."""
    hint = plain(hint)
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if not isinstance(origin, type) or not isinstance(value, origin) or not inside:
        return "", value
    if isinstance(value, dict) and len(inside) == 2:
        for key, item in islice(value.items(), MOST_ITEMS):
            if not _fits(key, inside[0]):
                return "key", key
            if not _fits(item, inside[1]):
                return f"value at {preview(key, 40)}", item
    elif isinstance(value, list | tuple | set | frozenset):
        hints = inside if origin is tuple and inside[-1] is not ... else (inside[0],) * MOST_ITEMS
        for index, (item, wanted) in enumerate(zip(value, hints, strict=False)):
            if not _fits(item, wanted):
                return f"item {index}" if isinstance(value, list | tuple) else "item", item
    return "", value


def _fits(value: Any, hint: Any) -> bool:
    check = _compiled(hint)
    return check is None or check(value)


# --- hints to checks --------------------------------------------------------------------------------------------------


def _compiled(hint: Any, levels: int = MOST_LEVELS) -> Check | None:
    """The check of a hint; None when every value passes, or when it cannot be decided."""
    hint = plain(hint)
    if hint is ANYTHING or levels == 0:
        return None
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return _any_of([_compiled(each, levels - 1) for each in inside])
    if origin is Literal:
        return _among(inside)
    of = origin or hint
    if of is type or of is collections.abc.Callable:
        return _callable
    if not isinstance(of, type) or of.__module__ == "typing" or getattr(of, "_is_protocol", False):
        return _instance_of(of) if getattr(of, "_is_runtime_protocol", False) else None
    if hasattr(of, "__get_pydantic_core_schema__") and not hasattr(of, "model_validate"):
        return None  # such as EmailStr: a name for a check, whose values are of another class
    if typing.is_typeddict(of):
        return _instance_of(collections.abc.Mapping)
    outer = _instance_of(of)
    if is_empty_tuple(hint):
        return _tuple_of(outer, (), levels - 1)
    if not inside or of.__module__ not in ("builtins", "collections", "collections.abc"):
        return outer
    if of is tuple and not (len(inside) == 2 and inside[1] is ...):
        return _tuple_of(outer, inside, levels - 1)
    if len(inside) == 2 and issubclass(of, collections.abc.Mapping):
        return _pairs_of(outer, _compiled(inside[0], levels - 1), _compiled(inside[1], levels - 1))
    if issubclass(of, collections.abc.Iterable):
        return _items_of(outer, _compiled(inside[0], levels - 1))
    return outer


def _callable(value: Any) -> bool:
    return callable(value) or isinstance(value, Expression)


def _instance_of(of: type) -> Check:
    accepted = (*WIDER.get(of, (of,)), Expression)
    if issubclass(of, BaseException):
        # An error that cannot be rebuilt arrives as an error of another class.
        accepted = (*accepted, BaseException)

    def check(value: Any) -> bool:
        try:
            return isinstance(value, accepted) or _is_as_good(value, of)
        except Exception:  # a metaclass of the user's own, or a protocol that asks a property
            return True

    return check


def _is_as_good(value: Any, of: type) -> bool:
    """Whether a value that is not an instance of a class can be used in its place."""
    given = type(value)
    if of in WIDER and of is not bytes:
        return getattr(value, "shape", None) == ()
    if of is bool:
        return given.__name__ in ("bool", "bool_") and given.__module__ == "numpy"
    if of in LOOSE:
        return hasattr(value, "__getitem__") and not isinstance(value, collections.abc.Mapping)
    if of.__module__ == "builtins":
        return False
    # The same class in another life: reloaded, or sent by value to this process.
    return any(each.__qualname__ == of.__qualname__ for each in given.__mro__)


def _any_of(checks: list[Check | None]) -> Check | None:
    known = tuple(check for check in checks if check is not None)
    if len(known) < len(checks):
        return None

    def check(value: Any) -> bool:
        return any(each(value) for each in known)

    return check


def _among(choices: tuple[Any, ...]) -> Check:
    def check(value: Any) -> bool:
        if isinstance(value, Expression):
            return True
        try:
            return value in choices
        except Exception:  # an array has no truth value, so it cannot be checked
            return True

    return check


def _tuple_of(outer: Check, inside: tuple[Any, ...], levels: int) -> Check:
    if any(_is_unpacked(each) for each in inside):
        return outer
    checks = [_compiled(each, levels) for each in inside]
    first = checks[:MOST_ITEMS]

    def check(value: Any) -> bool:
        if not isinstance(value, tuple):
            return outer(value)
        return len(value) == len(checks) and all(
            each is None or each(item) for each, item in zip(first, value, strict=False)
        )

    return check


def _is_unpacked(hint: Any) -> bool:
    is_marked = getattr(hint, "__unpacked__", False) is True or typing.get_origin(hint) is typing.Unpack
    return is_marked or isinstance(hint, typing.TypeVarTuple)


def _items_of(outer: Check, item: Check | None) -> Check:
    """A check of a container's items. It looks only into containers that iteration does not change."""
    if item is None:
        return outer

    def check(value: Any) -> bool:
        if not isinstance(value, list | tuple | set | frozenset):
            return outer(value)
        return outer(value) and all(map(item, islice(value, MOST_ITEMS)))

    return check


def _pairs_of(outer: Check, key: Check | None, item: Check | None) -> Check:
    if key is None and item is None:
        return outer

    def check(value: Any) -> bool:
        if not isinstance(value, dict):
            return outer(value)
        return outer(value) and all(
            (key is None or key(name)) and (item is None or item(each))
            for name, each in islice(value.items(), MOST_ITEMS)
        )

    return check
