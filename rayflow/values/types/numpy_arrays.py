"""Handlers for numpy: arrays, scalars, dtypes. Imported when the first numpy value is met.

In: numpy values. Out: dtype, shape and content in C order, and the attributes of a subclass; without memory order,
writeability and the file of a memmap. Never: copies a contiguous array.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rayflow.values.objects.handlers import class_path, register
from rayflow.values.objects.opaque import reduced
from rayflow.values.objects.subclasses import attributes_of, give, is_of_library, remade, with_added

_SHOWN_ITEMS = 8


def _description(dtype: Any) -> Any:
    """A dtype as plain data."""
    plain = _layout(dtype)
    metadata = None if dtype.metadata is None else dict(dtype.metadata)
    of = "" if dtype.names is None or dtype.type is np.void else class_path(dtype.type)
    return (plain, of, metadata) if of or metadata else plain


def _layout(dtype: Any) -> Any:
    if dtype.names is not None:
        # The third item of a field is its title, if it has one.
        return tuple((name, _description(of), *more[1:]) for name in dtype.names for of, *more in (dtype.fields[name],))
    if dtype.subdtype is not None:
        return (_description(dtype.subdtype[0]), dtype.subdtype[1])
    return str(dtype) if dtype.kind == "T" else dtype.str


_MASKED_OWN = frozenset(
    {"_mask", "_fill_value", "_hardmask", "_sharedmask", "_isfield", "_baseclass", "_optinfo", "_basedict"}
)
_MEMMAP_OWN = frozenset({"_mmap", "filename", "offset", "mode"})


class ArrayHandler:
    """Arrays of any dtype and shape."""

    kind = "numpy.ndarray"
    base = np.ndarray
    yields_to_pickle = True

    def structure(self, value: Any) -> tuple[Any, ...]:
        """Class (if it is a subclass), dtype, shape, content, and the attributes of a subclass."""
        if value is np.ma.masked:  # this single object represents all masked elements, and is identified by name
            return ("masked",)
        of = "" if type(value) in (np.ndarray, np.memmap) else class_path(type(value))
        added = _added(value)
        array: Any = np.ndarray.view(value, np.ndarray)
        if isinstance(value, np.ma.MaskedArray):
            return (of, array, np.ma.getmaskarray(value), value.fill_value, *([added] if added else ()))
        return (of, _description(array.dtype), array.shape, *_content(array), *([added] if added else ()))

    def reduce(self, value: Any) -> tuple[Any, ...] | None:
        """How to pickle an array of a subclass. numpy's own way loses its attributes, and copies the data."""
        of = type(value)
        if of is np.ndarray or value is np.ma.masked or (is_of_library(of) and not _added(value)):
            return None
        attributes = attributes_of(value, np.ndarray, without=_MEMMAP_OWN)
        return _viewed, (of, np.ndarray.view(value, np.ndarray), attributes)

    def is_fixed(self, value: Any) -> bool:
        """Whether the array cannot be changed: it, all its base arrays and the owner of its memory are read-only.

        An array that owns its memory may have an older, writable view, or be made writable again.
        """
        if type(value) is not np.ndarray or value.dtype.hasobject:
            return value is np.ma.masked
        memory: Any = value
        while isinstance(memory, (np.ndarray, memoryview)):
            if isinstance(memory, memoryview):
                if not memory.readonly:
                    return False
                memory = memory.obj
            elif memory.flags.writeable:
                return False
            else:
                memory = memory.base
        try:
            return memory is not None and memoryview(memory).readonly
        except TypeError:  # memory of an unknown library
            return False

    def is_equal(self, value: Any, copy: Any) -> bool:
        """Whether an array has the same bytes as its earlier copy; False if that cannot be decided quickly.

        An array without a copy (`copy` is the array itself) is not compared while it is read-only. It is hashed again
        before the call is evaluated.
        """
        if value is copy:
            return type(value) is np.ndarray and not value.flags.writeable and not value.dtype.hasobject
        if type(value) is not np.ndarray or type(copy) is not np.ndarray or value.dtype.hasobject:
            return False
        if value.shape != copy.shape or value.dtype is not copy.dtype or not value.flags.c_contiguous:
            return False
        if not copy.flags.c_contiguous or not value.dtype.itemsize:
            return False
        return bool((value.reshape(-1).view(np.uint8) == copy.reshape(-1).view(np.uint8)).all())

    def copied(self, value: Any, most_bytes: int) -> Any:
        """A copy of the array; None for one of more than that many bytes; NotImplemented to copy it by pickling."""
        if value.nbytes > most_bytes:
            return None
        if type(value) is not np.ndarray or value.dtype.hasobject:
            return NotImplemented
        return value.copy(order="K"), True

    def preview(self, value: Any) -> str:
        """Class, dtype, shape, and the elements if there are few."""
        name = type(value).__name__
        shape = tuple(map(int, value.shape))
        if value.dtype.hasobject or value.size > _SHOWN_ITEMS:
            return f"{name} {value.dtype} {shape}"
        return f"{name} {value.dtype} {shape} {value.tolist()!r}"


def _added(value: Any) -> dict[str, Any]:
    """The attributes that a subclass adds."""
    if type(value) is np.ndarray:
        return {}
    if not isinstance(value, np.ma.MaskedArray):
        return attributes_of(value, np.ndarray, without=_MEMMAP_OWN)
    found = attributes_of(value, np.ndarray, without=_MASKED_OWN)
    own = vars(value)
    if own.get("_optinfo"):
        found["_optinfo"] = own["_optinfo"]
    if own.get("_hardmask"):
        found["_hardmask"] = True
    if own.get("_baseclass", np.ndarray) is not np.ndarray:
        found["_baseclass"] = own["_baseclass"]
    return found


def _viewed(of: type, array: Any, attributes: dict[str, Any]) -> Any:
    """An array of a subclass around the same memory, with these attributes in place of those that its class sets."""
    made: Any = np.ndarray.view(array, of)
    getattr(made, "__dict__", {}).clear()
    return give(made, attributes)


def _content(array: Any) -> tuple[Any, ...]:
    dtype = array.dtype
    if dtype.names is not None:
        return tuple(array[name] for name in dtype.names)  # field by field, without the padding between them
    if dtype.hasobject:
        return (array.ravel(order="C").tolist(),)
    if array.size == 0 or dtype.itemsize == 0:
        return (b"",)
    flat: Any = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return (memoryview(flat),)


class ScalarHandler:
    """numpy scalars. They differ from Python's scalars, and from arrays of one element."""

    kind = "numpy.scalar"
    base = np.generic
    yields_to_pickle = True

    def structure(self, value: Any) -> tuple[Any, ...]:
        """Class, dtype, content, and the attributes of a subclass."""
        of = type(value)
        array = np.asarray(value)
        found = (of.__name__ if is_of_library(of) else class_path(of), _description(array.dtype), *_content(array))
        added = {} if is_of_library(of) else attributes_of(value, np.generic)
        return (*found, added) if added else found

    def reduce(self, value: Any) -> tuple[Any, ...] | None:
        """How to pickle a scalar of a subclass; numpy's own way would make it a scalar of numpy's class."""
        of = type(value)
        if is_of_library(of):
            return None
        base = next(each for each in of.__mro__ if is_of_library(each))
        plain = np.asarray(value)[()]
        return with_added((remade, (base, of, (plain,))), attributes_of(value, np.generic))

    def preview(self, value: Any) -> str:
        """The repr of numpy."""
        return repr(value)


class DtypeHandler:
    """dtypes."""

    kind = "numpy.dtype"

    def structure(self, value: Any) -> tuple[Any, ...]:
        """The dtype as plain data, with its layout."""
        layout = None if value.names is None else tuple(value.fields[name][1] for name in value.names)
        return (_description(value), value.itemsize, layout)

    def preview(self, value: Any) -> str:
        """The repr of numpy."""
        return repr(value)


class RandomStateHandler:
    """numpy's older random generators.

    numpy's global generator, to which many objects refer, has another state in each process and at each time. So it is
    hashed without its state.
    """

    kind = "numpy.random.RandomState"

    def structure(self, value: Any) -> tuple[Any, ...]:
        """The reduction of the generator; nothing for the global one."""
        return () if value is np.random.mtrand._rand else reduced(value)


register(np.ndarray, ArrayHandler())
register(np.random.RandomState, RandomStateHandler())
register(np.generic, ScalarHandler())
register(np.dtype, DtypeHandler())
