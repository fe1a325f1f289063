"""Every handler: equal content, equal hash; taken apart and built again; kept and brought back."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import pathlib
import sys
import types
import typing
import uuid
import zoneinfo
from pathlib import Path

import attrs
import numpy as np
import pandas as pd
import pyarrow as pa
import pydantic
import pytest

from rayflow.errors import BadModule, UserError
from rayflow.testing.contracts import check_handler
from rayflow.values.encoding.identity import value_hash
from rayflow.values.encoding.nested import copy_containers, map_leaves, parts_of
from rayflow.values.objects import handlers
from rayflow.values.process import code_reader
from rayflow.values.process.code_reader import CodeReader, set_code_reader
from rayflow.values.refs import TaggedTree


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 1


class Mode(enum.Flag):
    READ = 1
    WRITE = 2


class Name(str):
    pass


class Bag(set):  # type: ignore[type-arg]
    pass


class Row(list):  # type: ignore[type-arg]
    pass


class Table(dict):  # type: ignore[type-arg]
    pass


Point = collections.namedtuple("Point", "x y")


class Typed(typing.NamedTuple):
    x: int
    y: str = "a"


@dataclasses.dataclass
class Plain:
    x: typing.Any
    y: typing.Any = 2
    runs: int = dataclasses.field(default=0, init=False)

    def __post_init__(self) -> None:
        self.runs += 1

    @functools.cached_property
    def slow(self) -> int:
        return 7


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    x: typing.Any
    late: int = dataclasses.field(init=False)


@attrs.define
class Attrs:
    x: typing.Any
    y: list[int] = attrs.Factory(list)


@attrs.frozen(slots=False)
class FrozenAttrs:
    x: typing.Any


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True, extra="allow")
    x: typing.Any
    y: int = 3
    _hidden: int = pydantic.PrivateAttr(default=1)


class Opaque:
    def __init__(self, x: object, names: object = ()) -> None:
        self.x = x
        self.names = set(names)  # type: ignore[call-overload]


class Custom(Exception):
    pass


def double(x: int, by: int = 2) -> int:
    return x * by


def triple(x: int, by: int = 3) -> int:
    return x * by


def adder(n: int) -> typing.Callable[[int], int]:
    def add(x: int) -> int:
        return x + n

    return add


def recursive() -> typing.Callable[[int], int]:
    def even(n: int) -> int:
        return 1 if n == 0 else odd(n - 1)

    def odd(n: int) -> int:
        return 0 if n == 0 else even(n - 1)

    return even


def _set_up(value: typing.Any, **attributes: object) -> typing.Any:
    for name, part in attributes.items():
        object.__setattr__(value, name, part)
    return value


UTC = datetime.UTC
DAY = datetime.datetime(2024, 5, 6, 7, 8, 9, 10)
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
FRAME = {"a": [1, 2], "b": ["x", None]}

CASES: dict[str, tuple[typing.Callable[[], typing.Any], list[typing.Any]]] = {
    "none": (lambda: None, [0, False, ""]),
    "big int": (lambda: 10**50, [10**50 + 1]),
    "long text": (lambda: "ä" * 100, ["ä" * 99, ("ä" * 100).encode()]),
    "list": (lambda: [1, [2, "a"]], [(1, [2, "a"]), [1, 2, "a"], [[1, 2], "a"]]),
    "dict": (lambda: {"a": 1, 2: [3]}, [{"a": 1}, [("a", 1), (2, [3])]]),
    "set": (lambda: {1, "a", None, (1, 2)}, [frozenset({1, "a", None, (1, 2)}), {1, "a"}]),
    "frozenset": (lambda: frozenset({1, "a"}), [{1, "a"}]),
    "bytearray": (lambda: bytearray(b"ab"), [b"ab", bytearray(b"ac")]),
    "OrderedDict": (
        lambda: collections.OrderedDict(a=1, b=[2]),
        [{"a": 1, "b": [2]}, collections.OrderedDict(b=[2], a=1), _set_up(collections.OrderedDict(a=1, b=[2]), n=1)],
    ),
    "defaultdict": (
        lambda: collections.defaultdict(list, {"a": [1]}),
        [{"a": [1]}, collections.defaultdict(set, {"a": [1]})],
    ),
    "Counter": (lambda: collections.Counter("aab"), [{"a": 2, "b": 1}, collections.Counter("ab")]),
    "deque": (lambda: collections.deque([1, [2]], maxlen=5), [[1, [2]], collections.deque([1, [2]])]),
    "dict subclass": (lambda: _set_up(Table(a=1), note="n"), [{"a": 1}, Table(a=1)]),
    "list subclass": (lambda: Row([1, [2]]), [[1, [2]], Row([1, [3]])]),
    "set subclass": (lambda: Bag({1, "b", None}), [{1, "b", None}]),
    "namedtuple": (lambda: Point(1, [2]), [(1, [2]), Point(1, [3])]),
    "NamedTuple": (lambda: Typed(1), [Typed(1, "b"), Point(1, "a")]),
    "dataclass": (lambda: Plain([1], {"k": 2}), [Plain([1]), Attrs([1])]),
    "slotted dataclass": (lambda: _set_up(Slotted([1]), late=1), [Slotted([1]), _set_up(Slotted([1]), late=2)]),
    "attrs": (lambda: Attrs([1]), [Attrs([1], [1]), FrozenAttrs([1])]),
    "frozen attrs": (lambda: FrozenAttrs({"a": 1}), [FrozenAttrs({"a": 2})]),
    "pydantic": (lambda: Model(x=[1], z="extra"), [Model(x=[2], z="extra"), Model(x=[1])]),
    "namespace": (lambda: types.SimpleNamespace(a=[1]), [types.SimpleNamespace(a=[2])]),
    "enum": (lambda: Colour.RED, [Colour.BLUE, 1]),
    "int enum": (lambda: Level.LOW, [1]),
    "flag": (lambda: Mode.READ | Mode.WRITE, [Mode.READ]),
    "datetime": (lambda: DAY, [DAY.replace(fold=1), DAY.replace(tzinfo=UTC), DAY.date()]),
    "aware datetime": (lambda: DAY.replace(tzinfo=BERLIN), [DAY.replace(tzinfo=UTC)]),
    "date": (lambda: datetime.date(2024, 1, 2), [datetime.date(2024, 1, 3)]),
    "time": (lambda: datetime.time(1, 2), [datetime.time(1, 2, tzinfo=UTC)]),
    "timedelta": (lambda: datetime.timedelta(1, 2, 3), [datetime.timedelta(1, 2, 4)]),
    "timezone": (lambda: UTC, [datetime.timezone(datetime.timedelta(hours=1))]),
    "zone": (lambda: BERLIN, [zoneinfo.ZoneInfo("Europe/Paris")]),
    "path": (lambda: pathlib.Path("a/b"), [pathlib.Path("a/c"), "a/b", pathlib.PurePosixPath("a/b")]),
    "uuid": (lambda: uuid.UUID(int=7), [uuid.UUID(int=8), 7]),
    "Decimal": (lambda: decimal.Decimal("1.50"), [decimal.Decimal("1.51"), 1.5]),
    "Fraction": (lambda: fractions.Fraction(1, 3), [fractions.Fraction(2, 3)]),
    "range": (lambda: range(1, 9, 2), [range(1, 9), [1, 3, 5, 7]]),
    "Ellipsis": (lambda: ..., [None]),
    "class": (lambda: Plain, [Attrs, int]),
    "builtin class": (lambda: dict, [list]),
    "alias": (lambda: list[int], [list[str], list]),
    "function": (lambda: double, [triple]),
    "builtin function": (lambda: len, [max]),
    "closure": (lambda: adder(1), [adder(2)]),
    "mutual recursion": (recursive, [adder(1)]),
    "lambda": (lambda: lambda x: x + 1, [lambda x: x + 2]),
    "partial": (lambda: functools.partial(double, by=5), [functools.partial(double, by=6)]),
    "bound method": (lambda: "ab".join, ["ac".join]),
    "module": (lambda: enum, [types]),
    "text subclass": (lambda: Name("a"), ["a", Name("b")]),
    "exception": (lambda: Custom("a", 1), [Custom("a", 2), ValueError("a", 1)]),
    "opaque": (lambda: Opaque([1], "abc"), [Opaque([2], "abc"), Opaque([1], "ab")]),
    "array": (lambda: np.arange(6.0).reshape(2, 3), [np.arange(6.0), np.arange(6).reshape(2, 3)]),
    "large array": (lambda: np.arange(300_000), [np.arange(300_001)]),
    "empty array": (lambda: np.zeros((0, 3)), [np.zeros((3, 0))]),
    "0-d array": (lambda: np.array(1.5), [np.float64(1.5), np.array([1.5])]),
    "structured": (lambda: np.array([("a", 1)], dtype=[("n", "U3"), ("v", "i4")]), []),
    "object array": (lambda: np.array([1, "a", None], dtype=object), [np.array([1, "b", None], dtype=object)]),
    "date array": (lambda: np.array(["2020-01-01"], dtype="M8[D]"), [np.array(["2020-01-01"], dtype="M8[s]")]),
    "masked": (lambda: np.ma.array([1, 2], mask=[0, 1]), [np.ma.array([1, 2])]),
    "the masked element": (lambda: np.ma.masked, [np.ma.array(0.0, mask=True), np.float64(0)]),
    "numpy scalar": (lambda: np.float64(1.5), [1.5, np.float32(1.5)]),
    "dtype": (lambda: np.dtype("f8"), [np.dtype("f4")]),
    "frame": (lambda: pd.DataFrame(FRAME), [pd.DataFrame(FRAME, index=[1, 2]), pd.DataFrame({"a": [1, 2]})]),
    "series": (lambda: pd.Series([1, 2], name="n"), [pd.Series([1, 2]), pd.Series([1.0, 2.0], name="n")]),
    "categories": (
        lambda: pd.Series(pd.Categorical(["u", "v"])),
        [pd.Series(pd.Categorical(["u", "v"], categories=["v", "u"])), pd.Series(["u", "v"])],
    ),
    "nullable": (lambda: pd.Series(pd.array([1, None], dtype="Int64")), [pd.Series([1, None])]),
    "zoned times": (lambda: pd.Series(pd.date_range("2020", periods=2, tz="UTC")), []),
    "periods": (lambda: pd.Series(pd.period_range("2020", periods=2, freq="D")), []),
    "intervals": (lambda: pd.Series(pd.interval_range(0, 2)), []),
    "arrow backed": (lambda: pd.Series([1, 2], dtype="int64[pyarrow]"), [pd.Series([1, 2])]),
    "multi-index": (lambda: pd.MultiIndex.from_tuples([(1, "a"), (2, "b")], names=["i", "j"]), []),
    "time stamp": (lambda: pd.Timestamp("2020", tz="UTC"), [pd.Timestamp("2020")]),
    "arrow table": (lambda: pa.table(FRAME), [pa.table({"a": [1, 2]}), pa.table({"a": [1, 3], "b": ["x", None]})]),
    "arrow array": (lambda: pa.array([1, None, 3]), [pa.array([1, 2, 3]), pa.array([1, None, 3], pa.int32())]),
    "arrow nested": (
        lambda: pa.array([[1], None, [2, 3]]),
        [pa.array([[1], [], [2, 3]]), pa.array([[1, 2], None, [3]])],
    ),
    "arrow structs": (lambda: pa.array([{"x": 1}, None]), [pa.array([{"x": 1}, {"x": None}])]),
    "arrow maps": (lambda: pa.array([[(1, 2)], None], pa.map_(pa.int8(), pa.int8())), []),
    "arrow decimals": (lambda: pa.array([decimal.Decimal("1.5"), None]), [pa.array([decimal.Decimal("1.6"), None])]),
    "arrow booleans": (lambda: pa.array([True, None, False]), [pa.array([True, False, None])]),
    "arrow batch": (lambda: pa.RecordBatch.from_pydict(FRAME), []),
    "arrow schema": (lambda: pa.schema([("a", pa.int8())]), [pa.schema([("a", pa.int16())])]),
}


@pytest.mark.parametrize("name", CASES)
def test_every_handler_keeps_the_contract(name: str) -> None:
    make, different = CASES[name]
    check_handler(make, different)


def test_memory_order_strides_and_writability_of_arrays_do_not_count() -> None:
    plain = np.arange(12.0).reshape(3, 4)
    frozen = plain.copy()
    frozen.flags.writeable = False
    wide = np.zeros((3, 8))
    wide[:, ::2] = plain
    assert len({value_hash(each) for each in (plain, np.asfortranarray(plain), frozen, wide[:, ::2])}) == 1
    assert value_hash(plain) != value_hash(plain.T)


def test_padding_inside_structured_arrays_does_not_count() -> None:
    dtype = np.dtype([("a", "u1"), ("b", "f8")], align=True)
    one, two = np.zeros(3, dtype), np.zeros(3, dtype)
    two.view(np.uint8)[1] = 99  # between the fields
    assert value_hash(one) == value_hash(two)


def test_chunks_and_offsets_and_what_stands_under_a_null_do_not_count_in_arrow() -> None:
    assert value_hash(pa.chunked_array([[1, None], [3]])) == value_hash(pa.chunked_array([[1], [None, 3]]))
    assert value_hash(pa.array(["a", "b", None])[1:]) == value_hash(pa.array(["b", None]))
    validity = pa.py_buffer(b"\x01")
    dirty = pa.Array.from_buffers(pa.int8(), 2, [validity, pa.py_buffer(b"\x05\x63")])
    assert value_hash(dirty) == value_hash(pa.array([5, None], pa.int8()))
    table = pa.table({"a": [1, 2, 3]})
    assert value_hash(pa.concat_tables([table[:1], table[1:]])) == value_hash(table)


def test_a_dataclass_is_rebuilt_without_running_post_init_again() -> None:
    value = Plain(1)
    assert value.runs == 1
    again = map_leaves(Plain([Colour.RED]), lambda leaf: leaf, always=True)
    assert again.runs == 1 and again == Plain([Colour.RED])


def test_attributes_beside_the_fields_survive_a_rebuild() -> None:
    value = _set_up(Plain([1]), note="kept")
    assert copy_containers(value).note == "kept"


def test_a_dataclass_that_pickles_itself_is_not_taken_apart() -> None:
    assert parts_of(Sealed(1)) is None
    assert value_hash(Sealed(1)) == value_hash(Sealed(1))


@dataclasses.dataclass
class Sealed:
    x: int

    def __getstate__(self) -> dict[str, int]:
        return {"x": self.x}


def test_a_model_is_rebuilt_without_validation_and_with_everything_it_held() -> None:
    value = Model(x=[1], z=[2])
    value._hidden = 9
    again = map_leaves(value, lambda leaf: leaf, always=True)
    assert again == value
    assert again._hidden == 9 and again.model_extra == {"z": [2]} and again.model_fields_set == {"x", "z"}


def test_pandas_strings_hash_alike_whatever_stores_them() -> None:
    stored_by_python = pd.Series(["x", None], dtype=pd.StringDtype("python"))
    stored_by_arrow = pd.Series(["x", None], dtype=pd.StringDtype("pyarrow"))
    assert value_hash(stored_by_python) == value_hash(stored_by_arrow)


def test_time_stamps_count_to_the_nanosecond() -> None:
    assert value_hash(pd.Timestamp(1)) != value_hash(pd.Timestamp(2))


def test_a_registered_container_is_seen_through_and_a_subclass_with_it() -> None:
    class Box:
        def __init__(self, content: object) -> None:
            self.content = content

    class Crate(Box):
        pass

    class BoxHandler:
        kind = "tests.Box"

        def take_apart(self, value: Box) -> tuple[tuple[str, ...], list[object]]:
            return (handlers.class_path(type(value)),), [value.content]

        def build(self, header: tuple[str, ...], parts: typing.Sequence[object]) -> object:
            return handlers.load_class(header[0])(*parts)

    assert parts_of(Box(1)) is None
    handlers.register(Box, BoxHandler())
    changed = map_leaves({"b": Crate([Colour.RED])}, lambda leaf: "red")
    assert type(changed["b"]) is Crate and changed["b"].content == ["red"]
    assert value_hash(Box(1)) != value_hash(Crate(1))


def test_a_kind_that_nothing_registered_is_a_clear_error() -> None:
    with pytest.raises(UserError, match="no-such-kind"):
        handlers.container_handler("no-such-kind")


def test_classes_are_found_by_path_and_missing_ones_are_clear_errors() -> None:
    assert handlers.load_class(handlers.class_path(Plain)) is Plain
    assert handlers.load_class("collections:OrderedDict") is collections.OrderedDict
    with pytest.raises(BadModule, match="no_such_module_here"):
        handlers.load_class("no_such_module_here:Thing")
    with pytest.raises(BadModule, match="top level"):
        handlers.load_class("collections:NoSuchThing")


def test_a_code_reader_says_what_identifies_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_reader, "_reader", None)
    before = value_hash(double)
    set_code_reader(CodeReader(lambda function: function.__name__.encode(), class_code=lambda of: b""))
    assert value_hash(double) != before
    assert value_hash(double) != value_hash(triple)
    monkeypatch.setattr(code_reader, "_reader", None)
    assert value_hash(double) == before


def test_a_tagged_tree_hashes_like_its_object_at_any_depth() -> None:
    value = Plain([Point(1, Attrs({"k": Slotted(3)}))], collections.OrderedDict(a=1))
    assert value_hash(_tree(value)) == value_hash(value)


def _tree(value: object) -> object:
    container = parts_of(value)
    if container is None:
        return value
    parts = tuple(_tree(part) for part in container.parts)
    return TaggedTree(container.kind, container.header, parts) if container.header else container.build(parts)


@pytest.mark.slow
def test_libraries_are_not_imported_for_values_that_are_not_theirs() -> None:
    import subprocess

    code = (
        "import sys, rayflow.values.encoding.encoding as e, rayflow.values.failures\n"
        "import rayflow.values.filesystems.filesystems as f\n"
        "e.make_ref({'a': [1, (2.0, 'x')], 'b': None})\n"
        "f.filesystem('/tmp/x'); f.filesystem('file:///tmp/x')\n"
        "loaded = {'numpy', 'pandas', 'pyarrow', 'pydantic', 'attrs', 'fsspec', 'cloudpickle'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, timeout=60)
