"""The table of operations, and which of them the scheduler does itself."""

from __future__ import annotations

from typing import Any

import pytest

from rayflow.lang.operations import TABLE, call_task, here, operate
from rayflow.lang.terms.expressions import TaskCall, TaskRef
from rayflow.values.refs import ValueRef

REF = ValueRef(b"d" * 20, "numpy.ndarray", 10_000, "numpy")
TASK = TaskRef("lab.f", b"h" * 20, (1,), {"y": 2}, {"retries": 3})


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("add", (1, 2.5)), ("mod", (7, 3)), ("neg", (1,)), ("divmod", (7, 2)), ("eq", ("a", None)), ("lt", (1, 2)),
        ("add", ("a", "b")), ("add", ([1], [2])), ("getitem", ({"a": 1}, "a")), ("getitem", ([1, 2], -1)),
        ("getitem", ("abc", 1)), ("len", ({"a": REF},)), ("truth", ([],)), ("not", (0,)), ("getitem", ([REF], 0)),
    ],
)  # fmt: skip
def test_a_cheap_operation_on_small_values_needs_no_worker(name: str, args: tuple[Any, ...]) -> None:
    assert here(name, args)
    assert operate(name, args) == TABLE[name](*args)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("pow", (9, 9_999_999)), ("lshift", (1, 10**9)), ("mul", ("a", 10**9)), ("mul", ([1], 10**9)),
        ("mul", (1 << 5000, 2)), ("mod", ("%1000000d", 1)), ("add", ("a" * 2000, "b" * 100)),
        ("add", ([1] * 64, [1])), ("getitem", (REF, 0)), ("add", (REF, 1)), ("getattr", ("a", "upper")),
        ("method", ("a", "upper", (), {})), ("len", (REF,)), ("getitem", ([1, 2], REF)), ("getitem", ({}, (1,))),
        ("call", (REF, (1,))),
    ],
)  # fmt: skip
def test_what_may_be_long_or_needs_bytes_goes_to_a_worker(name: str, args: tuple[Any, ...]) -> None:
    assert not here(name, args)


def test_an_operation_raises_what_python_raises() -> None:
    with pytest.raises(ZeroDivisionError):
        operate("truediv", (1, 0))
    with pytest.raises(KeyError):
        operate("getitem", ({}, "a"))


def test_the_call_of_a_task_as_a_value_is_a_call_with_what_was_bound() -> None:
    assert here("call", (TASK, (5,), {"z": 6}))
    call = operate("call", (TASK, (5,), {"z": 6}))
    assert type(call) is TaskCall
    assert (call._task, call._args, call._kwargs, call._options) == ("lab.f", (1, 5), {"y": 2, "z": 6}, {"retries": 3})


def test_a_partial_is_completed_when_its_arguments_are_known() -> None:
    bound = operate("partial", (TASK, (5,), {"y": 7}, {"retries": 1}))
    assert (bound.args, bound.kwargs, bound.options) == ((1, 5), {"y": 7}, {"retries": 1})


def test_methods_and_partials_work_on_real_objects_too() -> None:
    assert TABLE["method"]("a,b", "split", (",",)) == ["a", "b"]
    assert TABLE["call"](sorted, ([2, 1],), {"reverse": True}) == [2, 1]


@pytest.mark.parametrize("task", [TaskRef("lab.f", b"h" * 20), TASK], ids=["a task", "a partial with options"])
@pytest.mark.parametrize(
    "items",
    [[(3,), (4, 5)], [[3], (4,)], [{"x": 3}, {"y": 4}], [(3,), {"x": 4}, [5]], []],
    ids=["tuples", "lists too", "dicts", "all of them", "none"],
)
def test_calls_that_are_made_together_are_those_that_are_made_one_by_one(task: TaskRef, items: list[Any]) -> None:
    def parts(call: Any) -> tuple[Any, ...]:
        return call._task, call._args, call._kwargs, call._options

    def spread(item: Any) -> TaskCall:
        return call_task(task, (), item) if isinstance(item, dict) else call_task(task, tuple(item))

    assert list(map(parts, operate("starmap", (task, items)))) == [parts(spread(item)) for item in items]
    assert list(map(parts, operate("map_", (task, items)))) == [parts(call_task(task, (item,))) for item in items]
