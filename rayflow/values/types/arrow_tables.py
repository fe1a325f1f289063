"""Handlers for Arrow: tables, batches, arrays, schemas. Imported when the first Arrow value is met.

In: pyarrow values. Out: schema with its metadata, and content; without chunks, offsets, the order of dictionaries, and
the bytes under a null. Never: copies a column of numbers that is one chunk without nulls.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from rayflow.values.objects.handlers import register


def describe_schema(schema: Any) -> tuple[Any, ...]:
    """Names, types, nullability and metadata, as plain data."""
    fields = tuple(_describe_field(field) for field in schema)
    more = _metadata_below(schema, [(field.name, field.type) for field in schema])
    return (fields, more) if more else fields


def _describe_field(field: Any) -> tuple[Any, ...]:
    plain = (field.name, str(field.type), field.nullable)
    return (*plain, tuple(field.metadata.items())) if field.metadata else plain


def _metadata_below(schema: Any, waiting: list[tuple[str, Any]]) -> tuple[Any, ...]:
    """The metadata of a schema, and of the fields inside the types of its columns."""
    found: list[Any] = [tuple(schema.metadata.items())] if schema is not None and schema.metadata else []
    for way, of in waiting:
        if isinstance(of, pa.BaseExtensionType):
            waiting.append((way, of.storage_type))
            serialized = getattr(of, "__arrow_ext_serialize__", bytes)()
            found.extend([(way, of.extension_name, serialized)] if serialized else [])
            continue
        for number in range(of.num_fields if pt.is_nested(of) else 0):
            field = of.field(number)
            place = f"{way}.{field.name}"
            waiting.append((place, field.type))
            if field.metadata:
                found.append((place, tuple(field.metadata.items())))
    return tuple(found)


def describe_array(array: Any) -> tuple[Any, ...]:
    """The content of an array or chunked array: for each level of nesting, validity, lengths and values."""
    described: list[Any] = [str(array.type), len(array), *_metadata_below(None, [("", array.type)])]
    waiting = [_whole(array)]
    for each in waiting:
        described.append(_validity(each))
        described.extend(_values(each, waiting))
    return tuple(described)


def _whole(array: Any) -> Any:
    """One array of a plain type: chunks joined, dictionaries looked up, extensions unwrapped, long texts."""
    while True:
        of = array.type
        if isinstance(of, pa.BaseExtensionType):
            array = _storage(array)
        elif pt.is_dictionary(of):
            array = array.cast(of.value_type)
        elif pt.is_run_end_encoded(of):
            array = pc.call_function("run_end_decode", [array])
        elif pt.is_string(of) or pt.is_string_view(of) or pt.is_large_string(of):
            array = array.cast(pa.large_string()) if not pt.is_large_string(of) else array
            break
        elif pt.is_binary(of) or pt.is_binary_view(of):
            array = array.cast(pa.large_binary())
        else:
            break
    if not isinstance(array, pa.ChunkedArray):
        return array
    if array.num_chunks == 0:
        return pa.array([], array.type)
    return array.chunk(0) if array.num_chunks == 1 else pa.concat_arrays(array.chunks)


def _storage(array: Any) -> Any:
    """The storage array of an extension array."""
    if isinstance(array, pa.ChunkedArray):
        chunks: list[Any] = array.chunks
        return pa.chunked_array([chunk.storage for chunk in chunks], array.type.storage_type)
    return array.storage


def _validity(array: Any) -> Any:
    if array.null_count == 0:
        return None
    return _bytes_in(pc.cast(array.is_valid(), pa.uint8()).buffers()[1])[: len(array)]


def _values(array: Any, waiting: list[Any]) -> list[Any]:
    of = array.type
    if len(array) == 0 or pt.is_null(of):
        return []
    if pt.is_struct(of):
        waiting.extend(_whole(child) for child in array.flatten())
        return []
    if pt.is_list(of) or pt.is_large_list(of):
        waiting.append(_whole(array.flatten()))
        return [_fixed(pc.list_value_length(array).fill_null(0))]
    if pt.is_fixed_size_list(of):
        waiting.append(_whole(array.flatten()))
        return []
    if pt.is_large_string(of) or pt.is_large_binary(of):
        filled = array.fill_null("" if pt.is_large_string(of) else b"") if array.null_count else array
        return _texts(filled)
    if pt.is_boolean(of):
        return [_fixed(pc.cast(array.fill_null(False), pa.uint8()))]
    if pt.is_primitive(of) or pt.is_decimal(of) or pt.is_fixed_size_binary(of):
        return [_fixed(array) if array.null_count == 0 else _fixed(array.drop_null())]
    return [array.to_pylist()]  # maps, unions: rare, and slow


def _fixed(array: Any) -> memoryview:
    """The bytes of an array of fixed width without nulls."""
    width = array.type.bit_width // 8
    if len(array) == 0 or width == 0:
        return memoryview(b"")
    return _bytes_in(array.buffers()[1])[array.offset * width : (array.offset + len(array)) * width]


def _bytes_in(buffer: Any) -> memoryview:
    return memoryview(buffer).cast("B") if buffer is not None and buffer.size else memoryview(b"")


def _texts(array: Any) -> list[Any]:
    """Lengths and bytes of an array of long texts without nulls."""
    offsets = memoryview(array.buffers()[1])[array.offset * 8 : (array.offset + len(array) + 1) * 8].cast("q")
    data = array.buffers()[2]
    text = _bytes_in(data)[offsets[0] : offsets[-1]]
    return [_fixed(pc.cast(pc.binary_length(array), pa.int64())), text]


class TableHandler:
    """Tables and record batches."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def structure(self, value: Any) -> tuple[Any, ...]:
        """Schema, number of rows, columns."""
        return (describe_schema(value.schema), value.num_rows, *(describe_array(column) for column in value.columns))

    def preview(self, value: Any) -> str:
        """Size and the first columns."""
        columns = ", ".join(f"{field.name}: {field.type}" for field in list(value.schema)[:8])
        return f"{type(value).__name__} {value.num_rows} x {value.num_columns} ({columns})"


class ArrowArrayHandler:
    """Arrays and chunked arrays, which are registered as two kinds."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def structure(self, value: Any) -> tuple[Any, ...]:
        """Type, length, content."""
        return describe_array(value)

    def preview(self, value: Any) -> str:
        """Type, length, and the elements if there are few."""
        shown = f" {value.to_pylist()!r}" if len(value) <= 8 else ""
        return f"{type(value).__name__} {value.type} ({len(value)}){shown}"


class ArrowScalarHandler:
    """Arrow scalars."""

    kind = "pyarrow.Scalar"

    def structure(self, value: Any) -> tuple[Any, ...]:
        """Type and value."""
        return (str(value.type), value.as_py())


class SchemaHandler:
    """The handler of pyarrow's schemas."""

    kind = "pyarrow.Schema"

    def structure(self, value: Any) -> tuple[Any, ...]:
        """The fields of the schema."""
        return describe_schema(value)


register(pa.Table, TableHandler("pyarrow.Table"))
register(pa.RecordBatch, TableHandler("pyarrow.RecordBatch"))
register(pa.Array, ArrowArrayHandler("pyarrow.Array"))
register(pa.ChunkedArray, ArrowArrayHandler("pyarrow.ChunkedArray"))
register(pa.Scalar, ArrowScalarHandler())
register(pa.Schema, SchemaHandler())
