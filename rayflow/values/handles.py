"""Handles: things outside that tasks change, such as a database.

In: a name and what it takes to reach the thing. Out: values that stand for *states* of it: a task that gets a handle
and returns it gives a new state. Never: looks at the thing itself.

A state is known by its lineage: which handle, and through which calls it went. Whether it is *current* is told by the
records of the store: a state counts while it is the newest that was made from the one before it, and that one counts
and has not been made again since. So running a task on an earlier state outdates the later ones, and a cached result
that holds one of those is made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from rayflow.errors import BadArguments
from rayflow.values.custom import Value
from rayflow.values.digests import digest
from rayflow.values.handlers import class_path
from rayflow.values.identity import value_hash
from rayflow.values.witnesses import OF_HANDLE, Witness, register_validator


class Lineage(NamedTuple):
    """Where a state comes from.

    handle: which handle this is: its class and the arguments that it was made with. state: this state of it. after: the
    last state that a call has made on the way here; None when there was none.
    """

    handle: bytes
    state: bytes
    after: bytes | None


class Handle(Value):
    """Base of a class of your own for a thing outside that tasks change: `Database("sales", path="sales.db")`.

    The first argument of its constructor is its name. A handle is kept as its constructor's arguments, and made from
    them again wherever a task gets it: open connections there. A task that changes the thing returns the handle that
    it got; what it returns is a new state, and who needs the change takes that. Running a task on an earlier state,
    because its code has changed say, outdates all states that came after it. Branches that do not touch each other take
    a `fork` each. A task that only reads does not return the handle.

    The thing itself is not turned back: a task that changes it has to be fit to run again on what it finds.
    """

    _lineage: Lineage
    _arguments: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        name = args[0] if args else kwargs.get("name")
        if not isinstance(name, str):
            raise BadArguments(f"{cls.__qualname__}: the first argument of a handle is its name, not {name!r}.")
        made = super().__new__(cls)
        handle = digest("handle", value_hash((class_path(cls), args, kwargs)))
        made._arguments = args, kwargs
        made._lineage = Lineage(handle, handle, None)
        return made

    def __init__(self, name: str) -> None:
        self.name = name

    def fork(self, key: str) -> Self:
        """The same thing for a branch of its own: states that come from this fork are not outdated by tasks that run on
        this state, or on other forks of it. key: tells the forks of a state apart."""
        _, state, after = self._lineage
        return self._at(Lineage(self._lineage.handle, digest("fork", state, key.encode()), after))

    def _at(self, lineage: Lineage) -> Self:
        """The same object at another state; connections are shared."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._lineage = lineage
        return other

    def identity(self) -> Any:
        """Name, arguments and lineage."""
        return self._lineage.handle, self._lineage.state

    def encode(self) -> Any:
        """What it takes to make it again."""
        return self._arguments, tuple(self._lineage)

    @classmethod
    def decode(cls, data: Any) -> Self:
        """The handle, made anew at the same state."""
        (args, kwargs), lineage = data
        made = cls(*args, **kwargs)
        made._lineage = Lineage(*lineage)
        return made

    def preview(self) -> str:
        """Class and arguments, and the beginning of the state."""
        args, kwargs = self._arguments
        shown = ", ".join([*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())])
        state = "" if self._lineage.after is None else f" at {self._lineage.state.hex()[:8]}"
        return f"{type(self).__name__}({shown}){state}"

    def __rayflow_witness__(self) -> Witness | None:
        if self._lineage.after is None:
            return None  # nothing has happened to it
        return OF_HANDLE, (self._lineage.after,)


def are_there() -> bool:
    """Whether this process can have handles at all."""
    return bool(Handle.__subclasses__())


def lineage_of(handle: Handle) -> Lineage:
    """Where a handle's state comes from."""
    return handle._lineage


def advanced(handle: Handle, call: bytes) -> Handle:
    """The state that a call makes of the one that it returns."""
    known = handle._lineage
    state = digest("state", known.state, call)
    return handle._at(Lineage(known.handle, state, state))


def _are_current(payloads: Sequence[tuple[Any, ...]], store: Any) -> list[bool]:
    return [store.is_current_state(state) for (state,) in payloads]


register_validator(OF_HANDLE, _are_current)
