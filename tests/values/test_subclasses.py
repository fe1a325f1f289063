"""What a subclass adds counts and comes back: attributes and slots, whatever the base does with its own content."""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import functools
import pathlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import attrs
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from rayflow.testing.contracts import check_handler
from rayflow.values.encoding.encoding import decode, make_ref
from rayflow.values.encoding.identity import value_hash
from rayflow.values.encoding.nested import parts_of

# Each base three times: its subclass with a __dict__, with a slot, and with a constructor that wants more than pickle
# gives it. (What is fixed in size has no slots.)


def _classes(base: type) -> list[type]:
    def make(cls: Any, content: Any, unit: str) -> Any:
        return base.__new__(cls, *content)

    name = base.__name__
    found: list[type] = []
    for suffix, members in (
        ("With", {}),
        ("Slot", {"__slots__": ("__unit", "unit")}),
        ("Strict", {"__new__": make, "__init__": lambda self, content, unit: None}),
    ):
        try:
            of = type(f"{name}{suffix}", (base,), {"__module__": __name__, **members})
        except TypeError:  # no slots for what has its content behind its head
            continue
        globals()[of.__name__] = of
        found.append(of)
    return found


class Slow:
    @functools.cached_property
    def n(self) -> int:
        return 1


class SlowDict(Slow, dict[str, int]):
    pass


class SlowList(Slow, list[int]):
    pass


class SlowText(Slow, str):
    pass


class SlowArray(Slow, np.ndarray):  # type: ignore[type-arg]
    pass


@dataclass
class SlowFields(Slow):
    x: int = 1


@attrs.define(slots=False)
class SlowAttrs(Slow):
    x: int = 1


@pytest.mark.parametrize("of", [Slow, SlowDict, SlowList, SlowText, SlowFields, SlowAttrs, SlowArray])
def test_what_stands_in_place_of_a_cached_property_counts_and_comes_back(of: Any) -> None:
    value = np.zeros(2).view(of) if of is SlowArray else of()
    before = value_hash(value)
    value.n = 99
    assert value_hash(value) != before
    assert decode(make_ref(value)[1]).n == 99


class Pair(NamedTuple):
    a: int
    b: int


BASES: dict[type, tuple[Any, ...]] = {
    float: (1.5,),
    int: (3,),
    complex: (1 + 2j,),
    str: ("text",),
    bytes: (b"data",),
    datetime.datetime: (2024, 1, 2, 3, 4, 5, 6, datetime.UTC),
    datetime.date: (2024, 1, 2),
    datetime.time: (1, 2, 3, 4),
    datetime.timedelta: (1, 2, 3),
    decimal.Decimal: ("1.50",),
    fractions.Fraction: (1, 3),
    np.float64: (1.5,),
    np.int32: (3,),
    np.str_: ("text",),
    tuple: ((1, [2]),),
    frozenset: ((1, 2),),
    Pair: (1, 2),
}

CLASSES = {of.__name__: (of, content) for base, content in BASES.items() for of in _classes(base)}


def _made(of: type, content: tuple[Any, ...], unit: str, **more: Any) -> Any:
    value = of(content, unit) if of.__name__.endswith("Strict") else of(*content)
    for name, part in {"unit": unit, **more}.items():
        object.__setattr__(value, name, part)
    return value


@pytest.mark.parametrize("name", CLASSES)
def test_attributes_and_slots_of_an_immutable_base_count_and_come_back(name: str) -> None:
    of, content = CLASSES[name]

    def make() -> Any:
        return _made(of, content, "m")

    check_handler(make, [_made(of, content, "km")])
    _check_back(make())


def _check_back(value: Any, *names: str) -> None:
    for again in (decode(make_ref(value)[1]), decode(make_ref([value])[1])[0]):
        assert type(again) is type(value)
        for name in names or ("unit",):
            assert getattr(again, name) == getattr(value, name)


# --- those that are filled after they are made ------------------------------------------------------------------------


class Queue(collections.deque):  # type: ignore[type-arg]
    def __init__(self, unit: str) -> None:
        super().__init__([1, 2], 5)
        self.unit = unit


class Items(list):  # type: ignore[type-arg]
    __slots__ = ("__hidden", "unit")

    def __init__(self, unit: str) -> None:
        super().__init__([1, 2])
        self.unit = self.__hidden = unit

    def hidden(self) -> str:
        return self.__hidden


class Table(dict):  # type: ignore[type-arg]
    def __init__(self, unit: str) -> None:
        super().__init__(a=1)
        self.unit = unit


class Members(set):  # type: ignore[type-arg]
    def __init__(self, unit: str) -> None:
        super().__init__([1, 2])
        self.unit = unit


class Counted(collections.Counter):  # type: ignore[type-arg]
    def __init__(self, unit: str) -> None:
        super().__init__("abca")
        self.unit = unit


class Grouped(collections.defaultdict):  # type: ignore[type-arg]
    def __init__(self, unit: str) -> None:
        super().__init__(list, a=[1])
        self.unit = unit


class Ordered(collections.OrderedDict):  # type: ignore[type-arg]
    def __init__(self, unit: str) -> None:
        super().__init__(a=1)
        self.unit = unit


class Buffer(bytearray):
    def __init__(self, unit: str) -> None:
        super().__init__(b"abc")
        self.unit = unit


class Key(uuid.UUID):
    def __init__(self, unit: str) -> None:
        super().__init__(int=5)
        object.__setattr__(self, "unit", unit)


class Place(type(pathlib.Path())):  # type: ignore[misc]
    def __new__(cls, unit: str) -> Place:
        made: Place = super().__new__(cls, "a/b")
        made.unit = unit
        return made

    def __init__(self, unit: str) -> None:
        if pathlib.PurePath.__init__ is not object.__init__:
            super().__init__("a/b")


class Zone(datetime.tzinfo):
    key = "a zone of its own"

    def __init__(self, unit: str = "") -> None:
        self.unit = unit

    def utcoffset(self, moment: Any) -> datetime.timedelta:
        return datetime.timedelta(hours=len(self.unit))


class Metres(np.ndarray):  # type: ignore[type-arg]
    def __new__(cls, content: Any, unit: str) -> Metres:
        made = np.asarray(content).view(cls)
        made.unit = unit
        return made

    def __array_finalize__(self, source: Any) -> None:
        self.unit = getattr(source, "unit", None)
        self.finalized = True


class Masked(np.ma.MaskedArray):  # type: ignore[type-arg]
    pass


class Mapped(np.memmap):  # type: ignore[type-arg]
    pass


class Frame(pd.DataFrame):
    _metadata = ["unit"]

    @property
    def _constructor(self) -> Any:
        return Frame


class Labels(pd.Index):
    pass


class PolarsFrame(pl.DataFrame):
    pass


class PolarsSeries(pl.Series):
    pass


@dataclass
class Length(float):
    """A float that is a dataclass, too: its number is among no fields."""

    unit: str

    def __new__(cls, value: float, unit: str) -> Length:
        return super().__new__(cls, value)

    def __init__(self, value: float, unit: str) -> None:
        self.unit = unit


@attrs.define(slots=False, init=False)
class Weight(int):
    unit: str

    def __new__(cls, value: int, unit: str) -> Weight:
        made = super().__new__(cls, value)
        made.unit = unit
        return made


@dataclass
class Stamp(datetime.datetime):
    unit: str

    def __new__(cls, *of: int, unit: str) -> Stamp:
        return super().__new__(cls, *of)

    def __init__(self, *of: int, unit: str) -> None:
        self.unit = unit


class Slotted:
    __slots__ = ("__private", "unit")

    def __init__(self, unit: str) -> None:
        self.unit = self.__private = unit


@dataclass
class BelowSlots(Slotted):
    x: int = 1

    def __init__(self, unit: str) -> None:
        Slotted.__init__(self, unit)
        self.x = 1


def _with(value: Any, **attributes: Any) -> Any:
    for name, part in attributes.items():
        object.__setattr__(value, name, part)
    return value


def _masked(of: Any, unit: str, **more: Any) -> Any:
    return _with(np.ma.array([1, 2], mask=[0, 1]).view(of), unit=unit, **more)


def _units(unit: str) -> Any:
    return np.dtype("f8", metadata={"unit": unit})


FILLED: dict[str, Callable[[str], Any]] = {
    **{of.__name__: of for of in (Queue, Items, Table, Members, Counted, Grouped, Ordered, Buffer, Key, Place, Zone)},
    "Counter": lambda unit: _with(collections.Counter("abc"), unit=unit),
    "Metres": lambda unit: Metres([1.0, 2.0], unit),
    "Metres of no dimension": lambda unit: Metres(1.0, unit),
    "Metres in columns": lambda unit: Metres(np.arange(6).reshape(2, 3).T, unit),
    "Metres of objects": lambda unit: Metres(np.array([{"a": 1}, "b"], dtype=object), unit),
    "Metres of fields": lambda unit: Metres(np.zeros(2, [("x", "i4"), ("y", "f8")]), unit),
    "matrix": lambda unit: _with(np.matrix([[1, 2]]), unit=unit),
    "recarray": lambda unit: _with(np.rec.array([(1, 2.0)], dtype=[("x", "i4"), ("y", "f8")]), unit=unit),
    "memmap": lambda unit: _with(np.zeros(3).view(np.memmap), unit=unit),
    "below memmap": lambda unit: _with(np.zeros(3).view(Mapped), unit=unit),
    "masked": lambda unit: _masked(np.ma.MaskedArray, unit),
    "below masked": lambda unit: _masked(Masked, unit),
    "masked metres": lambda unit: _with(np.ma.array(Metres([1.0, 2.0], unit), mask=[0, 1]), unit=unit),
    "frame": lambda unit: _with(pd.DataFrame({"a": [1]}), unit=unit),
    "below frame": lambda unit: _with(Frame({"a": [1]}), unit=unit),
    "other attribute of a frame": lambda unit: _with(Frame({"a": [1]}), unit=unit, other=[unit]),
    "series": lambda unit: _with(pd.Series([1], name="a"), unit=unit),
    "index": lambda unit: _with(pd.Index([1, 2]), unit=unit),
    "times": lambda unit: _with(pd.date_range("2024", periods=2), unit_=unit),
    "below index": lambda unit: _with(pd.Index([1, 2], dtype=object), unit=unit),
    "polars frame": lambda unit: _with(pl.DataFrame({"a": [1]}), unit=unit),
    "below polars frame": lambda unit: _with(PolarsFrame({"a": [1]}), unit=unit),
    "below polars series": lambda unit: _with(PolarsSeries("a", [1]), unit=unit),
    "float and dataclass": lambda unit: Length(1.5, unit),
    "int and attrs": lambda unit: Weight(3, unit),
    "datetime and dataclass": lambda unit: Stamp(2024, 1, 2, unit=unit),
    "dataclass below slots": BelowSlots,
}


@pytest.mark.parametrize("name", FILLED)
def test_attributes_and_slots_of_what_can_be_changed_count_and_come_back(name: str) -> None:
    make = FILLED[name]
    check_handler(lambda: make("m"), [make("km")])
    value = make("m")
    _check_back(value, *(["unit_"] if hasattr(value, "unit_") else ["unit"]))


def test_private_slots_come_back_too() -> None:
    for value in (decode(make_ref(Items("m"))[1]), parts_of(Items("m")).build(parts_of(Items("m")).parts)):  # type: ignore[union-attr]
        assert value.hidden() == "m"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Length(1.5, "m"), Length(2.5, "m")),
        (Weight(1, "m"), Weight(2, "m")),
        (Stamp(2024, 1, 2, unit="m"), Stamp(2024, 1, 3, unit="m")),
        (Metres([1.0], "m"), Metres([2.0], "m")),
        (np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 3], mask=[0, 1])),
        (np.ma.array([1, 2]), np.ma.array([1, 2], hard_mask=True)),
        (np.zeros(2, _units("m")), np.zeros(2, _units("km"))),
        (np.zeros(2, _units("m")), np.zeros(2)),
        (np.zeros(2, [("x", _units("m"))]), np.zeros(2, [("x", _units("km"))])),
        (np.zeros(2, [(("a title", "x"), "i4")]), np.zeros(2, [("x", "i4")])),
        (np.zeros(2, np.dtype((np.record, [("x", "i4")]))), np.zeros(2, [("x", "i4")])),
        (_units("m"), _units("km")),
        (pa.schema([pa.field("a", "i8", metadata={"u": "m"})]), pa.schema([pa.field("a", "i8", metadata={"u": "k"})])),
        (
            pa.schema([("a", pa.list_(pa.field("x", "i8", metadata={"u": "m"})))]),
            pa.schema([("a", pa.list_(pa.field("x", "i8", metadata={"u": "k"})))]),
        ),
        (
            pa.array([[1]], pa.list_(pa.field("x", "i8", metadata={"u": "m"}))),
            pa.array([[1]], pa.list_(pa.field("x", "i8", metadata={"u": "k"}))),
        ),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False)),
        (datetime.datetime(2024, 1, 1, tzinfo=Zone("m")), datetime.datetime(2024, 1, 1, tzinfo=Zone("km"))),
        (pd.Timestamp(2024, 1, 1, tz=Zone("m")), pd.Timestamp(2024, 1, 1, tz=Zone("km"))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_content_and_metadata_of_a_subclass_or_dtype_count(first: Any, second: Any) -> None:
    assert value_hash(first) != value_hash(second)
    for value in (first, second):
        assert value_hash(decode(make_ref(value)[1])) == value_hash(value)
