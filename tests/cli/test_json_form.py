"""Every value has a JSON form."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import json
import pathlib
import uuid
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayflow.cli.output.json_form import to_json


class Colour(enum.Enum):
    RED = "r"


class Level(enum.IntEnum):
    LOW = 1


class Pair(NamedTuple):
    left: int
    right: Any


@dataclasses.dataclass
class Point:
    x: int
    inner: Any = None


class Opaque:
    def __repr__(self) -> str:
        return "<opaque>"


UTC = datetime.UTC


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (2**200, 2**200),
        (1.5, 1.5),
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
        ('ä"\n', 'ä"\n'),
        ("\ud800", "\ud800"),
        ((1, [2]), [1, [2]]),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset({"a"}), ["a"]),
        (collections.deque([1]), [1]),
        ({}, {}),
        ([], []),
        ({"a": {"b": ()}}, {"a": {"b": []}}),
        ({1: "a", None: "b", False: "c"}, {"null": "b", "1": "a", "false": "c"}),
        ({1: "a", "1": "b"}, [[1, "a"], ["1", "b"]]),
        ({(1, 2): 3}, [[[1, 2], 3]]),
        ({datetime.date(2020, 1, 2): 1}, {"2020-01-02": 1}),
        (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (Point(1, Point(2)), {"x": 1, "inner": {"x": 2, "inner": None}}),
        (Pair(1, {2}), {"left": 1, "right": [2]}),
        (Colour.RED, "r"),
        (Level.LOW, 1),
        (datetime.datetime(2020, 1, 2, 3, tzinfo=UTC), "2020-01-02T03:00:00+00:00"),
        (datetime.date(2020, 1, 2), "2020-01-02"),
        (datetime.timedelta(minutes=1.5), 90.0),
        (decimal.Decimal("1.10"), "1.10"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (pathlib.Path("a/b"), "a/b"),
        (b"\x00\xff", {"$bytes": "AP8="}),
        (Opaque(), {"$type": f"{Opaque.__module__}.Opaque", "$repr": "<opaque>"}),
        (range(3), {"$type": "builtins.range", "$repr": "range(0, 3)"}),
    ],
)
def test_a_value_has_this_form(value: Any, form: Any) -> None:
    assert json.loads(to_json(value)) == form


def test_numbers_and_tables_of_libraries_have_a_form() -> None:
    import numpy
    import pandas
    import pyarrow

    assert json.loads(to_json(numpy.arange(4).reshape(2, 2))) == [[0, 1], [2, 3]]
    scalars = [numpy.float32(1.5), numpy.int8(3), numpy.bool_(True), numpy.array(7)]
    assert json.loads(to_json(scalars)) == [1.5, 3, True, 7]
    assert json.loads(to_json(numpy.datetime64("2020-01-02"))) == "2020-01-02"
    frame = pandas.DataFrame({"n": [1, 2], "when": [pandas.Timestamp("2020-01-02"), pandas.NaT], "x": [1.5, None]})
    assert json.loads(to_json(frame)) == [
        {"n": 1, "when": "2020-01-02T00:00:00", "x": 1.5},
        {"n": 2, "when": None, "x": None},
    ]
    assert json.loads(to_json(frame["n"])) == [1, 2]
    assert json.loads(to_json([pandas.NA, pandas.NaT])) == [None, None]
    assert json.loads(to_json(pyarrow.table({"a": [1, None]}))) == [{"a": 1}, {"a": None}]
    assert json.loads(to_json(pyarrow.array([1, 2]))) == [1, 2]


def test_depth_is_no_limit() -> None:
    value: Any = 0
    for _ in range(10_000):
        value = [{"a": value}]
    assert to_json(value) == '[{"a": ' * 10_000 + "0" + "}]" * 10_000


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(_VALUES)
def test_what_json_knows_comes_back_as_it_was(value: Any) -> None:
    assert json.loads(to_json(value)) == value
