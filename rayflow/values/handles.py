"""Handles: values for outside things that tasks change, such as a database.

In: a name, and the arguments that are needed to reach the thing. Out: values that stand for *states* of the thing; a
task that gets a handle and returns it makes a new state. Never: looks at the thing itself.

A state is identified by its lineage: the handle, and the calls that changed it. The records of the store decide whether
a state is *current*: it is the newest one made from the state before it, and that state is current too and was not made
again since. So a task that runs on an earlier state outdates the later ones, and a cached result with an outdated state
is computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple, Self

from rayflow.errors import BadArguments
from rayflow.values.custom import Value
from rayflow.values.digests import digest
from rayflow.values.display.tracebacks import front_door
from rayflow.values.encoding.identity import value_hash
from rayflow.values.encoding.previews import preview
from rayflow.values.objects.handlers import class_path
from rayflow.values.witnesses import OF_HANDLE, Witness, notice


class Lineage(NamedTuple):
    """The calls and forks that led to a state, as digests.

    handle: the handle, by its class and constructor arguments. state: this state of it. after: the last state that a
    call made on the way here; None when no call did. parent: the state, or fork of one, that this call changed. beside:
    `after` and `parent` of each other branch that was merged into this state, which is current only while they are.
    """

    handle: bytes
    state: bytes
    after: bytes | None
    parent: bytes | None = None
    beside: tuple[tuple[bytes, bytes | None], ...] = ()


_OWN = frozenset({"_lineage", "_arguments"})
"""rayflow's own attributes of a handle, which it lacks while it is being constructed."""

_opening: ContextVar[frozenset[int]] = ContextVar("opening", default=frozenset())
"""The ids of handles whose `instance` is being opened: attributes read meanwhile are not looked for in it."""


class Handle(Value):
    """Base class for an outside thing that tasks change, such as a database: `Database("sales", path="sales.db")`.

    The first argument of the constructor is the handle's name. rayflow stores the constructor's arguments, and
    constructs the handle from them again wherever a task gets it: open connections in the constructor.

    A task that changes the thing returns the handle that it got. The returned handle is a new state: pass it to the
    tasks that need the change. A task that only reads does not return the handle. When a task runs on an earlier state,
    because its code has changed for example, all later states are outdated. Give branches that do not touch each other
    a `fork` each.

    If the constructor sets `self.instance`, the handle reads the attributes that it lacks from that object, so
    `db.execute(...)` is `db.instance.execute(...)`. Setting an attribute, `with`, `for` and operators do not reach the
    object: write `with db.instance:`. A `functools.cached_property` called `instance` opens a connection at first use.

    rayflow does not undo changes of the thing: a task that changes it must be able to run again on whatever it finds.
    """

    _lineage: Lineage
    _arguments: tuple[tuple[Any, ...], dict[str, Any]]

    @front_door
    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        name = args[0] if args else kwargs.get("name")
        if not isinstance(name, str):
            what = f"{cls.__qualname__}: the first argument of a handle"
            raise BadArguments(f"{what} has to be its name, a text, but is {preview(name)}.")
        made = super().__new__(cls)
        by_name = {each: kwargs[each] for each in sorted(kwargs)}
        for each, argument in (*enumerate(args), *by_name.items()):
            # The arguments travel with the handle: one that cannot be stored is reported here, by its name.
            value_hash(argument, name=f"{cls.__qualname__}: its argument {each + 1 if type(each) is int else each}")
        handle = digest("handle", value_hash((class_path(cls), args, by_name)))
        made._arguments = args, kwargs
        made._lineage = Lineage(handle, handle, None)
        return made

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, name: str) -> Any:
        """An attribute of `self.instance`. Python calls this only for attributes that the handle itself lacks."""
        if name == "instance":
            return object.__getattribute__(self, name)  # raises the error of opening it
        opening = _opening.get()
        if name.startswith("__") or name in _OWN or id(self) in opening or not self._has_instance():
            raise AttributeError(
                f"{type(self).__name__!r} has no attribute {name!r}. Attributes that a handle lacks are read from "
                "self.instance, where its constructor sets that.",
                name=name,
                obj=self,
            )
        token = _opening.set(opening | {id(self)})
        try:
            instance = self.instance
        finally:
            _opening.reset(token)
        return getattr(instance, name)

    def _has_instance(self) -> bool:
        return "instance" in self.__dict__ or hasattr(type(self), "instance")

    @front_door
    def fork(self, key: str) -> Self:
        """The same thing for a separate branch. Tasks that run on this state, or on its other forks, do not outdate the
        states of this fork.

        key: names the fork; two forks of a state with one key are the same.
        """
        known = self._lineage
        return self._at(known._replace(state=digest("fork", known.state, key.encode())))

    def _at(self, lineage: Lineage) -> Self:
        """A copy of this handle at another state; the two share connections."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._lineage = lineage
        return other

    def identity(self) -> Any:
        """Name, arguments and lineage."""
        return self._lineage.handle, self._lineage.state

    def encode(self) -> Any:
        """The constructor's arguments, and the lineage."""
        for branch in self._lineage.beside:
            notice((OF_HANDLE, branch))
        return self._arguments, tuple(self._lineage)

    @classmethod
    def decode(cls, data: Any) -> Self:
        """The handle, constructed again, at the same state."""
        (args, kwargs), lineage = data
        made = cls(*args, **kwargs)
        made._lineage = Lineage(*lineage)
        return made

    def __reduce__(self) -> tuple[Callable[..., Handle], tuple[Any, ...]]:
        return _decoded, (type(self), self.encode())

    def preview(self) -> str:
        """Class and arguments, and the beginning of the state."""
        args, kwargs = self._arguments
        shown = ", ".join([*map(preview, args), *(f"{name}={preview(value)}" for name, value in kwargs.items())])
        state = "" if self._lineage.after is None else f" at {self._lineage.state.hex()[:8]}"
        return f"{type(self).__name__}({shown}){state}"

    def __rayflow_witness__(self) -> Witness | None:
        if self._lineage.after is None:
            return None  # no call has changed it
        return OF_HANDLE, (self._lineage.after, self._lineage.parent)


def _decoded(of: type[Handle], data: Any) -> Handle:
    return of.decode(data)


def are_there() -> bool:
    """Whether this process has a subclass of Handle, and so may have handles."""
    return bool(Handle.__subclasses__())


def lineage_of(handle: Handle) -> Lineage:
    """The lineage of a handle's state."""
    return handle._lineage


def advanced(handle: Handle, call: bytes) -> Handle:
    """The new state that a call makes by returning this one."""
    known = handle._lineage
    state = digest("state", known.state, call)
    return handle._at(Lineage(known.handle, state, state, known.state, known.beside))


def merged(handles: Sequence[Handle]) -> Handle:
    """A state of the handle that comes after all of these states.

    Raises BadArguments unless all are states of one handle.
    """
    lineages = [each._lineage for each in handles if isinstance(each, Handle)]
    if not lineages or len(lineages) < len(handles):
        raise BadArguments(f"merge_handles takes a list of states of one handle, not {preview(handles)}.")
    first = lineages[0]
    other = next((each for each, of in zip(handles, lineages, strict=True) if of.handle != first.handle), None)
    if other is not None:
        raise BadArguments(
            f"merge_handles takes states of one handle: {handles[0].preview()} and {other.preview()} are two. Pass "
            "both to the task that needs them."
        )
    branches = {(each.after, each.parent): None for each in lineages[1:] if each.after is not None}
    beside = dict.fromkeys([*branches, *(branch for each in lineages for branch in each.beside)])
    state = digest("merged", *[each.state for each in lineages])
    return handles[0]._at(first._replace(state=state, beside=tuple(beside)))


def are_current_states(payloads: Sequence[tuple[Any, ...]], store: Any) -> list[bool]:
    """Whether each state is current, by the records of the store. The validator of OF_HANDLE."""
    return [store.is_current_state(state) for state, *_ in payloads]
