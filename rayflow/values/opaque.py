"""What an object of an unknown class is made of, for the hash.

In: an object that no handler knows. Out: plain values: how pickle would make it again. Never: keeps or sends it.

The pieces of the reduction are hashed one by one, not the pickle stream of the whole, which depends on interning, on
which objects are shared, and on the order of sets. Only an object that just cloudpickle can reduce is hashed by stream.
"""

from __future__ import annotations

import copyreg
import warnings
from typing import Any

from rayflow.values import pickling

_warned: set[type] = set()


class Unreducible(Exception):
    """An object that cannot be made again elsewhere: it holds a lock, a connection, a running thing."""


class UnstableHash(UserWarning):
    """Two encodings of one object differ, so that its hash will differ from run to run."""


def reduced(value: Any) -> tuple[Any, ...]:
    """The parts that make the object again, as for `copy` and `pickle`.

    Raises Unreducible when it cannot be made again elsewhere.
    """
    try:
        reducer = copyreg.dispatch_table.get(type(value))
        reduction = reducer(value) if reducer is not None else value.__reduce_ex__(4)
    except RecursionError:
        raise
    except Exception:
        return ("stream", _stream(value))
    if isinstance(reduction, str):
        return ("name", getattr(value, "__module__", "") or "", reduction)
    parts = list(reduction)
    for position in (3, 4):  # iterators over list items and dict items
        if len(parts) > position and parts[position] is not None:
            parts[position] = list(parts[position])
    return tuple(parts)


def _stream(value: Any) -> bytes:
    try:
        first, _ = pickling.dump(value)
        second, _ = pickling.dump(value)
    except Exception as error:
        raise Unreducible(str(error)) from error
    if first != second and type(value) not in _warned:
        _warned.add(type(value))
        warnings.warn(
            f"Two encodings of one {type(value).__module__}.{type(value).__qualname__} differ, so calls with such "
            "values will not be found in the cache. Register a handler for the class with "
            "rayflow.register_handler.",
            UnstableHash,
            stacklevel=2,
        )
    return first
