"""Short notes in the cluster's key-value store, which every process of the cluster can read.

In: keys and texts. Out: the same. Never: outlives the cluster.

Ray calls this store experimental; it has had it since its first versions. This module alone uses its private names.
"""

from __future__ import annotations

from ray import exceptions
from ray.experimental import internal_kv

NO_ANSWER = (exceptions.RayError, OSError, RuntimeError)
"""Ray's errors when the cluster's control service does not answer, or this process has left the cluster."""

_NAMESPACE = b"rayflow"


def write(key: str, text: str) -> None:
    """Write a note, in place of an earlier one of this key."""
    internal_kv._internal_kv_put(key.encode(), text.encode(), namespace=_NAMESPACE)


def read(key: str) -> str | None:
    """The text of a note; None when there is none."""
    found = internal_kv._internal_kv_get(key.encode(), namespace=_NAMESPACE)
    return None if found is None else bytes(found).decode()


def remove(key: str) -> None:
    """Remove a note, if there is one."""
    internal_kv._internal_kv_del(key.encode(), namespace=_NAMESPACE)


def keys(prefix: str) -> list[str]:
    """The keys of all notes that begin so."""
    return [key.decode() for key in internal_kv._internal_kv_list(prefix.encode(), namespace=_NAMESPACE)]
