"""Python values to Arrow arrays.

In: a column of values, some of them None. Out: an Arrow array. Never: imports pandas.

pyarrow's own `array()` imports pandas, when it is installed, to find out whether its argument comes from there. That
takes longer than all else that a cached run does, so arrays are made here from their buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy
import pyarrow as pa

_MOST_BYTES = 2**31 - 1
"""The most bytes that one array of strings or bytes can have, since its offsets have 32 bits."""


def to_array(values: Sequence[Any], arrow_type: Any) -> Any:
    """An Arrow array of these values. Raises TypeError, ValueError or OverflowError when one does not fit the type."""
    if arrow_type in _REFUSE_NONE and len(values) and values[0] is not None:
        # Quicker than to look for None first: most columns have none.
        try:
            buffers = _MAKERS[arrow_type](values, False)
            return pa.Array.from_buffers(arrow_type, len(values), [None, *buffers], null_count=0)
        except TypeError:
            if None not in values:
                raise
    missing = values.count(None)
    if missing == len(values):
        return pa.nulls(len(values), arrow_type)
    validity = None
    if missing:
        present = numpy.fromiter((value is not None for value in values), numpy.bool_, len(values))
        validity = _buffer(numpy.packbits(present, bitorder="little"))
    buffers = _MAKERS[arrow_type](values, missing > 0)
    return pa.Array.from_buffers(arrow_type, len(values), [validity, *buffers], null_count=missing)


def repeated(value: Any, length: int, arrow_type: Any) -> Any:
    """An Arrow array that has this value so many times, made without a look at each. Raises as `to_array`."""
    if value is None:
        return pa.nulls(length, arrow_type)
    *offsets, data = _MAKERS[arrow_type]((value,), False)
    width = data.size
    if width * length > _MOST_BYTES:
        raise OverflowError(f"{width * length} bytes in one column of one commit")
    if arrow_type == pa.bool_():
        buffers = [_buffer(numpy.full(-(-length // 8), 255 if value else 0, numpy.uint8))]
    elif offsets:
        buffers = [_buffer(_even_offsets(length, width)), pa.py_buffer(data.to_pybytes() * length)]
    else:
        buffers = [pa.py_buffer(data.to_pybytes() * length)]
    return pa.Array.from_buffers(arrow_type, length, [None, *buffers], null_count=0)


def _buffer(array: Any) -> Any:
    return pa.py_buffer(array)


def _strings(values: Sequence[Any], with_nulls: bool) -> list[Any]:
    whole = [value or "" for value in values] if with_nulls else values
    text = "".join(whole)
    if text.isascii():  # as many bytes as characters
        return _with_offsets(whole, text.encode())
    return _bytes([value.encode("utf-8", "replace") for value in whole], False)


def _bytes(values: Sequence[Any], with_nulls: bool) -> list[Any]:
    whole = [value or b"" for value in values] if with_nulls else values
    return _with_offsets(whole, b"".join(whole))


def _with_offsets(values: Sequence[Any], data: bytes) -> list[Any]:
    """The buffers of these values, whose bytes are `data`."""
    if len(data) > _MOST_BYTES:
        raise OverflowError(f"{len(data)} bytes in one column of one commit")
    lengths = set(map(len, values))
    if len(lengths) == 1:  # hashes
        return [_buffer(_even_offsets(len(values), lengths.pop())), pa.py_buffer(data)]
    offsets = numpy.fromiter(accumulate(map(len, values), initial=0), numpy.int32, len(values) + 1)
    return [_buffer(offsets), pa.py_buffer(data)]


def _even_offsets(length: int, width: int) -> Any:
    return numpy.arange(length + 1, dtype=numpy.int32) * numpy.int32(width)


def _numbers(arrow_type: Any) -> Callable[[Sequence[Any], bool], list[Any]]:
    def make(values: Sequence[Any], with_nulls: bool) -> list[Any]:
        whole = [0 if value is None else value for value in values] if with_nulls else values
        return [_buffer(numpy.fromiter(whole, arrow_type, len(whole)))]

    return make


def _booleans(values: Sequence[Any], with_nulls: bool) -> list[Any]:
    flags = numpy.fromiter(map(bool, values), numpy.bool_, len(values))
    return [_buffer(numpy.packbits(flags, bitorder="little"))]


_REFUSE_NONE = frozenset({pa.string(), pa.binary(), pa.int64(), pa.timestamp("us")})
"""The types whose makers raise TypeError for None. (As a float it is NaN, and as a truth value false.)"""

_MAKERS: dict[Any, Callable[[Sequence[Any], bool], list[Any]]] = {
    pa.string(): _strings,
    pa.binary(): _bytes,
    pa.int64(): _numbers(numpy.int64),
    pa.timestamp("us"): _numbers(numpy.int64),
    pa.float32(): _numbers(numpy.float32),
    pa.bool_(): _booleans,
}
