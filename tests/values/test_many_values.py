"""Values of many classes: each by content, and the same in every process."""

from __future__ import annotations

import array
import collections
import collections.abc
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import io
import itertools
import operator
import pathlib
import random
import re
import threading
import types
import typing
import uuid
import zoneinfo
from typing import Any

import attrs
import numpy as np
import pandas as pd
import pyarrow as pa
import pydantic
import pytest

from rayflow.testing.contracts import check_handler, check_other_processes


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    x: int
    y: list[int]


@dataclasses.dataclass
class WithInit:
    x: int
    init: dataclasses.InitVar[int]
    n: int = dataclasses.field(default=0, init=False)

    def __post_init__(self, init: int) -> None:
        self.n += 1
        self.x += init


class Permission(enum.Flag):
    READ = 1
    WRITE = 2


class Word(enum.StrEnum):
    A = "a"


class Bits(enum.IntFlag):
    A = 1
    B = 2


class Whole(int):
    pass


class Real(float):
    pass


class HalfSet:
    __slots__ = ("a", "b")

    def __init__(self, a: int) -> None:
        self.a = a


class Stateful:
    """Leaves its lock behind."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.x = 1

    def __getstate__(self) -> dict[str, int]:
        return {"x": self.x}

    def __setstate__(self, state: dict[str, int]) -> None:
        self.x = state["x"]
        self.lock = threading.Lock()


@attrs.define
class Attrs:
    x: int
    y: list[int] = attrs.field(factory=list)


@attrs.define(slots=False)
class PostAttrs:
    x: int

    def __attrs_post_init__(self) -> None:
        self.x += 1


class Open(pydantic.BaseModel):
    a: int
    b: list[int] = []
    model_config = pydantic.ConfigDict(extra="allow")


class Closed(pydantic.BaseModel, frozen=True):
    a: int


@pydantic.dataclasses.dataclass
class Checked:
    a: int


class Root(pydantic.RootModel[list[int]]):
    pass


class Meta(type):
    pass


class Made(metaclass=Meta):
    pass


class Lookup(collections.abc.Mapping[str, int]):
    def __init__(self, inside: dict[str, int]) -> None:
        self.inside = inside

    def __getitem__(self, key: str) -> int:
        return self.inside[key]

    def __iter__(self) -> typing.Iterator[str]:
        return iter(self.inside)

    def __len__(self) -> int:
        return len(self.inside)


class Wrapped(collections.UserDict[str, int]):
    pass


Point = collections.namedtuple("Point", "x y", defaults=[3])


def same(x: Any) -> Any:
    return x


PARIS = zoneinfo.ZoneInfo("Europe/Paris")

CASES: dict[str, tuple[Any, list[Any]]] = {
    "frozen slots dc": (lambda: Frozen(1, [2]), [Frozen(1, [3])]),
    "initvar": (lambda: WithInit(1, 2), [WithInit(1, 3)]),
    "pattern": (lambda: re.compile("a+", re.I), [re.compile("a+"), re.compile("b")]),
    "bpattern": (lambda: re.compile(b"a"), [re.compile("a")]),
    "flag combo": (lambda: Permission.READ | Permission.WRITE, [Permission.READ, Permission.WRITE, 3]),
    "strenum": (lambda: Word.A, ["a"]),
    "intflag": (lambda: Bits.A | Bits.B, [3, Bits.A]),
    "myint": (lambda: Whole(5), [5, Whole(6)]),
    "myfloat": (lambda: Real("nan"), [float("nan")]),
    "nan": (lambda: float("nan"), [0.0]),
    "-0": (lambda: -0.0, [0.0, 0]),
    "complex": (lambda: complex(1, float("nan")), [complex(float("nan"), 1)]),
    "mixed set": (lambda: {1, "a", None, 2.5, (1, 2), frozenset([1])}, [{1}]),
    "mixed keys": (lambda: {1: "a", "1": "b", None: 2, (1,): 3}, [{}]),
    "bytearray": (lambda: bytearray(b"x"), [b"x"]),
    "memoryview": (lambda: memoryview(b"xyz"), [b"xyz"]),
    "array": (lambda: array.array("i", [1, 2]), [array.array("l", [1, 2]), [1, 2]]),
    "range": (lambda: range(3), [range(4), [0, 1, 2]]),
    "slice": (lambda: slice(1, None), [slice(1, 2)]),
    "defaultdict": (
        lambda: collections.defaultdict(list, {"a": [1]}),
        [{"a": [1]}, collections.defaultdict(set, {"a": [1]})],
    ),
    "counter": (lambda: collections.Counter("aab"), [{"a": 2, "b": 1}]),
    "deque": (lambda: collections.deque([1, 2], maxlen=3), [collections.deque([1, 2])]),
    "od": (lambda: collections.OrderedDict([(1, 2), (3, 4)]), [collections.OrderedDict([(3, 4), (1, 2)])]),
    "chainmap": (lambda: collections.ChainMap({"a": 1}, {"b": 2}), [collections.ChainMap({"a": 1})]),
    "userdict": (lambda: Wrapped({"a": 1}), [{"a": 1}]),
    "mapping": (lambda: Lookup({"a": 1}), [Lookup({"a": 2})]),
    "zone": (lambda: datetime.datetime(2020, 1, 1, tzinfo=PARIS), [datetime.datetime(2020, 1, 1)]),
    "fold": (
        lambda: datetime.datetime(2020, 10, 25, 2, 30, fold=1, tzinfo=PARIS),
        [datetime.datetime(2020, 10, 25, 2, 30, tzinfo=PARIS)],
    ),
    "decimal": (lambda: decimal.Decimal("1.0"), [decimal.Decimal("1.00"), 1]),
    "dnan": (lambda: decimal.Decimal("NaN"), [decimal.Decimal("-Infinity")]),
    "fraction": (lambda: fractions.Fraction(1, 2), [fractions.Fraction(1, 3)]),
    "purepath": (lambda: pathlib.PurePosixPath("/a"), ["/a", pathlib.Path("/a")]),
    "uuid": (lambda: uuid.UUID(int=3), [3]),
    "sl": (lambda: HalfSet(1), [HalfSet(2)]),
    "gs": (Stateful, []),
    "attrs": (lambda: Attrs(1), [Attrs(2)]),
    "attrs2": (lambda: PostAttrs(1), [PostAttrs(2)]),
    "pm": (lambda: Open(a=1, z=3), [Open(a=1)]),
    "pf": (lambda: Closed(a=1), [Closed(a=2)]),
    "pd": (lambda: Checked(1), [Checked(2)]),
    "root": (lambda: Root([1]), [Root([2]), [1]]),
    "meta": (lambda: Made, [Meta]),
    "nt": (lambda: Point(1), [Point(2), (1, 3)]),
    "partial": (lambda: functools.partial(same, 1), [functools.partial(same, 2)]),
    "itemgetter": (lambda: operator.itemgetter(1), [operator.itemgetter(2)]),
    "generic alias": (lambda: list[int], [list[str], list]),
    "union": (lambda: int | str, [int | None]),
    "0d": (lambda: np.array(3), [np.array([3]), np.int64(3), 3]),
    "struct": (
        lambda: np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        [np.array([(1, 2.0)], dtype=[("a", "i8"), ("b", "f8")])],
    ),
    "dt64": (
        lambda: np.array(["2020-01-01", "NaT"], dtype="M8[D]"),
        [np.array(["2020-01-01", "NaT"], dtype="M8[s]")],
    ),
    "obj": (
        lambda: np.array([1, "a", None, [1]], dtype=object),
        [np.array([1, "b", None, [1]], dtype=object)],
    ),
    "bigendian": (lambda: np.array([1], dtype=">i4"), [np.array([1], dtype="<i4")]),
    "str arr": (lambda: np.array(["a", "bb"]), [np.array(["a", "bb"], dtype="U5"), np.array(["a", "bc"])]),
    "fortran": (lambda: np.asfortranarray(np.arange(6).reshape(2, 3)), [np.arange(6).reshape(3, 2)]),
    "bool arr": (lambda: np.array([True]), [np.array([1], dtype="u1")]),
    "recarray": (lambda: np.rec.array([(1, 2)], names="a,b"), []),
    "npbool": (lambda: np.bool_(True), [True]),
    "npstr": (lambda: np.str_("a"), ["a"]),
    "void": (lambda: np.array([(1, 2)], dtype="i4,i4")[0], []),
    "rng": (lambda: np.random.default_rng(3), [np.random.default_rng(4)]),
    "stringdtype": (
        lambda: np.array(["a", "b"], dtype=np.dtypes.StringDType()),
        [np.array(["a", "c"], dtype=np.dtypes.StringDType())],
    ),
    "subarray": (lambda: np.zeros(2, dtype=[("a", "f4", (2,))]), []),
    "df": (
        lambda: pd.DataFrame(
            {"a": [1, 2], "b": ["x", None], "c": pd.Categorical(["u", "v"])},
            index=pd.MultiIndex.from_tuples([(1, "a"), (2, "b")], names=["i", "j"]),
        ),
        [],
    ),
    "df obj": (lambda: pd.DataFrame({"a": [{"x": 1}, [2]]}), [pd.DataFrame({"a": [{"x": 2}, [2]]})]),
    "df dupcols": (
        lambda: pd.DataFrame([[1, 2]], columns=["a", "a"]),
        [pd.DataFrame([[1, 2]], columns=["a", "b"])],
    ),
    "df empty": (pd.DataFrame, [pd.DataFrame({"a": []})]),
    "df mcols": (lambda: pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("a", 2)])), []),
    "sparse": (lambda: pd.Series(pd.arrays.SparseArray([0, 0, 1])), [pd.Series([0, 0, 1])]),
    "Int64": (lambda: pd.Series([1, None], dtype="Int64"), [pd.Series([1, 0], dtype="Int64")]),
    "boolean": (lambda: pd.Series([True, None], dtype="boolean"), []),
    "string": (lambda: pd.Series(["a", None], dtype="string"), []),
    "period": (lambda: pd.period_range("2020", periods=3, freq="M"), []),
    "dti": (lambda: pd.date_range("2020", periods=3, tz="UTC"), []),
    "pd.NA": (lambda: pd.NA, [None]),
    "offset": (lambda: pd.offsets.MonthEnd(2), [pd.offsets.MonthEnd(3)]),
    "timedelta": (lambda: pd.Timedelta(3, "s"), []),
    "ordered cat": (
        lambda: pd.Series(pd.Categorical(["a"], categories=["b", "a"], ordered=True)),
        [pd.Series(pd.Categorical(["a"], categories=["a", "b"], ordered=True))],
    ),
    "pa.table": (lambda: pa.table({"a": [1, None]}), [pa.table({"a": [1, 2]})]),
    "pa.meta": (
        lambda: pa.table({"a": [1]}).replace_schema_metadata({"k": "v"}),
        [pa.table({"a": [1]}), pa.table({"a": [1]}).replace_schema_metadata({"k": "w"})],
    ),
    "pa union": (
        lambda: pa.UnionArray.from_sparse(
            pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])]
        ),
        [],
    ),
    "pa dict": (lambda: pa.array(["a", "b", "a"]).dictionary_encode(), []),
    "random": (lambda: random.Random(3), [random.Random(4)]),
    "exc": (lambda: ValueError(1, "a"), [ValueError(1, "b"), KeyError(1, "a")]),
    "simplens": (lambda: types.SimpleNamespace(a=1), [types.SimpleNamespace(a=2)]),
    "mappingproxy": (lambda: types.MappingProxyType({"a": 1}), [{"a": 1}]),
    "ellipsis": (lambda: ..., [None]),
    "dict_keys": (lambda: {"a": 1}.keys(), []),
    "stringio": (lambda: io.StringIO("x"), []),
    "bytesio": (lambda: io.BytesIO(b"x"), []),
    "method": (lambda: "abc".upper, []),
    "count": (lambda: itertools.count(3), []),
}


@pytest.mark.parametrize("name", CASES)
def test_a_value_of_this_class_keeps_the_contract(name: str) -> None:
    make, different = CASES[name]
    check_handler(make, different)


def all_of_them() -> list[Any]:
    return [make() for make, _ in CASES.values()]


@pytest.mark.slow
def test_all_of_them_hash_alike_in_other_processes() -> None:
    check_other_processes(all_of_them)
