"""A call sees its arguments as they were when it was made."""

from __future__ import annotations

import collections
import functools
import gc
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from rayflow import File, Value, catch, cond, force, map_, quote, seq, task
from rayflow.errors import ArgumentChanged
from rayflow.lang.packing.pack import pack
from rayflow.lang.terms.codec import children, content_digest
from rayflow.lang.terms.expressions import Expression, render
from rayflow.values.encoding import snapshots
from rayflow.values.encoding.identity import value_hash
from rayflow.values.native import SCALARS
from rayflow.values.refs import ValueRef


@task
def f(x: Any = None, *rest: Any, **named: Any) -> Any:
    return x


@task
def typed(x: np.ndarray, y: int = 0) -> Any:  # type: ignore[type-arg]
    return x


def digest_of(term: Any) -> bytes:
    """What a term is, once it is read."""
    return content_digest(pack(term, lambda *_: None))


def _refs(term: Any) -> list[Any]:
    found, waiting = [], [term]
    for each in waiting:
        if type(each) is ValueRef:
            found.append(each)
        elif type(each) not in SCALARS:
            waiting.extend(children(each))
    return found


class Own:
    def __init__(self, content: list[int]) -> None:
        self.content = content


class Slots:
    __slots__ = ("content",)

    def __init__(self) -> None:
        self.content = [0]


@dataclass
class Plain:
    of: Any = field(default_factory=lambda: np.zeros(2))


class Numbered(float):
    pass


class Metres(np.ndarray):  # type: ignore[type-arg]
    pass


def _set(name: str, part: Any) -> Callable[[Any], None]:
    return lambda value: setattr(value, name, part)


def _item(key: Any, part: Any) -> Callable[[Any], None]:
    return lambda value: value.__setitem__(key, part)


def _at(value: Any, row: int, column: int) -> None:
    value.iloc[row, column] = 9


CHANGED: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "array": (lambda: np.zeros(3), _item(1, 5)),
    "array in columns": (lambda: np.zeros((3, 2)).T, _item((1, 1), 5)),
    "view": (lambda: np.zeros(9)[::3], _item(1, 5)),
    "array of no dimension": (lambda: np.array(1.0), _item((), 5)),
    "array of objects": (lambda: np.array([[1], None], dtype=object), lambda value: value[0].append(2)),
    "shape of an array": (lambda: np.zeros((2, 3)), lambda value: value.resize((3, 2), refcheck=False)),
    "below array": (lambda: np.zeros(3).view(Metres), _set("unit", "m")),
    "read-only view of an array": (lambda: _read_only_view(), lambda value: value.base.__setitem__(0, 5)),
    "read-only array with an older view": (lambda: _locked(3), lambda value: VIEWS[id(value)].__setitem__(0, 5)),
    "array that is made writable again": (lambda: _locked(3), lambda value: _unlocked(value).__setitem__(0, 5)),
    "read-only view of a bytearray": (lambda: _over(24), lambda value: VIEWS[id(value)].__setitem__(0, 5)),
    "bytearray": (lambda: bytearray(b"abc"), _item(0, 0)),
    "memoryview": (lambda: memoryview(bytearray(b"abc")), _item(0, 0)),
    "new column": (lambda: pd.DataFrame({"a": [1, 2]}), _item("p", 1)),
    "cell": (lambda: pd.DataFrame({"a": [1, 2], "b": [1.0, 2.0]}), lambda value: _at(value, 0, 0)),
    "cell of text": (lambda: pd.DataFrame({"a": ["x", "y"]}), lambda value: value.iloc.__setitem__((0, 0), "z")),
    "label": (lambda: pd.DataFrame({"a": [1, 2]}), _set("columns", ["b"])),
    "name of an index": (lambda: pd.DataFrame({"a": [1, 2]}), lambda value: setattr(value.index, "name", "n")),
    "attrs": (lambda: pd.DataFrame({"a": [1, 2]}), lambda value: value.attrs.update(k=1)),
    "attribute of a frame": (lambda: pd.DataFrame({"a": [1, 2]}), lambda value: object.__setattr__(value, "unit", "m")),
    "time zone of a column": (lambda: _zoned(), lambda value: _to_tokyo(value)),
    "names of categories": (lambda: _sorts(), lambda value: _renamed(value)),
    "two columns that change places": (lambda: _two(), lambda value: _swap(value)),
    "frame of objects": (lambda: pd.DataFrame({"a": [[1], 2]}, dtype=object), lambda value: value["a"][0].append(2)),
    "series": (lambda: pd.Series([1, 2]), lambda value: value.iloc.__setitem__(0, 9)),
    "name of a series": (lambda: pd.Series([1, 2]), _set("name", "n")),
    "polars frame": (lambda: pl.DataFrame({"a": [1, 2]}), lambda value: value.insert_column(0, pl.Series("b", [1, 2]))),
    "polars cell": (lambda: pl.DataFrame({"a": [1, 2]}), _item((0, "a"), 5)),
    "polars series": (lambda: pl.Series("a", [1, 2]), _item(0, 5)),
    "object": (lambda: Own([1]), lambda value: value.content.append(2)),
    "object with slots": (Slots, lambda value: value.content.append(2)),
    "attribute of a number": (lambda: Numbered(1.5), _set("unit", "m")),
    "namespace": (lambda: SimpleNamespace(a=[1]), lambda value: value.a.append(2)),
    "partial": (lambda: functools.partial(print, np.zeros(2)), lambda value: value.args[0].__setitem__(0, 1)),
    "method": (lambda: Own([1]).content.append, lambda value: value(2)),
    "error": (lambda: ValueError([1]), lambda value: value.args[0].append(2)),
    "list": (lambda: [1], lambda value: value.append(2)),
    "dict": (lambda: {"a": 1}, _item("b", 1)),
    "deque": (lambda: collections.deque([1]), lambda value: value.append(2)),
    "set": (lambda: {1}, lambda value: value.add(2)),
    "dataclass": (Plain, lambda value: value.of.__setitem__(0, 1)),
}


def _zoned() -> Any:
    return pd.DataFrame({"t": pd.to_datetime(["2020-01-01", "2021-01-01"]).tz_localize("UTC"), "a": [1, 2]})


def _to_tokyo(value: Any) -> None:
    value["t"] = value["t"].dt.tz_convert("Asia/Tokyo")


def _renamed(value: Any) -> None:
    value["c"] = value["c"].cat.rename_categories(["y", "x"])


def _sorts() -> Any:
    return pd.DataFrame({"c": pd.Categorical(["x", "y"])})


def _two() -> Any:
    return pd.DataFrame({"a": [1.0], "b": [2.0]})


def _swap(value: Any) -> None:
    value[["a", "b"]] = value[["b", "a"]].to_numpy()


VIEWS: dict[int, Any] = {}


def _locked(count: int) -> Any:
    made = np.zeros(count)
    VIEWS[id(made)] = made[:]
    made.flags.writeable = False
    return made


def _unlocked(value: Any) -> Any:
    value.flags.writeable = True
    return value


def _over(count: int) -> Any:
    memory = bytearray(count)
    made = np.frombuffer(memoryview(memory).toreadonly())
    VIEWS[id(made)] = memory
    return made


def _read_only_view() -> Any:
    view = np.zeros(3).view()
    view.flags.writeable = False
    return view


PLACES: dict[str, Callable[[Any], Any]] = {
    "argument": f,
    "keyword": lambda x: f(x=x),
    "rest": lambda x: f(1, x),
    "keyword rest": lambda x: f(1, other=x),
    "list": lambda x: f([1, [x]]),
    "key and value": lambda x: f({"k": (x,)}),
    "namedtuple and dataclass": lambda x: f(Plain([x])),
    "partial": lambda x: f.partial(x)(2),
    "task with bound arguments": lambda x: f(f.partial(x)),
    "option": lambda x: f.options(context={"a": x})(1),
    "operator": lambda x: f(1) + x,
    "reflected operator": lambda x: f(1).__radd__(x),
    "index": lambda x: f(1)[x] if not isinstance(x, slice) else None,
    "method": lambda x: f(1).get(x, named=x),
    "call": lambda x: f(1)(x),
    "map_": lambda x: map_(f, [x]),
    "cond": lambda x: cond(f(1), x, [x]),
    "catch": lambda x: catch(x, ValueError, f),
    "seq": lambda x: seq([x]),
    "quote": lambda x: quote([x]),
    "below another call": lambda x: f(f(f(x))),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["array", "new column", "bytearray", "object", "dict"])
def test_a_change_after_the_call_is_not_seen_wherever_the_object_stands(place: str, kind: str) -> None:
    _check(CHANGED[kind], PLACES[place])


@pytest.mark.parametrize("kind", CHANGED)
def test_a_change_after_the_call_is_not_seen_whatever_the_object_is(kind: str) -> None:
    for place in ("argument", "list", "operator"):
        _check(CHANGED[kind], PLACES[place])


def _check(case: tuple[Callable[[], Any], Callable[[Any], Any]], place: Callable[[Any], Any]) -> None:
    make, change = case
    value = make()
    expected = digest_of(place(make()))
    term = place(value)
    again = place(value)
    change(value)
    after = place(value)
    assert digest_of(term) == expected
    assert digest_of(again) == expected
    assert digest_of(after) != expected
    assert digest_of([term, after, again]) == digest_of([term, after, again])


# --- large objects ----------------------------------------------------------------------------------------------------

COUNT = snapshots.COPIED_BYTES // 8 + 1

LARGE: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "array": (lambda: np.zeros(COUNT), _item(1, 5)),
    "view": (lambda: np.zeros((COUNT, 2))[:, 0], lambda value: value.base.__setitem__((1, 0), 5)),
    "below array": (lambda: np.zeros(COUNT).view(Metres), _set("unit", "m")),
    "bytearray": (lambda: bytearray(8 * COUNT), _item(1, 5)),
    "object": (lambda: Own(np.zeros(COUNT)), lambda value: value.content.__setitem__(1, 5)),  # type: ignore[arg-type]
    "frame of objects": (
        lambda: pd.DataFrame({"a": [[number] * 1000 for number in range(1000)]}, dtype=object),
        lambda value: value["a"][0].append(2),
    ),
    "arrow over numpy": (lambda: _arrow(), lambda value: ARRAYS[id(value)].__setitem__(0, 5)),
}

ARRAYS: dict[int, Any] = {}


def _arrow() -> Any:
    array = np.zeros(COUNT)
    made = pa.array(array)
    ARRAYS[id(made)] = array
    return made


@pytest.mark.parametrize("kind", LARGE)
@pytest.mark.parametrize("place", ["argument", "list", "partial", "task with bound arguments", "operator", "quote"])
def test_a_large_object_that_was_changed_after_the_call_is_an_error(kind: str, place: str) -> None:
    make, change = LARGE[kind]
    value = make()
    term = PLACES[place](value)
    unchanged = digest_of(term)
    assert unchanged == digest_of(PLACES[place](make()))
    change(value)
    with pytest.raises(ArgumentChanged, match="pass it a copy"):
        pack(term, lambda *_: None)
    assert digest_of(PLACES[place](value)) != unchanged


@pytest.mark.parametrize("kind", ["older view", "writable again", "bytearray"])
def test_a_large_array_that_was_read_only_and_was_changed_is_an_error(kind: str) -> None:
    value = _over(8 * COUNT) if kind == "bytearray" else _locked(COUNT)
    term = f(value)
    assert f(value)._args[0] is term._args[0]  # it is looked through once
    digest_of(term)
    if kind == "writable again":
        _unlocked(value)[0] = 5
    else:
        VIEWS[id(value)][0] = 5
    for call in (term, *([] if kind == "writable again" else [f(value)])):
        with pytest.raises(ArgumentChanged):
            pack(call, lambda *_: None)


def test_a_large_array_that_is_changed_for_one_call_and_back_is_an_error() -> None:
    """As where the columns of a table are shuffled one after the other."""
    array = np.zeros(COUNT)
    calls = [f(array, number) for number in range(3)]
    array[7] = 1
    calls.append(f(array, 3))
    array[7] = 0
    calls.append(f(array, 4))
    with pytest.raises(ArgumentChanged):
        pack(calls, lambda *_: None)
    digest_of([*calls[:3], calls[4]])


def test_a_large_frame_is_not_copied_and_its_later_changes_are_not_seen() -> None:
    frame = pd.DataFrame({"a": np.zeros(COUNT)})
    calls = []
    for number in range(3):
        frame["p"] = number
        calls.append(f(frame))
    expected = [digest_of(f(pd.DataFrame({"a": np.zeros(COUNT), "p": number}))) for number in range(3)]
    frame.iloc[0, 0] = 7
    assert [digest_of(call) for call in calls] == expected


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (lambda x: f(1, x), "in the call of f, argument 2"),
        (lambda x: typed(x), "in the call of typed, argument 1 (x)"),
        (lambda x: typed(y=1, x=x), "in the call of typed, x"),
        (lambda x: f([0, {"k": x}]), 'in the call of f, argument 1 (x)[1]["k"]'),
        (lambda x: f(1) + x, "in (f(1) + "),
    ],
)
def test_the_error_names_the_call_and_the_parameter(make: Callable[[Any], Any], place: str) -> None:
    array = np.zeros(COUNT)
    term = make(array)
    array[0] = 1
    with pytest.raises(ArgumentChanged, match=re.escape(place)):
        pack([term], lambda *_: None)


# --- what it costs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [np.zeros(10), np.zeros(COUNT), pd.DataFrame({"a": range(10)}), pd.DataFrame({"a": np.zeros(COUNT)}), Own([1])],
    ids=["small array", "large array", "small frame", "large frame", "object"],
)
def test_many_calls_with_one_unchanged_object_hold_one_snapshot_and_encode_it_once(value: Any) -> None:
    calls = [f(value, number) for number in range(50)]
    assert len({id(call._args[0]) for call in calls}) == 1
    packed = pack(calls, lambda *_: None)
    assert len({id(ref) for ref in _refs(packed)}) == 1


def test_what_nobody_can_change_is_passed_as_it_is() -> None:
    array = np.frombuffer(bytes(8 * COUNT))
    fixed = (1, "text", File("x"), f, print, pd.Timestamp(2024, 1, 1), np.float64(1), slice(1, 2))
    for value in (array, array[1:], *fixed):
        assert f(value)._args[0] is value


@pytest.mark.slow
def test_a_snapshot_goes_when_its_calls_and_its_object_have_gone() -> None:
    gc.collect()
    before = len(snapshots._LATEST)
    array = np.zeros(10)
    call = f(array)
    assert len(snapshots._LATEST) == before + 1
    del call
    assert f(array)._args[0].value is not array
    del array
    gc.collect()
    assert len(snapshots._LATEST) == before


# --- what a user sees of it -------------------------------------------------------------------------------------------


def test_a_snapshot_shows_as_its_object_and_is_hashed_as_it() -> None:
    array = np.zeros(3)
    call = f([array], k=array)
    assert render(call) == "f([ndarray float64 (3,) [0.0, 0.0, 0.0]], k=ndarray float64 (3,) [0.0, 0.0, 0.0])"
    assert value_hash(f.partial(array)) == value_hash(f.partial(np.zeros(3)))
    assert value_hash([call._kwargs["k"]]) == value_hash([np.zeros(3)])


def test_arguments_of_a_partial_are_checked_as_themselves() -> None:
    assert isinstance(typed.partial(np.zeros(3))(y=1), Expression)


def test_a_quoted_object_is_released_as_itself() -> None:
    array = np.zeros(3)
    assert isinstance(quote(array).eval(), np.ndarray)


@pytest.mark.parametrize("release", [lambda quoted: quoted.eval(), force], ids=["eval", "force"])
def test_quoted_objects_are_released_as_themselves_wherever_they_stand(release: Callable[[Any], Any]) -> None:
    array, call = np.ones(3), f(1)
    released = release(quote([array, {"k": (Plain(array),)}, call]))
    assert released[0].sum() == released[1]["k"][0].of.sum() == 3
    assert released[2] is call


@pytest.mark.parametrize("release", [lambda quoted: quoted.eval(), force], ids=["eval", "force"])
@pytest.mark.parametrize("place", [lambda value: value, lambda value: [{"k": value}]], ids=["itself", "in a list"])
def test_a_large_quoted_object_that_was_changed_is_not_released(
    release: Callable[[Any], Any], place: Callable[[Any], Any]
) -> None:
    array = np.zeros(COUNT)
    quoted = quote(place(array))
    release(quoted)
    array[0] = 1
    with pytest.raises(ArgumentChanged):
        release(quoted)


class Versioned(Value):
    def __init__(self) -> None:
        self.version = 1

    def identity(self) -> int:
        return self.version


def test_a_value_that_says_what_it_is_says_so_when_the_call_is_read() -> None:
    value = Versioned()
    assert f(value)._args[0] is value
