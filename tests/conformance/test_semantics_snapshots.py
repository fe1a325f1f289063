"""A call sees its arguments as they were when it was made, and what a subclass adds reaches the body and comes back."""

from __future__ import annotations

from typing import Any

import pytest
from evaluations import Flow
from projects import Project

from rayflow import Scheduler
from rayflow.errors import ArgumentChanged

TASKS = """
    import datetime
    from dataclasses import dataclass

    import numpy
    import pandas
    from rayflow import gather, get_context, map_, task

    class Metres(numpy.ndarray):
        pass

    class Length(float):
        def __new__(cls, value, unit):
            made = super().__new__(cls, value)
            made.unit = unit
            return made

    class Moment(datetime.datetime):
        __slots__ = ("unit",)

    class Frame(pandas.DataFrame):
        _metadata = ["unit"]

        @property
        def _constructor(self):
            return Frame

    class Own:
        def __init__(self, content):
            self.content = content

    def with_unit(value, unit):
        value.unit = unit
        return value

    MAKERS = {
        "array": lambda unit: with_unit(numpy.arange(3.0).view(Metres), unit),
        "float": lambda unit: Length(1.5, unit),
        "datetime": lambda unit: with_unit(Moment(2024, 1, 2), unit),
        "frame": lambda unit: with_unit(Frame({"a": [1]}), unit),
        "plain frame": lambda unit: with_unit(pandas.DataFrame({"a": [1]}), unit),
    }

    @task
    def unit_of(value):
        value = value[0] if type(value) is list else value
        return type(value).__name__, value.unit

    @task
    def made(kind, unit):
        return MAKERS[kind](unit)

    @task
    def through(kind, unit):
        return [unit_of(made(kind, unit)), unit_of([made(kind, unit)])]

    @task
    def see(x):
        if isinstance(x, pandas.DataFrame):
            return x["p"].tolist()
        return x.content if isinstance(x, Own) else list(x)

    @task
    def keys(value=None, **rest):
        return ",".join([*(value or {}), *rest])

    @task
    def body():
        frame, array = pandas.DataFrame({"a": [1]}), numpy.zeros(1)
        calls = []
        for number in 1, 2:
            frame["p"] = number
            array[0] = number
            calls.append([see(frame), see([array][0]), map_(see, [array]), see(array) + [array[0]]])
        array[0] = 9
        return calls

    @task
    async def awaiting():
        array = numpy.zeros(1)
        first = see(array)
        array[0] = 1
        second = see(array)
        array[0] = 2
        return await gather(first, second)

    @task
    def context():
        return see(get_context("all"))
"""


@pytest.fixture
def flow(project: Project) -> Flow:
    return Flow(project)


def _exercise(module: Any, run: Any, **settings: Any) -> None:
    for kind, maker in module.MAKERS.items():
        values = [maker("m"), maker("km")]
        names = [(type(each).__name__, each.unit) for each in values]
        assert run([module.unit_of(each) for each in values], **settings) == names
        assert run([module.unit_of([each]) for each in values], **settings) == names
        assert run(module.through(kind, "m"), **settings) == [names[0]] * 2
        assert [each.unit for each in run([module.made(kind, "m"), module.made(kind, "km")], **settings)] == ["m", "km"]
    assert run(module.body(), **settings) == [[[n], [n], [[n]], [n, n]] for n in (1, 2)]
    assert run(module.awaiting(), **settings) == [[0.0], [1.0]]
    of = {"b": 1, "a": 2}, {"a": 2, "b": 1}
    orders = [*(module.keys(each) for each in of), *(module.keys(**each) for each in of)]
    assert run(orders, **settings) == ["b,a", "a,b", "b,a", "a,b"]


def test_in_this_process(flow: Flow) -> None:
    module = flow.write(TASKS)
    for _ in range(2):  # computed, then cached
        _exercise(module, flow.run)
    assert flow.computed() == {}
    _exercise(module, flow.run, cache=False)


@pytest.mark.ray
def test_on_ray(flow: Flow, ray_cluster: str) -> None:
    module = flow.write(TASKS)
    with Scheduler(store=str(flow.project.path / ".rayflow"), address=ray_cluster) as scheduler:
        for _ in range(2):
            _exercise(module, scheduler.run)


def test_at_the_root_a_call_saw_what_it_was_given_and_the_rest_is_as_it_is_now(flow: Flow) -> None:
    module = flow.write(TASKS)
    own = module.Own([1])
    calls = [module.see(own)]
    own.content.append(2)
    calls.append(module.see(own))
    result = flow.run([*calls, own])
    assert result[:2] == [[1], [1, 2]]
    assert result[2].content == [1, 2]


def test_a_large_array_that_is_changed_before_the_run_is_an_error_and_a_copy_is_none(flow: Flow) -> None:
    module = flow.write(TASKS)
    array = module.numpy.zeros(200_000)
    call, kept = module.see(array), module.see(array.copy())
    array[0] = 1
    with pytest.raises(ArgumentChanged, match=r"in the call of see, argument 1 \(x\): .*pass it a copy"):
        flow.run([call])
    assert flow.run(kept)[0] == 0
    assert flow.run(module.see(array))[0] == 1


def test_the_context_of_a_call_is_as_it_was(flow: Flow) -> None:
    module = flow.write(TASKS)
    array = module.numpy.zeros(1)
    call = module.context.update_context(all=array)()
    array[0] = 1
    assert flow.run(call) == [0.0]
    assert flow.run(module.context(), context={"all": array}) == [1.0]
