"""The JSON schemas of arguments: what a client may send for a parameter with a type hint.

In: type hints, tasks. Out: JSON schemas (draft 2020-12). Never: reads a value (`from_text.convert` does, and also takes
texts where a schema here names a number).
"""

from __future__ import annotations

import datetime
import decimal
import enum
import inspect
import os
import types
import typing
import uuid
from collections.abc import Mapping
from typing import Any, Literal, Union

from rayflow.lang.arguments.from_words import CommandParameter, arguments_of
from rayflow.lang.parameters.hints import (
    ANYTHING,
    DICTS,
    LISTS,
    NONE,
    describe,
    fields_of,
    is_empty_tuple,
    members,
    plain,
)
from rayflow.lang.tasks import Task

_SCALARS: Mapping[Any, dict[str, Any]] = {
    NONE: {"type": "null"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    bytes: {"type": "string"},
    bytearray: {"type": "string"},
    complex: {"type": ["number", "string"]},
    decimal.Decimal: {"type": ["number", "string"]},
    uuid.UUID: {"type": "string", "format": "uuid"},
    datetime.datetime: {"type": "string", "format": "date-time"},
    datetime.date: {"type": "string", "format": "date"},
    datetime.time: {"type": "string", "format": "time"},
    datetime.timedelta: {"type": ["string", "number"]},
}
_SETS = (set, frozenset)


class _Definitions(dict[str, Any]):
    """The schemas of the classes with fields, by name. base: the pointer to the schema that has them. names: of the
    classes that are met already."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self.base = base
        self.names: dict[Any, str] = {}

    def reference(self, name: str) -> dict[str, Any]:
        """The reference to one of them."""
        return {"$ref": f"{self.base}/$defs/{name}"}


def input_schema(task: Task[..., Any], base: str = "#") -> dict[str, Any]:
    """The schema of the arguments of a task, an object with a property for each. base: the pointer to this schema in
    its document."""
    definitions = _Definitions(base)
    made: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
    required = []
    for parameter in arguments_of(task):
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            made["additionalProperties"] = _schema(parameter.hint, definitions)
            continue
        made["properties"][parameter.name] = _of_parameter(parameter, definitions)
        if parameter.is_required:
            required.append(parameter.name)
    if required:
        made["required"] = required
    if definitions:
        made["$defs"] = dict(definitions)
    return made


def _of_parameter(parameter: CommandParameter, definitions: _Definitions) -> dict[str, Any]:
    made = _schema(parameter.hint, definitions)
    default = parameter.default
    if default is None or type(default) in (bool, int, float, str):
        return {**made, "default": default}
    return made


def schema_of(hint: Any) -> dict[str, Any]:
    """The schema of the JSON that stands for a value of this type. A type that has no such form gets one that takes
    anything, with its name as the description."""
    definitions = _Definitions("#")
    made = _schema(hint, definitions)
    return {**made, "$defs": dict(definitions)} if definitions else made


def _schema(hint: Any, definitions: _Definitions) -> dict[str, Any]:
    hint = plain(hint)
    if hint is ANYTHING:
        return {}
    origin, inside = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(each, definitions) for each in members(hint)]}
    if origin is Literal:
        return {"enum": [each.name if isinstance(each, enum.Enum) else each for each in inside]}
    if origin in _SCALARS:
        return dict(_SCALARS[origin])
    if origin in LISTS:
        items = _schema(inside[0], definitions) if inside else {}
        return {"type": "array", "items": items, **({"uniqueItems": True} if LISTS[origin] in _SETS else {})}
    if origin is tuple:
        return _of_tuple(hint, inside, definitions)
    if origin in DICTS:
        values = _schema(inside[1], definitions) if len(inside) == 2 else {}
        return {"type": "object", "additionalProperties": values}
    return _of_class(hint, definitions)


def _of_tuple(hint: Any, inside: tuple[Any, ...], definitions: _Definitions) -> dict[str, Any]:
    if is_empty_tuple(hint):
        return {"type": "array", "maxItems": 0}
    if len(inside) == 2 and inside[1] is ...:
        return {"type": "array", "items": _schema(inside[0], definitions)}
    if not inside or any(typing.get_origin(each) is typing.Unpack or hasattr(each, "__unpacked__") for each in inside):
        return {"type": "array"}
    parts = [_schema(each, definitions) for each in inside]
    return {"type": "array", "prefixItems": parts, "items": False, "minItems": len(parts)}


def _of_class(hint: Any, definitions: _Definitions) -> dict[str, Any]:
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return {"enum": list(hint.__members__)}
    of = hint if isinstance(hint, type) else typing.get_origin(hint)
    fields = fields_of(hint)
    if fields is None or not isinstance(of, type):
        if isinstance(of, type) and issubclass(of, os.PathLike):
            return {"type": "string", "description": "a path"}
        return {"description": describe(hint)}
    if of in definitions.names:
        return definitions.reference(definitions.names[of])
    name = definitions.names[of] = _free_name(of.__name__, definitions)
    definitions[name] = {}  # its name is taken while its parts are made
    if hasattr(of, "model_json_schema"):
        made = of.model_json_schema(ref_template=f"{definitions.base}/$defs/{{model}}")
        for inner, schema in made.pop("$defs", {}).items():
            definitions.setdefault(inner, schema)
        definitions[name] = made
    else:
        definitions[name] = {
            "type": "object",
            "title": of.__name__,
            "properties": {each: _schema(field.hint, definitions) for each, field in fields.items()},
            "required": [each for each, field in fields.items() if field.required],
            "additionalProperties": False,
        }
    return definitions.reference(name)


def _free_name(name: str, definitions: Mapping[str, Any]) -> str:
    number = 1
    free = name
    while free in definitions:
        number += 1
        free = f"{name}{number}"
    return free
