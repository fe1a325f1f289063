"""Handlers for pandas: frames, series, indexes, time stamps. Imported when the first pandas value is met.

In: pandas values. Out: labels, dtypes, content, `attrs`, and added attributes; without the `freq` of an index. Never:
copies a column of numbers.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from rayflow.values.objects import opaque
from rayflow.values.objects.handlers import class_path, register
from rayflow.values.objects.subclasses import attributes_of, with_added
from rayflow.values.types.leaves import zone_of


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
    if not _is_own(type(array)):
        return (str(dtype), class_path(type(array)), opaque.reduced(array))
    return (str(dtype), list(array))


def _is_own(of: type) -> bool:
    """Whether a class is pandas' own."""
    return of.__module__.partition(".")[0] == "pandas"


def _arrow_text(array: Any) -> Any:
    import pyarrow as pa

    found = pa.array(array, type=pa.large_string(), from_pandas=True)
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found  # chunks do not count


def _labels(index: Any) -> tuple[Any, ...]:
    if isinstance(index, pd.MultiIndex):
        levels = tuple(_describe(index.get_level_values(level).array) for level in range(index.nlevels))
        return ("multi", tuple(index.names), len(index), levels)
    return ("index", index.name, len(index), _describe(index.array))


_OWN = frozenset({"_mgr", "_attrs", "_flags", "_name", "_item_cache", "_cache", "_cacher", "_is_copy", "_typ"})
"""The internal attributes of frames and series, in all versions of pandas."""

_OWN_OF_INDEXES = frozenset(
    {"_data", "_name", "_names", "_cache", "_id", "_references", "_freq", "_range", "_levels", "_codes", "sortorder"}
)


class _PandasHandler:
    """A handler of frames, series or indexes. pandas' own pickles lose attributes that `_metadata` does not name.

    base: the class of pandas. own: names of the internal attributes.
    """

    yields_to_pickle = True
    base: type
    own = _OWN

    def added(self, value: Any) -> dict[str, Any]:
        """The attributes that a subclass or the user has added."""
        return attributes_of(value, self.base, without=self.own)

    def reduce(self, value: Any) -> tuple[Any, ...] | None:
        """pandas' own reduction, with the attributes that it loses."""
        added = self.added(value)
        return with_added(value.__reduce_ex__(4), added) if added else None


class _CopyOnWriteHandler(_PandasHandler):
    """A handler of frames or series. From 3.0 on, pandas copies a shared column when one of its frames is changed."""

    def is_fixed(self, value: Any) -> bool:
        """False: frames and series can be changed."""
        return False

    def is_equal(self, value: Any, copy: Any) -> bool:
        """Whether a frame still shares all memory and labels with its earlier copy."""
        if not _COPIES_ON_WRITE or value is copy or type(value) is not type(copy):
            return False
        if value.attrs or copy.attrs or self.added(value):
            return False
        if value.flags != copy.flags or getattr(value, "name", None) is not getattr(copy, "name", None):
            return False
        for own, other in zip(value.axes, copy.axes, strict=True):
            if not own.is_(other) or own.names != other.names:
                return False
        places = [_places(each) for each in (value, copy)]
        return places[0] is not None and places[0] == places[1]

    def copied(self, value: Any, most_bytes: int) -> Any:
        """A frame that shares the memory of this one until one is changed; NotImplemented if elements may change."""
        if not _COPIES_ON_WRITE or value.attrs or self.added(value) or _places(value) is None:
            return NotImplemented
        return value.copy(deep=False), False


_COPIES_ON_WRITE = int(pd.__version__.partition(".")[0]) >= 3


def _places(value: Any) -> list[tuple[Any, ...]] | None:
    """Address, shape and type of the columns in memory; None if some are not plain arrays of numbers."""
    found: list[tuple[Any, ...]] = []
    for block in value._mgr.blocks:
        array = getattr(block.values, "_ndarray", block.values)
        if not isinstance(array, np.ndarray) or array.dtype.hasobject:
            return None
        # The columns of a block, and their type (a time zone), may change while the memory is the same.
        kind = array.dtype, id(block.values.dtype), tuple(block.mgr_locs)
        found.append((array.__array_interface__["data"][0], array.shape, array.strides, *kind))
    return found


class PandasFrameHandler(_CopyOnWriteHandler):
    """The handler of pandas' DataFrames."""

    kind = "pandas.DataFrame"
    base = pd.DataFrame

    def structure(self, value: Any) -> tuple[Any, ...]:
        """Class (if it is a subclass), row labels, column labels, columns, and further attributes."""
        columns = tuple(_describe(value.iloc[:, position].array) for position in range(value.shape[1]))
        of = _class(value, pd.DataFrame)
        return (of, _labels(value.index), _labels(value.columns), columns, *_more(value, self.added(value)))

    def preview(self, value: Any) -> str:
        """Size and the first columns."""
        columns = ", ".join(f"{name}: {dtype}" for name, dtype in list(value.dtypes.items())[:8])
        return f"{type(value).__name__} {value.shape[0]} x {value.shape[1]} ({columns})"


class PandasSeriesHandler(_CopyOnWriteHandler):
    """The handler of pandas' series."""

    kind = "pandas.Series"
    base = pd.Series

    def structure(self, value: Any) -> tuple[Any, ...]:
        """Class (if it is a subclass), labels, name, content, and further attributes."""
        of = _class(value, pd.Series)
        return (of, _labels(value.index), value.name, _describe(value.array), *_more(value, self.added(value)))

    def preview(self, value: Any) -> str:
        """dtype, length, and the elements if there are few."""
        shown = f" {value.tolist()!r}" if len(value) <= 8 and value.dtype != object else ""
        return f"{type(value).__name__} {value.dtype} ({len(value)}){shown}"


class IndexHandler(_PandasHandler):
    """Indexes. A RangeIndex is hashed by the labels that it lists."""

    kind = "pandas.Index"
    base = pd.Index
    own = _OWN_OF_INDEXES

    def structure(self, value: Any) -> tuple[Any, ...]:
        """Names and labels, and the class and attributes of a subclass."""
        added = self.added(value)
        of = "" if _is_own(type(value)) else class_path(type(value))
        return (*_labels(value), of, added) if of or added else _labels(value)


class ExtensionArrayHandler:
    """pandas' extension arrays, such as categoricals."""

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
        zone = zone_of(getattr(value, "tzinfo", None)) or "None"
        return (type(value).__name__, value.unit, value.as_unit(value.unit)._value, zone, getattr(value, "fold", 0))


def _more(value: Any, added: dict[str, Any]) -> tuple[Any, ...]:
    """`attrs`, added attributes and flags of a frame or series."""
    more: list[Any] = [value.attrs] if value.attrs else []
    if added:
        more.append(("added", added))
    if not value.flags.allows_duplicate_labels:
        more.append("no duplicate labels")
    return tuple(more)


def _class(value: Any, base: type) -> str:
    return "" if type(value) is base else class_path(type(value))


register(pd.DataFrame, PandasFrameHandler())
register(pd.Series, PandasSeriesHandler())
register(pd.Index, IndexHandler())
register(pd.api.extensions.ExtensionArray, ExtensionArrayHandler())
for _of in (pd.Timestamp, pd.Timedelta, type(pd.NaT)):
    register(_of, TimestampHandler())


_PLAIN = (bool, int, float, str)


def frame_of(columns: dict[str, list[Any]]) -> Any:
    """A DataFrame of these columns.

    pandas chooses the type of a column of plain scalars or times; the cells of any other column stay objects.
    """
    made = {}
    for name, cells in columns.items():
        kinds = {type(cell) for cell in cells}
        has_type = len(kinds) == 1 and (kinds <= set(_PLAIN) or all(isinstance(cell, datetime) for cell in cells))
        has_type = has_type or kinds <= {float, type(None)} or kinds <= {datetime, type(None)}
        if cells and has_type:
            made[name] = pd.Series(cells)
            continue
        objects = np.empty(len(cells), dtype=object)
        for place, cell in enumerate(cells):  # one by one: numpy would unpack lists and arrays
            objects[place] = cell
        made[name] = pd.Series(objects)
    return pd.DataFrame(made)
