"""Values of the user's own: classes that say themselves how they are treated, and handlers for classes of others.

In: a class with hooks, or a handler for one. Out: their identity, bytes, validity, parts. Never: calls a hook that the
class did not override.
"""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from rayflow.errors import NotSerializable
from rayflow.values import hooks, opaque, previews, witnesses
from rayflow.values.encoding import decode, from_bytes
from rayflow.values.handlers import class_path, handler_for, register
from rayflow.values.nested import NATIVE

T = TypeVar("T")
V = TypeVar("V", bound="Value")


class Value:
    """Base of a value type of your own. Override what differs; a hook that is not overridden costs nothing.

    A Value is one value: lazy expressions inside its attributes are not reduced (pass them to the task that makes it).
    Hooks work wherever the value stands, also inside containers and other objects.
    """

    __slots__ = ()

    def identity(self) -> Any:
        """What makes it equal to another of its class: any value that can be hashed. Default: fields, or state."""
        return _identity(self)

    def encode(self) -> Any:
        """What is kept of it: any value that can be kept, arrays as they are. Give `decode` with it."""
        return _Reduction.of(self)

    @classmethod
    def decode(cls: type[V], data: Any) -> V:
        """The value again, from what `encode` gave."""
        made: V = data.made()
        return made

    def is_valid(self) -> bool:
        """Whether a recorded value still holds. False: what made it runs again. Called where your code is."""
        return True

    def prepare(self: V) -> V:
        """The value as a task's body gets it. Called on the worker, on a copy that is the body's own."""
        return self

    def finish(self: V) -> V:
        """The value as it leaves a task, of the same class. Called once for each object, before it is hashed."""
        return self

    @classmethod
    def parse(cls: type[V], text: str) -> V:
        """The value that a text on a command line stands for."""
        raise NotImplementedError

    def parts(self) -> Iterable[Any]:
        """Values inside that should keep their own lineage (files, large tables)."""
        return ()

    def preview(self) -> str:
        """One short line for people; must be quick however large the value is."""
        return _preview(self)


class Handler(Generic[T]):
    """How values of a class that you do not own are treated: register one with `register_handler`.

    Override what differs, as in `Value`; here each hook gets the value. The class of a handler has to stand at the top
    level of a module, and is made without arguments.
    """

    def identity(self, value: T) -> Any:
        """What makes it equal to another of its class: any value that can be hashed. Default: fields, or state."""
        return _identity(value)

    def encode(self, value: T) -> Any:
        """What is kept of it: any value that can be kept, arrays as they are. Give `decode` with it."""
        return _Reduction.of(value)

    def decode(self, data: Any, of: type[T]) -> T:
        """The value again, from what `encode` gave. of: its class."""
        made: T = data.made()
        return made

    def is_valid(self, value: T) -> bool:
        """Whether a recorded value still holds. False: what made it runs again. Called where your code is."""
        return True

    def prepare(self, value: T) -> T:
        """The value as a task's body gets it. Called on the worker, on a copy that is the body's own."""
        return value

    def finish(self, value: T) -> T:
        """The value as it leaves a task, of the same class. Called once for each object, before it is hashed."""
        return value

    def parse(self, text: str, of: type[T]) -> T:
        """The value that a text on a command line stands for. of: the class that is asked for."""
        raise NotImplementedError

    def parts(self, value: T) -> Iterable[Any]:
        """Values inside that should keep their own lineage (files, large tables)."""
        return ()

    def preview(self, value: T) -> str:
        """One short line for people; must be quick however large the value is."""
        return _preview(value)


def register_handler(of: type[T], handler: Handler[T]) -> None:
    """Treat values of this class, and of subclasses without a handler of their own, by this handler.

    Call it at the top level of a module that your tasks' module imports, so that workers do it too.
    """
    if not isinstance(of, type) or not isinstance(handler, Handler):
        raise TypeError(f"register_handler takes a class and an instance of a Handler's subclass, not {handler!r}")
    if of in NATIVE or issubclass(of, type):
        raise TypeError(f"{of.__qualname__} is rayflow's own to treat; register a handler for a subclass of it")
    register(of, Custom(handler))
    hooks.forget()


class _OfValue(Handler[Value]):
    """The handler of Value and its subclasses: asks the value."""

    def identity(self, value: Value) -> Any:
        return value.identity()

    def encode(self, value: Value) -> Any:
        return value.encode()

    def decode(self, data: Any, of: type[Value]) -> Value:
        return of.decode(data)

    def is_valid(self, value: Value) -> bool:
        return value.is_valid()

    def prepare(self, value: Value) -> Value:
        return value.prepare()

    def finish(self, value: Value) -> Value:
        return value.finish()

    def parse(self, text: str, of: type[Value]) -> Value:
        return of.parse(text)

    def parts(self, value: Value) -> Iterable[Any]:
        return value.parts()

    def preview(self, value: Value) -> str:
        return value.preview()


class Custom:
    """A user's handler as the registry knows it: a leaf with hooks."""

    kind = "custom"

    def __init__(self, handler: Handler[Any]) -> None:
        self.handler = handler

    def structure(self, value: Any) -> tuple[Any, ...]:
        """Class and identity, as it leaves the task if it does."""
        return (class_path(type(value)), self.handler.identity(hooks.as_finished(value)))

    def preview(self, value: Any) -> str:
        """The handler's one line."""
        return self.handler.preview(value)

    def overrides(self, of: type, hook: str) -> bool:
        """Whether a hook does something for this class."""
        if type(self.handler) is _OfValue:
            return inspect.getattr_static(of, hook) is not Value.__dict__[hook]
        return inspect.getattr_static(type(self.handler), hook) is not Handler.__dict__[hook]

    def hooks_of(self, of: type) -> hooks.Hooks | None:
        """The hooks that this class has overridden, or None."""
        made = _OwnHooks(self, of)
        return made if made.does_anything() else None


class _OwnHooks(hooks.Hooks):
    """What of a class's hooks is overridden. wraps: the object does not go into the pickle as it is."""

    __slots__ = ("_finishes", "_handler", "_has_parts", "_has_witness", "wraps")

    def __init__(self, custom: Custom, of: type) -> None:
        self._handler = custom.handler
        self._has_witness = hasattr(of, "__rayflow_witness__")
        self._has_parts = custom.overrides(of, "parts")
        self._finishes = custom.overrides(of, "finish")
        # A witness of the class's own says it better, but for a class below that asks for more.
        checks = custom.overrides(of, "is_valid") and not (self._has_witness and not _adds_check(of))
        super().__init__(is_part=checks or self._has_parts or self._has_witness, checks=checks)
        self.wraps = any(custom.overrides(of, hook) for hook in ("encode", "decode", "prepare"))

    def does_anything(self) -> bool:
        """Whether any hook is overridden that is asked while a value is encoded or decoded."""
        return self.is_part or self.wraps or self._finishes

    def witness(self, value: Any) -> witnesses.Witness | None:
        return super().witness(value) if self._has_witness else None

    def reduce(self, value: Any) -> tuple[Any, ...] | None:
        if not self.wraps:
            return None
        handler = type(self._handler)
        return _restored, (None if handler is _OfValue else handler, type(value), self._handler.encode(value))

    def finish(self, value: Any) -> Any:
        return self._handler.finish(value) if self._finishes else value

    def parts(self, value: Any) -> list[Any]:
        return list(self._handler.parts(value)) if self._has_parts else []


def _adds_check(of: type) -> bool:
    """Whether is_valid is overridden below the class that has the witness."""
    names = next(vars(each) for each in of.__mro__ if {"is_valid", "__rayflow_witness__"} & vars(each).keys())
    return "__rayflow_witness__" not in names


def _restored(of_handler: type[Handler[Any]] | None, of: type, data: Any) -> Any:
    """An object again, from its class and what its handler has encoded; prepared when it enters a task."""
    known = handler_for(of)
    if not isinstance(known, Custom):
        # The module that registers the handler was not imported here.
        if of_handler is None:
            raise TypeError(f"{of.__module__}.{of.__qualname__} is no Value any more")
        register_handler(of, of_handler())
        known = handler_for(of)
        assert isinstance(known, Custom)
    value = known.handler.decode(data, of)
    return known.handler.prepare(value) if hooks.is_entering() else value


class _Reduction:
    """An object as pickle would make it again, as data: what `encode` gives when only another hook is overridden."""

    __slots__ = ("args", "factory", "items", "pairs", "state")

    def __init__(self, factory: Any, args: Any, state: Any, items: list[Any], pairs: list[Any]) -> None:
        self.factory = factory
        self.args = args
        self.state = state
        self.items = items
        self.pairs = pairs

    def __reduce__(self) -> tuple[Any, ...]:
        return _Reduction, (self.factory, self.args, self.state, self.items, self.pairs)

    @staticmethod
    def of(value: Any) -> _Reduction:
        """Raises TypeError for an object that says it cannot be pickled."""
        reduction = value.__reduce_ex__(4)
        if isinstance(reduction, str):
            raise NotSerializable(f"{type(value).__qualname__} is pickled by name: override encode and decode")
        given: list[Any] = [*reduction, None, None, None]
        return _Reduction(given[0], given[1], given[2], list(given[3] or ()), list(given[4] or ()))

    def made(self) -> Any:
        """The object."""
        value = self.factory(*self.args)
        if self.state is not None:
            if hasattr(value, "__setstate__"):
                value.__setstate__(self.state)
            else:
                plain, slots = self.state if isinstance(self.state, tuple) else (self.state, None)
                for name, part in {**(plain or {}), **(slots or {})}.items():
                    object.__setattr__(value, name, part)
        if self.items:
            value.extend(self.items)
        for key, part in self.pairs:
            value[key] = part
        return value


def _identity(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return tuple((field.name, getattr(value, field.name, None)) for field in dataclasses.fields(value))
    return opaque.reduced(value)


_PREVIEWED = 6
"""How many attributes a preview shows."""


def _preview(value: Any) -> str:
    of = type(value)
    if dataclasses.is_dataclass(of):
        named = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(of)}
    elif getattr(of, "__repr__", None) is object.__repr__:
        named = getattr(value, "__dict__", {})
    else:
        return previews.shorten(repr(value))
    shown = [f"{name}={previews.preview(part, 40)}" for name, part in itertools.islice(named.items(), _PREVIEWED)]
    return f"{of.__qualname__}({', '.join([*shown, '...'] if len(named) > _PREVIEWED else shown)})"


def parser_of(of: Any) -> Callable[[str], Any] | None:
    """What reads a text as a value of this class, or None when the class has no way of its own."""
    custom = handler_for(of) if isinstance(of, type) else None
    if isinstance(custom, Custom) and custom.overrides(of, "parse"):
        return lambda text: custom.handler.parse(text, of)
    return None


# --- validity ---------------------------------------------------------------------------------------------------------


def _still_valid(payloads: Sequence[tuple[Any, ...]], store: Any) -> list[bool]:
    """Ask each value's own `is_valid`."""
    return [_is_valid(digest, inline, store) for digest, inline in payloads]


def _is_valid(digest: bytes, inline: bytes | None, store: Any) -> bool:
    try:
        value = decode(from_bytes(inline) if inline is not None else store.get_blob(digest))
        custom = handler_for(type(value))
        return isinstance(custom, Custom) and bool(custom.handler.is_valid(value))
    except Exception as error:  # the user's code, and whatever decodes the user's classes: not valid, and said so
        warnings.warn(
            f"Whether a cached value still holds cannot be told ({type(error).__name__}: {error}); what made it runs "
            "again.",
            stacklevel=2,
        )
        return False


register(Value, Custom(_OfValue()))
witnesses.register_validator(witnesses.OF_VALUE, _still_valid, on_worker=True)
