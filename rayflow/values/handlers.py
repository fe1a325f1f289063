"""Which class of values is treated how: the registry from type to handler.

In: a type. Out: its handler. Never: walks, hashes or encodes anything itself.

There are two sorts of handlers. A *container* has values inside that others want to see (a dataclass, an OrderedDict):
its handler takes it apart into a header of plain data and its parts, and builds it again from other parts. Every other
value is a *leaf*: its handler says what it is made of, for the hash, in plain values and, for bulk data, memoryviews.

Handlers for types of other libraries live in modules of their own, which are imported when the first such value is met.
"""

from __future__ import annotations

import importlib
import sys
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

from rayflow.errors import BadModule, UserError
from rayflow.values.class_codes import code_of, is_local
from rayflow.values.main_module import module_named, name_of
from rayflow.values.refs import Encoded


@runtime_checkable
class ContainerHandler(Protocol):
    """Takes values of some class apart and builds them again.

    kind: a name that stays the same for ever; it is part of the hash.
    """

    kind: str

    def take_apart(self, value: Any) -> tuple[tuple[Any, ...], Sequence[Any]]:
        """Header (canonical plain data: the class path and such) and parts. Equal values give equal headers."""
        ...

    def build(self, header: tuple[Any, ...], parts: Sequence[Any]) -> Any:
        """The value again. No constructor of the user's runs a second time."""
        ...


@runtime_checkable
class LeafHandler(Protocol):
    """Says what a value is made of.

    kind: a name that stays the same for ever; it is part of the hash.
    """

    kind: str

    def structure(self, value: Any) -> tuple[Any, ...]:
        """What makes this value equal to another: plain values, and memoryviews for bulk data."""
        ...


@runtime_checkable
class EncodingHandler(LeafHandler, Protocol):
    """A leaf handler with a format of its own for a value that is encoded by itself, not inside another."""

    format: str

    def encode(self, value: Any) -> Encoded:
        """The value as bytes under this handler's format tag."""
        ...

    def decode(self, encoded: Encoded) -> Any:
        """The value again."""
        ...


@runtime_checkable
class PreviewHandler(LeafHandler, Protocol):
    """A leaf handler that knows how to show its values on one line."""

    def preview(self, value: Any) -> str:
        """One short line; must be quick however large the value is."""
        ...


Handler: TypeAlias = ContainerHandler | LeafHandler

_BY_TYPE: dict[type, Handler] = {}
_BY_PREDICATE: list[tuple[Callable[[type], bool], Handler]] = []
_BY_KIND: dict[str, ContainerHandler] = {}
_BY_FORMAT: dict[str, EncodingHandler] = {}
_FOUND: dict[type, Handler | None] = {}
_FOUND_CONTAINERS: dict[type, ContainerHandler | None] = {}

_HOMES = {
    "numpy": "rayflow.values.arrays",
    "pandas": "rayflow.values.frames",
    "pyarrow": "rayflow.values.arrow",
    "polars": "rayflow.values.polars_frames",
    "pydantic": "rayflow.values.models",
}
"""Top module of a class -> our module with its handlers, imported when the first such value is met."""

_HOMES_OF_KINDS = {"pydantic": "rayflow.values.models"}

_HOMES_OF_FORMATS = {"polars": "rayflow.values.polars_frames", "polars.series": "rayflow.values.polars_frames"}


def register(of: type, handler: Handler) -> None:
    """Treat values of this class, and of subclasses without a handler of their own, by this handler."""
    _BY_TYPE[of] = handler
    _remember(handler)


def register_predicate(holds: Callable[[type], bool], handler: Handler) -> None:
    """Treat values whose type satisfies `holds` by this handler, if none of their bases has one. Asked in order."""
    _BY_PREDICATE.append((holds, handler))
    _remember(handler)


def _remember(handler: Handler) -> None:
    if isinstance(handler, ContainerHandler):
        _BY_KIND[handler.kind] = handler
    if isinstance(handler, EncodingHandler):
        _BY_FORMAT[handler.format] = handler
    _FOUND.clear()
    _FOUND_CONTAINERS.clear()


def handler_for(of: type) -> Handler | None:
    """The handler of a type: its own, else that of its nearest base, else the first whose predicate holds."""
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
    """The handler that takes values of this type apart, or None when they are leaves."""
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


def encoding_handler_for(of: type) -> EncodingHandler | None:
    """The handler that encodes values of this type in a format of its own, or None when they are pickled."""
    handler = handler_for(of)
    return handler if hasattr(handler, "encode") else None  # type: ignore[return-value]  # quicker than the protocol


def _search(of: type) -> Handler | None:
    for base in of.__mro__:
        handler = _BY_TYPE.get(base)
        if handler is not None:
            return handler
    for holds, candidate in _BY_PREDICATE:
        if holds(of):
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
"""Classes that no import reaches (made inside a function, or by value from another process), by path."""


_BY_CODE = " by code "
"""Between the path of a class that a function makes and the digest of its code."""


def class_path(of: type) -> str:
    """ "module:qualname" of a class, the same in every process: that of a script does not say `__main__`. One that a
    function makes says by which code."""
    try:
        return _PATHS[of]
    except KeyError:
        pass
    path = f"{name_of(of.__module__)}:{of.__qualname__}"
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
    """What an import finds under this path, in modules that are imported already; None when there is nothing."""
    module, _, qualname = path.partition(":")
    found: Any = module_named(module)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found


def load_class(path: str) -> type:
    """The class at "module:qualname"; its module is imported. Raises BadModule when it is not there."""
    found = importable(path)
    if found is None:
        found = _LOCAL.get(path)
    module = path.partition(":")[0]
    if found is None and module_named(module) is None:
        try:
            importlib.import_module(module)
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
