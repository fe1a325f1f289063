"""Pickling, with cloudpickle: objects to a stream and separate buffers, and back. Only this module uses cloudpickle.

In: one object, or a stream and buffers. Out: a stream and buffers, or the object. Never: decides what may be stored
(encoding does).
"""

from __future__ import annotations

import dataclasses
import functools
import io
import pickle
import weakref
from collections.abc import Iterable
from types import CodeType
from typing import Any, cast

from rayflow.values.objects.exceptions import from_pieces, give_attributes, pieces_of, reduces_itself
from rayflow.values.objects.handlers import base_handler_for, class_path, importable, load_class
from rayflow.values.objects.hooks import reduced
from rayflow.values.process.base_exceptions import contained
from rayflow.values.process.class_codes import code_of, is_local, remember_code
from rayflow.values.process.main_module import MAIN, main_name
from rayflow.values.process.recorded_names import name_today


class PickleTooDeep(Exception):
    """The object is nested too deep for the recursion of the pickler."""


_QUICK: set[type] = set()

_DEFINED_HERE: weakref.WeakSet[type] = weakref.WeakSet()
"""Classes of this process that were pickled by value."""

_RECEIVED: weakref.WeakSet[type] = weakref.WeakSet()
"""Classes that were pickled by value in another process, and loaded here."""

_SENTINELS = ("MISSING", "KW_ONLY", "_HAS_DEFAULT_FACTORY")
"""Objects of the module `dataclasses` that are compared by `is`, so a pickle must not copy them."""


def pickles_quickly(*classes: type) -> None:
    """Use the standard library's pickler for instances of exactly these classes, because it is quicker.

    Their instances may hold only plain data and importable objects: then cloudpickle returns the same stream.
    """
    _QUICK.update(classes)


def dump(value: Any, *, plain: bool = False, apart: bool = True, by_value: bool = False) -> tuple[bytes, list[Any]]:
    """A pickle stream (protocol 5), and its buffers, which are not copied.

    plain: the value holds only built-in scalars and containers, so the quicker pickler of the standard library is used.
    apart: whether buffers are separate; if not, they are in the stream. by_value: the stream holds the classes of a
    script, in place of their names.
    Raises PickleTooDeep, and any error of the value's own reduction.
    """
    buffers: list[pickle.PickleBuffer] = []
    try:
        if plain or (type(value) in _QUICK and reduced(value) is NotImplemented):
            return pickle.dumps(value, protocol=5), []
        stream = io.BytesIO()
        pickler = _pickler()[1 if by_value else 0]
        with contained:
            pickler(stream, protocol=5, buffer_callback=buffers.append if apart else None).dump(value)
    except RecursionError as error:
        raise PickleTooDeep(str(error)) from error
    except pickle.PicklingError as error:
        if "recursion" in str(error):
            raise PickleTooDeep(str(error)) from error
        raise
    raws: list[Any] = []
    for buffer in buffers:
        raws.append(buffer.raw())
    return stream.getvalue(), raws


@functools.cache
def _pickler() -> tuple[Any, Any]:
    """Two picklers of cloudpickle, which is imported here: one names the classes of a script, the other copies them.

    Unlike cloudpickle's own pickler, they refuse open files.
    """
    import cloudpickle

    class Copying(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
        def reducer_override(self, value: Any) -> Any:
            if isinstance(value, io.IOBase) and not isinstance(value, io.BytesIO | io.StringIO):
                raise TypeError(f"an open {type(value).__name__} cannot be pickled")
            if type(value) is CodeType:
                # Some versions of cloudpickle lose the file name, which tracebacks need.
                made = self.dispatch_table[CodeType](value)
                file = "".join(value.co_filename)  # a copy: a shared text would change the stream
                return _code_in, (*made, file)
            if type(value) is memoryview:
                return _viewed, (value.tobytes(), value.format, value.shape)
            if type(value).__module__ == "dataclasses":
                for name in _SENTINELS:
                    if value is getattr(dataclasses, name):
                        return getattr, (dataclasses, name)
            own = reduced(value)
            if own is NotImplemented and isinstance(value, BaseException):
                if reduces_itself(type(value)):
                    try:
                        return value.__reduce_ex__(5)
                    except Exception:  # the reduction is wrong: take the error apart as below
                        pass
                of, arguments, attributes = pieces_of(value)  # in two steps, since an attribute may refer to the error
                return from_pieces, (of, arguments, {}), attributes or None, None, None, give_attributes
            if own is not NotImplemented:
                return own
            handler = base_handler_for(type(value))
            own = handler.reduce(value) if handler is not None else None
            if own is not None:
                return own
            known = super().reducer_override(value)
            if not isinstance(known, tuple) or not isinstance(value, type):
                return known
            if value not in _RECEIVED:
                _DEFINED_HERE.add(value)
            make, args, *rest = known
            if len(rest) == 4:
                rest[3] = _fill_class  # instead of cloudpickle's own
            is_made = is_local(value)
            if is_made or value.__qualname__ != value.__name__:
                code = code_of(value) if is_made else None
                return _inner_class, (value.__qualname__, code, make, args), *rest
            return make, args, *rest

    class Naming(Copying):
        def reducer_override(self, value: Any) -> Any:
            if isinstance(value, type) and value.__module__ == MAIN:
                path = class_path(value)
                if importable(path) is value:
                    reduced(value)  # collects its witness
                    return load_class, (path,)
            return super().reducer_override(value)

    return Naming, Copying


def _inner_class(qualname: str, code: bytes | None, make: Any, args: tuple[Any, ...]) -> type:
    """Rebuild a class that is nested in another class or in a function, with its qualified name.

    cloudpickle would lose this name. code: the digest of its code, since its source may not be on this machine.
    """
    found: type = make(*args)
    if found in _DEFINED_HERE:
        return found
    found.__qualname__ = qualname
    if code is not None:
        remember_code(found, code)
    return found


def _fill_class(found: type, state: Any) -> type:
    """Set the attributes of a loaded class.

    A class that is defined in this process keeps its attributes: the pickle only holds copies of them.
    """
    from cloudpickle.cloudpickle import _class_setstate

    if found in _DEFINED_HERE:
        return found
    _RECEIVED.add(found)
    filled: type = _class_setstate(found, state)
    return filled


def _code_in(make: Any, args: tuple[Any, ...], file: str) -> CodeType:
    """Rebuild compiled code, with its file name."""
    found: CodeType = make(*args)
    return found.replace(co_filename=file)


def _viewed(data: bytes, format: str, shape: tuple[int, ...]) -> memoryview:
    """Rebuild a memoryview: the standard pickler refuses it, and cloudpickle would return bytes."""
    flat = memoryview(data)
    return flat.cast("B").cast(cast(Any, format), shape) if flat.nbytes else flat


def load(stream: Any, buffers: Iterable[Any] = ()) -> Any:
    """The object of a stream. Its arrays use the given buffers, without a copy.

    Raises any error of loading; Escaped for one that is not an Exception.
    """
    script = main_name()
    with contained:
        written = bytes(stream)
        if b"rayflow." in written or (script != MAIN and script.encode() in written):
            return _RecordedNamesUnpickler(io.BytesIO(stream), buffers=buffers).load()
        return pickle.loads(stream, buffers=buffers)


class _RecordedNamesUnpickler(pickle.Unpickler):
    """Loads classes of the running script that are recorded by the name of its file, and our moved modules."""

    def find_class(self, module: str, name: str) -> Any:
        found = importable(f"{module}:{name}") if module == main_name() else None
        return super().find_class(name_today(module), name) if found is None else found
