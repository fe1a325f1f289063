"""Opaque objects: the content, for the hash, of objects whose class has no handler.

In: an object without a handler. Out: plain values, from the reduction by which pickle rebuilds it. Never: stores or
sends it.

The parts of the reduction are hashed one by one. The pickle stream of the whole object would depend on interning, on
shared objects and on the order of sets. Only objects that need cloudpickle are hashed by their stream.
"""

from __future__ import annotations

import copyreg
import functools
from typing import Any

from rayflow.errors import RayflowWarning
from rayflow.values.digests import digest_buffers
from rayflow.values.display.user_warnings import warn_user
from rayflow.values.objects import pickling
from rayflow.values.process.base_exceptions import contained

_warned: set[type] = set()


class Unreducible(Exception):
    """An object cannot be rebuilt in another process, because it holds a lock or a connection, for example."""


class UnstableHash(RayflowWarning):
    """Two encodings of one object differ, so its hash differs each time."""


def reduced(value: Any) -> tuple[Any, ...]:
    """The parts from which `copy` and `pickle` rebuild an object.

    Raises Unreducible if it cannot be rebuilt in another process.
    """
    try:
        reducer = copyreg.dispatch_table.get(type(value))
        with contained:
            reduction = reducer(value) if reducer is not None else value.__reduce_ex__(4)
    except RecursionError:
        raise
    except Exception:
        return ("stream", _stream(value))
    if isinstance(reduction, str):
        return ("name", getattr(value, "__module__", "") or "", reduction)
    parts = list(reduction)
    if len(parts) > 2 and type(parts[2]) is tuple and _has_pythons_state(type(value)):
        own, slots = parts[2]
        parts[2] = (own, {name: slots[name] for name in sorted(slots)})  # `__slots__` may be a set of names
    if isinstance(value, functools.partial) and len(parts) > 2 and type(parts[2]) is tuple:
        parts[2] = (*parts[2][:-1], parts[2][-1] or None)  # reading its attributes leaves an empty dict
    for position in (3, 4):  # iterators over list items and dict items
        if len(parts) > position and parts[position] is not None:
            parts[position] = list(parts[position])
    return tuple(parts)


def _has_pythons_state(of: Any) -> bool:
    """Whether pickle takes the state of instances in Python's usual way, from `__dict__` and slots."""
    own = "__reduce__", "__reduce_ex__", "__getstate__"
    return all(getattr(of, name, None) is getattr(object, name, None) for name in own)


def _stream(value: Any) -> bytes:
    try:
        first, _ = pickling.dump(value)
        second, _ = pickling.dump(value)
    except Exception as error:
        raise Unreducible(str(error)) from error
    if first != second:
        warn_of_unsteady(type(value))
    return first


def warn_of_unsteady(of: type) -> None:
    """Warn, once for each type, that the encoding of a value differs each time."""
    _warn(of, "Two encodings of one {} differ, so the cache cannot find calls with such values again.")


def by_encoding(value: Any) -> bytes:
    """The identity of a value from its pickle, for values without an identity by content. Raises Unreducible."""
    try:
        stream, buffers = pickling.dump(value)
    except Exception as error:
        raise Unreducible(str(error)) from error
    _warn(
        type(value),
        "A {} contains itself by way of a set whose members cannot be told apart by their content, so it is known by "
        "its pickle, and calls with equal ones may not be found in the cache.",
    )
    return b"\xff" + digest_buffers("encoding", (stream, *buffers))


def _warn(of: type, said: str) -> None:
    """Warn once for each type."""
    if of in _warned:
        return
    _warned.add(of)
    said = said.format(f"{of.__module__}.{of.__qualname__}".removeprefix("builtins."))
    warn_user(f"{said} Register a handler for the class with rayflow.register_handler.", UnstableHash)
