"""Handlers for polars: frames and series. Imported when the first polars value is met.

In: polars values. Out: names, types and content, and the attributes of a subclass; for a frame or series alone, Arrow
IPC. Chunks and the codes of categories are not part of the hash. Never: runs a lazy frame, which is a plan and no data.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, NoReturn

import polars as pl

from rayflow.errors import NotSerializable
from rayflow.values.objects import pickling
from rayflow.values.objects.handlers import class_path, load_class, register
from rayflow.values.objects.subclasses import attributes_of, give
from rayflow.values.refs import Encoded
from rayflow.values.types.arrow_tables import describe_array


def _describe(column: Any) -> tuple[Any, ...]:
    """Type and content of a column."""
    if column.dtype.is_(pl.Object):
        return ("object", column.to_list())
    return (str(column.dtype), describe_array(column.to_arrow()))


def _written(frame: Any) -> Any:
    stream = io.BytesIO()
    objects = [name for name, dtype in frame.schema.items() if dtype.is_(pl.Object)]
    if objects:
        raise NotSerializable(
            f"The column {objects[0]!r} of a polars frame holds Python objects, which cannot be kept. Cast it to a "
            "type of polars, or keep the objects in a list beside the frame."
        )
    frame.write_ipc(stream, compression="uncompressed")
    return stream.getbuffer()


def _read(written: Any) -> Any:
    return pl.read_ipc(io.BytesIO(written))


def _read_series(written: Any) -> Any:
    return _read(written).to_series(0)


def _remade(read: Any, of: Any, own: str, written: bytes, added: dict[str, Any]) -> Any:
    """A frame or series of a subclass of polars' class, rebuilt without its constructor."""
    made = of.__new__(of)
    setattr(made, own, getattr(read(written), own))
    return give(made, added)


class _PolarsHandler:
    """A handler of frames or series. They are encoded as Arrow IPC; with a subclass or added attributes, pickled.

    base: the class of polars. own: the attribute with all of polars' own data. read: loads a frame or series from Arrow
    IPC.
    """

    yields_to_pickle = True
    base: type
    format: str
    own: str
    read: Callable[[Any], Any]

    def added(self, value: Any) -> dict[str, Any]:
        """The attributes that a subclass or the user has added."""
        return attributes_of(value, self.base, without=frozenset({self.own, "_accessors"}))

    def is_plain(self, value: Any) -> bool:
        """Whether a value is of polars' own class, without added attributes."""
        return type(value) is self.base and not self.added(value)

    def of_class(self, value: Any) -> tuple[Any, ...]:
        """Its class (if it is a subclass) and added attributes."""
        added = self.added(value)
        of = "" if type(value) is self.base else class_path(type(value))
        return (of, added) if added else (of,)

    def frame_of(self, value: Any) -> Any:
        """The frame to write as Arrow IPC."""
        raise NotImplementedError

    def reduce(self, value: Any) -> tuple[Any, ...] | None:
        """How to pickle a value of a subclass, or with added attributes: Arrow IPC, and these attributes."""
        if self.is_plain(value):
            return None
        return _remade, (self.read, type(value), self.own, bytes(_written(self.frame_of(value))), self.added(value))

    def encode(self, value: Any) -> Encoded:
        """Arrow IPC; for a value that is not plain, a pickle with Arrow IPC inside."""
        if self.is_plain(value):
            return Encoded(self.format, b"", (_written(self.frame_of(value)),))
        return Encoded(self.format, pickling.dump(value, apart=False)[0])


class PolarsFrameHandler(_PolarsHandler):
    """The handler of polars' DataFrames."""

    kind = "polars.DataFrame"
    format = "polars"
    base = pl.DataFrame
    own = "_df"
    read = staticmethod(_read)

    def structure(self, value: Any) -> tuple[Any, ...]:
        """Class (if it is a subclass) and added attributes, number of rows, names and columns."""
        columns = tuple((column.name, *_describe(column)) for column in value.get_columns())
        return (*self.of_class(value), value.height, columns)

    def frame_of(self, value: Any) -> Any:
        """The frame itself."""
        return value

    def decode(self, encoded: Encoded) -> Any:
        """The frame."""
        if not encoded.buffers:
            return pickling.load(encoded.header)
        frame = _read(encoded.buffers[0])
        # In older stores, the header holds the class of a frame.
        of: Any = load_class(encoded.header.decode()) if encoded.header else pl.DataFrame
        return frame if of is pl.DataFrame else of(frame)

    def preview(self, value: Any) -> str:
        """Size and the first columns."""
        columns = ", ".join(f"{name}: {dtype}" for name, dtype in list(value.schema.items())[:8])
        return f"{type(value).__name__} {value.height} x {value.width} ({columns})"


class PolarsSeriesHandler(_PolarsHandler):
    """The handler of polars' series."""

    kind = "polars.Series"
    format = "polars.series"
    base = pl.Series
    own = "_s"
    read = staticmethod(_read_series)

    def structure(self, value: Any) -> tuple[Any, ...]:
        """Name, length, type and content; the class and added attributes if it is not plain."""
        more = () if self.is_plain(value) else (self.of_class(value),)
        return (value.name, len(value), *_describe(value), *more)

    def frame_of(self, value: Any) -> Any:
        """A frame of this column."""
        return value.to_frame()  # a DataFrame of it would name a column that has no name

    def decode(self, encoded: Encoded) -> Any:
        """The series."""
        return _read_series(encoded.buffers[0]) if encoded.buffers else pickling.load(encoded.header)

    def preview(self, value: Any) -> str:
        """Type, length, and the elements if there are few."""
        shown = f" {value.to_list()!r}" if len(value) <= 8 and not value.dtype.is_(pl.Object) else ""
        return f"Series {value.dtype} ({len(value)}){shown}"


class LazyFrameHandler:
    """Lazy frames are refused."""

    kind = "polars.LazyFrame"

    def structure(self, value: Any) -> NoReturn:
        """Raises NotSerializable."""
        raise NotSerializable(
            "A polars LazyFrame is a plan and no data, so it cannot be kept. Return `frame.collect()`, or pass what "
            "the plan reads and build it in the task that collects it."
        )

    def encode(self, value: Any) -> NoReturn:
        """Raises NotSerializable."""
        self.structure(value)


class DataTypeHandler:
    """Types of columns."""

    kind = "polars.DataType"

    def structure(self, value: Any) -> tuple[Any, ...]:
        """The type as text."""
        return (str(value),)


register(pl.DataFrame, PolarsFrameHandler())
register(pl.Series, PolarsSeriesHandler())
register(pl.LazyFrame, LazyFrameHandler())
register(pl.DataType, DataTypeHandler())
