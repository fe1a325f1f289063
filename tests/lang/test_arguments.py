"""Texts become values by type hint."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import inspect
import pathlib
import typing
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional, TypedDict, Union

import pytest

from rayflow import Value
from rayflow.errors import BadArguments
from rayflow.lang.arguments.from_text import convert, parse, parse_many
from rayflow.lang.parameters.hints import describe, hint_of, is_flag, takes_many


class Colour(enum.Enum):
    DARK_RED = "r"
    BLUE = "b"


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.5


@dataclasses.dataclass
class Shape:
    name: str
    corners: list[Point]
    day: Optional[datetime.date] = None
    colour: Colour = Colour.BLUE


class Pair(NamedTuple):
    left: int
    right: str = "none"


class Settings(TypedDict, total=False):
    depth: int
    where: Path


class Loud(Value):
    def __init__(self, text: str) -> None:
        self.text = text

    @classmethod
    def parse(cls, text: str) -> Loud:
        if not text:
            raise ValueError("nothing to shout")
        return cls(text.upper())


Metres = NewType("Metres", float)


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("3", int, 3),
        ("-3", int, -3),
        ("1e-3", float, 0.001),
        ("3", float, 3.0),
        ("1+2j", complex, 1 + 2j),
        ("true", bool, True),
        ("No", bool, False),
        ("0", bool, False),
        ("3", str, "3"),
        ("None", str, "None"),
        ("ä", bytes, "ä".encode()),
        ("a/b", Path, Path("a/b")),
        ("3", Optional[int], 3),
        ("None", Optional[int], None),
        ("null", Optional[str], None),
        ("none", Optional[str], "none"),
        ("3", int | str, 3),
        ("3", str | int, 3),
        ("3.5", str | int | float, 3.5),
        ("x", str | int, "x"),
        ("1", bool | int, 1),
        ("true", bool | int, True),
        ("2020-02-03", datetime.date | str, datetime.date(2020, 2, 3)),
        ("b", Literal["a", "b"], "b"),
        ("2", Literal[1, 2], 2),
        ("None", Literal["a", None], None),
        ("DARK_RED", Colour, Colour.DARK_RED),
        ("dark-red", Colour, Colour.DARK_RED),
        ("b", Colour, Colour.BLUE),
        ("2020-02-03T04:05:06", datetime.datetime, datetime.datetime(2020, 2, 3, 4, 5, 6)),
        ("2020-02-03", datetime.date, datetime.date(2020, 2, 3)),
        ("04:05", datetime.time, datetime.time(4, 5)),
        ("90m", datetime.timedelta, datetime.timedelta(minutes=90)),
        ("1:02:03.5", datetime.timedelta, datetime.timedelta(hours=1, minutes=2, seconds=3.5)),
        ("1.10", decimal.Decimal, decimal.Decimal("1.10")),
        ("12345678-1234-5678-1234-567812345678", uuid.UUID, uuid.UUID("12345678-1234-5678-1234-567812345678")),
        ("[1, 2]", list[int], [1, 2]),
        ("(1, 2)", list[int], [1, 2]),
        ("7", list[int], [7]),
        ("[1, [2]]", list, [1, [2]]),
        ('["1", "2"]', list[str], ["1", "2"]),
        ("[1, null]", list[Optional[int]], [1, None]),
        ("[[1], []]", list[list[float]], [[1.0], []]),
        ("[3, 3]", set[int], {3}),
        ("[3]", frozenset[int], frozenset({3})),
        ("[3]", Sequence[int], [3]),
        ("[3]", collections.deque[int], collections.deque([3])),
        ('[1, "a"]', tuple[int, str], (1, "a")),
        ("[1, 2, 3]", tuple[int, ...], (1, 2, 3)),
        ('{"a": 1}', dict[str, int], {"a": 1}),
        ('{"1": [2]}', dict[int, list[int]], {1: [2]}),
        ("{1: 2}", dict[int, int], {1: 2}),
        ("a=1", dict[str, int], {"a": 1}),
        ('{"a": 1}', Mapping[str, float], {"a": 1.0}),
        ('{"a": 1}', dict, {"a": 1}),
        ('{"x": 1}', Point, Point(1)),
        ('{"x": 1, "y": 2}', Point, Point(1, 2.0)),
        (
            '{"name": "t", "corners": [{"x": 1}], "day": "2020-01-02", "colour": "BLUE"}',
            Shape,
            Shape("t", [Point(1)], datetime.date(2020, 1, 2)),
        ),
        ('{"left": 1}', Pair, Pair(1)),
        ('[1, "b"]', Pair, Pair(1, "b")),
        ('{"depth": 2, "where": "a/b"}', Settings, {"depth": 2, "where": Path("a/b")}),
        ('[{"x": 1}, {"x": 2}]', list[Point], [Point(1), Point(2)]),
        ('{"x": 1}', Point | None, Point(1)),
        ('{"a": {"x": 1}}', dict[str, Point | int], {"a": Point(1)}),
        ("3.5", Metres, 3.5),
        ("3", Annotated[int, "how many"], 3),
        ("3", Any, 3),
        ("3.0", Any, 3.0),
        ("abc", Any, "abc"),
        ("007", Any, "007"),
        ("'3'", Any, "3"),
        ("None", Any, None),
        ("[1, 2]", Any, [1, 2]),
        ('{"a": true}', Any, {"a": True}),
        ("[1, 2", Any, "[1, 2"),
        ("1-2", Any, "1-2"),
        ("3", object, 3),
        ("3", typing.TypeVar("T"), 3),
        ("3", typing.TypeVar("T", bound=str), "3"),
    ],
)
def test_text_is_read_as_its_hint_says(text: str, hint: Any, value: Any) -> None:
    found = parse(text, hint)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "hint", "message"),
    [
        ("x", int, "'x' is not an int"),
        ("3.0", int, "'3.0' is not an int"),
        ("x", float, "'x' is not a float"),
        ("maybe", bool, "write true or false"),
        ("x", Optional[int], "'x' is not an int"),
        ("x", int | float, "'x' is not int or float"),
        ("blu", Colour, "did you mean BLUE?"),
        ("c", Literal["a", "b"], "not one of: a, b"),
        ("soon", datetime.timedelta, "not a duration"),
        ("yesterday", datetime.date, "is not a date"),
        ("[1, 2, 3]", tuple[int, str], "2 items are expected, not 3"),
        ('["x"]', list[int], "[0]: 'x' is not an int"),
        ('{"a": ["x"]}', dict[str, list[int]], "['a'][0]: 'x' is not an int"),
        ("[true]", list[int], "[0]: True of type bool is not int"),
        ("a", dict[str, int], "key=value"),
        ("{}", Point, "Point needs 'x'"),
        ('{"x": 1, "z": 2}', Point, "no field 'z'"),
        ('{"x": "a"}', Point, "Point.x: 'a' is not an int"),
        ("3", Point, '{"x": int, "y": float}'),
        ("@/nowhere/at/all", Point, "cannot be read"),
        ("x", type(typing), "cannot be written on a command line"),
        ("", Loud, "nothing to shout"),
        ("[" * 100_000, list, "nested too deeply"),
        ("[[]]", set[list], "do not fit in a set"),
    ],
)
def test_text_that_does_not_fit_says_what_was_expected(text: str, hint: Any, message: str) -> None:
    with pytest.raises(BadArguments) as caught:
        parse(text, hint)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_class_may_say_itself_how_it_is_read() -> None:
    assert parse("hi", Loud).text == "HI"
    assert parse("hi", Optional[Loud]).text == "HI"


def test_a_long_list_may_come_from_a_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "points.json").write_text('[{"x": 1}, {"x": 2}]')
    assert parse(f"@{tmp_path}/points.json", list[Point]) == [Point(1), Point(2)]
    (tmp_path / "broken.json").write_text("[1,")
    with pytest.raises(BadArguments, match="not JSON"):
        parse(f"@{tmp_path}/broken.json", list[int])


@pytest.mark.parametrize(
    ("texts", "hint", "value"),
    [
        (["1", "2"], list[int], [1, 2]),
        (["1", "a"], tuple[int, str], (1, "a")),
        (["1", "2"], tuple[int, ...], (1, 2)),
        (["a=1", "b=2"], dict[str, int], {"a": 1, "b": 2}),
        (["[1, 2]"], list[int], [1, 2]),
        (["[1]", "[2]"], list[list[int]], [[1], [2]]),
        (['{"x": 1}', '{"x": 2}'], list[Point], [Point(1), Point(2)]),
        ([], list[int], []),
        (["1", "2"], Optional[list[int]], [1, 2]),
        (["None"], Optional[list[int]], None),
        (["a", "b"], list, ["a", "b"]),
        (["1", "b"], list, [1, "b"]),
        (["x"], str, "x"),
    ],
)
def test_several_texts_make_one_container(texts: list[str], hint: Any, value: Any) -> None:
    assert parse_many(texts, hint) == value


def test_several_texts_for_a_scalar_are_an_error() -> None:
    with pytest.raises(BadArguments, match="2 values were given where one is taken"):
        parse_many(["1", "2"], int)


def test_a_pydantic_model_is_read_by_its_own_rules() -> None:
    pydantic = pytest.importorskip("pydantic")
    Model = pydantic.create_model("Model", n=(int, ...), day=(datetime.date, ...))
    found = parse('{"n": "3", "day": "2020-01-02"}', Model)
    assert (found.n, found.day) == (3, datetime.date(2020, 1, 2))
    with pytest.raises(BadArguments, match="Model does not take this"):
        parse('{"n": "x"}', Model)


def test_a_constructor_that_objects_is_heard() -> None:
    @dataclasses.dataclass
    class Positive:
        n: int

        def __post_init__(self) -> None:
            if self.n < 0:
                raise ValueError("below zero")

    with pytest.raises(BadArguments, match="below zero"):
        parse('{"n": -1}', Positive)


def _parameter(source: str) -> Any:
    space: dict[str, Any] = {"Path": Path, "Colour": Colour, "datetime": datetime}
    exec(f"def f({source}): ...", space)
    (parameter,) = inspect.signature(space["f"]).parameters.values()
    return hint_of(parameter, space)


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("n: int", int),
        ("n: 'int'", int),
        ("n: 'Nowhere'", Any),
        ("n", Any),
        ("n=3", Union[int, float]),
        ("n=True", bool),
        ("n='a'", str),
        ("n=None", Any),
        ("n=Path('a')", type(Path("a"))),
        ("n=Colour.BLUE", Colour),
        ("n=(1, 2)", tuple),
        ("n=datetime.date(2020, 1, 1)", datetime.date),
        ("n: str = 3", str),
    ],
)
def test_a_parameter_without_hint_takes_the_type_of_its_default(source: str, hint: Any) -> None:
    assert _parameter(source) == hint


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (int, "int"),
        (list[int], "list[int]"),
        (Optional[int], "int or None"),
        (Literal["a", 1], "one of: a, 1"),
        (Colour, "one of: DARK_RED, BLUE"),
        (tuple[int, ...], "tuple[int, ...]"),
        (dict[str, list[Point]], "dict[str, list[Point as JSON]]"),
        (Any, "any"),
        (Path, "Path"),
        (Metres, "float"),
        (None, "None"),
    ],
)
def test_hints_read_well(hint: Any, text: str) -> None:
    assert describe(hint) == text


def test_flags_and_lists_are_told_apart_from_others() -> None:
    assert is_flag(bool) and is_flag(Optional[bool]) and not is_flag(bool | int) and not is_flag(Any)
    assert takes_many(list[int]) and takes_many(Optional[tuple[int, ...]]) and takes_many(dict)
    assert not takes_many(str) and not takes_many(Any)


def test_parts_that_are_right_already_are_left_alone() -> None:
    day = datetime.date(2020, 1, 1)
    assert convert([day], list[datetime.date]) == [day]
    assert convert(1.5, decimal.Decimal) == decimal.Decimal("1.5")
    assert convert(None, Optional[int]) is None
