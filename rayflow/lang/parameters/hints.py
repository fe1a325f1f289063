"""Type hints taken apart, for the code that reads and checks arguments by them.

In: parameters and hints as a user wrote them. Out: hints without Annotated and the like, the alternatives of a Union,
the fields of a class, and a hint as text for people. Never: reads a value.
"""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import datetime
import enum
import inspect
import pathlib
import types
import typing
from typing import Annotated, Any, Literal, Union

from rayflow.values.encoding.whole_numbers import text_of

ANYTHING = Any
"""The hint of a parameter without one: a Python literal where the text is one, else the text itself."""

NONE = type(None)

LISTS: dict[Any, type] = {
    list: list,
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Collection: list,
    collections.abc.Iterable: list,
    collections.deque: collections.deque,
    set: set,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
    frozenset: frozenset,
}
"""Hints whose items are all of one type -> the class that is made."""

DICTS = frozenset(
    {dict, collections.abc.Mapping, collections.abc.MutableMapping, collections.OrderedDict, collections.defaultdict}
)


def hint_of(parameter: inspect.Parameter, namespace: dict[str, Any]) -> Any:
    """The type hint of a parameter; without one, the type of its default where that says something; else ANYTHING.

    namespace: the globals of its function, for hints that are written as text. A hint that cannot be resolved counts as
    none.
    """
    hint = parameter.annotation
    if hint is not inspect.Parameter.empty:
        return resolved(hint, namespace)
    default = parameter.default
    if isinstance(default, bool):
        return bool
    if isinstance(default, int | float) and not isinstance(default, enum.Enum):
        return int | float
    for known in (str, enum.Enum, datetime.datetime, datetime.date, datetime.timedelta, pathlib.PurePath):
        if isinstance(default, known):
            return type(default)
    return type(default) if type(default) in (list, dict, tuple, set, frozenset) else ANYTHING


def resolved(hint: Any, namespace: dict[str, Any]) -> Any:
    """The hint with the names in its text looked up, where it or a part of it is written as text."""
    try:
        holder = types.SimpleNamespace(__annotations__={"hint": hint})
        return typing.get_type_hints(holder, globalns=namespace, include_extras=True)["hint"]
    except Exception:  # a hint may be any expression, with names that only a type checker knows
        return ANYTHING if isinstance(hint, str) else hint


def plain(hint: Any) -> Any:
    """The hint without Annotated, Final, NewType, type aliases and type variables around it."""
    while True:
        if typing.get_origin(hint) is Annotated:
            hint = hint.__origin__
        elif typing.get_origin(hint) in (typing.Final, typing.ClassVar):
            (hint,) = typing.get_args(hint)
        elif hint is typing.LiteralString:
            return str
        elif hint is typing.Self or hint is typing.Final or hint is typing.ClassVar:
            return ANYTHING
        elif isinstance(hint, typing.NewType):
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        elif isinstance(hint, typing.TypeVar):
            hint = hint.__bound__ or ANYTHING
        elif hint is object or hint is inspect.Parameter.empty or isinstance(hint, str | typing.ForwardRef):
            return ANYTHING
        elif hint is None:
            return NONE
        else:
            return hint


def members(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a Union, None among them as its type; of any other hint, itself."""
    hint = plain(hint)
    if typing.get_origin(hint) in (Union, types.UnionType):
        return tuple(part for each in typing.get_args(hint) for part in members(each))
    return (hint,)


def is_flag(hint: Any) -> bool:
    """Whether a bool is wanted, so that the name alone means True."""
    return set(members(hint)) in ({bool}, {bool, NONE})


def takes_many(hint: Any) -> bool:
    """Whether several texts may be given for one value: a list, a tuple, a set, a dict."""
    return any(is_many(each) for each in members(hint))


def is_many(hint: Any) -> bool:
    """Whether a hint itself, not a Union with it, is one of several items."""
    origin = typing.get_origin(hint) or hint
    return origin in LISTS or origin in DICTS or origin is tuple


def is_empty_tuple(hint: Any) -> bool:
    """Whether a hint is `tuple[()]`, the empty tuple. (`typing` shows no arguments for it, as for a plain `tuple`.)"""
    return typing.get_origin(hint) is tuple and typing.get_args(hint) in ((), ((),)) and hint is not typing.Tuple  # noqa: UP006


def unpacked(hint: Any) -> tuple[Any, ...] | None:
    """The arguments of a `*tuple[...]` inside the arguments of a tuple; None for any other hint."""
    inner = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Unpack else hint
    if isinstance(inner, typing.TypeVarTuple):
        return ANYTHING, ...
    is_marked = inner is not hint or getattr(hint, "__unpacked__", False) is True
    return typing.get_args(inner) if is_marked and typing.get_origin(inner) is tuple else None


def describe(hint: Any) -> str:
    """The hint for people: "int", "list[str]", "one of: fast, slow", "int or None"."""
    hint = plain(hint)
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if hint is ANYTHING:
        return "any"
    if hint is NONE:
        return "None"
    if is_empty_tuple(hint):
        return "tuple[()]"
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe(each) for each in members(hint)))
    if origin is Literal:
        return "one of: " + ", ".join(text_of(choice) for choice in inside)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return "one of: " + ", ".join(hint.__members__)
    if (origin or hint) in (collections.abc.Callable, type):
        return "name of a function" if (origin or hint) is collections.abc.Callable else "name of a class"
    if origin is not None:
        name = getattr(origin, "__name__", str(origin))
        parts = [_describe_part(each) for each in inside if not isinstance(each, list)]
        return f"{name}[{', '.join(parts)}]" if parts else name
    fields = fields_of(hint)
    if fields is not None and isinstance(hint, type):
        return f"{hint.__name__} as JSON"
    return getattr(hint, "__name__", None) or str(hint)


def _describe_part(hint: Any) -> str:
    return "..." if hint is ... else f"{'*' if unpacked(hint) is not None else ''}{describe(hint)}"


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """A field of a dataclass, an attrs class, a NamedTuple or a TypedDict."""

    hint: Any
    required: bool


def fields_of(of: Any) -> dict[str, Field] | None:
    """The fields that its constructor takes; None for a class that has no such thing."""
    if not isinstance(of, type):
        of = typing.get_origin(of)
        if not isinstance(of, type):
            return None
    if dataclasses.is_dataclass(of) or hasattr(of, "__attrs_attrs__"):
        given = inspect.signature(of).parameters.values()
        return _hinted(of, {each.name: each.default is inspect.Parameter.empty for each in given})
    if typing.is_typeddict(of):
        required: frozenset[str] = getattr(of, "__required_keys__", frozenset())
        return _hinted(of, {name: name in required for name in of.__annotations__})
    if issubclass(of, tuple) and hasattr(of, "_fields"):
        defaults = getattr(of, "_field_defaults", {})
        return _hinted(of, {name: name not in defaults for name in of._fields})
    if hasattr(of, "model_validate") and hasattr(of, "model_fields"):
        return {name: Field(ANYTHING, field.is_required()) for name, field in of.model_fields.items()}
    return None


def _hinted(of: Any, required: dict[str, bool]) -> dict[str, Field]:
    try:
        hints = typing.get_type_hints(of, include_extras=True)
    except Exception:  # only a type checker knows a name in the hint: its field takes anything
        hints = {}
    return {name: Field(_field_hint(hints.get(name, ANYTHING)), needed) for name, needed in required.items()}


def _field_hint(hint: Any) -> Any:
    """Without what a TypedDict or a dataclass writes around the type itself."""
    wrapped = (typing.Required, typing.NotRequired, typing.ClassVar, typing.Final)
    return typing.get_args(hint)[0] if typing.get_origin(hint) in wrapped else hint
