"""Constants taken apart: what a module-level value, a captured value or a default is made of.

In: any object. Out: its parts one level down with the way to each, or None for a leaf. Never: decides what a function
or class counts as (the reach does), never recurses.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import logging
import re
import struct
import sys
import threading
import types
import typing
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextvars import Context, ContextVar
from typing import Any

from rayflow.lang.codec import children
from rayflow.lang.expressions import Expression
from rayflow.lang.syntax import constant_bytes
from rayflow.values.files import Dir, File, FileSet
from rayflow.values.handlers import handler_for
from rayflow.values.identity import value_hash

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")

SCALARS = frozenset((type(None), bool, int, float, complex, str, bytes, type(Ellipsis)))
"""Types whose values are written as they are."""

Part = tuple[str, Any]
"""The way to a part, as Python would write it behind the whole, and the part."""

_PLAIN_BASES = (str, bytes, int, float, complex)
WRAPPED_FUNCTIONS = ("func", "py_func", "pyfunc")
_WRAPPED = ("__wrapped__", "__func__", *WRAPPED_FUNCTIONS, "fget", "fset", "fdel")
"""Where wrappers of functions keep what they wrap: functools, methods and properties, compilers such as numba."""

_NO_CONTENT = (
    object,
    logging.Logger,
    logging.LoggerAdapter,
    type(threading.Lock()),
    type(threading.RLock()),
    threading.local,
    typing.TypeVar,
    typing.ParamSpec,
)
"""Instances whose state is no part of a program's meaning; they count by their type and are not reported."""


def take_apart(value: Any, is_own: Callable[[type], bool]) -> tuple[bytes, list[Part]] | None:
    """A head that tells the kind, and the parts in an order that content alone decides; None for a leaf.

    `is_own` tells the user's own classes: their instances are taken apart by attributes.
    """
    of = type(value)
    if isinstance(value, Expression):
        kind = getattr(value, "_task", getattr(value, "_name", "")), *(getattr(value, "_kwargs", None) or ())
        return b"expression " + repr((of.__name__, *kind)).encode(), [("(...)", part) for part in children(value)]
    if isinstance(value, enum.Enum):
        return b"enum " + str(value.name).encode(), [("type", of)]
    if isinstance(value, functools.partial):
        return b"partial", [(".func", value.func), (".args", value.args), (".keywords", value.keywords)]
    if isinstance(value, types.MethodType):
        return b"method", [(".__func__", value.__func__), (".__self__", value.__self__)]
    more = _attributes(value) if is_own(of) else []
    if isinstance(value, _PLAIN_BASES):
        base: Any = next(each for each in _PLAIN_BASES if isinstance(value, each))
        return b"plain" + constant_bytes(base(value)), [("type", of), *more]
    if isinstance(value, (list, tuple, deque)):
        parts = [(f"[{position}]", part) for position, part in enumerate(value)]
        return _headed(of, b"%d" % len(value), [*parts, *more])
    if isinstance(value, (dict, types.MappingProxyType)):
        return _headed(of, b"%d" % len(value), [*_items(value), *more])
    if isinstance(value, (set, frozenset)):
        tokens = sorted((key_token(part), position, part) for position, part in enumerate(value))
        parts = [*(("{...}", part) for _, _, part in tokens if type(part) not in SCALARS), *more]
        return _headed(of, b" ".join(b"%d:" % len(token) + token for token, _, _ in tokens), parts)
    is_alias = isinstance(value, (types.GenericAlias, types.UnionType))
    if is_alias or (of.__module__ == "typing" and hasattr(value, "__args__")):
        return b"alias", [("origin", typing.get_origin(value)), ("args", typing.get_args(value))]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [each.name for each in dataclasses.fields(value)]
        return _headed(of, b"fields", [(f".{name}", getattr(value, name, None)) for name in names])
    if isinstance(value, File | Dir | FileSet):
        # How it is now is no part of a program that names it: else a task that writes it would have changed by that.
        return _headed(of, b"place", [(".path", value.path), (".immutable", value.immutable)])
    if is_own(of):
        if isinstance(value, BaseException):
            return _headed(of, b"error", [(".args", value.args), *more])
        if handler_for(of) is None and (more or hasattr(value, "__dict__")):
            return _headed(of, b"attributes", more)
        return None
    if of is ContextVar:
        # What it is set to depends on who asks; the default is the program's.
        try:
            return b"context variable", [(".default", Context().run(value.get))]
        except LookupError:
            return b"context variable", []
    if of.__module__ == "configparser" and hasattr(value, "sections"):
        tables = {name: dict(value.items(name, raw=True)) for name in value.sections()}
        return _headed(of, b"sections", [("", tables), (".defaults()", dict(value.defaults()))])
    if of is struct.Struct:
        return b"struct", [(".format", value.format)]
    wrapped = list(_inside_wrapper(value))
    return _headed(of, b"wrapper", wrapped) if wrapped else None


def _attributes(value: Any) -> list[Part]:
    """What an instance carries, in `__dict__` and in slots, in the order of the names."""
    found = dict(getattr(value, "__dict__", ()))
    for base in type(value).__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            full = f"_{base.__name__.lstrip('_')}{name}" if name[:2] == "__" != name[-2:] else name
            if name not in ("__dict__", "__weakref__") and hasattr(value, full):
                found[full] = getattr(value, full)
    found.pop("__notes__", None)
    return [(f".{name}", found[name]) for name in sorted(found)]


def _headed(of: type, extra: bytes, parts: list[Part]) -> tuple[bytes, list[Part]]:
    return extra, [("type", of), *parts]


def _items(value: Mapping[Any, Any]) -> list[Part]:
    """Entries in the order of their keys; those of an OrderedDict in its own order."""
    entries = [(key_token(key), position, key) for position, key in enumerate(value)]
    if not isinstance(value, OrderedDict):
        entries.sort(key=lambda entry: entry[:2])
    parts: list[Part] = []
    if isinstance(value, defaultdict):
        parts.append((".default_factory", value.default_factory))
    for _, _, key in entries:
        parts.append((".keys()", key))
        parts.append((f"[{_short(key)}]", value[key]))
    return parts


def _inside_wrapper(value: Any) -> Iterator[Part]:
    if not callable(value) and not isinstance(value, (property, staticmethod, classmethod, functools.cached_property)):
        return
    for name in _WRAPPED:
        inner = getattr(value, name, None)
        if callable(inner):
            yield f".{name}", inner


def key_token(key: Any) -> bytes:
    """Bytes by which keys and members of sets are put in order; equal for equal keys in any process."""
    if type(key) in SCALARS:
        return constant_bytes(key)
    if isinstance(key, enum.Enum):
        return b"enum " + f"{type(key).__qualname__}.{key.name}".encode()
    name = getattr(key, "__qualname__", None)
    if isinstance(name, str):
        return b"name " + name.encode()
    try:
        return b"hash " + value_hash(key)
    except Exception:  # no identity of its own: the walk that follows reports it
        return b"type " + type(key).__qualname__.encode()


def has_content(value: Any) -> bool:
    """Whether the state of a leaf could matter: not so for loggers, locks, bare sentinels, type variables."""
    of = type(value)
    return not (of is object or isinstance(value, _NO_CONTENT[1:]))


def is_known_value(value: Any) -> bool:
    """Whether a leaf has an identity by content: a handler knows its type, or it is of the standard library."""
    of = type(value)
    if hasattr(of, "__rayflow_identity__") or handler_for(of) is not None:
        return True
    return of.__module__.partition(".")[0] in sys.stdlib_module_names


def shortened(value: Any, limit: int = 200) -> str:
    """A constant's repr on one line, shortened; never fails."""
    if isinstance(value, (str, bytes)) and len(value) > limit:
        value = value[:limit]
    elif isinstance(value, (list, tuple, dict, set, frozenset)) and len(value) > limit:
        return f"<{type(value).__name__} of {len(value)} elements>"
    try:
        text = _ADDRESS.sub("", " ".join(repr(value).split()))
    except Exception:  # a user's __repr__ may raise anything, RecursionError among it
        text = f"<{type(value).__qualname__}>"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _short(key: Any) -> str:
    return shortened(key, 60)
