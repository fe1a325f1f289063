"""Handlers for Python's containers and their subclasses, and for dataclasses, namedtuples and attrs classes.

In: values of these types. Out: their parts, and the same values built again. Never: imports a library.
"""

from __future__ import annotations

import collections
import dataclasses
import types
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rayflow.values.objects.handlers import class_path, container_handler, load_class, register, register_predicate
from rayflow.values.objects.subclasses import attributes_of, give, is_of_library, slots_of
from rayflow.values.types import functions, leaves


class _BuiltinHandler:
    """A handler of a type of containers and its subclasses.

    base: the type. Instances of a subclass that defines how it is pickled are taken apart, too, because they may hold
    lazy values.
    """

    kind: str
    base: Any
    yields_to_pickle = False

    def take_apart(self, value: Any) -> tuple[tuple[Any, ...], Sequence[Any]]:
        """Header and parts."""
        raise NotImplementedError

    def reduce(self, value: Any) -> tuple[Any, ...] | None:
        """How to pickle an instance of a subclass, whose own pickle would call a constructor or lose attributes."""
        of = type(value)
        if is_of_library(of) and not self._added(value):
            return None
        header, parts = self.take_apart(value)
        return _built, (of, self.kind, header[1:], tuple(parts))

    def _added(self, value: Any) -> dict[str, Any]:
        return attributes_of(value, self.base)


def _built(of: type, kind: str, header: tuple[Any, ...], parts: tuple[Any, ...]) -> Any:
    return container_handler(kind).build((class_path(of), *header), parts)


class _FilledHandler(_BuiltinHandler):
    """A handler of containers that are created empty and then filled, because their parts may hold them again."""

    def fill(self, made: Any, header: tuple[Any, ...], parts: Sequence[Any]) -> None:
        """Fill an empty container. header: without the class path."""
        raise NotImplementedError

    def build(self, header: tuple[Any, ...], parts: Sequence[Any]) -> Any:
        """The same container. The constructor and the methods of a subclass are not called."""
        made = _empty(load_class(header[0]))
        self.fill(made, header[1:], parts)
        return made

    def reduce(self, value: Any) -> tuple[Any, ...] | None:
        """As the base class, but in two steps: create and fill."""
        reduction = super().reduce(value)
        if reduction is None:
            return None
        _, (of, kind, header, parts) = reduction
        return _empty, (of,), (kind, header, parts), None, None, _fill


def _empty(of: Any) -> Any:
    return of.__new__(of)


def _fill(made: Any, state: tuple[str, tuple[Any, ...], tuple[Any, ...]]) -> None:
    kind, header, parts = state
    handler: Any = container_handler(kind)
    handler.fill(made, header, parts)


class OrderedDictHandler(_FilledHandler):
    """OrderedDict."""

    kind = "OrderedDict"
    base = collections.OrderedDict

    def take_apart(self, value: Any) -> tuple[tuple[Any, ...], Sequence[Any]]:
        """Class path; keys and values in turn, then the other attributes."""
        parts = [side for item in value.items() for side in item]
        parts.append(self._added(value))
        return (class_path(type(value)),), parts

    def fill(self, made: Any, header: tuple[Any, ...], parts: Sequence[Any]) -> None:
        """Set its items, in order, and its attributes."""
        each = iter(parts[:-1])
        for key, part in zip(each, each, strict=True):
            collections.OrderedDict.__setitem__(made, key, part)
        give(made, parts[-1])


class DefaultDictHandler(_FilledHandler):
    """defaultdict, with its factory."""

    kind = "defaultdict"
    base = collections.defaultdict

    def take_apart(self, value: Any) -> tuple[tuple[Any, ...], Sequence[Any]]:
        """Class path; factory, content, the other attributes."""
        return (class_path(type(value)),), [value.default_factory, dict(value), self._added(value)]

    def fill(self, made: Any, header: tuple[Any, ...], parts: Sequence[Any]) -> None:
        """Set its factory, its items and its attributes."""
        collections.defaultdict.__init__(made, parts[0], parts[1])
        give(made, parts[2])


class DictSubclassHandler(_FilledHandler):
    """Counter and other subclasses of dict."""

    kind = "dict_subclass"
    base = dict

    def take_apart(self, value: Any) -> tuple[tuple[Any, ...], Sequence[Any]]:
        """Class path; content, the other attributes."""
        return (class_path(type(value)),), [dict(dict.items(value)), self._added(value)]

    def fill(self, made: Any, header: tuple[Any, ...], parts: Sequence[Any]) -> None:
        """Set its items and its attributes."""
        dict.update(made, parts[0])
        give(made, parts[1])


def _plain_and_added(handler: _BuiltinHandler, value: Any) -> tuple[tuple[Any, ...], Sequence[Any]]:
    plain: Any = handler.base
    return (class_path(type(value)),), [plain(plain.__iter__(value)), attributes_of(value, plain)]


class FilledSubclassHandler(_FilledHandler):
    """Subclasses of list and set without a more special handler."""

    def __init__(self, base: type) -> None:
        self.base = base
        self.kind = f"{base.__name__}_subclass"

    def take_apart(self, value: Any) -> tuple[tuple[Any, ...], Sequence[Any]]:
        """Class path; the elements as a plain container, the other attributes."""
        return _plain_and_added(self, value)

    def fill(self, made: Any, header: tuple[Any, ...], parts: Sequence[Any]) -> None:
        """Set its elements and its attributes."""
        base: Any = self.base
        base.__init__(made, parts[0])
        give(made, parts[1])


class FixedSubclassHandler(_BuiltinHandler):
    """Subclasses of tuple and frozenset without a more special handler."""

    def __init__(self, base: type) -> None:
        self.base = base
        self.kind = f"{base.__name__}_subclass"

    def take_apart(self, value: Any) -> tuple[tuple[Any, ...], Sequence[Any]]:
        """Class path; the elements as a plain container, the other attributes."""
        return _plain_and_added(self, value)

    def build(self, header: tuple[Any, ...], parts: Sequence[Any]) -> Any:
        """The same container. The subclass's own `__init__` is not called."""
        base: Any = self.base
        return give(base.__new__(load_class(header[0]), parts[0]), parts[1])


class DequeHandler(_FilledHandler):
    """deque, with its bound."""

    kind = "deque"
    base = collections.deque

    def take_apart(self, value: Any) -> tuple[tuple[Any, ...], Sequence[Any]]:
        """Class path and bound; the elements. If it has other attributes, also their number and a dict of them."""
        added = self._added(value)
        parts = list(collections.deque.__iter__(value))
        if not added:
            return (class_path(type(value)), value.maxlen), parts
        return (class_path(type(value)), value.maxlen, len(added)), [*parts, added]

    def fill(self, made: Any, header: tuple[Any, ...], parts: Sequence[Any]) -> None:
        """Set its bound, its elements and its attributes."""
        has_more = len(header) > 1
        collections.deque.__init__(made, parts[:-1] if has_more else parts, header[0])
        if has_more:
            give(made, parts[-1])


class NamedTupleHandler(_BuiltinHandler):
    """namedtuple and typing.NamedTuple."""

    kind = "namedtuple"
    base = tuple

    def take_apart(self, value: Any) -> tuple[tuple[Any, ...], Sequence[Any]]:
        """Class path and field names; the fields, then the other attributes if there are any."""
        of = type(value)
        added = self._added(value)
        fields = tuple(tuple.__iter__(value))
        return (class_path(of), *of._fields), (*fields, added) if added else fields

    def build(self, header: tuple[Any, ...], parts: Sequence[Any]) -> Any:
        """The same tuple; an overridden `__new__` is not called."""
        count = len(header) - 1
        made: Any = tuple.__new__(load_class(header[0]), parts[:count])
        return give(made, parts[count]) if len(parts) > count else made

    def reduce(self, value: Any) -> tuple[Any, ...] | None:
        """As the base class; None for a plain namedtuple, which has only fields."""
        return super().reduce(value) if type(value).__base__ is not tuple else None


class FieldsHandler:
    """Dataclasses and attrs classes, and other classes with named fields.

    The other attributes of an instance, in its `__dict__` or slots, are parts, too. This includes values of
    `functools.cached_property`, because they may have been replaced. The order of the attributes is that of `__dict__`.
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
            fields = self._fields[of] = tuple(dict.fromkeys((*self._names(of), *slots_of(of, object))))
        own = getattr(value, "__dict__", {})
        names: list[str] = []
        parts: list[Any] = []
        for name in fields:
            if name not in own:
                try:
                    parts.append(getattr(value, name))
                except AttributeError:
                    continue  # a field without a value yet (init=False, or an unset slot)
                names.append(name)
        return (class_path(of), *names, *own), [*parts, *own.values()]

    def build(self, header: tuple[Any, ...], parts: Sequence[Any]) -> Any:
        """The same instance. Its constructor and `__post_init__` are not called."""
        of: Any = load_class(header[0])
        try:
            made = object.__new__(of)
        except TypeError:  # a base class in C creates its own instances
            made = of.__new__(of)
        for name, part in zip(header[1:], parts, strict=True):
            object.__setattr__(made, name, part)
        return made


def _is_namedtuple(of: type) -> bool:
    return issubclass(of, tuple) and isinstance(getattr(of, "_fields", None), tuple)


def _dataclass_names(of: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(of)]


def _is_dataclass(of: type) -> bool:
    return "__dataclass_fields__" in dir(of) and not _pickles_itself(of)


def _pickles_itself(of: type) -> bool:
    """Whether a class defines how its instances are pickled: then they are not taken apart."""
    for name in ("__reduce__", "__reduce_ex__"):
        if getattr(of, name, None) is not getattr(object, name):
            return True
    state = getattr(of, "__getstate__", None)
    made_by = getattr(state, "__module__", "")
    return state is not getattr(object, "__getstate__", None) and made_by not in ("dataclasses", "attr._make")


def _is_attrs(of: type) -> bool:
    return hasattr(of, "__attrs_attrs__") and not _pickles_itself(of)


def _attrs_names(of: Any) -> list[str]:
    return [field.name for field in of.__attrs_attrs__]


def register_all() -> None:
    """Register the handlers of this module, of `leaves` and of `functions`, in the order in which they are asked."""
    leaves.register_all()
    register(types.SimpleNamespace, FieldsHandler("namespace", lambda of: ()))
    register(collections.OrderedDict, OrderedDictHandler())
    register(collections.defaultdict, DefaultDictHandler())
    register(collections.deque, DequeHandler())
    register(dict, DictSubclassHandler())
    namedtuple_handler = NamedTupleHandler()
    register_predicate(_is_namedtuple, namedtuple_handler)
    for filled in (list, set):
        register_predicate(_subclass_test(filled), FilledSubclassHandler(filled))
    for fixed in (tuple, frozenset):
        register_predicate(_subclass_test(fixed), FixedSubclassHandler(fixed))
    for leaf in leaves.SCALARS:
        register_predicate(_subclass_test(leaf.base), leaf)
    register_predicate(_is_dataclass, FieldsHandler("dataclass", _dataclass_names))
    register_predicate(_is_attrs, FieldsHandler("attrs", _attrs_names))
    functions.register_all()


def _subclass_test(base: type) -> Callable[[type], bool]:
    return lambda of: issubclass(of, base)
