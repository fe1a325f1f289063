"""Takes constants apart: a value at the top level of a module, a captured value, or a default.

In: any object. Out: its content as tokens; its parts one level down with the way to each, or None for a leaf. Never:
decides which bytes represent a function or class (code_graph.py does); recurses.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import gc
import re
import struct
import sys
import types
import typing
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextvars import Context, ContextVar
from typing import Any

from rayflow.lang.code.constants.constant_leaves import leaf
from rayflow.lang.code.normal_form import constant_bytes
from rayflow.lang.code.object_names import contents_of, outside_name
from rayflow.lang.code.ray_remotes import UNREADABLE, ray_remote_in
from rayflow.lang.terms.codec import children
from rayflow.lang.terms.expressions import Expression
from rayflow.values.display.masking import masked, masked_parts
from rayflow.values.encoding.identity import value_hash
from rayflow.values.files.files import Dir, File, FileSet
from rayflow.values.native import SCALARS
from rayflow.values.objects.handlers import handler_for
from rayflow.values.objects.opaque import Unreducible, reduced
from rayflow.values.process.base_exceptions import contained

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")

LITERALS = SCALARS | {type(Ellipsis)}
"""Types whose values are written in full."""

_PATH_LIMIT = 200
"""The most characters of a path into a constant; a longer path is cut. The paths distinguish definitions in it."""

Part = tuple[str, Any]
"""The way to a part, as Python would write it behind the whole, and the part."""

_PLAIN_BASES = (str, bytes, int, float, complex)
_CONTAINERS = (list, tuple, deque, dict, set, frozenset)
_OF_VECTORIZED = ("pyfunc", "otypes", "signature", "excluded", "cache")
WRAPPED_FUNCTIONS = ("func", "py_func", "pyfunc")
_WRAPPED = ("__wrapped__", "__func__", *WRAPPED_FUNCTIONS, "fget", "fset", "fdel")
"""Attributes with the wrapped function: of functools, of methods and properties, of compilers such as numba."""

def content(
    text: str, whole: Any, is_own: Callable[[type], bool], definition: Callable[[bytes, Any], bytes | None]
) -> tuple[list[bytes], list[str]]:
    """The content of a value as tokens, each whole before its parts; and sentences about what cannot be read in it.

    text: the name of the value. is_own: says which classes are the user's own. definition: takes the way to a part, and
    the part. It returns bytes that represent a function, class, module or task, and None for anything else.
    """
    tokens: list[bytes] = []
    doubts: list[str] = []
    stack: list[tuple[str | None, Any]] = [(text, whole)]
    on_the_way: dict[int, int] = {}
    while stack:
        path, value = stack.pop()
        if path is None:
            del on_the_way[id(value)]
            continue
        if type(value) in LITERALS:
            tokens.append(constant_bytes(value))
            continue
        remote = ray_remote_in(value)
        if remote is not None:  # pickled, it would have other bytes in each process
            tokens.append(b"<ray remote>")
            if remote.code is None:
                doubts.append(f"{path} is {UNREADABLE}")
            else:
                stack.extend([(f"{path} options", dict(remote.options)), (path, remote.code)])
            continue
        token = definition(path.encode("utf-8", "surrogatepass"), value)
        if token is not None:
            tokens.append(b"@" + token)
            continue
        if id(value) in on_the_way:
            tokens.append(b"<again %d>" % on_the_way[id(value)])
            continue
        apart = take_apart(value, is_own)
        if apart is None:
            of = type(value)
            token, doubt = leaf(value, is_own=is_own(of))
            tokens.append(token)
            if doubt is not None:
                doubts.append(f"{path} is a {of.__module__}.{of.__qualname__}, {doubt}")
            continue
        head, parts = apart
        tokens.append(b"<" + head)
        on_the_way[id(value)] = len(on_the_way)
        stack.append((None, value))  # the value, not its id: Python may use the id of a deleted object again
        if len(path) > _PATH_LIMIT:
            path = path[:_PATH_LIMIT] + "..."
        stack.extend((path + step, part) for step, part in reversed(parts))
    return tokens, doubts


def take_apart(value: Any, is_own: Callable[[type], bool]) -> tuple[bytes, list[Part]] | None:
    """A head that says what the value is, and its parts in an order that is equal in every process; None for a leaf.

    is_own: says which classes are the user's own: their instances are taken apart by attributes.
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
    if isinstance(value, (types.BuiltinFunctionType, types.MethodWrapperType)):
        return b"method " + value.__name__.encode(), [(".__self__", value.__self__)]
    if isinstance(value, typing.NewType):
        return b"new type", [(".__supertype__", value.__supertype__)]
    if isinstance(value, (types.FunctionType, type)):  # a library's function made it: its name is not enough
        return _made(value)
    is_extended = of not in _CONTAINERS and isinstance(value, _CONTAINERS)
    has_own_class = is_own(of) or is_made(of)
    more = _named(_attributes(value)) if is_extended or has_own_class else []
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
        parts = [*(("{...}", part) for _, _, part in tokens if type(part) not in LITERALS), *more]
        return _headed(of, b" ".join(b"%d:" % len(token) + token for token, _, _ in tokens), parts)
    is_alias = isinstance(value, (types.GenericAlias, types.UnionType))
    if is_alias or (of.__module__ == "typing" and hasattr(value, "__args__")):
        return b"alias", [("origin", typing.get_origin(value)), ("args", typing.get_args(value))]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {each.name: getattr(value, each.name, None) for each in dataclasses.fields(value)}
        # Other attributes than fields are parts, too: `__post_init__` may have read them from a file.
        return _headed(of, b"fields", _named(fields | _attributes(value)))
    if isinstance(value, File | Dir | FileSet):
        # The state of the file is not part of the program. Else a task that writes the file would change by doing so.
        return _headed(of, b"place", [(".path", value.path), (".immutable", value.immutable)])
    if has_own_class:
        if isinstance(value, BaseException):
            return _headed(of, b"error", [(".args", value.args), *more])
        if handler_for(of) is None and (more or hasattr(value, "__dict__")):
            return _headed(of, b"attributes", [*more, *_besides_attributes(value, is_own)])
        return None
    if of is ContextVar:
        # Its value depends on the context that reads it; only the default belongs to the program.
        try:
            return b"context variable", [(".default", Context().run(value.get))]
        except LookupError:
            return b"context variable", []
    if of.__module__ == "configparser" and hasattr(value, "sections"):
        tables = {name: dict(value.items(name, raw=True)) for name in value.sections()}
        return _headed(of, b"sections", [("", tables), (".defaults()", dict(value.defaults()))])
    if of is struct.Struct:
        return b"struct", [(".format", value.format)]
    if of.__name__ == "vectorize" and of.__module__.partition(".")[0] == "numpy":
        return b"vectorized", [(f".{name}", getattr(value, name, None)) for name in _OF_VECTORIZED]
    wrapped = list(_inside_wrapper(value))
    return _headed(of, b"wrapper", wrapped) if wrapped else None


def _attributes(value: Any) -> dict[str, Any]:
    """The attributes of an instance: `__dict__` in its order, which a loop over it sees; then the slots."""
    found = dict(getattr(value, "__dict__", ()))
    slotted: dict[str, Any] = {}
    for base in type(value).__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            full = f"_{base.__name__.lstrip('_')}{name}" if name[:2] == "__" != name[-2:] else name
            if name not in ("__dict__", "__weakref__") and hasattr(value, full):
                slotted[full] = getattr(value, full)
    found.pop("__notes__", None)
    return {**found, **dict(sorted(slotted.items()))}


def _named(attributes: Mapping[str, Any]) -> list[Part]:
    """Attributes, and their names as one more part."""
    if not attributes:
        return []
    return [("", tuple(attributes)), *((f".{name}", part) for name, part in attributes.items())]


def _made(value: Any) -> tuple[bytes, list[Part]]:
    """A function or class that a library's function has made, as its name and the data that it was made from."""
    if isinstance(value, types.FunctionType):
        name = outside_name(value.__globals__.get("__name__"), value.__code__.co_qualname)
        defaults = [("defaults", value.__defaults__), ("defaults", value.__kwdefaults__)]
        return b"made " + name, [*inside_function(value), *defaults]
    name = outside_name(value.__module__, value.__qualname__)
    held = [(n, part) for n, part in contents_of(value) if n[:2] != "__" or isinstance(part, types.FunctionType)]
    held = [(n, part) for n, part in held if not isinstance(part, types.GetSetDescriptorType)]
    return b"made " + name, [("bases", value.__bases__), *_named(dict(held))]


def _besides_attributes(value: Any, is_own: Callable[[type], bool]) -> list[Part]:
    """The state that a library's base class pickles with an instance, in addition to its attributes."""
    of = type(value)
    for base in of.__mro__[:-1]:
        if not is_own(base) and not {"__reduce__", "__reduce_ex__", "__getstate__"}.isdisjoint(vars(base)):
            try:
                return [(".__reduce__()", reduced(value))]
            except Unreducible:
                return []
    return []


def _headed(of: type, extra: bytes, parts: list[Part]) -> tuple[bytes, list[Part]]:
    return extra, [("type", of), *parts]


def _items(value: Mapping[Any, Any]) -> list[Part]:
    """The entries of a mapping in their order, which a loop over it sees.

    The entries of a registry of functions or classes from several modules are sorted by their keys: each process may
    import these modules in another order.
    """
    keys = list(value)
    if len({getattr(part, "__module__", None) for part in value.values() if callable(part)}) > 1:
        keys.sort(key=key_token)
    parts: list[Part] = []
    if isinstance(value, defaultdict):
        parts.append((".default_factory", value.default_factory))
    for key in keys:
        parts.append((".keys()", key))
        parts.append((f"[{_short(key)}]", value[key]))
    return parts


def _inside_wrapper(value: Any) -> Iterator[Part]:
    if type(value).__name__ == "ufunc":  # made from a function; nothing else shows which one
        inside = [each for each in gc.get_referents(value) if callable(each)]
        yield from ((".function", each) for each in inside)
        yield from ((name, getattr(value, name[1:])) for name in (".nin", ".nout", ".identity") if inside)
    if not callable(value) and not isinstance(value, (property, staticmethod, classmethod, functools.cached_property)):
        return
    for name in _WRAPPED:
        inner = getattr(value, name, None)
        if callable(inner):
            yield f".{name}", inner


def inside_function(function: types.FunctionType) -> list[Part]:
    """The functions that a library's function may call: those that it wraps, has captured or has registered."""
    inside: list[Part] = [("wrapped", getattr(function, "__wrapped__", None))]
    registry = getattr(function, "registry", None)
    if isinstance(registry, types.MappingProxyType):  # functools.singledispatch: modules register in any order
        found = [(f"for {getattr(of, '__qualname__', of)}", way) for of, way in registry.items()]
        return [*inside, *sorted(found, key=lambda pair: pair[0])]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            inside.append((name, cell.cell_contents))
        except ValueError:  # not bound yet
            continue
    return inside


def is_named(value: Any) -> bool:
    """Whether the name of a callable is enough to know it: a library has it under that name, and nothing of the
    project is inside.
    """
    if isinstance(value, (types.BuiltinFunctionType, types.MethodWrapperType)):
        return value.__self__ is None or isinstance(value.__self__, (type, types.ModuleType))
    if any(hasattr(value, name) for name in _WRAPPED) or hasattr(value, "__args__") or type(value) is typing.NewType:
        return False
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if not isinstance(name, str):
        return False
    if hasattr(value, "__objclass__"):  # a method of a class, not of an instance
        return True
    return is_held(value, getattr(value, "__module__", None) or type(value).__module__, name)


def is_made(cls: type) -> bool:
    """Whether a class was made by the call of a function, so that no module has it under its name."""
    return "<locals>" in cls.__qualname__ and not is_held(cls, cls.__module__, cls.__qualname__)


def is_held(value: Any, module: Any, name: str) -> bool:
    """Whether a module has this very object under a name, which may have dots."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is value


def key_token(key: Any) -> bytes:
    """Bytes by which the members of a set are sorted. Equal keys give equal bytes in every process."""
    if type(key) in LITERALS:
        return constant_bytes(key)
    if isinstance(key, enum.Enum):
        return b"enum " + f"{type(key).__qualname__}.{key.name}".encode()
    remote = ray_remote_in(key)
    name = getattr(key if remote is None else remote.code, "__qualname__", None)
    if isinstance(name, str):
        options = repr(sorted(remote.options.items())) if remote is not None and remote.options else ""
        return b"name " + name.encode() + options.encode()
    try:
        with contained:
            return b"hash " + value_hash(key)
    except Exception:  # it has no identity: the walk over its parts reports that
        return b"type " + type(key).__qualname__.encode()


def shortened(value: Any, limit: int = 200) -> str:
    """A constant's repr on one line, shortened; never fails."""
    if isinstance(value, (str, bytes)) and len(value) > limit:
        value = masked_parts(value)[:limit]
    elif isinstance(value, (list, tuple, dict, set, frozenset)) and len(value) > limit:
        return f"<{type(value).__name__} of {len(value)} elements>"
    try:
        with contained:
            text = _ADDRESS.sub("", " ".join(masked(repr(value)).split()))
    except Exception:  # a user's __repr__ may raise anything, RecursionError among it
        text = f"<{type(value).__qualname__}>"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _short(key: Any) -> str:
    return shortened(key, 60)
