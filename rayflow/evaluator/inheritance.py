"""The settings that a call hands down to the calls below it: context, exported options, and whether they are recorded.

In: the options of a call, and the settings that it received. Out: `Inherited`. Never: reduces a term, starts anything.

A call that changes nothing hands down the same object that it received. Equal changes of one object give one object. So
the calls below can compare these objects by identity, and a call that uses no such settings costs nothing more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rayflow.errors import BadOption, LazyValueUsed, NotSerializable
from rayflow.lang.options.options import merge, merge_context
from rayflow.lang.terms.expressions import Term
from rayflow.values.digests import digest
from rayflow.values.encoding.identity import identity
from rayflow.values.encoding.previews import preview
from rayflow.values.refs import ValueRef

ABSENT = object()
"""The result for a path that is not in a context."""

_ABSENT_HASH = digest("context", b"absent")
_UNREADABLE_HASH = digest("context", b"unreadable")


class Inherited:
    """The settings that the calls below a call receive.

    context: symbolic values, in dicts of dicts by name. exports: options for every call. is_recorded: False below a
    call with the option prov=False. known: a cache by task name for calls without options of their own: the merged
    options, and the settings that the call hands down. defined: a cache by task name: the lazy options of the
    definition, evaluated in this context.
    """

    __slots__ = ("_changed", "_digest", "context", "defined", "exports", "is_recorded", "known")

    def __init__(
        self, context: Mapping[str, Term], exports: Mapping[str, Any] | None = None, is_recorded: bool = True
    ) -> None:
        self.context = context
        self.exports = exports
        self.is_recorded = is_recorded
        self.known: dict[str, tuple[Mapping[str, Any], Inherited]] = {}
        self.defined: dict[str, Mapping[str, Term]] = {}
        self._changed: dict[bytes, Inherited] | None = None
        self._digest: bytes | None = None

    @property
    def digest(self) -> bytes:
        """The identity of the context."""
        if self._digest is None:
            self._digest = digest("context", identity(dict(self.context)))
        return self._digest

    def has_context_of(self, other: Inherited) -> bool:
        """Whether both have the same context."""
        return self.context is other.context or self.digest == other.digest

    def handed_down(self, options: Mapping[str, Any]) -> Inherited:
        """The settings that a call with these options hands down, if it has received this object."""
        context, exports = options.get("context"), options.get("export_options")
        is_recorded = self.is_recorded and options.get("prov") is not False
        if not context and not exports and is_recorded is self.is_recorded:
            return self
        try:
            key = digest("handed down", identity(context), identity(exports), identity(is_recorded))
        except (NotSerializable, LazyValueUsed):  # an object of Ray's, or exports that are still to be reduced
            return self._with(context, exports, is_recorded)
        if self._changed is None:
            self._changed = {}
        known = self._changed.get(key)
        if known is None:
            known = self._changed[key] = self._with(context, exports, is_recorded)
        return known

    def _with(self, context: Any, exports: Any, is_recorded: bool) -> Inherited:
        if context and type(context) is not dict:
            raise BadOption(f"The context of a call is too large ({preview(context)}): pass large values as arguments.")
        return Inherited(
            merge_context(self.context, context) if context else self.context,
            merge(self.exports, exports) if exports else self.exports,
            is_recorded,
        )

    def value_at(self, path: str) -> Any:
        """The symbolic value behind a path such as `a.b`, or ABSENT. Raises BadOption for a part of a large value."""
        found: Any = self.context
        for name in path.split("."):
            if type(found) is ValueRef and found.kind == "dict":
                raise BadOption(
                    f"get_context({preview(path)}): the values above {name!r} are {found.size:,} bytes in one "
                    "dict, too large to be looked into. Give large values as arguments."
                )
            if not isinstance(found, Mapping) or name not in found:
                return ABSENT
            found = found[name]
        return found

    def hash_at(self, path: str) -> bytes:
        """The identity of the value behind a path."""
        try:
            value = self.value_at(path)
        except BadOption:  # reading it gives the reason
            return _UNREADABLE_HASH
        return _ABSENT_HASH if value is ABSENT else digest("context", identity(value))

    def agrees(self, read: Mapping[str, bytes]) -> bool:
        """Whether all paths that were read have the same values here. read: by path, the identity of its value."""
        return all(self.hash_at(path) == known for path, known in read.items())


def left_open(paths: Iterable[str], options: Mapping[str, Any]) -> Iterable[str]:
    """The paths that depend on the context above a call. The other paths are set by the call's own `context` option.

    paths: the context paths that were read in the call and below it.
    """
    context = options.get("context")
    return [path for path in paths if not _determines(context, path)] if context else paths


def _determines(context: Mapping[str, Any], path: str) -> bool:
    found: Any = context
    for name in path.split("."):
        if type(found) is not dict:
            return True
        if name not in found:
            return False
        found = found[name]
    return type(found) is not dict
