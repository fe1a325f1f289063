"""Custom treatment of values: `Value` for the user's own classes, `Handler` for classes of other libraries.

In: a class with hooks, or a handler for a class. Out: the identity, bytes, validity and parts of its instances. Never:
calls a hook that the class or handler does not override.
"""

from __future__ import annotations

import dataclasses
import inspect
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from rayflow.errors import NotSerializable
from rayflow.values import witnesses
from rayflow.values.display.tracebacks import front_door
from rayflow.values.display.user_warnings import warn_user
from rayflow.values.encoding import previews
from rayflow.values.encoding.encoding import decode, from_bytes
from rayflow.values.native import NATIVE
from rayflow.values.objects import hooks, opaque
from rayflow.values.objects.handlers import class_path, handler_for, register

T = TypeVar("T")
V = TypeVar("V", bound="Value")


class Value:
    """Base of a value class of your own. Override the hooks that you need; the others cost nothing.

    A Value is one value: lazy expressions inside its attributes are not evaluated (pass them to the task that makes
    it). Hooks work wherever the value stands, also inside containers and other objects.
    """

    __slots__ = ()

    def identity(self) -> Any:
        """Data that equal values have in common: any value that can be hashed. Default: the fields, or the state."""
        return _identity(self)

    def encode(self) -> Any:
        """Data to store for the value: any value that can be stored, arrays among them. Define `decode` with it."""
        return _Reduction.of(self)

    @classmethod
    def decode(cls: type[V], data: Any) -> V:
        """The value that `encode` returned this data for."""
        made: V = data.rebuild()
        return made

    def is_valid(self) -> bool:
        """Whether a recorded value is still valid. False: its task runs again. Called in a process with your code."""
        return True

    def prepare(self: V) -> V:
        """The value that a task's body gets. Called on the worker, on a copy that only this body has."""
        return self

    def finish(self: V) -> V:
        """The value that leaves a task, of the same class. Called once for each object, before it is hashed."""
        return self

    @classmethod
    def parse(cls: type[V], text: str) -> V:
        """The value for a text on a command line."""
        raise NotImplementedError

    def parts(self) -> Iterable[Any]:
        """Values inside that the records list one by one, with a lineage of their own (files, large tables)."""
        return ()

    def preview(self) -> str:
        """One short line for people. It must be quick, however large the value is."""
        return _preview(self)


class Handler(Generic[T]):
    """How to treat values of a class that you do not own: register an instance with `register_handler`.

    Override the hooks that you need, as in `Value`; here each hook gets the value. The handler's class has to stand at
    the top level of a module, and rayflow may make another instance of it, without arguments.
    """

    def identity(self, value: T) -> Any:
        """Data that equal values have in common: any value that can be hashed. Default: the fields, or the state."""
        return _identity(value)

    def encode(self, value: T) -> Any:
        """Data to store for the value: any value that can be stored, arrays among them. Define `decode` with it."""
        return _Reduction.of(value)

    def decode(self, data: Any, of: type[T]) -> T:
        """The value that `encode` returned this data for. of: its class."""
        made: T = data.rebuild()
        return made

    def is_valid(self, value: T) -> bool:
        """Whether a recorded value is still valid. False: its task runs again. Called in a process with your code."""
        return True

    def prepare(self, value: T) -> T:
        """The value that a task's body gets. Called on the worker, on a copy that only this body has."""
        return value

    def finish(self, value: T) -> T:
        """The value that leaves a task, of the same class. Called once for each object, before it is hashed."""
        return value

    def parse(self, text: str, of: type[T]) -> T:
        """The value for a text on a command line. of: the class of the parameter."""
        raise NotImplementedError

    def parts(self, value: T) -> Iterable[Any]:
        """Values inside that the records list one by one, with a lineage of their own (files, large tables)."""
        return ()

    def preview(self, value: T) -> str:
        """One short line for people. It must be quick, however large the value is."""
        return _preview(value)


@front_door
def register_handler(of: type[T], handler: Handler[T]) -> None:
    """Treat values of this class, and of subclasses without a handler of their own, by this handler.

    Call it at the top level of a module that your tasks' module imports, so that workers do it too.
    """
    if not isinstance(of, type) or not isinstance(handler, Handler):
        raise TypeError(
            f"register_handler takes a class and an instance of a Handler's subclass, not {previews.preview(handler)}"
        )
    if of in NATIVE or issubclass(of, type):
        raise TypeError(f"{of.__qualname__} is rayflow's own to treat; register a handler for a subclass of it")
    register(of, Custom(handler))
    hooks.forget()


class _OfValue(Handler[Value]):
    """The handler of Value and its subclasses: it calls the value's own methods."""

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
    """Wraps a user's handler for the registry of handlers: a leaf handler with hooks."""

    kind = "custom"

    def __init__(self, handler: Handler[Any]) -> None:
        self.handler = handler

    def structure(self, value: Any) -> tuple[Any, ...]:
        """Class and identity; while the value leaves a task, of the finished value."""
        return (class_path(type(value)), self.handler.identity(hooks.as_finished(value)))

    def preview(self, value: Any) -> str:
        """The line that the user's handler returns."""
        return self.handler.preview(value)

    def overrides(self, of: type, hook: str) -> bool:
        """Whether the class or its handler overrides a hook."""
        if type(self.handler) is _OfValue:
            return inspect.getattr_static(of, hook) is not Value.__dict__[hook]
        return inspect.getattr_static(type(self.handler), hook) is not Handler.__dict__[hook]

    def hooks_of(self, of: type) -> hooks.Hooks | None:
        """The overridden hooks of a class; None when it has none."""
        made = _OwnHooks(self, of)
        return made if made.does_anything() else None


class _OwnHooks(hooks.Hooks):
    """The overridden hooks of one class. wraps: a pickle holds what `encode` returned in place of the object."""

    __slots__ = ("_finishes", "_handler", "_has_parts", "_has_witness", "wraps")

    def __init__(self, custom: Custom, of: type) -> None:
        self._handler = custom.handler
        self._has_witness = hasattr(of, "__rayflow_witness__")
        self._has_parts = custom.overrides(of, "parts")
        self._finishes = custom.overrides(of, "finish")
        # The class's own witness replaces is_valid, except in a subclass that overrides is_valid again.
        checks = custom.overrides(of, "is_valid") and not (self._has_witness and not _adds_check(of))
        super().__init__(is_part=checks or self._has_parts or self._has_witness, checks=checks)
        self.wraps = any(custom.overrides(of, hook) for hook in ("encode", "decode", "prepare"))

    def does_anything(self) -> bool:
        """Whether a hook is overridden that is called while a value is encoded or decoded."""
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
    """Whether a subclass of the class with the witness overrides is_valid."""
    names = next(vars(each) for each in of.__mro__ if {"is_valid", "__rayflow_witness__"} & vars(each).keys())
    return "__rayflow_witness__" not in names


def _restored(of_handler: type[Handler[Any]] | None, of: type, data: Any) -> Any:
    """The object, from its class and the data that its handler encoded; prepared when it enters a task."""
    known = handler_for(of)
    if not isinstance(known, Custom):
        # The module that registers the handler was not imported here.
        if of_handler is None:
            raise TypeError(f"{of.__module__}.{of.__qualname__} is not a Value any more")
        register_handler(of, of_handler())
        known = handler_for(of)
        assert isinstance(known, Custom)
    value = known.handler.decode(data, of)
    return known.handler.prepare(value) if hooks.is_entering() else value


class _Reduction:
    """The reduction by which pickle rebuilds an object, as data: what `encode` returns where it is not overridden."""

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
        """The reduction of an object. Raises TypeError for an object that refuses to be pickled."""
        reduction = value.__reduce_ex__(4)
        if isinstance(reduction, str):
            raise NotSerializable(f"{type(value).__qualname__} is pickled by name: override encode and decode")
        padded: list[Any] = [*reduction, None, None, None]
        return _Reduction(padded[0], padded[1], padded[2], list(padded[3] or ()), list(padded[4] or ()))

    def rebuild(self) -> Any:
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
    """The function that reads a text as a value of this class; None when the class does not override `parse`."""
    custom = handler_for(of) if isinstance(of, type) else None
    if isinstance(custom, Custom) and custom.overrides(of, "parse"):
        return lambda text: custom.handler.parse(text, of)
    return None


# --- validity ---------------------------------------------------------------------------------------------------------


def are_valid(payloads: Sequence[tuple[Any, ...]], store: Any) -> list[bool]:
    """Whether each value says that it is valid, by its `is_valid`. The validator of OF_VALUE."""
    return [_is_valid(digest, inline, store) for digest, inline in payloads]


def _is_valid(digest: bytes, inline: bytes | None, store: Any) -> bool:
    try:
        value = decode(from_bytes(inline) if inline is not None else store.get_blob(digest))
        custom = handler_for(type(value))
        return isinstance(custom, Custom) and bool(custom.handler.is_valid(value))
    except Exception as error:  # of the user's code, or of decoding it: the value is not valid
        warn_user(
            f"rayflow cannot tell whether a cached value is still valid ({type(error).__name__}: {error}), so the task "
            "that made it runs again."
        )
        return False


register(Value, Custom(_OfValue()))
