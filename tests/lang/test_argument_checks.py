"""Arguments are checked against annotations: what is wrong is told at the call, and nothing else is."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import os
import pathlib
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Generic, Literal, NewType, Optional, ParamSpec, Protocol, TypedDict, TypeVar, Union

import numpy as np
import pandas as pd
import pytest

from rayflow import Task, cond, get_context, quote, task
from rayflow.errors import BadArguments
from rayflow.lang.parameters.argument_checks import MOST_ITEMS, check_arguments, checks_of

T = TypeVar("T")
P = ParamSpec("P")
Metres = NewType("Metres", float)


class Colour(enum.Enum):
    RED = "r"


@dataclasses.dataclass
class Point:
    x: int


class Box(Generic[T]):
    pass


class Settings(TypedDict, total=False):
    depth: int


class Quacks(Protocol):
    def quack(self) -> None: ...


@typing.runtime_checkable
class Closes(Protocol):
    def close(self) -> None: ...


class Closing:
    def close(self) -> None: ...


class Unasked(type):
    def __instancecheck__(cls, instance: object) -> bool:
        raise RuntimeError("do not ask")


class Strange(metaclass=Unasked):
    pass


class MyError(Exception):
    pass


@task(namespace="checking")
def some(x: int = 1) -> int:
    return x


def fits(value: object, hint: Any) -> bool:
    def function(x):  # type: ignore[no-untyped-def]
        raise AssertionError

    function.__annotations__["x"] = hint
    try:
        check_arguments(checks_of(function), {"x": value}, "function")
    except BadArguments:
        return False
    return True


class Nothing:
    """An object of no class that annotations name."""

    def __repr__(self) -> str:
        return "nothing"


NOTHING = Nothing()

GOOD: list[tuple[Any, Any]] = [
    (1, int), (True, int), (np.int64(1), int), (np.array(1), int), (1, float), (np.float32(1), float), (1.5, complex),
    (fractions.Fraction(1, 2), float), (True, bool), (np.True_, bool), ("a", str), (np.str_("a"), str), (b"a", bytes),
    (bytearray(b"a"), bytes), (None, None), (None, Optional[int]), (1, Optional[int]), ("a", Union[int, str]),
    (1, int | None), (NOTHING, Any), (NOTHING, object), (1, T), (1, Annotated[int, "metres"]), (1.0, Metres),
    ("a", Literal["a", "b"]), (1, Literal[1, 2]), (np.array([1, 2]), Literal["a"]), (Colour.RED, Colour),
    (Colour.RED, Literal[Colour.RED]),
    ([1, 2], list[int]), ([], list[int]), ([1, "a"], list), ([[1], [2]], list[list[int]]), ([1, "a"], list[int | str]),
    ((1, "a"), tuple[int, str]), ((1, 2, 3), tuple[int, ...]), ((), tuple[()]), ((1, "a"), tuple),
    (collections.namedtuple("Pair", "a b")(1, "a"), tuple[int, str]),
    ({1}, set[int]), (frozenset("a"), frozenset[str]), ({"a": 1}, dict[str, int]), ({}, dict[str, int]),
    ({"a": [1]}, dict[str, list[int]]), (collections.OrderedDict(a=1), dict[str, int]), ({"a": 1}, Mapping[str, int]),
    ([1], Sequence[int]), ((1,), Sequence[int]), ("ab", Sequence[str]), (np.arange(3), Sequence[int]),
    (pd.Series([1]), Iterable[int]), (range(3), Iterable[int]), ({1}, Iterable[int]), ({"a": 1}, Iterable[str]),
    (collections.deque([1]), collections.deque[int]),
    (len, Callable), (len, Callable[[list], int]), (some, Callable[[int], int]), (some, Task), (some, Task[[int], int]),
    (int, type), (int, type[int]), (list[int], type[list[int]]),
    (np.arange(3), np.ndarray), (np.arange(3), np.typing.NDArray[np.int64]), ([1], np.typing.ArrayLike),
    (pd.DataFrame(), pd.DataFrame), (pd.Timestamp(0), datetime.datetime), (datetime.datetime.min, datetime.date),
    (pathlib.Path("a"), pathlib.Path), (pathlib.Path("a"), os.PathLike), (pathlib.Path("a"), str | os.PathLike[str]),
    (decimal.Decimal(1), decimal.Decimal), (Point(1), Point), (Box(), Box[int]), ({"depth": 1}, Settings),
    (1, Quacks), (Closing(), Closes), (1, Strange), (1, "unknown_name"), (1, "list[Unknown]"), ("a", typing.IO),
    (1, P.args), (1, "int"), (1, "Point | int"), (MyError(), MyError), (ValueError(), MyError),
    (1, typing.Self), (1, typing.Never), ("a", typing.LiteralString), ((1, "a", 2), tuple[int, *tuple[Any, ...]]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "hint"), GOOD, ids=[f"{value!r:.30}-{hint}" for value, hint in GOOD])
def test_what_may_be_meant_is_accepted(value: object, hint: Any) -> None:
    assert fits(value, hint)


BAD: list[tuple[Any, Any]] = [
    ("1", int), (1.0, int), (None, int), ("1", float), (decimal.Decimal(1), float), (1, bool), (1, str), (b"a", str),
    ("a", bytes), (0, None), ("a", int | None), ([], int | str), ("c", Literal["a", "b"]), ("r", Colour),
    ("a", Metres), ("a", Annotated[int, "metres"]),
    ((1, 2), list[int]), ([1, "a"], list[int]), ("ab", list[str]), ([[1], ["a"]], list[list[int]]), ([None], list[int]),
    ((1,), tuple[int, str]), ((1, 2), tuple[int, str]), ((1, "a"), tuple[int, ...]),
    ({"a"}, set[int]), ({1: 1}, dict[str, int]), ({"a": "b"}, dict[str, int]), ([], dict),
    ({"a": "b"}, Mapping[str, int]),
    (1, Sequence[int]), (["a"], Sequence[int]), ({"a": 1}, Sequence[str]), (1, Iterable),
    (1, Callable), (1, Callable[[int], int]), (len, Task), (1, type[int]),
    ([1], np.ndarray), (np.arange(3), pd.DataFrame), ("a", pathlib.Path), ({"x": 1}, Point), ("a", datetime.date),
    (1, Box[int]), (1, Settings), (1, Closes), ("x", "int"), ("x", "Point | int"), (1, MyError),
]  # fmt: skip


@pytest.mark.parametrize(("value", "hint"), BAD, ids=[f"{value!r:.30}-{hint}" for value, hint in BAD])
def test_what_cannot_be_meant_is_refused(value: object, hint: Any) -> None:
    assert not fits(value, hint)


@pytest.mark.parametrize("hint", sorted({hint for _, hint in BAD if hint is not None}, key=str), ids=str)
def test_a_lazy_argument_is_accepted_whatever_the_hint(hint: Any) -> None:
    for lazy in (some(), some() + 1, cond(some(), 1, 2), quote(some())):
        assert fits(lazy, hint)
    assert fits([some(), 1], list[int])


def test_an_alias_that_names_itself_has_an_end() -> None:
    class TypeAliasType:
        """As Python's from 3.12 on, where `type Json = int | list[Json]` gives one."""

        __value__: Any

    alias = TypeAliasType()
    alias.__value__ = Union[int, list[alias]]  # type: ignore[valid-type]
    deep: Any = []
    for _ in range(100):
        deep = [deep]
    assert fits(deep, alias)
    assert not fits(["a"], alias)


def test_names_for_checks_of_others_are_left_to_them() -> None:
    class Email:
        """As pydantic's: its values are texts."""

        @classmethod
        def __get_pydantic_core_schema__(cls, *_: object) -> None: ...

    DataFrame = type("DataFrame", (pd.DataFrame,), {"__qualname__": "DataFrame"})
    assert fits("a@b.org", Email)
    assert fits(pd.DataFrame(), DataFrame)  # as pandera's, whose schemas a plain table is given for
    assert not fits(1, DataFrame)


def test_a_model_is_wanted_as_such() -> None:
    pydantic = pytest.importorskip("pydantic")
    Model = pydantic.create_model("Model", n=(int, ...))
    assert fits(Model(n=1), Model)
    assert not fits({"n": 1}, Model)


def test_only_the_first_items_are_looked_at() -> None:
    assert fits([*range(MOST_ITEMS), "a"], list[int])
    assert fits(dict.fromkeys([*range(MOST_ITEMS), "a"]), dict[int, None])


def test_a_class_of_the_same_name_from_another_life_is_accepted() -> None:
    Reloaded = type("Point", (), {"__qualname__": "Point"})
    assert fits(Reloaded(), Point)


# --- at the call ------------------------------------------------------------------------------------------------------


@task(namespace="checking")
def train(name: str, rates: list[float], *layers: int, seed: int = 0, note: str = None, **more: bool) -> str:  # type: ignore[assignment]  # noqa: RUF013
    return name


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        (
            (1, []),
            {},
            "train() takes str for 'name', not 1 of type int. (@task(check_types=False) leaves the annotations of a "
            "task unchecked.)",
        ),
        (
            ("a", [0.1, "b"]),
            {},
            "takes list[float] for 'rates', not [0.1, 'b'] of type list: its item 1 is 'b' of type str",
        ),
        (("a", [], 1, "b"), {}, "takes int for '*layers', not 'b' of type str"),
        (("a", []), {"seed": None}, "takes int for 'seed', not None of type NoneType"),
        (("a", []), {"deep": 3}, "takes bool for 'deep', not 3 of type int"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_told_at_the_call_with_parameter_expected_and_given(
    args: tuple[Any, ...], kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadArguments) as caught:
        train(*args, **kwargs)
    assert message in str(caught.value)
    assert isinstance(caught.value, TypeError)


def test_a_partial_is_checked_when_it_is_called() -> None:
    with pytest.raises(BadArguments, match="for 'name'"):
        train.partial(1)([])


def test_what_the_author_gives_by_default_fits() -> None:
    train("a", [], note=None)
    with pytest.raises(BadArguments):
        train("a", [], note=1)  # type: ignore[arg-type]


@pytest.mark.parametrize(("default", "fits"), [(get_context("a.b"), [None, 2]), (get_context("a.b", "x"), ["y", 2])])
def test_what_a_context_may_not_give_fits_as_its_default_does(default: Any, fits: list[Any]) -> None:
    def sized(n: int = default) -> int:
        return n

    for value in fits:
        check_arguments(checks_of(sized), {"n": value}, "sized")
    with pytest.raises(BadArguments):
        check_arguments(checks_of(sized), {"n": []}, "sized")


def test_a_task_may_leave_its_arguments_unchecked() -> None:
    @task(namespace="checking", check_types=False)
    def loose(x: int) -> int:
        return x

    loose("a")  # type: ignore[arg-type]


def test_a_decorated_function_is_not_checked_for_its_decorator_may_change_what_it_is_given() -> None:
    import functools

    def reading(function: Callable[[int], int]) -> Any:
        @functools.wraps(function)
        def read(text: str) -> int:
            return function(int(text))

        return read

    @task(namespace="checking")
    @reading
    def doubled(x: int) -> int:
        return 2 * x

    doubled("4")


# --- before the body --------------------------------------------------------------------------------------------------


@task(namespace="checking")
def text() -> Any:
    return "text"


@task(namespace="checking", retries=3)
def halved(x: float) -> float:
    raise AssertionError("the body must not run")


def test_a_lazy_argument_is_checked_before_the_body_runs_and_not_tried_again(project: Any) -> None:
    from rayflow import run

    with pytest.raises(BadArguments, match=r"halved\(\) takes float for 'x', not 'text' of type str"):
        run(halved(text()), inline=True)
    assert project.sql("select task_name, attempts from jobs where status = 'failed' order by 1")[-1][1] == 1
