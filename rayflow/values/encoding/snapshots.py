"""Snapshots of arguments: values as they were when a call was made, though the user may change them afterwards.

In: a term. Out: the term with fresh containers, and a `ValueSnapshot` in place of each object that can be changed.
Never: changes an object.

An object of up to a MiB is copied. A larger object is not: its hash is taken when the call is made, and again when the
call is evaluated, and a difference is an error. Calls with one object share a snapshot as long as the object does not
change, so a thousand calls hold one copy and encode it once. The hash is taken at each call to see a change, even one
that is undone later (for a large array only once while the array is read-only).

A value that cannot change costs nothing: plain scalars, dates, arrays on read-only memory, which all arrays are that a
body gets. A value that defines its own identity (a function, a `Value` with `identity()`) is asked for it when the call
is evaluated.
"""

from __future__ import annotations

import types
import weakref
from typing import Any

from rayflow.errors import ArgumentChanged
from rayflow.values.encoding.cyclic_objects import may_know_others, tied_in
from rayflow.values.encoding.identity import value_hash
from rayflow.values.encoding.nested import map_leaves, parts_of
from rayflow.values.native import SCALARS
from rayflow.values.objects import pickling
from rayflow.values.objects.handlers import ChangeHandler, handler_for
from rayflow.values.objects.hooks import same
from rayflow.values.objects.subclasses import is_of_library

COPIED_BYTES = 1 << 20
"""Objects up to this size are copied at a call."""


class ValueSnapshot:
    """An object as it was at one time.

    value: a copy, or the object itself. digest: its hash at that time. is_own: only this snapshot can change `value`.
    """

    __slots__ = ("__weakref__", "digest", "is_own", "value")

    def __init__(self, value: Any, digest: bytes, is_own: bool) -> None:
        self.value = value
        self.digest = digest
        self.is_own = is_own

    def check(self) -> None:
        """Raise ArgumentChanged if the object has changed."""
        if not self.is_own and value_hash(self.value) != self.digest:
            raise ArgumentChanged(
                f"this {type(self.value).__qualname__} was changed between the call that it was given to and the "
                "evaluation of that call. A call sees its arguments as they were when it was made: pass it a copy "
                "(`x.copy()`, or `copy.deepcopy(x)`), or change the object after the evaluation."
            )

    def __repr__(self) -> str:
        return repr(self.value)

    def __rayflow_identity__(self) -> bytes:
        return b"\xff" + self.digest

    def __reduce__(self) -> tuple[Any, ...]:
        self.check()
        return same, (self.value,)


def as_now(term: Any) -> Any:
    """The term with snapshots: a later change of an object in it has no effect, or is an error."""
    if type(term) in SCALARS:
        return term
    if parts_of(term) is None:
        return _as_now(term)
    objects: dict[int, Any] = {}

    def change(leaf: Any) -> Any:
        now = _as_now(leaf)
        if type(now) is ValueSnapshot and may_know_others(leaf):
            objects[id(leaf)] = leaf
        return now

    held = map_leaves(term, change, always=True)
    wholes = tied_in(term, objects.values()) if len(objects) > 1 else None
    return map_leaves(term, _as_now, is_leaf=lambda part: id(part) in wholes, always=True) if wholes else held


def opened(term: Any) -> Any:
    """The term with the objects in place of their snapshots."""
    if type(term) is ValueSnapshot:
        return term.value
    return term if parts_of(term) is None else map_leaves(term, _opened, is_leaf=_is_snapshot)


def _opened(leaf: Any) -> Any:
    return leaf.value if type(leaf) is ValueSnapshot else leaf


def checked(term: Any) -> Any:
    """As `opened`, but raises ArgumentChanged if one of the objects has changed."""
    if type(term) is ValueSnapshot:
        return _checked(term)
    return term if parts_of(term) is None else map_leaves(term, _checked, is_leaf=_is_snapshot)


def _checked(leaf: Any) -> Any:
    if type(leaf) is not ValueSnapshot:
        return leaf
    leaf.check()
    return leaf.value


def _is_snapshot(value: Any) -> bool:
    return type(value) is ValueSnapshot


# --- one object -------------------------------------------------------------------------------------------------------

_FIXED_KINDS = frozenset(
    {"Ellipsis", "NotImplemented", "range", "slice", "timezone", "enum", "function", "class"}
    | {"method_of_class", "generic_alias", "module", "code"}
)
"""Handlers (by their `kind`) of values that cannot be changed, or that are identified by name or code."""

_FIXED_LIBRARY_KINDS = frozenset(
    {"datetime", "time", "date", "timedelta", "Decimal", "Fraction", "UUID", "path", "numpy.scalar", "numpy.dtype"}
    | {"pandas.time", "polars.DataType", "polars.LazyFrame", "pyarrow.Scalar", "pyarrow.Schema"}
)
"""Handlers (by their `kind`) of values that cannot be changed, unless a subclass of the user adds attributes."""

_KNOW_THEMSELVES = ("__rayflow_identity__", "__rayflow_symbol__", "__rayflow_witness__")

_FIXED: weakref.WeakKeyDictionary[type, bool] = weakref.WeakKeyDictionary()


def _is_fixed(of: type) -> bool:
    """Whether values of a type need no snapshot: they cannot change, or define their own identity (a File, a task)."""
    known = _FIXED.get(of)
    if known is None:
        handler = handler_for(of)
        kind = getattr(handler, "kind", "")
        known = (
            of in SCALARS
            or any(hasattr(of, name) for name in _KNOW_THEMSELVES)
            or kind in _FIXED_KINDS
            or (kind in _FIXED_LIBRARY_KINDS and is_of_library(of))
            or (kind == "custom" and _says_what_it_is(handler, of))
        )
        _FIXED[of] = known
    return known


def _says_what_it_is(handler: Any, of: type) -> bool:
    return any(handler.overrides(of, hook) for hook in ("identity", "encode", "decode", "finish"))


_LATEST: dict[int, tuple[weakref.ref[Any], weakref.ref[ValueSnapshot]]] = {}
"""id of an object -> the object and its latest snapshot, as weak references."""


def _as_now(value: Any) -> Any:
    of = type(value)
    if _is_fixed(of) or (of is types.BuiltinFunctionType and isinstance(value.__self__, types.ModuleType)):
        return value
    handler = handler_for(of)
    changes = handler if isinstance(handler, ChangeHandler) else None
    if changes is not None and changes.is_fixed(value):
        return value
    known = _LATEST.get(id(value))
    latest = known[1]() if known is not None and known[0]() is value else None
    if latest is not None and changes is not None and changes.is_equal(value, latest.value):
        return latest
    try:
        digest = value_hash(value)
        if latest is not None and latest.digest == digest:
            return latest
        copy, is_own = _copied(value, changes)
        if not is_own and not _has_steady_hash(value, digest):
            return value
    except Exception:  # it cannot be stored: evaluating the call raises the error, and names the part
        return value
    made = ValueSnapshot(copy, digest, is_own)
    _remember(value, made)
    return made


def _copied(value: Any, changes: ChangeHandler | None) -> tuple[Any, bool]:
    """A copy, and whether it shares no memory with the object; a large object itself, and False."""
    copied = NotImplemented if changes is None else changes.copied(value, COPIED_BYTES)
    if copied is None:
        return value, False
    if copied is not NotImplemented:
        copy, is_own = copied
        return copy, is_own
    if type(value) is bytearray:
        return (value[:], True) if len(value) <= COPIED_BYTES else (value, False)
    stream, buffers = pickling.dump(value)
    if len(stream) + sum(buffer.nbytes for buffer in buffers) > COPIED_BYTES:
        return value, False
    return pickling.load(stream, [bytearray(buffer) for buffer in buffers]), True


_STEADY: weakref.WeakKeyDictionary[type, bool] = weakref.WeakKeyDictionary()


def _has_steady_hash(value: Any, digest: bytes) -> bool:
    """Whether an unchanged object of this type has the same hash twice. Hashing warns of a type that has not."""
    known = _STEADY.get(type(value))
    if known is None:
        known = _STEADY[type(value)] = value_hash(value) == digest
    return known


def _remember(value: Any, made: ValueSnapshot) -> None:
    key = id(value)
    try:
        source = weakref.ref(value, lambda _: _LATEST.pop(key, None))
    except TypeError:  # such objects have no weak references: each call takes its own snapshot
        return
    _LATEST[key] = source, weakref.ref(made)
