"""The types that every process knows without a handler.

In: nothing. Out: sets of exact types. Never: instances of a subclass; those need a handler.
"""

from __future__ import annotations

SCALARS: frozenset[type] = frozenset({type(None), bool, int, float, complex, str, bytes})
"""Types whose values contain no other values, and cannot be changed."""

NATIVE_CONTAINERS: frozenset[type] = frozenset({list, tuple, dict, set, frozenset})

NATIVE = SCALARS | NATIVE_CONTAINERS
