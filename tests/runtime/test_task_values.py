"""Tasks as values: returned, passed, kept in containers and objects, made by factories, on this machine and on Ray."""

from __future__ import annotations

import pytest
from evaluations import Flow
from projects import Project

from rayflow import Scheduler

CODE = """
    import functools
    from dataclasses import dataclass
    from rayflow import Task, task

    @task
    def add(a, b, c=0):
        return a + b + c

    @task
    def one():
        return 1

    def adder(n):
        @task
        def helper(x):
            return x + n
        @task
        def made(x):
            return helper(x)
        return made

    @task
    def product(n):
        return adder(n)

    @task
    def products():
        return {"two": adder(2), "all": [adder(3), add.partial(10)]}

    @task
    def apply(f, *args):
        return f(*args)

    @task
    def twice(f, x):
        return f(f(x))

    @dataclass
    class Plan:
        step: Task
        name: str = "plan"

    class Opaque:
        def __init__(self, step):
            self.step = step

    @task
    def plan(n):
        return Plan(add.partial(n))

    @task
    def follow(plan, x):
        return plan.step(x)

    @task
    def hidden(step):
        return Opaque(step)

    @task
    def given(step=add):
        return step

    @task
    def listed():
        return [{"step": add.partial(1)}]

    @task
    def with_default(x, step=add.partial(100)):
        return step(x)

    @task
    def countdown():
        @task
        def down(n):
            return "done" if n == 0 else down(n - 1)
        return down(3)

    class Box:
        @task
        @staticmethod
        def packed(x):
            return [x]

    @task
    def everything():
        return [
            product(5)(1),
            apply(products()["two"], 1),
            apply(products()["all"][0], 1),
            apply(products()["all"][1], 1),
            twice(add.partial(3), 1),
            follow(plan(7), 1),
            follow(hidden(adder(4)), 1),
            with_default(1),
            countdown(),
            apply(Box.packed, 1),
            apply(add.partial(one()).partial(one(), c=one())),
            apply(functools.partial(add, 1, c=2), 1),
        ]
"""

EXPECTED = [6, 3, 4, 11, 7, 8, 5, 101, "done", [1], 3, 4]


@pytest.fixture
def flow(project: Project) -> Flow:
    made = Flow(project)
    made.write(CODE)
    return made


def test_tasks_may_go_wherever_values_go(flow: Flow) -> None:
    assert flow.call("everything") == EXPECTED
    assert flow.call("everything") == EXPECTED
    assert not flow.computed()


@pytest.mark.ray
def test_tasks_may_go_wherever_values_go_on_ray(flow: Flow, ray_cluster: str) -> None:
    with Scheduler(store=str(flow.project.path / ".rayflow"), address=ray_cluster) as scheduler:
        assert scheduler.run(flow.module.everything()) == EXPECTED


@pytest.mark.parametrize("call", ["given()", "listed()", "plan(5)", "hidden(add)", "given(add.partial(one()))"])
def test_a_cached_task_value_counts_only_while_its_code_is_current(flow: Flow, call: str) -> None:
    def computed() -> set[str]:
        flow.run(eval(call, vars(flow.module)))
        return set(flow.computed())

    producer = call.partition("(")[0]
    assert producer in computed()
    assert not computed()
    flow.edit("return [x]", "return [x, x]")
    assert not computed()
    flow.edit("return a + b + c", "return c + b + a")
    assert computed() == {producer}


def test_a_product_of_a_factory_is_made_again_when_its_code_changes(flow: Flow) -> None:
    assert flow.run(flow.module.product(5)(1)) == 6
    flow.edit("return x + n", "return n * 100 + x")
    assert flow.run(flow.module.product(5)(1)) == 501


def test_a_partial_of_a_partial_binds_in_order_and_tells_what_does_not_fit(flow: Flow) -> None:
    add = flow.module.add
    assert flow.run(add.partial(1).partial(2)(c=3)) == 6
    assert flow.run(add.partial(c=1).partial(1, 2)()) == 4
    assert repr(add.partial(1).partial(c=2)) == "<task flow.add with (1, c=2)>"
    with pytest.raises(TypeError, match="takes 3 positional arguments but 4 were given"):
        add.partial(1, 2).partial(3, 4)
    with pytest.raises(TypeError, match="multiple values for argument 'a'"):
        add.partial(1).partial(a=1)
