"""The registry of handlers: a handler says how values of a class are taken apart, built again and hashed.

In: a type. Out: its handler. Never: walks over values, hashes or encodes them.

There are two sorts of values. A *container* holds other values (a dataclass, an OrderedDict): its handler takes it
apart into a header of plain data and its parts, and builds it again from other parts. Any other value is a *leaf*: its
handler returns, for the hash, the plain values and memoryviews that equal values have in common.

Handlers for types of other libraries are in separate modules, which are imported when the first such value is met.
"""

from __future__ import annotations

import enum
import importlib
import sys
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

from rayflow.errors import BadModule, UserError
from rayflow.values.objects.subclasses import reduces_itself
from rayflow.values.process.class_codes import code_of, is_local
from rayflow.values.process.main_module import module_named, name_of
from rayflow.values.process.recorded_names import name_today, recorded_class_name
from rayflow.values.refs import Encoded


@runtime_checkable
class ContainerHandler(Protocol):
    """Takes values of some class apart, and builds them again.

    kind: a name that must never change, since it is part of the hash.
    """

    kind: str

    def take_apart(self, value: Any) -> tuple[tuple[Any, ...], Sequence[Any]]:
        """Header (canonical plain data: the class path and such) and parts. Equal values give equal headers."""
        ...

    def build(self, header: tuple[Any, ...], parts: Sequence[Any]) -> Any:
        """The value. No constructor of the user's runs."""
        ...


@runtime_checkable
class LeafHandler(Protocol):
    """Returns the content of values of some class, for the hash.

    kind: a name that must never change, since it is part of the hash.
    """

    kind: str

    def structure(self, value: Any) -> tuple[Any, ...]:
        """The content that equal values have in common: plain values, and memoryviews for bulk data."""
        ...


@runtime_checkable
class EncodingHandler(LeafHandler, Protocol):
    """A leaf handler with a special format for a value that is encoded alone, and not inside another value."""

    format: str

    def encode(self, value: Any) -> Encoded:
        """The value as bytes under this handler's format tag."""
        ...

    def decode(self, encoded: Encoded) -> Any:
        """The value."""
        ...


@runtime_checkable
class PreviewHandler(LeafHandler, Protocol):
    """A leaf handler with previews of its values."""

    def preview(self, value: Any) -> str:
        """One short line. It must be quick, however large the value is."""
        ...


@runtime_checkable
class BaseHandler(Protocol):
    """A handler of a type and its subclasses, which rebuilds their instances without a constructor.

    base: the type. yields_to_pickle: whether a subclass that defines how it is pickled is also hashed by its pickle.
    """

    base: type
    yields_to_pickle: bool

    def reduce(self, value: Any) -> tuple[Any, ...] | None:
        """How to pickle the value, in the form of `__reduce__`; None if the value's own pickle is complete."""
        ...


@runtime_checkable
class ChangeHandler(Protocol):
    """A handler that can quickly say whether a value can change, or has changed."""

    def is_fixed(self, value: Any) -> bool:
        """Whether the value cannot be changed."""
        ...

    def is_equal(self, value: Any, copy: Any) -> bool:
        """Whether a value equals an earlier copy of it; False if that cannot be decided quickly.

        `copy` may be the value itself (see `copied`): then, whether the value is unlikely to have changed.
        """
        ...

    def copied(self, value: Any, most_bytes: int) -> Any:
        """A copy, and whether it shares no memory with the value.

        None for a value of more than that many bytes, which is not copied; NotImplemented to copy it by pickling.
        """
        ...


AnyHandler: TypeAlias = ContainerHandler | LeafHandler

_BY_TYPE: dict[type, AnyHandler] = {}
_BY_PREDICATE: list[tuple[Callable[[type], bool], AnyHandler]] = []
_BY_KIND: dict[str, ContainerHandler] = {}
_BY_FORMAT: dict[str, EncodingHandler] = {}
_FOUND: dict[type, AnyHandler | None] = {}
_FOUND_CONTAINERS: dict[type, ContainerHandler | None] = {}
_FOUND_BASES: dict[type, BaseHandler | None] = {}

_HOMES = {
    "numpy": "rayflow.values.types.numpy_arrays",
    "pandas": "rayflow.values.types.pandas_frames",
    "pyarrow": "rayflow.values.types.arrow_tables",
    "polars": "rayflow.values.types.polars_frames",
    "pydantic": "rayflow.values.types.pydantic_models",
}
"""Top module of a class -> our module with its handlers. It is imported when the first such value is met."""

_HOMES_OF_KINDS = {"pydantic": "rayflow.values.types.pydantic_models"}

_HOMES_OF_FORMATS = dict.fromkeys(("polars", "polars.series"), "rayflow.values.types.polars_frames")


def register(of: type, handler: AnyHandler) -> None:
    """Use this handler for values of a class, and of its subclasses that have no handler themselves."""
    _BY_TYPE[of] = handler
    _remember(handler)


def register_predicate(fits: Callable[[type], bool], handler: AnyHandler) -> None:
    """Use this handler for types that `fits` accepts, if none of their bases has a handler."""
    _BY_PREDICATE.append((fits, handler))
    _remember(handler)


def _remember(handler: AnyHandler) -> None:
    if isinstance(handler, ContainerHandler):
        _BY_KIND[handler.kind] = handler
    if isinstance(handler, EncodingHandler):
        _BY_FORMAT[handler.format] = handler
    _FOUND.clear()
    _FOUND_CONTAINERS.clear()
    _FOUND_BASES.clear()


def handler_for(of: type) -> AnyHandler | None:
    """The handler of a type: its own, else that of its nearest base, else the first whose predicate accepts it."""
    try:
        return _FOUND[of]
    except KeyError:
        pass
    for base in of.__mro__:
        home = _HOMES.get(base.__module__.partition(".")[0])
        if home is not None and home not in sys.modules:
            importlib.import_module(home)
    found = _search(of)
    if len(_FOUND) > 10_000:
        _FOUND.clear()
    _FOUND[of] = found
    return found


def container_handler_for(of: type) -> ContainerHandler | None:
    """The handler that takes values of this type apart; None if they are leaves."""
    try:
        return _FOUND_CONTAINERS[of]
    except KeyError:
        pass
    handler = handler_for(of)
    found = handler if isinstance(handler, ContainerHandler) else None
    if len(_FOUND_CONTAINERS) > 10_000:
        _FOUND_CONTAINERS.clear()
    _FOUND_CONTAINERS[of] = found
    return found


def base_handler_for(of: type) -> BaseHandler | None:
    """The handler that rebuilds values of this type; None if they are pickled in Python's usual way."""
    try:
        return _FOUND_BASES[of]
    except KeyError:
        pass
    handler = handler_for(of)
    found = handler if isinstance(handler, BaseHandler) else None
    if found is not None and reduces_itself(of, found.base):
        found = None
    if len(_FOUND_BASES) > 10_000:
        _FOUND_BASES.clear()
    _FOUND_BASES[of] = found
    return found


def encoding_handler_for(of: type) -> EncodingHandler | None:
    """The handler that encodes values of this type in a special format; None if they are pickled."""
    handler = handler_for(of)
    return handler if hasattr(handler, "encode") else None  # type: ignore[return-value]  # quicker than the protocol


def _search(of: type) -> AnyHandler | None:
    found = _nearest(of)
    is_left = getattr(found, "yields_to_pickle", False) and reduces_itself(of, found.base)  # type: ignore[union-attr]
    return None if is_left else found


def _nearest(of: type) -> AnyHandler | None:
    # A member of an enum is treated as one, even if its class is also a date, for example.
    bases = [base for base in of.__mro__ if issubclass(base, enum.Enum)] if issubclass(of, enum.Enum) else of.__mro__
    for base in bases:
        handler = _BY_TYPE.get(base)
        if handler is not None:
            return handler
    for fits, candidate in _BY_PREDICATE:
        if fits(of):
            return candidate
    return None


def container_handler(kind: str) -> ContainerHandler:
    """The handler that builds containers of this kind. Raises UserError when nothing registered it."""
    home = _HOMES_OF_KINDS.get(kind)
    if kind not in _BY_KIND and home is not None:
        importlib.import_module(home)
    handler = _BY_KIND.get(kind)
    if handler is None:
        raise UserError(
            f"No handler builds values of the kind {kind!r} here. Import the module that registers it, also on workers."
        )
    return handler


def format_handler(name: str) -> EncodingHandler | None:
    """The handler that decodes this format, or None."""
    home = _HOMES_OF_FORMATS.get(name)
    if name not in _BY_FORMAT and home is not None:
        importlib.import_module(home)
    return _BY_FORMAT.get(name)


# --- classes by path --------------------------------------------------------------------------------------------------

_PATHS: weakref.WeakKeyDictionary[type, str] = weakref.WeakKeyDictionary()
_LOCAL: weakref.WeakValueDictionary[str, type] = weakref.WeakValueDictionary()
"""path -> class, for classes that cannot be imported (created in a function, or received from another process)."""


_BY_CODE = " by code "
"""Stands between the path of a class that a function creates and the digest of its code."""


def class_path(of: type) -> str:
    """The path "module:qualname" of a class, the same in every process: for a script, it does not say `__main__`.

    For a class that a function creates, it also has the digest of the code.
    """
    try:
        return _PATHS[of]
    except KeyError:
        pass
    path = f"{name_of(of.__module__)}:{recorded_class_name(of)}"
    if is_local(of):
        code = code_of(of)
        if code is None:
            return path
        path = f"{path}{_BY_CODE}{code.hex()}"
    if importable(path) is not of:
        _LOCAL[path] = of
    _PATHS[of] = path
    return path


def importable(path: str) -> Any:
    """The object at a path, in modules that are imported already; None if there is none."""
    module, _, qualname = path.partition(":")
    found: Any = module_named(module)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found


def load_class(path: str) -> type:
    """The class at a path; imports its module. Raises BadModule if the class does not exist."""
    found = importable(path)
    if found is None:
        found = _LOCAL.get(path)
    module = path.partition(":")[0]
    if found is None and module_named(module) is None:
        try:
            importlib.import_module(name_today(module))
        except ImportError as error:
            raise BadModule(
                f"The class {path} cannot be loaded here: {error}. Is its module on this machine?"
            ) from error
        found = importable(path)
    if not isinstance(found, type):
        raise BadModule(
            f"The class {path.partition(_BY_CODE)[0]} cannot be found. Classes whose values travel between tasks have "
            "to stand at the top level of a module."
        )
    return found
