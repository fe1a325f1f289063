"""A workflow that meets every kind of value and of name that a store can hold of rayflow's own."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import functools
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from rayflow import (
    Become,
    ContentDir,
    ContentFile,
    Dir,
    Fail,
    Failed,
    File,
    FileSet,
    Handle,
    Need,
    Secret,
    Task,
    Value,
    apply_tags,
    catch,
    cond,
    form,
    gather,
    get_context,
    map_,
    script,
    seq,
    subrun,
    task,
    wraps_task,
)

rayflow_namespace = "old"

WHEN = 1767225600
"""When each file was last changed, in seconds since the epoch: it counts as unchanged in another project."""


class Color(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Point:
    x: int
    y: int


class Pair(NamedTuple):
    one: int
    two: int


class Plain:
    def __init__(self, size: int) -> None:
        self.size = size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plain) and self.size == other.size

    def __hash__(self) -> int:
        return hash(self.size)


class Measure(Value):
    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Measure) and self.number == other.number

    def __hash__(self) -> int:
        return hash(self.number)


class Table(Handle):
    def __init__(self, name: str) -> None:
        self.place = name


class Broken(ValueError):
    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Sheet(File):
    pass


def one_of(x: Any) -> Any:
    return x


def doubled() -> Any:
    @wraps_task()
    def outer(inner: Task) -> Any:
        def run(*given: Any, **named: Any) -> Any:
            return inner.func(*given, **named) * 2

        return run

    return outer


@form
def first_of(args: tuple[Any, ...], seen: tuple[Any, ...]) -> Any:
    if seen and not isinstance(seen[-1], Failed):
        return Become(seen[-1])
    if len(seen) == len(args):
        return Fail(seen[-1])
    return Need([args[len(seen)]])


def made_here() -> Any:
    class Inner:
        def __init__(self) -> None:
            self.note = "inner"

    return Inner()


@task
def kinds() -> list[Any]:
    return [
        1,
        2.5,
        3 + 1j,
        "text",
        b"bytes",
        None,
        True,
        10**50,
        Color.RED,
        Point(1, 2),
        Pair(3, 4),
        Plain(5),
        Measure(6),
        {"a": {1, 2}, "b": frozenset({3})},
        (1, [2]),
        datetime.date(2020, 1, 2),
        datetime.timedelta(3),
        range(4),
        pathlib.Path("a/b"),
        functools.partial(one_of, 7),
        one_of,
        Plain,
        np.arange(6).reshape(2, 3),
        np.float32(1.5),
        pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}),
        pa.table({"a": [1, 2, 3]}),
        ValueError("kept"),
        Broken("kept"),
        KeyError("gone"),
        slice(1, 2),
        memoryview(b"seen"),
        bytearray(b"ba"),
        ...,
    ]


@task
def same(values: list[Any]) -> list[Any]:
    return values


@task
def local() -> Any:
    return made_here()


@task
def note_of(value: Any) -> str:
    return str(value.note)


@task
def written(name: str) -> File:
    file = File(name)
    file.write("written\n")
    os.utime(name, (WHEN, WHEN))
    return file


@task
def sheet(name: str) -> Sheet:
    file = Sheet(name)
    file.write("sheet\n")
    os.utime(name, (WHEN, WHEN))
    return file


@task
def folder() -> Dir:
    pathlib.Path("out").mkdir(exist_ok=True)
    pathlib.Path("out/one.txt").write_text("one")
    os.utime("out/one.txt", (WHEN, WHEN))
    return Dir("out")


@task
def looked(files: list[Any]) -> list[str]:
    return [type(each).__name__ for each in files]


@task
def contents(file: ContentFile) -> str:
    return str(file.read())


@task
def fails(why: str) -> int:
    raise Broken(why)


@task
def told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


@task
def stored(table: Table) -> Table:
    return table


@task
def place_of(table: Table) -> str:
    return str(table.place)


@task
def opened(secret: Secret) -> int:
    return len(secret.get())


@task
def add(x: int, y: int = 1) -> int:
    return x + y


@task
def small(n: int) -> bool:
    return n < 3


@task
def fib(n: int) -> Any:
    return cond(n < 2, n, add(fib(n - 1), fib(n - 2)))


@task
async def awaited(n: int) -> int:
    one, two = await gather(add(n), add(n, 5))
    return one + two


@task
def with_context(x: int = get_context("x", 3)) -> int:
    return x


@task(script=True)
def shouted(text: str) -> Any:
    return f"echo {text} | tr a-z A-Z"


@task
def line(text: Any) -> str:
    return str(text).strip()


@doubled()
@task
def wrapped(x: int) -> int:
    return x + 1


@task
def apply(inner: Any, x: int) -> Any:
    return inner(x)


@task
def all_of(values: list[Any]) -> int:
    return len(values)


@task
def main() -> Any:
    files = seq([written("a.txt"), sheet("b.txt"), folder()])
    known = kinds()
    return {
        "kinds": all_of(same(known)),
        "local": note_of(local()),
        "files": looked(files),
        "set": looked([FileSet("*.csv"), ContentDir("data"), File("in.csv")]),
        "content": contents(ContentFile("in.csv")),
        "caught": catch(fails("one"), Broken, told),
        "all": map_(told, [ValueError("a")]),
        "handle": place_of(stored(Table("db"))),
        "secret": opened(Secret("env:OLD_SECRET")),
        "fib": fib(6),
        "awaited": awaited(4),
        "context": with_context(),
        "script": line(script("wc -l < one", inputs=[File("in.csv").stage("one")])),
        "shouted": line(shouted("loud")),
        "subrun": subrun(add(40, 2)),
        "wrapped": wrapped(4),
        "apply": apply(add, 9),
        "tagged": apply_tags(add(7, 7), tags={"note": "old"}),
        "form": first_of(fails("two"), add(3)),
        "operations": add(2) * 3 + 1,
    }
