"""Handlers for numpy: arrays, scalars, dtypes. Imported when the first numpy value is met.

In: numpy values. Out: dtype, shape and content in C order. Memory order and being read-only do not count. Never:
copies a contiguous array.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rayflow.values.handlers import class_path, register

_SHOWN_ITEMS = 8


def _description(dtype: Any) -> Any:
    """A dtype as plain data."""
    if dtype.names is not None:
        return tuple((name, _description(dtype.fields[name][0])) for name in dtype.names)
    if dtype.subdtype is not None:
        return (_description(dtype.subdtype[0]), dtype.subdtype[1])
    return str(dtype) if dtype.kind == "T" else dtype.str


class ArrayHandler:
    """Arrays of any dtype and shape."""

    kind = "numpy.ndarray"

    def structure(self, value: Any) -> tuple[Any, ...]:
        """Class (if it is a subclass), dtype, shape, content."""
        of = "" if type(value) in (np.ndarray, np.memmap) else class_path(type(value))
        if isinstance(value, np.ma.MaskedArray):
            plain, mask = np.ma.getdata(value), np.ma.getmaskarray(value)
            zero = np.zeros((), dtype=plain.dtype)
            return (of, np.where(mask, zero, plain), mask, value.fill_value)
        array = np.asarray(value)
        return (of, _description(array.dtype), array.shape, *_content(array))

    def preview(self, value: Any) -> str:
        """Class, dtype, shape, and the elements when there are few."""
        name = type(value).__name__
        shape = tuple(map(int, value.shape))
        if value.dtype.hasobject or value.size > _SHOWN_ITEMS:
            return f"{name} {value.dtype} {shape}"
        return f"{name} {value.dtype} {shape} {value.tolist()!r}"


def _content(array: Any) -> tuple[Any, ...]:
    dtype = array.dtype
    if dtype.names is not None:
        return tuple(array[name] for name in dtype.names)  # field by field: what pads them is not content
    if dtype.hasobject:
        return (array.ravel(order="C").tolist(),)
    if array.size == 0 or dtype.itemsize == 0:
        return (b"",)
    flat: Any = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return (memoryview(flat),)


class ScalarHandler:
    """numpy scalars: they differ from Python's and from arrays of one element."""

    kind = "numpy.scalar"

    def structure(self, value: Any) -> tuple[Any, ...]:
        """Class, dtype, content."""
        array = np.asarray(value)
        return (type(value).__name__, _description(array.dtype), *_content(array))

    def preview(self, value: Any) -> str:
        """As numpy shows it."""
        return repr(value)


class DtypeHandler:
    """dtypes as values."""

    kind = "numpy.dtype"

    def structure(self, value: Any) -> tuple[Any, ...]:
        """The dtype as plain data, with its layout."""
        layout = None if value.names is None else tuple(value.fields[name][1] for name in value.names)
        return (_description(value), value.itemsize, layout)

    def preview(self, value: Any) -> str:
        """As numpy shows it."""
        return repr(value)


register(np.ndarray, ArrayHandler())
register(np.generic, ScalarHandler())
register(np.dtype, DtypeHandler())
