"""Handlers for the types that come with Python, and for dataclasses, namedtuples and attrs classes.

In: values of those types. Out: their structure, or their parts and the same value built again. Never: imports a library
that the value does not come from.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import pathlib
import types
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rayflow.values import exceptions, functions
from rayflow.values.handlers import class_path, load_class, register, register_predicate

# --- leaves -----------------------------------------------------------------------------------------------------------


class Leaf:
    """A leaf handler made of one function."""

    def __init__(self, kind: str, structure: Callable[[Any], tuple[Any, ...]]) -> None:
        self.kind = kind
        self._structure = structure

    def structure(self, value: Any) -> tuple[Any, ...]:
        """What makes the value equal to another."""
        return self._structure(value)


def _timezone(zone: datetime.tzinfo | None) -> tuple[Any, ...]:
    if zone is None:
        return ()
    key = getattr(zone, "key", None)
    if isinstance(key, str):
        return ("zone", key)
    if isinstance(zone, datetime.timezone):
        return ("offset", _microseconds(zone.utcoffset(None)), zone.tzname(None))
    return ("object", zone)


def _microseconds(span: datetime.timedelta) -> int:
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds


def _of_datetime(value: datetime.datetime) -> tuple[Any, ...]:
    return (class_path(type(value)), value.replace(tzinfo=None).isoformat(), value.fold, _timezone(value.tzinfo))


def _of_time(value: datetime.time) -> tuple[Any, ...]:
    return (class_path(type(value)), value.replace(tzinfo=None).isoformat(), value.fold, _timezone(value.tzinfo))


def _of_fraction(value: fractions.Fraction) -> tuple[Any, ...]:
    return (class_path(type(value)), value.numerator, value.denominator)


def _of_path(value: pathlib.PurePath) -> tuple[Any, ...]:
    of = type(value)
    if isinstance(value, pathlib.Path) and of.__module__.partition(".")[0] == "pathlib":
        of = pathlib.Path
    return (of.__qualname__ if of.__module__.partition(".")[0] == "pathlib" else class_path(of), str(value))


def _of_exception(value: BaseException) -> tuple[Any, ...]:
    return (class_path(type(value)), value.args, exceptions.attributes_of(value))


def _of_enum(value: enum.Enum) -> tuple[Any, ...]:
    name = value._name_
    if name is not None and type(value).__members__.get(name) is value:
        return (class_path(type(value)), "name", name)
    return (class_path(type(value)), "value", value._value_)  # a combination of flags has no member of its own


_SCALAR_BASES: tuple[Any, ...] = (bool, int, float, complex, str, bytes, bytearray)


def _of_scalar_subclass(value: Any) -> tuple[Any, ...]:
    base = next(each for each in _SCALAR_BASES if isinstance(value, each))
    plain = memoryview(value) if base is bytearray else base.__new__(base, value)
    return (class_path(type(value)), plain, dict(getattr(value, "__dict__", {})))


def _is_namedtuple(of: type) -> bool:
    return issubclass(of, tuple) and isinstance(getattr(of, "_fields", None), tuple)


# --- containers -------------------------------------------------------------------------------------------------------


def _attributes(value: Any) -> dict[str, Any]:
    """What an instance of a container's subclass carries besides its elements."""
    kept = dict(getattr(value, "__dict__", ()))
    for base in type(value).__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                kept[name] = getattr(value, name)
    return kept


def _restore(value: Any, attributes: dict[str, Any]) -> None:
    for name, part in attributes.items():
        object.__setattr__(value, name, part)


class OrderedDictHandler:
    """OrderedDict: the order of the keys counts, as it does for `==` between two of them."""

    kind = "OrderedDict"

    def take_apart(self, value: Any) -> tuple[tuple[Any, ...], Sequence[Any]]:
        """Class path; keys and values in turn, then the other attributes."""
        parts = [side for item in value.items() for side in item]
        parts.append(_attributes(value))
        return (class_path(type(value)),), parts

    def build(self, header: tuple[Any, ...], parts: Sequence[Any]) -> Any:
        """The same mapping."""
        of: Any = load_class(header[0])
        made = of.__new__(of)
        each = iter(parts[:-1])
        for key, part in zip(each, each, strict=True):
            collections.OrderedDict.__setitem__(made, key, part)
        _restore(made, parts[-1])
        return made


class DefaultDictHandler:
    """defaultdict: its factory and its content."""

    kind = "defaultdict"

    def take_apart(self, value: Any) -> tuple[tuple[Any, ...], Sequence[Any]]:
        """Class path; factory, content, the other attributes."""
        return (class_path(type(value)),), [value.default_factory, dict(value), _attributes(value)]

    def build(self, header: tuple[Any, ...], parts: Sequence[Any]) -> Any:
        """The same mapping."""
        of: Any = load_class(header[0])
        made = of.__new__(of)
        collections.defaultdict.__init__(made, parts[0], parts[1])
        _restore(made, parts[2])
        return made


class DictSubclassHandler:
    """Counter and other subclasses of dict."""

    kind = "dict_subclass"

    def take_apart(self, value: Any) -> tuple[tuple[Any, ...], Sequence[Any]]:
        """Class path; content, the other attributes."""
        return (class_path(type(value)),), [dict(dict.items(value)), _attributes(value)]

    def build(self, header: tuple[Any, ...], parts: Sequence[Any]) -> Any:
        """The same mapping; the class's own `__init__` and `__setitem__` are not called."""
        of: Any = load_class(header[0])
        made = of.__new__(of)
        dict.update(made, parts[0])
        _restore(made, parts[1])
        return made


class SequenceSubclassHandler:
    """Subclasses of list, tuple, set and frozenset that nothing more special handles."""

    def __init__(self, base: type) -> None:
        self.base = base
        self.kind = f"{base.__name__}_subclass"

    def take_apart(self, value: Any) -> tuple[tuple[Any, ...], Sequence[Any]]:
        """Class path; the elements as a plain container, the other attributes."""
        plain: Any = self.base
        return (class_path(type(value)),), [plain(plain.__iter__(value)), _attributes(value)]

    def build(self, header: tuple[Any, ...], parts: Sequence[Any]) -> Any:
        """The same collection; the class's own `__init__` is not called."""
        of: Any = load_class(header[0])
        base: Any = self.base
        if base is tuple or base is frozenset:
            made = base.__new__(of, parts[0])
        else:
            made = base.__new__(of)
            base.__init__(made, parts[0])
        _restore(made, parts[1])
        return made


class DequeHandler:
    """deque: its elements in order, and its bound."""

    kind = "deque"

    def take_apart(self, value: Any) -> tuple[tuple[Any, ...], Sequence[Any]]:
        """Class path and bound; the elements."""
        return (class_path(type(value)), value.maxlen), list(value)

    def build(self, header: tuple[Any, ...], parts: Sequence[Any]) -> Any:
        """The same queue."""
        of: Any = load_class(header[0])
        made = of.__new__(of)
        collections.deque.__init__(made, parts, header[1])
        return made


class NamedTupleHandler:
    """namedtuple and typing.NamedTuple."""

    kind = "namedtuple"

    def take_apart(self, value: Any) -> tuple[tuple[Any, ...], Sequence[Any]]:
        """Class path and field names; the fields."""
        of = type(value)
        return (class_path(of), *of._fields), tuple(value)

    def build(self, header: tuple[Any, ...], parts: Sequence[Any]) -> Any:
        """The same tuple; an overridden `__new__` is not called."""
        return tuple.__new__(load_class(header[0]), parts)


class FieldsHandler:
    """Instances whose fields are known by name: dataclasses and attrs classes.

    What else stands in the instance's `__dict__` is kept, too, but not what `functools.cached_property` left there.
    """

    def __init__(self, kind: str, names: Callable[[type], Iterable[str]]) -> None:
        self.kind = kind
        self._names = names
        self._fields: dict[type, tuple[str, ...]] = {}

    def take_apart(self, value: Any) -> tuple[tuple[Any, ...], Sequence[Any]]:
        """Class path and names of the fields that are set; their values."""
        of = type(value)
        fields = self._fields.get(of)
        if fields is None:
            fields = self._fields[of] = tuple(self._names(of))
        names: list[str] = []
        parts: list[Any] = []
        own = getattr(value, "__dict__", {})
        for name in fields:
            try:
                part = own[name] if name in own else getattr(value, name)
            except AttributeError:
                continue  # a field without a value yet (init=False, or an unset slot)
            names.append(name)
            parts.append(part)
        if len(own) > len(names) or not own.keys() <= set(names):
            for name in sorted(own.keys() - set(names)):
                if not isinstance(getattr(of, name, None), functools.cached_property):
                    names.append(name)
                    parts.append(own[name])
        return (class_path(of), *names), parts

    def build(self, header: tuple[Any, ...], parts: Sequence[Any]) -> Any:
        """The same instance; neither its constructor nor `__post_init__` is called."""
        of: Any = load_class(header[0])
        try:
            made = object.__new__(of)
        except TypeError:  # a base in C that has to make its own instances
            made = of.__new__(of)
        for name, part in zip(header[1:], parts, strict=True):
            object.__setattr__(made, name, part)
        return made


def _dataclass_names(of: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(of)]


def _is_dataclass(of: type) -> bool:
    return "__dataclass_fields__" in dir(of) and not _pickles_itself(of)


def _pickles_itself(of: type) -> bool:
    """Whether the author says how instances are reduced: then they are not ours to take apart."""
    for name in ("__reduce__", "__reduce_ex__"):
        if getattr(of, name, None) is not getattr(object, name):
            return True
    state = getattr(of, "__getstate__", None)
    return state is not getattr(object, "__getstate__", None) and getattr(state, "__module__", "") != "dataclasses"


def _attrs_names(of: Any) -> list[str]:
    return [field.name for field in of.__attrs_attrs__]


def register_all() -> None:
    """Make the handlers of this module known."""
    register(bytearray, Leaf("bytearray", lambda value: (memoryview(value),)))
    register(memoryview, Leaf("memoryview", lambda value: (value.format, value.shape, value.tobytes())))
    register(type(Ellipsis), Leaf("Ellipsis", lambda value: ()))
    register(type(NotImplemented), Leaf("NotImplemented", lambda value: ()))
    register(range, Leaf("range", lambda value: (value.start, value.stop, value.step)))
    register(slice, Leaf("slice", lambda value: (value.start, value.stop, value.step)))
    register(datetime.datetime, Leaf("datetime", _of_datetime))
    register(datetime.time, Leaf("time", _of_time))
    register(datetime.date, Leaf("date", lambda value: (class_path(type(value)), value.isoformat())))
    register(datetime.timedelta, Leaf("timedelta", lambda value: (class_path(type(value)), _microseconds(value))))
    register(datetime.timezone, Leaf("timezone", _timezone))
    register(decimal.Decimal, Leaf("Decimal", lambda value: (class_path(type(value)), *value.as_tuple())))
    register(fractions.Fraction, Leaf("Fraction", _of_fraction))
    register(uuid.UUID, Leaf("UUID", lambda value: (class_path(type(value)), value.bytes)))
    register(pathlib.PurePath, Leaf("path", _of_path))
    register(enum.Enum, Leaf("enum", _of_enum))
    register(BaseException, Leaf("exception", _of_exception))
    register(types.SimpleNamespace, FieldsHandler("namespace", lambda of: ()))
    register(types.MappingProxyType, Leaf("mappingproxy", lambda value: (dict(value),)))
    register(collections.OrderedDict, OrderedDictHandler())
    register(collections.defaultdict, DefaultDictHandler())
    register(collections.deque, DequeHandler())
    register(dict, DictSubclassHandler())
    namedtuple_handler = NamedTupleHandler()
    register_predicate(_is_namedtuple, namedtuple_handler)
    for base in (list, tuple, set, frozenset):
        register_predicate(_subclass_test(base), SequenceSubclassHandler(base))
    register_predicate(_is_dataclass, FieldsHandler("dataclass", _dataclass_names))
    register_predicate(lambda of: hasattr(of, "__attrs_attrs__"), FieldsHandler("attrs", _attrs_names))
    register_predicate(lambda of: issubclass(of, _SCALAR_BASES), Leaf("scalar_subclass", _of_scalar_subclass))
    functions.register_all()


def _subclass_test(base: type) -> Callable[[type], bool]:
    return lambda of: issubclass(of, base)
