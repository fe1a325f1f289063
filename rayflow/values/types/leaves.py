"""Handlers for Python's leaf values: dates, numbers, texts, paths, members of enums, exceptions.

In: values of these types and their subclasses. Out: their content for the hash; how to pickle a value of a subclass.
Never: calls the constructor of a user's class.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import pathlib
import sys
import types
import uuid
from collections.abc import Callable
from typing import Any

from rayflow.values.objects import exceptions
from rayflow.values.objects.handlers import class_path, register
from rayflow.values.objects.subclasses import attributes_of, is_of_library, remade, with_added


class Leaf:
    """A leaf handler that is made from one function."""

    def __init__(self, kind: str, structure: Callable[[Any], tuple[Any, ...]]) -> None:
        self.kind = kind
        self._structure = structure

    def structure(self, value: Any) -> tuple[Any, ...]:
        """The content that equal values have in common."""
        return self._structure(value)


class BaseLeaf(Leaf):
    """A leaf handler for a type and its subclasses.

    base: the type. make: a function that rebuilds a value from the base, the value's class and some arguments. By
    default it calls `__new__` of the base. arguments: a function that gives these arguments for a value.
    """

    yields_to_pickle = True

    def __init__(
        self,
        kind: str,
        base: Any,
        structure: Callable[[Any], tuple[Any, ...]],
        arguments: Callable[[Any], tuple[Any, ...]],
        make: Callable[[Any, Any, tuple[Any, ...]], Any] = remade,
    ) -> None:
        super().__init__(kind, structure)
        self.base = base
        self._arguments = arguments
        self._make = make

    def structure(self, value: Any) -> tuple[Any, ...]:
        """The content that equal values have in common, and the attributes of a subclass."""
        found = self._structure(value)
        added = {} if type(value) is self.base else attributes_of(value, self.base)
        return (*found, added) if added else found

    def reduce(self, value: Any) -> tuple[Any, ...] | None:
        """How to pickle an instance of a subclass."""
        of = type(value)
        if is_of_library(of):
            return None
        return with_added((self._make, (self.base, of, self._arguments(value))), attributes_of(value, self.base))


def zone_of(zone: datetime.tzinfo | None) -> tuple[Any, ...]:
    """The content that equal time zones have in common."""
    if zone is None:
        return ()
    zoneinfo = sys.modules.get("zoneinfo")
    key = zone.key if zoneinfo is not None and type(zone) is zoneinfo.ZoneInfo else None  # type: ignore[attr-defined]
    if key is not None:
        return ("zone", key)
    if isinstance(zone, datetime.timezone):
        return ("offset", _microseconds(zone.utcoffset(None)), zone.tzname(None))
    return ("object", zone)


def _microseconds(span: datetime.timedelta) -> int:
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds


def _of_datetime(value: datetime.datetime) -> tuple[Any, ...]:
    return (class_path(type(value)), value.replace(tzinfo=None).isoformat(), value.fold, zone_of(value.tzinfo))


def _of_time(value: datetime.time) -> tuple[Any, ...]:
    return (class_path(type(value)), value.replace(tzinfo=None).isoformat(), value.fold, zone_of(value.tzinfo))


def _of_fraction(value: fractions.Fraction) -> tuple[Any, ...]:
    return (class_path(type(value)), value.numerator, value.denominator)


def _of_path(value: pathlib.PurePath) -> tuple[Any, ...]:
    of = type(value)
    if isinstance(value, pathlib.Path) and of.__module__.partition(".")[0] == "pathlib":
        of = pathlib.Path
    return (of.__qualname__ if of.__module__.partition(".")[0] == "pathlib" else class_path(of), str(value))


def _of_exception(value: BaseException) -> tuple[Any, ...]:
    return (class_path(type(value)), value.args, exceptions.attributes_of(value))


def _made_path(base: Any, of: type, arguments: tuple[Any, ...]) -> Any:
    nearest: Any = next(each for each in of.__mro__ if is_of_library(each))
    made = nearest.__new__(of, *arguments)
    if nearest.__init__ is not object.__init__:  # from Python 3.12 on
        nearest.__init__(made, *arguments)
    return made


def _made_uuid(base: Any, of: Any, arguments: tuple[Any, ...]) -> Any:
    made = object.__new__(of)
    base.__init__(made, int=arguments[0], is_safe=arguments[1])
    return made


def _made_bytearray(base: Any, of: type, arguments: tuple[Any, ...]) -> Any:
    made = base.__new__(of)
    base.__init__(made, *arguments)
    return made


_ENUMS_OWN = frozenset({"_value_", "_name_", "__objclass__", "_sort_order_"})


class EnumHandler:
    """Members of enums. They are hashed and pickled by name (Python pickles them by value)."""

    kind = "enum"
    base = enum.Enum
    yields_to_pickle = False

    def structure(self, value: enum.Enum) -> tuple[Any, ...]:
        """Class and name, and those of the member's attributes that are plain data.

        Plain data may come from outside the code. Other attributes are made by the code of the class, which has a
        witness.
        """
        of = type(value)
        if not _is_named(value):
            return (class_path(of), "value", value._value_)
        held = {"value": value._value_, **attributes_of(value, enum.Enum, without=_ENUMS_OWN)}
        return (class_path(of), "name", value._name_, {name: part for name, part in held.items() if _is_settled(part)})

    def reduce(self, value: enum.Enum) -> tuple[Any, ...] | None:
        """How to pickle a member: by name."""
        return (getattr, (type(value), value._name_)) if _is_named(value) else None


def _is_named(value: enum.Enum) -> bool:
    """Whether a member has a name, and is not a combination of flags."""
    return value._name_ is not None and type(value).__members__.get(value._name_) is value


_SETTLED = (
    type(None), bool, int, float, complex, str, bytes, datetime.date, datetime.time, datetime.timedelta,
    decimal.Decimal, fractions.Fraction, uuid.UUID, pathlib.PurePath,
)  # fmt: skip
"""Types of values without parts."""


def _is_settled(value: Any) -> bool:
    """Whether a value is plain data, or a built-in container of plain data."""
    waiting = [value]
    seen: set[int] = set()
    for each in waiting:
        if type(each) in (list, tuple, set, frozenset, dict):
            if id(each) in seen:
                return False
            seen.add(id(each))
            waiting.extend((*each.keys(), *each.values()) if type(each) is dict else each)
        elif not isinstance(each, _SETTLED) or isinstance(each, enum.Enum):
            return False
    return True


_PLAIN: dict[Any, Callable[[Any], Any]] = {
    int: int.__index__,
    float: float.__float__,
    complex: complex.__pos__,
    str: str.__str__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
}
"""By scalar type, the function that gives the plain value of a subclass's instance, without the subclass's methods."""


def _scalar_leaf(base: type, plain: Callable[[Any], Any]) -> BaseLeaf:
    return BaseLeaf(
        "scalar_subclass", base, lambda value: (class_path(type(value)), plain(value)), lambda value: (plain(value),)
    )


def _of_bytearray(value: bytearray) -> tuple[Any, ...]:
    return (memoryview(value),) if type(value) is bytearray else (class_path(type(value)), memoryview(value))


def _of_memoryview(value: memoryview) -> tuple[Any, ...]:
    return (value.format, value.shape, memoryview(value.tobytes()) if value.nbytes else b"")


def _pickled_with(reduction: Any) -> tuple[Any, ...]:
    """The arguments in a reduction."""
    arguments: tuple[Any, ...] = reduction[1]
    return arguments


_BASE_LEAVES = (
    BaseLeaf("bytearray", bytearray, _of_bytearray, lambda value: (bytes(memoryview(value)),), _made_bytearray),
    BaseLeaf(
        "datetime",
        datetime.datetime,
        _of_datetime,
        lambda value: _pickled_with(datetime.datetime.__reduce_ex__(value, 4)),
    ),
    BaseLeaf("time", datetime.time, _of_time, lambda value: _pickled_with(datetime.time.__reduce_ex__(value, 4))),
    BaseLeaf(
        "date",
        datetime.date,
        lambda value: (class_path(type(value)), datetime.date.isoformat(value)),
        lambda value: _pickled_with(datetime.date.__reduce__(value)),
    ),
    BaseLeaf(
        "timedelta",
        datetime.timedelta,
        lambda value: (class_path(type(value)), _microseconds(value)),
        lambda value: (value.days, value.seconds, value.microseconds),
    ),
    BaseLeaf(
        "Decimal",
        decimal.Decimal,
        lambda value: (class_path(type(value)), *value.as_tuple()),
        lambda value: (decimal.Decimal.__str__(value),),
    ),
    BaseLeaf(
        "Fraction", fractions.Fraction, _of_fraction, lambda value: (int(value.numerator), int(value.denominator))
    ),
    BaseLeaf(
        "UUID",
        uuid.UUID,
        lambda value: (class_path(type(value)), value.bytes),
        lambda value: (value.int, value.is_safe),
        _made_uuid,
    ),
    BaseLeaf("path", pathlib.PurePath, _of_path, lambda value: (str(value),), _made_path),
)

SCALARS = tuple(_scalar_leaf(base, plain) for base, plain in _PLAIN.items())
"""The handlers of subclasses of native scalars."""


def register_all() -> None:
    """Register the handlers of this module, except SCALARS."""
    register(memoryview, Leaf("memoryview", _of_memoryview))
    register(type(Ellipsis), Leaf("Ellipsis", lambda value: ()))
    register(type(NotImplemented), Leaf("NotImplemented", lambda value: ()))
    register(range, Leaf("range", lambda value: (value.start, value.stop, value.step)))
    register(slice, Leaf("slice", lambda value: (value.start, value.stop, value.step)))
    register(datetime.timezone, Leaf("timezone", zone_of))
    for leaf in _BASE_LEAVES:
        register(leaf.base, leaf)
    register(enum.Enum, EnumHandler())
    register(BaseException, Leaf("exception", _of_exception))
    register(types.MappingProxyType, Leaf("mappingproxy", lambda value: (dict(value),)))
