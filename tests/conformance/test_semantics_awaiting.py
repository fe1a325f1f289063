"""Section H, statement 8, at length: bodies that await, with failures, contexts, threads and edits below them."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
from evaluations import Flow
from projects import Project

from rayflow import task


@pytest.fixture
def flow(project: Project) -> Flow:
    return Flow(project)


def test_h8_a_body_catches_what_it_awaits_and_the_failure_is_tried_again_in_every_execution(flow: Flow) -> None:
    flow.write("""
        from rayflow import task

        @task
        def risky(x):
            raise ValueError(x)

        @task
        async def main():
            try:
                return await risky(1)
            except ValueError as error:
                return error.args[0] + 10
    """)
    for _ in range(2):
        assert flow.call("main") == 11
        assert flow.computed() == {"main": 1, "risky": 1}
    flow.edit("raise ValueError(x)", "return x")
    assert flow.call("main") == 1


def test_h8_an_error_that_a_body_does_not_catch_comes_out_as_it_is_and_is_not_tried_again(flow: Flow) -> None:
    flow.write("""
        from rayflow import task

        @task
        def risky(x):
            raise KeyError(x)

        @task(retries=3)
        async def main():
            return await risky(1)
    """)
    with pytest.raises(KeyError, match="1"):
        flow.call("main")


def test_h8_a_body_that_awaited_runs_again_when_a_task_below_has_changed_and_not_else(flow: Flow) -> None:
    flow.write("""
        from rayflow import task

        @task
        def deep(x):
            return x + 1

        @task
        def near(x):
            return deep(x)

        @task
        async def main():
            total = 0
            for i in range(3):
                total += await near(i)
            return total
    """)
    assert flow.call("main") == 6
    flow.call("main")
    assert not flow.computed()
    flow.edit("return x + 1", "return x + 2")
    assert flow.call("main") == 9
    assert set(flow.computed()) == {"deep", "main"}


def test_h8_a_body_under_a_context_does_not_fail_with_an_equal_one_under_another(flow: Flow) -> None:
    flow.write("""
        from rayflow import catch, get_context, task

        @task
        def pick(x):
            if x == 1:
                raise ValueError(x)
            return x

        @task
        async def inner():
            return await pick(get_context("which", 0))

        @task
        def instead(error):
            return "failed"

        @task
        def main():
            return [
                catch(inner.update_context({"which": which})(), ValueError, instead) for which in (1, 2, 3)
            ]
    """)
    assert flow.call("main") == ["failed", 2, 3]


def test_h8_a_body_recurses_by_awaiting_itself(flow: Flow) -> None:
    flow.write("""
        from rayflow import gather, task

        @task
        async def fib(n):
            if n < 2:
                return n
            return sum(await gather(fib(n - 1), fib(n - 2)))
    """)
    assert flow.call("fib", 12) == 144
    assert flow.computed()["fib"] == 13


def test_h8_a_thread_that_a_body_begins_is_begun_anew_by_each_execution(flow: Flow) -> None:
    flow.write("""
        from rayflow import fork_thread, task

        @task(cache=False)
        def note(x):
            return x

        @task
        async def main():
            await fork_thread(note(1))
            return 5
    """)
    for _ in range(2):
        assert flow.call("main") == 5
        assert flow.computed()["note"] == 1


@task
def lazily(value: Any) -> Any:
    """The value."""
    return value


BINARY = (
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow,
    operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift,
    operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne,
)  # fmt: skip


@pytest.mark.parametrize("operation", BINARY, ids=lambda operation: operation.__name__)
def test_b6_an_operator_gives_with_lazy_operands_what_it_gives_in_python(
    flow: Flow, operation: Callable[[Any, Any], Any]
) -> None:
    here = [operation(7, 2)] * 3
    assert flow.run([operation(lazily(7), 2), operation(7, lazily(2)), operation(lazily(7), lazily(2))]) == here


UNARY = (operator.neg, operator.pos, operator.invert, abs)


@pytest.mark.parametrize("operation", UNARY, ids=lambda operation: operation.__name__)
def test_b6_an_operator_of_one_operand_is_lazy(flow: Flow, operation: Callable[[Any], Any]) -> None:
    assert flow.run(operation(lazily(-7))) == operation(-7)


def test_b6_an_operator_of_matrices_is_lazy(flow: Flow) -> None:
    numpy = pytest.importorskip("numpy")
    square = numpy.array([[1, 2], [3, 4]])
    assert (flow.run(lazily(square) @ lazily(square)) == square @ square).all()


@pytest.mark.parametrize("use", [bool, int, float, list, lambda lazy: 1 in lazy, lambda lazy: [1][lazy]])
def test_b6_what_needs_the_value_at_once_says_what_to_write_instead(use: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match=r"lazy|value"):
        use(lazily(1))


def test_b6_a_lazy_value_in_a_text_says_what_to_write_instead() -> None:
    with pytest.raises(TypeError, match=r"lazy|value"):
        f"{lazily(1):>5}"
