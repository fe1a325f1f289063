"""The only user of cloudpickle: objects to pickle streams with their buffers apart, and back.

In: one object, or a stream and buffers. Out: a stream and buffers, or the object. Never: says what may be kept
(encoding does).
"""

from __future__ import annotations

import functools
import io
import pickle
from collections.abc import Iterable
from typing import Any, cast

from rayflow.values.class_codes import code_of, is_local, remember_code
from rayflow.values.exceptions import from_pieces, pieces_of, reduces_itself
from rayflow.values.handlers import class_path, importable, load_class
from rayflow.values.hooks import reduced
from rayflow.values.main_module import MAIN, main_name


class TooDeep(Exception):
    """The object is nested deeper than the pickler can follow."""


_QUICK: set[type] = set()


def pickles_quickly(*classes: type) -> None:
    """Instances of exactly these classes are made of plain data and importable names: the standard library's pickler
    gives what cloudpickle gives, and is quicker."""
    _QUICK.update(classes)


def dump(
    value: Any, *, plain: bool = False, apart: bool = True, by_value: bool = False
) -> tuple[bytes, list[Any]]:
    """A protocol 5 stream and the buffers taken out of it, uncopied.

    plain: the value holds nothing but built-in scalars and containers, so that the quick pickler of the standard
    library gives the same. apart: whether buffers are taken out; if not, they stand in the stream. by_value: classes of
    a script stand in the stream, not their names.
    Raises TooDeep, or whatever the value's own reduction raises.
    """
    buffers: list[pickle.PickleBuffer] = []
    try:
        if plain or (type(value) in _QUICK and reduced(value) is NotImplemented):
            return pickle.dumps(value, protocol=5), []
        stream = io.BytesIO()
        pickler = _pickler()[1 if by_value else 0]
        pickler(stream, protocol=5, buffer_callback=buffers.append if apart else None).dump(value)
    except RecursionError as error:
        raise TooDeep(str(error)) from error
    except pickle.PicklingError as error:
        if "recursion" in str(error):
            raise TooDeep(str(error)) from error
        raise
    raws: list[Any] = []
    for buffer in buffers:
        raws.append(buffer.raw())
    return stream.getvalue(), raws


@functools.cache
def _pickler() -> tuple[Any, Any]:
    """cloudpickle's pickler, imported at first use, without its habit of copying the content of open files; one that
    names the classes of a script, and one that copies them."""
    import cloudpickle

    class Copying(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
        def reducer_override(self, value: Any) -> Any:
            if isinstance(value, io.IOBase) and not isinstance(value, io.BytesIO | io.StringIO):
                raise TypeError(f"an open {type(value).__name__} cannot be pickled")
            if type(value) is memoryview:
                return _viewed, (value.tobytes(), value.format, value.shape)
            own = reduced(value)
            if own is NotImplemented and isinstance(value, BaseException) and not reduces_itself(type(value)):
                return from_pieces, pieces_of(value)
            if own is not NotImplemented:
                return own
            known = super().reducer_override(value)
            if not isinstance(known, tuple) or not isinstance(value, type):
                return known
            is_made = is_local(value)
            if is_made or value.__qualname__ != value.__name__:
                code = code_of(value) if is_made else None
                return _inner_class, (value.__qualname__, code, *known[:2]), *known[2:]
            return known

    class Naming(Copying):
        def reducer_override(self, value: Any) -> Any:
            if isinstance(value, type) and value.__module__ == MAIN:
                path = class_path(value)
                if importable(path) is value:
                    reduced(value)  # notices its witness
                    return load_class, (path,)
            return super().reducer_override(value)

    return Naming, Copying


def _inner_class(qualname: str, code: bytes | None, make: Any, args: tuple[Any, ...]) -> type:
    """A class that stands in another, or was made by a function, elsewhere. cloudpickle would make it forget where;
    and its source may not be here, so it has brought what its code is."""
    found: type = make(*args)
    found.__qualname__ = qualname
    if code is not None:
        remember_code(found, code)
    return found


def _viewed(data: bytes, format: str, shape: tuple[int, ...]) -> memoryview:
    """A view of bytes; the standard pickler knows none, and cloudpickle gives back plain bytes."""
    flat = memoryview(data)
    return flat.cast("B").cast(cast(Any, format), shape) if flat.nbytes else flat


def load(stream: Any, buffers: Iterable[Any] = ()) -> Any:
    """The object of a stream; arrays stand on the buffers that are given, without a copy."""
    script = main_name()
    if script != MAIN and script.encode() in bytes(stream):
        return _Finder(io.BytesIO(stream), buffers=buffers).load()
    return pickle.loads(stream, buffers=buffers)


class _Finder(pickle.Unpickler):
    """Finds what was written by the name of the running script's file in the script that runs."""

    def find_class(self, module: str, name: str) -> Any:
        found = importable(f"{module}:{name}") if module == main_name() else None
        return super().find_class(module, name) if found is None else found
