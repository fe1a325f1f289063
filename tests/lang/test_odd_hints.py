"""Annotations that are seldom written: read from a command line, told to people, and checked."""

from __future__ import annotations

import typing
from typing import Annotated, Any, Final, Literal, LiteralString, Optional, Self, Tuple, TypeVarTuple, Unpack

import pytest

from rayflow import task
from rayflow.errors import BadArguments
from rayflow.lang.arguments.from_text import parse, parse_many
from rayflow.lang.parameters.argument_checks import check_arguments, checks_of
from rayflow.lang.parameters.hints import describe

Ts = TypeVarTuple("Ts")

READ: list[tuple[Any, str, Any]] = [
    (tuple[()], "[]", ()), (tuple[()], "()", ()), (Tuple[()], "[]", ()), (Annotated[tuple[()], "none"], "[]", ()),
    (Optional[tuple[()]], "[]", ()), (Optional[tuple[()]], "None", None), (list[tuple[()]], "[[], []]", [(), ()]),
    (dict[str, tuple[()]], '{"a": []}', {"a": ()}), (tuple[tuple[()], int], "[[], 1]", ((), 1)),
    (frozenset[tuple[()]], "[[]]", frozenset({()})), (tuple[()] | int, "5", 5), (tuple[()] | int, "[]", ()),
    (tuple, "[1]", (1,)), (Tuple, "[1]", (1,)),
    (tuple[int, *tuple[str, ...]], '[1, "2", "3"]', (1, "2", "3")), (tuple[int, *tuple[str, ...]], "[1]", (1,)),
    (tuple[*tuple[int, ...], str], '[1, 2, "3"]', (1, 2, "3")),
    (tuple[int, *tuple[str, int]], '[1, "2", 3]', (1, "2", 3)),
    (tuple[int, Unpack[tuple[str, ...]]], '[1, "2"]', (1, "2")), (tuple[int, *tuple[()]], "[1]", (1,)),
    (tuple[int, *Ts], '[1, "2", 3]', (1, "2", 3)),
    (None, "None", None), (None, "null", None), (Optional[None], "None", None), (list[None], "[null]", [None]),
    (Literal[None], "None", None), (Literal["a", None], "None", None), (Optional[Literal["a"]], "a", "a"),
    (Literal["a", 2], "2", 2), (list[Literal["a"]], '["a"]', ["a"]), (Literal[True, "x"], "true", True),
    (LiteralString, "x", "x"), (Final[int], "5", 5), (Self, "x", "x"), (Final, "x", "x"),
]  # fmt: skip


@pytest.mark.parametrize(("hint", "text", "value"), READ, ids=[f"{hint}-{text}" for hint, text, _ in READ])
def test_a_text_is_read(hint: Any, text: str, value: Any) -> None:
    found = parse(text, hint)
    assert found == value and type(found) is type(value)
    assert fits(found, hint)


REFUSED: list[tuple[Any, str, str]] = [
    (tuple[()], "[1]", "0 items are expected, not 1"), (tuple[()], "x", "0 items are expected, not 1"),
    (Tuple[()], "[1, 2]", "0 items are expected, not 2"), (list[tuple[()]], "[[1]]", r"^\[0\]: 0 items"),
    (dict[str, tuple[()]], '{"a": [1]}', r"^\['a'\]: 0 items"), (tuple[()], "5", "0 items"),
    (Optional[tuple[()]], "[1]", "0 items"),
    (tuple[int, *tuple[str, ...]], "[]", "1 or more items are expected, not 0"),
    (tuple[int, *tuple[()]], "[1, 2]", "1 items are expected, not 2"), (None, "x", "'x' is not None"),
    (Literal[None], "x", "not one of: None"), (list[None], "[1]", r"\[0\]: '1' is not None"),
    (tuple[*tuple[int, ...], str], '["x", "y"]', r"^\[0\]: 'x' is not an int"), (Final[int], "x", "'x' is not an int"),
]  # fmt: skip


@pytest.mark.parametrize(("hint", "text", "said"), REFUSED, ids=[f"{hint}-{text}" for hint, text, _ in REFUSED])
def test_a_text_that_does_not_fit_is_refused(hint: Any, text: str, said: str) -> None:
    with pytest.raises(BadArguments, match=said):
        parse(text, hint)


def test_many_texts_are_read_for_the_items_of_a_tuple() -> None:
    assert parse_many(["1", "a", "b"], tuple[int, *tuple[str, ...]]) == (1, "a", "b")
    assert parse_many([], tuple[()]) == ()
    with pytest.raises(BadArguments, match="0 items are expected, not 2"):
        parse_many(["1", "2"], tuple[()])


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (tuple[()], "tuple[()]"), (Tuple[()], "tuple[()]"), (tuple, "tuple"), (Tuple, "tuple"),
        (list[tuple[()]], "list[tuple[()]]"), (Optional[tuple[()]], "tuple[()] or None"),
        (tuple[int, *tuple[str, ...]], "tuple[int, *tuple[str, ...]]"), (None, "None"), (Final[int], "int"),
        (LiteralString, "str"), (Literal[None, "a"], "one of: None, a"),
    ],
)  # fmt: skip
def test_a_hint_is_told_to_people(hint: Any, text: str) -> None:
    assert describe(hint) == text


def fits(value: Any, hint: Any) -> bool:
    def given(x):
        return x

    given.__annotations__["x"] = hint
    try:
        check_arguments(checks_of(given), {"x": value}, "given")
    except BadArguments:
        return False
    return True


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ((1,), tuple[()]), ([], tuple[()]), ((1,), Tuple[()]), ([(1,)], list[tuple[()]]),
        ({"a": (1,)}, dict[str, tuple[()]]),
        ((1,), Optional[tuple[()]]), (((1,), 1), tuple[tuple[()], int]), ("a", Final[int]), (1, LiteralString),
        (1, None), (1, Literal[None]), ([1], list[None]), (0, Optional[Literal["a"]]),
    ],
    ids=repr,
)  # fmt: skip
def test_a_value_that_does_not_fit_is_refused(value: Any, hint: Any) -> None:
    assert not fits(value, hint)


@task(namespace="odd")
def empty(x: tuple[()], y: Optional[tuple[()]] = None) -> int:
    return len(x)


def test_a_call_says_what_was_expected() -> None:
    empty((), ())
    with pytest.raises(BadArguments, match=r"empty\(\) takes tuple\[\(\)\] for 'x', not \(1,\) of type tuple"):
        empty((1,))  # type: ignore[arg-type]


def test_the_hints_of_this_python_are_as_expected() -> None:
    assert typing.get_args(tuple[()]) in ((), ((),)) and typing.get_args(tuple) == ()
