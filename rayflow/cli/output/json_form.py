"""Any value as JSON: the form that `--json` prints.

In: values. Out: JSON text, piece by piece. Never: fails on a value, recurses into it.

    None, bool, int, str, finite float     themselves; other floats as "NaN", "Infinity", "-Infinity"
    list, tuple, deque, set                an array; a set's items sorted by their JSON text
    dict                                   an object; keys that are not text as their JSON text; where keys cannot be
                                           text, or two would be equal, an array of [key, value] pairs
    dataclass, namedtuple, attrs, model    an object of its fields
    Enum                                   its value
    date, time, datetime                   ISO 8601; a timedelta its seconds
    Path and other path-likes, UUID, Decimal, Fraction     their text
    bytes                                  {"$bytes": base64}
    numpy scalar or array                  a number, nested arrays; dates as ISO 8601
    pandas or polars frame, Arrow table    an array of objects, one a row; a series or column an array; missing as null
    anything else                          {"$type": "module.Class", "$repr": text}
"""

from __future__ import annotations

import base64
import collections.abc
import dataclasses
import datetime
import decimal
import enum
import fractions
import math
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from itertools import islice
from json.encoder import encode_basestring
from typing import Any

from rayflow.cli.output.style import OBEYED
from rayflow.values.encoding.previews import preview
from rayflow.values.encoding.whole_numbers import digits, text_of
from rayflow.values.process.recorded_names import recorded_name

_TEXT = (decimal.Decimal, fractions.Fraction, uuid.UUID)
_MOMENTS = (datetime.datetime, datetime.date, datetime.time)


class _Raw(str):
    """Text that is JSON already."""

    __slots__ = ()


def to_json(value: Any) -> str:
    """The JSON form of a value, on one line."""
    return "".join(pieces(value))


def pieces(value: Any) -> Iterator[str]:
    """The JSON form of a value, piece by piece."""
    stack: list[Any] = [value]
    while stack:
        item = stack.pop()
        of = type(item)
        if of is _Raw:
            yield item
            continue
        write = _WRITE_AT_ONCE.get(of)
        if write is not None:
            yield write(item)
            continue
        plain = _plain(item)
        if isinstance(plain, _Raw):
            yield plain
        elif isinstance(plain, dict):
            yield "{"
            stack.append(_Raw("}"))
            entries = list(plain.items())
            for number, (key, inner) in enumerate(reversed(entries)):
                comma = ", " if number + 1 < len(entries) else ""
                stack.append(inner)
                stack.append(_Raw(f"{comma}{_quoted(key)}: "))
        else:
            yield "["
            stack.append(_Raw("]"))
            last = len(plain) - 1
            for number in range(last, -1, -1):
                stack.append(plain[number])
                if number:
                    stack.append(_Raw(", "))


_PIECES = 4096
"""The number of pieces that are joined before they are written: most have a few characters."""


def chunks(value: Any) -> Iterator[str]:
    """The JSON form of a value in pieces of some length."""
    found = pieces(value)
    while joined := "".join(islice(found, _PIECES)):
        yield joined


def _quoted(text: str) -> str:
    """A JSON string. Control characters are escaped, and also lone surrogates, which no encoding can write."""
    return OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", encode_basestring(text))


def _plain(value: Any) -> _Raw | list[Any] | dict[str, Any]:
    """One level of a value: JSON text, or a list or a dict of values that are not looked at yet."""
    if isinstance(value, enum.Enum) and not isinstance(value, str | int | float):
        value = value.value
    if value is None or value is True or value is False:
        return _Raw("null" if value is None else "true" if value else "false")
    if isinstance(value, str):
        return _Raw(_quoted(str.__str__(value)))
    if isinstance(value, int):
        return _Raw(digits(value))
    if isinstance(value, float):
        return _Raw(_number(value))
    if isinstance(value, collections.abc.Mapping):
        return _object(value)
    for convert in (_fields, _moment, _library):
        found = convert(value)
        if found is not None:
            return found
    if isinstance(value, list | tuple | collections.deque):
        return list(value)
    if isinstance(value, set | frozenset | collections.abc.Set):
        return [_Raw(text) for text in sorted(to_json(item) for item in value)]
    if isinstance(value, bytes | bytearray | memoryview):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, os.PathLike):
        return _Raw(_quoted(os.fsdecode(os.fspath(value))))
    return _other(value)


def _number(value: float) -> str:
    return float.__repr__(value) if math.isfinite(value) else _quoted(_not_finite(value))


def _not_finite(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


_WRITE_AT_ONCE: dict[type, Callable[[Any], str]] = {
    str: _quoted,
    int: digits,
    float: _number,
    bool: lambda value: "true" if value else "false",
    type(None): lambda value: "null",
}
"""The types of most values in a record."""


def _object(value: collections.abc.Mapping[Any, Any]) -> list[Any] | dict[str, Any]:
    if type(value) is dict and set(map(type, value)) == {str}:
        return value
    named: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(key, enum.Enum):
            key = key.value
        if isinstance(key, _MOMENTS):
            key = key.isoformat()
        elif isinstance(key, (*_TEXT, os.PathLike)):
            key = text_of(key)
        if not isinstance(key, str):
            if not (key is None or isinstance(key, bool | int | float)):
                return [[key, inner] for key, inner in value.items()]
            key = to_json(key).strip('"')
        if key in named:
            return [[key, inner] for key, inner in value.items()]
        named[key] = inner
    return named


def _fields(value: Any) -> dict[str, Any] | None:
    """The fields of a dataclass, namedtuple, attrs class or pydantic model."""
    of = type(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
    elif isinstance(value, tuple) and hasattr(of, "_fields"):
        names = list(of._fields)
    elif hasattr(of, "__attrs_attrs__"):
        names = [field.name for field in of.__attrs_attrs__]
    elif hasattr(of, "model_fields") and hasattr(of, "model_dump"):
        names = list(of.model_fields)
    else:
        return None
    return {name: getattr(value, name, None) for name in names}


def _moment(value: Any) -> _Raw | None:
    if isinstance(value, _MOMENTS):
        if value != value:  # pandas' NaT is a datetime, too
            return _Raw("null")
        return _Raw(_quoted(value.isoformat()))
    if isinstance(value, datetime.timedelta):
        return _Raw(repr(value.total_seconds()))
    return _Raw(_quoted(text_of(value))) if isinstance(value, _TEXT) else None


# --- values of libraries, which are never imported here ---------------------------------------------------------------


def _library(value: Any) -> _Raw | list[Any] | dict[str, Any] | None:
    convert = _LIBRARIES.get(type(value).__module__.partition(".")[0])
    try:
        return None if convert is None else convert(value)
    except (TypeError, ValueError, AttributeError):  # an object of the library that is no data
        return None


def _numpy(value: Any) -> Any:
    numpy = sys.modules["numpy"]
    if isinstance(value, numpy.datetime64 | numpy.timedelta64):
        return _Raw("null" if numpy.isnat(value) else _quoted(str(value)))
    if isinstance(value, numpy.ndarray):
        if value.dtype.kind in "mM":
            value = value.astype(str)
        items = value.tolist()
        return items if isinstance(items, list) else _plain(items)
    return _plain(value.item()) if isinstance(value, numpy.generic) else None


def _pandas(value: Any) -> Any:
    pandas = sys.modules["pandas"]
    if isinstance(value, pandas.DataFrame):
        columns = [_column(value.iloc[:, number]) for number in range(value.shape[1])]
        return _rows([text_of(name) for name in value.columns], columns)
    if isinstance(value, pandas.Series | pandas.Index):
        return _column(value)
    return _Raw("null") if value is pandas.NA else None


def _column(column: Any) -> list[Any]:
    """The items of a pandas column, missing ones as None."""
    missing = column.isna()
    return [None if gone else item for item, gone in zip(column.tolist(), missing, strict=True)]


def _arrow(value: Any) -> Any:
    if hasattr(value, "to_pylist"):
        return value.to_pylist()
    return _plain(value.as_py()) if hasattr(value, "as_py") else None


def _polars(value: Any) -> Any:
    if hasattr(value, "to_dicts"):
        return value.to_dicts()
    return value.to_list() if hasattr(value, "to_list") else None


def _rows(names: list[str], columns: list[list[Any]]) -> list[Any]:
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


_LIBRARIES: dict[str, Callable[[Any], Any]] = {
    "numpy": _numpy,
    "pandas": _pandas,
    "pyarrow": _arrow,
    "polars": _polars,
}


def _other(value: Any) -> dict[str, Any]:
    of = type(value)
    return {"$type": f"{recorded_name(of.__module__)}.{of.__qualname__}", "$repr": preview(value, 1000)}
