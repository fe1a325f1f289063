"""The lazy surface: which expression each of Python's operators gives, and what refuses to be lazy."""

from __future__ import annotations

import copy
import math
import operator
import pickle
from collections.abc import Callable
from typing import Any

import numpy
import pytest

from rayflow.errors import LazyValueUsed
from rayflow.lang.terms.expressions import Expression, Form, Operation, Quoted, TaskCall, TaskRef, render

X: Any = TaskCall("lab.f", (1,), {"y": "a"})
Y: Any = TaskCall("lab.g")

BINARY = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "truediv": operator.truediv,
    "floordiv": operator.floordiv, "mod": operator.mod, "divmod": divmod, "pow": operator.pow,
    "matmul": operator.matmul, "and": operator.and_, "or": operator.or_, "xor": operator.xor,
    "lshift": operator.lshift, "rshift": operator.rshift,
}  # fmt: skip
COMPARISONS = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge
}  # fmt: skip
UNARY = {"neg": operator.neg, "pos": operator.pos, "invert": operator.invert, "abs": abs}


def parts(expr: Any) -> tuple[str, tuple[Any, ...]]:
    assert type(expr) is Operation
    return expr._name, expr._args


@pytest.mark.parametrize("name", BINARY)
def test_a_binary_operator_is_an_operation_from_both_sides(name: str) -> None:
    assert parts(BINARY[name](X, 2))[0] == name
    assert [id(X), 2] == [id(parts(BINARY[name](X, 2))[1][0]), parts(BINARY[name](X, 2))[1][1]]
    reflected = parts(BINARY[name](2, X))
    assert reflected[0] == name and reflected[1][0] == 2 and reflected[1][1] is X


@pytest.mark.parametrize("name", COMPARISONS)
def test_a_comparison_is_an_operation(name: str) -> None:
    expr = parts(COMPARISONS[name](X, 2))
    assert expr[0] == name and expr[1][0] is X


@pytest.mark.parametrize("name", UNARY)
def test_a_unary_operator_is_an_operation(name: str) -> None:
    expr = parts(UNARY[name](X))
    assert expr[0] == name and expr[1][0] is X


def test_text_and_arrays_on_the_left_leave_the_operator_to_the_expression() -> None:
    assert parts("a" + X)[0] == "add"
    assert parts(operator.add([1], X))[0] == "add"
    assert parts(numpy.arange(3) + X)[0] == "add"
    assert parts(numpy.arange(3) == X)[0] == "eq"


@pytest.mark.parametrize("name", ["args", "hash", "options", "task", "name", "kwargs", "eval", "shape", "T"])
def test_names_without_underscore_are_lazy_attributes(name: str) -> None:
    expr = parts(getattr(X, name))
    assert expr[0] == "getattr" and expr[1][0] is X and expr[1][1] == name


@pytest.mark.parametrize(
    "name", ["_private", "__array__", "__len_hint__", "_repr_html_", "_ipython_display_", "__dataclass_fields__"]
)
def test_underscored_names_that_notebooks_and_libraries_probe_are_not_there(name: str) -> None:
    assert not hasattr(X, name)


def test_a_call_of_an_attribute_is_one_operation_where_the_object_is() -> None:
    assert parts(X.head(3, key=1)) == ("method", (X, "head", (3,), {"key": 1}))
    assert parts(X(3))[0] == "call"


def test_a_slice_with_lazy_bounds_is_lazy_and_another_is_not() -> None:
    assert parts(X[1:3])[1][1] == slice(1, 3)
    assert parts(parts(X[Y:3])[1][1])[0] == "slice"
    mixed = parts(X[Y:3, 0])[1][1]
    assert type(mixed) is tuple and type(mixed[0]) is Operation and mixed[1] == 0


def test_a_result_of_known_length_is_iterated_item_by_item() -> None:
    first, second = TaskCall("lab.pair", length=2)
    assert parts(first)[1][1] == 0 and parts(second)[1][1] == 1


@pytest.mark.parametrize(
    ("use", "advice"),
    [
        (bool, "cond"),
        (lambda x: x and 1, "cond"),
        (iter, "nout"),
        (list, "nout"),
        (len, "len_"),
        (lambda x: 1 in x, "inside a task"),
        (lambda x: f"{x}", "lazy string"),
        (lambda x: format(x, ".2f"), "lazy string"),
        (int, "Pass it to a task"),
        (float, "Pass it to a task"),
        (complex, "Pass it to a task"),
        (round, "Pass it to a task"),
        (math.floor, "Pass it to a task"),
        (lambda x: [1, 2][x], "Pass it to a task"),
        (range, "Pass it to a task"),
        (lambda x: x.__await__(), "Return it"),
        (lambda x: operator.setitem(x, "a", 1), "Make the changed value"),
        (lambda x: operator.delitem(x, "a"), "Make the changed value"),
        (pickle.dumps, "dataclass"),
    ],
)
def test_what_cannot_be_lazy_says_what_to_write(use: Callable[[Any], Any], advice: str) -> None:
    with pytest.raises(LazyValueUsed, match=advice) as raised:
        use(X)
    assert isinstance(raised.value, TypeError)
    assert "f(1, y='a')" in str(raised.value)


def test_a_copy_of_an_expression_is_itself() -> None:
    assert copy.copy(X) is X
    assert copy.deepcopy([X])[0] is X


def test_expressions_are_known_by_what_they_are_in_sets_and_keys() -> None:
    assert len({X, X, Y, TaskCall("lab.g")}) == 3
    assert {X: 1}[X] == 1


def test_a_quoted_expression_releases_its_term_and_has_no_identity_before_it_is_packed() -> None:
    assert Quoted(X).eval() is X
    with pytest.raises(LazyValueUsed, match="no hash"):
        Quoted(X).__rayflow_identity__()


@pytest.mark.parametrize(
    ("term", "text"),
    [
        (X, "f(1, y='a')"),
        (X + 1, "(f(1, y='a') + 1)"),
        (Y["k"].name, "g()['k'].name"),
        (Y[1:3], "g()[1:3]"),
        (Y[::2], "g()[::2]"),
        (Y.head(3, n=X), "g().head(3, n=f(1, y='a'))"),
        (Y(1), "g()(1)"),
        (Form("cond", (Y, 1, 2)), "cond(g(), 1, 2)"),
        (Quoted(Y), "quote(g())"),
        ([Y, (Y,), {"a": Y}], "[g(), (g(),), {'a': g()}]"),
        (set(), "set()"),
        (frozenset([1]), "frozenset({1})"),
        (TaskRef("lab.f", b"h"), "<task lab.f>"),
    ],
)
def test_a_term_is_shown_as_it_would_be_written(term: Any, text: str) -> None:
    assert render(term) == text


def test_a_long_or_deep_term_is_shown_shortened() -> None:
    assert render(TaskCall("lab.f", tuple(range(1_000_000)))).endswith("49, ...)")
    assert render(list(range(60)), limit=10_000).endswith("49, ...]")
    deep: Any = Y
    for _ in range(100_000):
        deep = deep + 1
    assert len(render(deep)) < 250
    assert isinstance(deep, Expression)


def test_rounding_a_lazy_value_says_what_to_do_however_many_digits_are_asked_for() -> None:
    for rounded in (lambda lazy: round(lazy), lambda lazy: round(lazy, 1), math.floor, math.ceil, math.trunc):
        with pytest.raises(LazyValueUsed, match="Pass it to a task"):
            rounded(Operation("add", (1, 2)))
