"""The command line in this process: words in, exit code and both streams out."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from projects import Project

from rayflow.__main__ import main

_NUMBERS = itertools.count()

FLOW = '''
from rayflow import task

print("loading")


@task
def get_planet() -> str:
    print("asking")
    return "World"


@task
def greeter(greet: str, thing: str) -> str:
    """Greets somebody.

    greet: the word.
    """
    return f"{greet}, {thing}!"


@task
def main(greet="Hello"):
    return greeter(greet, get_planet())


@task
def add(n: int, xs: list[float] = (), *, verbose: bool = False, **more: int):
    return {"n": n, "xs": list(xs), "verbose": verbose, **more}


@task
def fail(i: int):
    raise ValueError(f"no {i}")


@task
def several(n: int):
    return [fail(i) for i in range(n)]


@task
def leaf(i: int):
    return i


@task
def wide(n: int):
    return [leaf(i) for i in range(n)]


@task
def store(store: str, no_cache: bool = False):
    return [store, no_cache]
'''


@dataclass
class Result:
    """How a command line ended."""

    code: int
    out: str
    err: str


@dataclass
class CommandLine:
    """A project with one file of tasks, and the command line in it."""

    project: Project
    file: str
    capsys: Any

    @property
    def path(self) -> Path:
        return self.project.path / self.file

    @property
    def namespace(self) -> str:
        return self.file.removesuffix(".py")

    def __call__(self, *words: str) -> Result:
        self.capsys.readouterr()
        code = main(words)
        out, err = self.capsys.readouterr()
        return Result(code, out, err)

    def run(self, *words: str) -> Result:
        return self("run", "--inline", self.file, *words)

    def ids(self, query: str) -> list[str]:
        out = self("sql", query, "--csv").out
        return out.split()[1:]


@pytest.fixture
def rayflow(project: Project, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """A project with the tasks above. The file's name is new each time: a process knows a task by its full name."""
    file = f"flow{next(_NUMBERS)}.py"
    project.write(file, FLOW)
    return CommandLine(project, file, capsys)
