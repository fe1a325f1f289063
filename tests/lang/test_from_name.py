"""Functions, tasks and classes are written by their names; and every kind of argument on one command line."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from typing import Any, Optional

import pytest
from projects import Project

from rayflow import Task, task
from rayflow.errors import BadArguments
from rayflow.lang.arguments.from_text import parse


@task(namespace="argued")
def doubled_when_argued(x: int) -> int:
    return 2 * x


@task(namespace="one")
def ambiguous() -> int:
    return 1


@task(namespace="two", name="ambiguous")
def ambiguous_too() -> int:
    return 2


def test_a_function_a_task_and_a_class_are_written_by_their_names(project: Project) -> None:
    project.write("shapes.py", "from rayflow import task\n\nclass Round:\n    area = staticmethod(len)\n\n"
                  "@task\ndef drawn(n: int) -> int:\n    return n\n")  # fmt: skip
    for hint in (Callable, Callable[[int], int]):
        assert parse("argued.doubled_when_argued", hint) is doubled_when_argued
        assert parse("doubled_when_argued", hint) is doubled_when_argued
        assert parse("math.sqrt", hint) is math.sqrt
        assert parse("len", hint) is len
        assert parse("shapes.Round.area", hint) is len
    for hint in (Task, Task[[int], int]):
        assert parse("argued.doubled_when_argued", hint) is doubled_when_argued
        assert parse("doubled_when_argued", hint) is doubled_when_argued
        assert parse("shapes.drawn", hint).fullname == "shapes.drawn"
    assert parse("int", type[int]) is int
    assert parse("shapes.Round", type).__name__ == "Round"
    assert parse("doubled_when_argued", Optional[Task]) is doubled_when_argued
    assert parse('["len", "math.sqrt"]', list[Callable]) == [len, math.sqrt]


@pytest.mark.parametrize(
    ("text", "hint", "message"),
    [
        ("dubled_when_argued", Task, "Did you mean doubled_when_argued"),
        ("ambiguous", Callable, "names 2 tasks: write one of one.ambiguous, two.ambiguous"),
        ("math.sqrt", Task, "is not a task"),
        ("math.squirt", Callable, "names no function"),
        ("math.pi", Callable, "names no function"),
        ("nowhere.at.all", Callable, "names no function"),
        ("3 + 4", Callable, "names no function"),
        ("broken.thing", Callable, "broken does not import"),
        ("math.sqrt", type, "names no class"),
    ],
)
def test_a_name_of_nothing_says_so(project: Project, text: str, hint: Any, message: str) -> None:
    project.write("broken.py", "raise ValueError(3)")
    with pytest.raises(BadArguments) as caught:
        parse(text, hint)
    assert message in str(caught.value)


@pytest.mark.slow
def test_every_kind_of_argument_can_be_written_on_the_command_line(project: Project) -> None:
    project.write(
        "flow.py",
        """
        import datetime, enum
        from collections.abc import Callable
        from dataclasses import dataclass
        from pathlib import Path
        from typing import Literal

        from rayflow import Task, map_, task

        class Colour(enum.Enum):
            RED = 1

        @dataclass
        class Point:
            x: int

        @task
        def double(x: int) -> int:
            return 2 * x

        @task
        def main(
            flag: bool, off: bool, n: int, f: float, text: str, maybe: int | None, either: int | str,
            mode: Literal["a", "b"], colour: Colour, xs: list[int], pair: tuple[int, str], table: dict[str, int],
            day: datetime.date, at_what_time: datetime.datetime, path: Path, point: Point, points: list[Point],
            work: Callable, each: Task,
        ) -> list[str]:
            told = [flag, off, n, f, text, maybe, either, mode, colour.name, xs, pair, table, day.year]
            told += [at_what_time.hour, path.name, point.x, [p.x for p in points], work("abc"), each.name]
            return [told, map_(each, xs)]
        """,
    )
    project.write("points.json", '[{"x": 7}, {"x": 8}]')
    words = (
        "--flag --no-off --n 3 --f 1e-3 --text 12 --maybe None --either x --mode b --colour red --xs 1 2 --pair 1 a "
        '--table a=1 --day 2020-01-02 --at-what-time 2020-01-02T05:00 --path a/b --point {"x":6} '
        "--points @points.json --work len --each double"
    )
    ended = project.rayflow("run", "--inline", "flow.py", "main", *words.split())
    assert ended.returncode == 0, ended.stderr
    told = [True, False, 3, 0.001, "12", None, "x", "b", "RED", [1, 2], (1, "a"), {"a": 1}, 2020]
    told += [5, "b", 6, [7, 8], 3, "double"]
    assert ast.literal_eval(ended.stdout) == [told, [2, 4]]
    shown = project.rayflow("run", "flow.py", "main", "--help").stdout
    assert "name of a function" in shown
