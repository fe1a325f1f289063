"""The JSON schema of a type takes what can be read as that type, and refuses what cannot."""

from __future__ import annotations

import datetime
import decimal
import enum
import pathlib
import uuid
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypedDict, TypeVar

import attrs
import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from rayflow.errors import BadArguments
from rayflow.lang.arguments.from_text import convert
from rayflow.lang.arguments.json_schemas import schema_of

T = TypeVar("T")


class Colour(enum.Enum):
    RED = 1
    GREEN = "g"


@dataclass
class Line:
    price: float
    count: int = 1
    notes: list[str] = field(default_factory=list)


@dataclass
class Tree:
    name: str
    below: list[Tree] = field(default_factory=list)


class Inner(BaseModel):
    n: int


class Model(BaseModel):
    name: str
    inner: Inner
    more: dict[str, Inner] = {}


class Options(TypedDict, total=False):
    depth: int


@attrs.define
class Point:
    x: int
    y: int = 0


FITS: list[tuple[Any, list[Any], list[Any]]] = [
    (int, [1, 0, -(10**30)], ["text", [1], None, {"a": 1}]),
    (float, [1.5, 2], ["text", [], None]),
    (str, ["", "text"], [[], {"a": 1}]),
    (bool, [True, False], ["perhaps", [], None]),
    (list[int], [[], [1, 2]], [["a"], {"a": 1}]),
    (tuple[int, str], [[1, "a"]], [[1], [1, "a", 2], ["a", "a"]]),
    (tuple[int, ...], [[], [1, 2, 3]], [["a"]]),
    (set[str], [[], ["a"]], [3]),
    (dict[str, int], [{}, {"a": 1}], [{"a": "b"}, [1]]),
    (int | None, [1, None], ["text", []]),
    (Literal["a", 2], ["a", 2], ["b", 3, None]),
    (Colour, ["RED", "GREEN"], ["BLUE", []]),
    (datetime.date, ["2026-01-01"], [[], {}]),
    (uuid.UUID, ["123e4567-e89b-12d3-a456-426614174000"], [[], {}]),
    (decimal.Decimal, ["1.50", 2], [[], {}]),
    (pathlib.Path, ["a/b"], [[], {}]),
    (Line, [{"price": 1}, {"price": 1.5, "count": 2, "notes": ["a"]}], [{}, {"price": "a"}, {"price": 1, "x": 2}, [1]]),
    (Tree, [{"name": "a", "below": [{"name": "b", "below": []}]}], [{"name": "a", "below": [{"below": []}]}]),
    (Model, [{"name": "a", "inner": {"n": 1}, "more": {"k": {"n": 2}}}], [{"name": "a"}, {"name": "a", "inner": {}}]),
    (Point, [{"x": 1}, {"x": 1, "y": 2}], [{}, {"x": 1, "z": 2}]),
    (Options, [{}, {"depth": 1}], [{"depth": "a"}, {"other": 1}]),
    (list[Line | None], [[None, {"price": 1}]], [[3]]),
    (dict[str, list[Model]], [{"a": [{"name": "a", "inner": {"n": 1}}]}], [{"a": [{}]}]),
    (Any, [1, "a", None, [], {"a": 1}], []),
]


@pytest.mark.parametrize(("hint", "fits", "wrong"), FITS, ids=[str(each[0]) for each in FITS])
def test_a_schema_takes_and_refuses_what_reading_takes_and_refuses(
    hint: Any, fits: list[Any], wrong: list[Any]
) -> None:
    schema = schema_of(hint)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    for value in fits:
        assert validator.is_valid(value), value
        convert(value, hint)
    for value in wrong:
        assert not validator.is_valid(value), value
        with pytest.raises(BadArguments):
            convert(value, hint)


def test_two_classes_of_one_name_have_two_schemas() -> None:
    def another() -> Any:
        @dataclass
        class Line:
            length: int

        return Line

    schema = Draft202012Validator(schema_of(tuple[Line, another()]))  # type: ignore[misc]  # made here
    assert schema.is_valid([{"price": 1}, {"length": 2}])
    assert not schema.is_valid([{"length": 1}, {"price": 2}])


def test_a_type_that_has_no_json_form_takes_anything_and_is_named() -> None:
    class Odd(Generic[T]):
        pass

    schema = schema_of(Odd)
    assert "Odd" in schema["description"]
    assert Draft202012Validator(schema).is_valid(3)
