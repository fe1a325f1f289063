"""The hash of an object, if copies of the object have the same hash.

In: any object. Out: its hash, or None. Never: warns.
"""

from __future__ import annotations

from typing import Any

from rayflow.values.encoding.identity import value_hash
from rayflow.values.objects import pickling


def stable_hash(value: Any) -> bytes | None:
    """The hash of an object, by content; None if each copy has another hash.

    Each copy has another hash if the object contains its own address, the time or a random number. The copies are made
    by pickling. Raises any error of pickling or hashing.
    """
    copy = _copied(value)
    found = value_hash(value)
    again = value_hash(copy)
    if again == found or again == value_hash(_copied(copy)):  # a copy may lack a part
        return found
    return None


def _copied(value: Any) -> Any:
    stream, buffers = pickling.dump(value)
    return pickling.load(stream, buffers)
