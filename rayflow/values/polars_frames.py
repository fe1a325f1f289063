"""Handlers for polars: frames and series. Imported when the first polars value is met.

In: polars values. Out: names, types and content; by themselves they are kept as Arrow IPC. Chunks and the codes of
categories do not count. Never: runs a lazy frame, which is a plan and no data.
"""

from __future__ import annotations

import io
from typing import Any, NoReturn

import polars as pl

from rayflow.errors import NotSerializable
from rayflow.values.arrow import describe_array
from rayflow.values.handlers import class_path, load_class, register
from rayflow.values.refs import Encoded


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


def _read(encoded: Encoded) -> Any:
    return pl.read_ipc(io.BytesIO(encoded.buffers[0]))


class FrameHandler:
    """DataFrames."""

    kind = "polars.DataFrame"
    format = "polars"

    def structure(self, value: Any) -> tuple[Any, ...]:
        """Class (if it is a subclass), number of rows, names and columns."""
        columns = tuple((column.name, *_describe(column)) for column in value.get_columns())
        return ("" if type(value) is pl.DataFrame else class_path(type(value)), value.height, columns)

    def encode(self, value: Any) -> Encoded:
        """Arrow IPC."""
        return Encoded(self.format, class_path(type(value)).encode(), (_written(value),))

    def decode(self, encoded: Encoded) -> Any:
        """The frame."""
        of: Any = load_class(encoded.header.decode())
        frame = _read(encoded)
        return frame if of is pl.DataFrame else of(frame)

    def preview(self, value: Any) -> str:
        """Size and the first columns."""
        columns = ", ".join(f"{name}: {dtype}" for name, dtype in list(value.schema.items())[:8])
        return f"{type(value).__name__} {value.height} x {value.width} ({columns})"


class SeriesHandler:
    """Series."""

    kind = "polars.Series"
    format = "polars.series"

    def structure(self, value: Any) -> tuple[Any, ...]:
        """Name, length, type, content."""
        return (value.name, len(value), *_describe(value))

    def encode(self, value: Any) -> Encoded:
        """Arrow IPC of a frame with this column."""
        return Encoded(self.format, b"", (_written(value.to_frame()),))

    def decode(self, encoded: Encoded) -> Any:
        """The series."""
        return _read(encoded).to_series(0)

    def preview(self, value: Any) -> str:
        """Type, length, and the elements when there are few."""
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
    """Types of columns, as values."""

    kind = "polars.DataType"

    def structure(self, value: Any) -> tuple[Any, ...]:
        """The type as text."""
        return (str(value),)


register(pl.DataFrame, FrameHandler())
register(pl.Series, SeriesHandler())
register(pl.LazyFrame, LazyFrameHandler())
register(pl.DataType, DataTypeHandler())
