"""Leaves of constants: objects of a library's class, which are not taken apart.

In: any object. Out: bytes that represent it in a code identity, or the reason why its content cannot be read. Never:
walks over the parts of an object.

The bytes come from the object's content, as for an argument. If a library's module has the object under a name, they
come from this name. A process takes the bytes once, before bodies run, when it first looks at a task that uses the
object. So the task does not change when a body draws from a random generator, or when a model fills its caches.
"""

from __future__ import annotations

import io
import sys
import threading
import weakref
from typing import Any

from rayflow.lang.code.object_names import outside_name
from rayflow.values.encoding.identity import value_hash
from rayflow.values.encoding.stable_hash import stable_hash
from rayflow.values.objects.handlers import handler_for
from rayflow.values.process.recorded_names import recorded_name

_NO_CONTENT = frozenset({
    "logging", "loguru", "structlog", "rich", "tqdm", "opentelemetry", "prometheus_client", "sentry_sdk",
    "threading", "_thread", "queue", "_queue", "concurrent", "multiprocessing", "asyncio", "_asyncio",
    "weakref", "_weakref", "_weakrefset", "contextvars", "_contextvars", "tempfile",
})  # fmt: skip
"""Libraries for logging, progress, threads, weak references and the like. The result of a body does not depend on the
content of their objects. So only the type of such an object counts, and no warning says so."""

_SEED_BITS = 64
"""The most bits of a seed that a user gives. Without a seed, numpy draws one of 128 random bits."""

_known: dict[int, tuple[Any, tuple[bytes, str | None]]] = {}
"""By the id of an object: the object itself or a weak reference to it, and its result of `leaf`."""

_busy = threading.local()


def forget_leaves() -> None:
    """Drop the bytes of all leaves. The user may have changed an object on purpose."""
    _known.clear()


def leaf(value: Any, *, is_own: bool) -> tuple[bytes, str | None]:
    """Bytes that represent an object, and the reason why its content cannot be read. The reason is None if it can.

    is_own: whether the project defines the object's class, so that no library has the object under a name.
    """
    of = type(value)
    if _has_no_content(value):
        return _by_type(of), None
    busy: set[int] = _busy.__dict__.setdefault("objects", set())
    if id(value) in busy:  # it holds a function that uses it
        return b"<again>", None
    # The result for an object inside another one may be cut short at that one. So it is neither kept nor reused.
    kept = _known.get(id(value)) if not busy else None
    if kept is not None and (kept[0] is value or (type(kept[0]) is weakref.ref and kept[0]() is value)):
        return kept[1]
    busy.add(id(value))
    try:
        found = _found(value, is_own)
    finally:
        busy.discard(id(value))
    if not busy:
        _keep(value, found)
    return found


def _keep(value: Any, found: tuple[bytes, str | None]) -> None:
    key = id(value)
    try:
        _known[key] = (weakref.ref(value, lambda _: _known.pop(key, None)), found)
    except TypeError:  # the object does not allow weak references
        _known[key] = (value, found)


def _found(value: Any, is_own: bool) -> tuple[bytes, str | None]:
    of = type(value)
    name = None if is_own else _name_in_library(value)
    if name is not None:
        return name, None
    if _is_unseeded(value):
        return _by_type(of), "which has no seed and differs in every process"
    is_known = hasattr(of, "__rayflow_identity__") or handler_for(of) is not None
    is_known = is_known or of.__module__.partition(".")[0] in sys.stdlib_module_names
    try:
        content = value_hash(value) if is_known else stable_hash(value)
    except Exception:  # the object's own reduction may raise anything: then it has no identity
        return _by_type(of), "whose content cannot be told"
    if content is None:
        return _by_type(of), "whose copies all differ"
    return b"value " + content, None


def _by_type(of: type) -> bytes:
    return f"instance {recorded_name(of.__module__)}.{of.__qualname__}".encode()


def _has_no_content(value: Any) -> bool:
    """Whether the content of an object does not matter for a program: a sentinel, a lock, a logger."""
    of = type(value)
    if of is object or of.__module__ == "typing":
        return True
    if any(base.__module__.partition(".")[0] in _NO_CONTENT for base in of.__mro__):
        return True
    if isinstance(value, io.IOBase) and not isinstance(value, (io.BytesIO, io.StringIO)):
        streams = (sys.stdin, sys.stdout, sys.stderr, sys.__stdin__, sys.__stdout__, sys.__stderr__)
        return any(value is each for each in streams) or value.closed or not value.readable()
    return False


def _name_in_library(value: Any) -> bytes | None:
    """The name under which the module of an object's class, or a package around it, has this object."""
    name = type(value).__module__
    while name and name != "builtins":
        for each, held in list(getattr(sys.modules.get(name), "__dict__", {}).items()):
            if held is value:
                return outside_name(name, each)
        name = name.rpartition(".")[0]
    return None


def _is_unseeded(value: Any) -> bool:
    """Whether a generator of numpy was made without a seed, and has drawn one itself."""
    if not type(value).__module__.startswith("numpy.random"):
        return False
    bits = getattr(value, "bit_generator", None) or getattr(value, "_bit_generator", value)
    entropy = getattr(getattr(bits, "seed_seq", bits), "entropy", None)
    return isinstance(entropy, int) and entropy.bit_length() > _SEED_BITS
