"""What a run gives: any kind of value, the same on Ray and in this process, computed and from the cache, and of use."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from projects import Project

from rayflow import config, force
from rayflow.api import Scheduler
from rayflow.runtime.protocol.reports import Silent

FLOW = """
    import collections
    import dataclasses
    import functools
    import math
    from typing import Any

    import numpy

    from rayflow import Become, File, cond, delay, fork_thread, form, quote, task
    from rayflow.values.handles import Handle

    @task
    def one(x=1):
        return x

    @task
    def same(x):
        return x

    @task
    async def awaiting(x):
        return delay(one(await one(x)))

    @form
    def own(args, seen):
        return Become(args[0])

    @dataclasses.dataclass
    class Box:
        item: Any

    class Plain:
        def __init__(self, x):
            self.x = x

        def get(self):
            return self.x

    class Oops(Exception):
        def __init__(self, code):
            super().__init__(code)
            self.code = code

    class Connection(Handle):
        def __init__(self, name):
            self.name = name

    class Rows(list):
        pass

    Pair = collections.namedtuple("Pair", "a b")

    def adding(n):
        return lambda x: x + n

    def written():
        file = File("written.txt")
        file.write("text")
        return file

    def local_class():
        class Local:
            def get(self):
                return 1
        return Local

    MAKERS = {
        "a thunk": lambda: delay(one()),
        "a quoted container": lambda: quote([one(), {"b": one(2)}]),
        "a thunk of a value": lambda: delay(Box(1)),
        "a thunk of a thunk": lambda: delay(delay(one())),
        "a thunk of a form": lambda: delay(cond(one(), one(2), one(3))),
        "a thunk of a form of one's own": lambda: delay(own(one(4))),
        "a thunk of an operation": lambda: delay(one() + 1),
        "a thunk of a task": lambda: delay(same(one)),
        "a thunk with a large value": lambda: delay(same(numpy.arange(300_000))),
        "a thread": lambda: fork_thread(one(5)),
        "a thunk that a coroutine returns": lambda: awaiting(6),
        "a thunk in containers": lambda: [{"a": (delay(one()),)}],
        "a thunk in a set": lambda: {delay(one())},
        "a thunk as a key": lambda: {delay(one()): 1},
        "a thunk in a dataclass": lambda: Box(delay(one())),
        "a thunk in a namedtuple": lambda: Pair(delay(one()), one),
        "a thunk in a deque": lambda: collections.deque([delay(one())]),
        "a thunk in a list of one's own": lambda: Rows([delay(one())]),
        "a thunk beside a large value": lambda: [numpy.arange(300_000), delay(one())],
        "a thunk in a partial": lambda: same.partial(delay(one())),
        "a task": lambda: one,
        "a partial": lambda: one.partial(3),
        "a partial of a lazy value": lambda: same.partial(one(3)),
        "a task in an object": lambda: Plain(one.partial(2)),
        "a task in a functools.partial": lambda: functools.partial(one, 2),
        "a form of one's own": lambda: own,
        "a closure": lambda: adding(2),
        "a method": lambda: Plain(1).get,
        "a class": lambda: Plain,
        "a local class": local_class,
        "an object of a local class": lambda: local_class()(),
        "a module": lambda: math,
        "an exception": lambda: Oops(3),
        "exceptions in containers": lambda: [Oops(3), Box(ValueError("a")), ExceptionGroup("b", [KeyError(1)])],
        "a handle": lambda: Connection("a"),
        "a file": written,
        "a large array": lambda: numpy.arange(300_000),
        "large bytes": lambda: b"a" * 300_000,
        "bytes": lambda: b"a",
        "nothing": lambda: None,
    }

    @task
    def made(kind):
        return MAKERS[kind]()
"""

USES: dict[str, tuple[Callable[[Any, Any], Any], Any]] = {
    "a thunk": (lambda value, run: run(force(value)), 1),
    "a quoted container": (lambda value, run: run(value.eval()), [1, {"b": 2}]),
    "a thunk of a value": (lambda value, run: run(force(value)).item, 1),
    "a thunk of a thunk": (lambda value, run: run(force(run(force(value)))), 1),
    "a thunk of a form": (lambda value, run: run(force(value)), 2),
    "a thunk of a form of one's own": (lambda value, run: run(force(value)), 4),
    "a thunk of an operation": (lambda value, run: run(force(value) + 1), 3),
    "a thunk of a task": (lambda value, run: run(run(force(value))(7)), 7),
    "a thunk with a large value": (lambda value, run: int(run(force(value)).sum()), 44999850000),
    "a thread": (lambda value, run: run(force(value)), 5),
    "a thunk that a coroutine returns": (lambda value, run: run(force(value)), 6),
    "a thunk in containers": (lambda value, run: run([force(each["a"][0]) for each in value]), [1]),
    "a thunk in a set": (lambda value, run: run([force(each) for each in value]), [1]),
    "a thunk as a key": (lambda value, run: run([force(each) for each in value]), [1]),
    "a thunk in a dataclass": (lambda value, run: run(force(value.item)), 1),
    "a thunk in a namedtuple": (lambda value, run: run([force(value.a), value.b(2)]), [1, 2]),
    "a thunk in a deque": (lambda value, run: run(force(value[0])), 1),
    "a thunk in a list of one's own": (lambda value, run: [type(value).__name__, run(force(value[0]))], ["Rows", 1]),
    "a thunk beside a large value": (lambda value, run: run([int(value[0][-1]), force(value[1])]), [299_999, 1]),
    "a thunk in a partial": (lambda value, run: run(force(run(value()))), 1),
    "a task": (lambda value, run: run(value(8)), 8),
    "a partial": (lambda value, run: run(value()), 3),
    "a partial of a lazy value": (lambda value, run: run(value()), 3),
    "a task in an object": (lambda value, run: run(value.x()), 2),
    "a task in a functools.partial": (lambda value, run: run(value()), 2),
    "a form of one's own": (lambda value, run: run(value(9)), 9),
    "a closure": (lambda value, run: value(1), 3),
    "a method": (lambda value, run: value(), 1),
    "a class": (lambda value, run: value(4).get(), 4),
    "a local class": (lambda value, run: value().get(), 1),
    "an object of a local class": (lambda value, run: value.get(), 1),
    "a module": (lambda value, run: value.sqrt(4), 2),
    "an exception": (lambda value, run: value.code, 3),
    "exceptions in containers": (
        lambda value, run: repr(value),
        "[Oops(3), Box(item=ValueError('a')), ExceptionGroup('b', [KeyError(1)])]",
    ),
    "a handle": (lambda value, run: [value.name, run(value.fork("b")).name], ["a", "a"]),
    "a file": (lambda value, run: value.read(), "text"),
    "a large array": (lambda value, run: int(value.sum()), 44999850000),
    "large bytes": (lambda value, run: len(value), 300_000),
    "bytes": (lambda value, run: value, b"a"),
    "nothing": (lambda value, run: value, None),
}


@pytest.fixture(params=["inline", pytest.param("ray", marks=pytest.mark.ray)])
def scheduler(project: Project, request: pytest.FixtureRequest) -> Iterator[Scheduler]:
    address = request.getfixturevalue("ray_cluster") if request.param == "ray" else None
    settings = config.load(str(project.path), address=address, inline=request.param == "inline")
    with Scheduler(config=settings, reporter=Silent()) as made:
        yield made


def test_any_kind_of_value_is_a_result_and_of_use_computed_and_from_the_cache(project: Project, scheduler) -> None:
    project.write("flow.py", FLOW)
    flow = project.load("flow")
    assert USES.keys() == flow.MAKERS.keys()
    for kind, (use, expected) in USES.items():
        for way in ("computed", "cached"):
            for expr in (flow.made(kind), flow.same(flow.made(kind))):
                assert use(scheduler.run(expr), scheduler.run) == expected, (kind, way)


def test_the_command_line_shows_a_result_that_is_a_thunk_computed_and_from_the_cache(project: Project) -> None:
    project.write("flow.py", FLOW)
    for words, shown in (
        ([], "quote(one())"),
        (["--json"], {"$type": "rayflow.lang.expressions.Quoted", "$repr": "quote(one())"}),
    ):
        for _ in range(2):
            ended = project.rayflow("run", "--inline", *words, "flow.py", "made", "--kind", "a thunk")
            assert ended.returncode == 0, ended.stderr
            found = json.loads(ended.stdout) if words else ended.stdout.strip()
            assert found == shown
