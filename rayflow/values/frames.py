"""Handlers for pandas: frames, series, indexes, time stamps. Imported when the first pandas value is met.

In: pandas values. Out: labels, dtypes, content, `attrs`. An index's `freq` does not count. Never: copies a column of
numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from rayflow.values.handlers import class_path, register


def _describe(array: Any) -> tuple[Any, ...]:
    """dtype and content of a column or an index."""
    dtype = array.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        categories = array.categories
        return ("category", _labels(categories), bool(array.ordered), np.asarray(array.codes))
    if isinstance(dtype, np.dtype):
        return ("numpy", array.to_numpy())
    if isinstance(dtype, pd.StringDtype):
        return ("str", repr(dtype.na_value), _arrow_text(array))
    if isinstance(dtype, pd.ArrowDtype):
        import pyarrow as pa

        return ("arrow", pa.chunked_array(pa.array(array)))
    if isinstance(dtype, pd.DatetimeTZDtype):
        return (str(dtype), array.asi8)
    plain = getattr(dtype, "numpy_dtype", None)
    if isinstance(plain, np.dtype) and plain.kind in "iufb":
        missing = np.asarray(array.isna())
        return (str(dtype), missing, array.to_numpy(dtype=plain, na_value=plain.type(0)))
    return (str(dtype), list(array))


def _arrow_text(array: Any) -> Any:
    import pyarrow as pa

    return pa.array(array, type=pa.large_string(), from_pandas=True)


def _labels(index: Any) -> tuple[Any, ...]:
    if isinstance(index, pd.MultiIndex):
        levels = tuple(_describe(index.get_level_values(level).array) for level in range(index.nlevels))
        return ("multi", tuple(index.names), len(index), levels)
    return ("index", index.name, len(index), _describe(index.array))


class FrameHandler:
    """DataFrames."""

    kind = "pandas.DataFrame"

    def structure(self, value: Any) -> tuple[Any, ...]:
        """Class (if it is a subclass), row labels, column labels, columns, and `attrs` where there are any."""
        columns = tuple(_describe(value.iloc[:, position].array) for position in range(value.shape[1]))
        of = _class(value, pd.DataFrame)
        return (of, _labels(value.index), _labels(value.columns), columns, *_attrs(value))

    def preview(self, value: Any) -> str:
        """Size and the first columns."""
        columns = ", ".join(f"{name}: {dtype}" for name, dtype in list(value.dtypes.items())[:8])
        return f"{type(value).__name__} {value.shape[0]} x {value.shape[1]} ({columns})"


class SeriesHandler:
    """Series."""

    kind = "pandas.Series"

    def structure(self, value: Any) -> tuple[Any, ...]:
        """Class (if it is a subclass), labels, name, content, and `attrs` where there are any."""
        of = _class(value, pd.Series)
        return (of, _labels(value.index), value.name, _describe(value.array), *_attrs(value))

    def preview(self, value: Any) -> str:
        """dtype, length, and the elements when there are few."""
        shown = f" {value.tolist()!r}" if len(value) <= 8 and value.dtype != object else ""
        return f"{type(value).__name__} {value.dtype} ({len(value)}){shown}"


class IndexHandler:
    """Indexes; a range is what it lists."""

    kind = "pandas.Index"

    def structure(self, value: Any) -> tuple[Any, ...]:
        """Names and labels."""
        return _labels(value)


class ExtensionArrayHandler:
    """pandas' own arrays, categoricals among them."""

    kind = "pandas.array"

    def structure(self, value: Any) -> tuple[Any, ...]:
        """dtype and content."""
        return _describe(value)


class TimestampHandler:
    """Timestamp and Timedelta, to the nanosecond, and NaT."""

    kind = "pandas.time"

    def structure(self, value: Any) -> tuple[Any, ...]:
        """Unit, count, zone."""
        if value is pd.NaT:
            return ("NaT",)
        zone = getattr(value, "tzinfo", None)
        name = str(getattr(zone, "key", None) or zone)
        return (type(value).__name__, value.unit, value.as_unit(value.unit)._value, name, getattr(value, "fold", 0))


def _attrs(value: Any) -> tuple[Any, ...]:
    return (value.attrs,) if value.attrs else ()


def _class(value: Any, base: type) -> str:
    return "" if type(value) is base else class_path(type(value))


register(pd.DataFrame, FrameHandler())
register(pd.Series, SeriesHandler())
register(pd.Index, IndexHandler())
register(pd.api.extensions.ExtensionArray, ExtensionArrayHandler())
for _of in (pd.Timestamp, pd.Timedelta, type(pd.NaT)):
    register(_of, TimestampHandler())
