"""Files of a project that have the name of a library, or of a standard module."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
from projects import Project

import rayflow
from rayflow.values.process import main_module

NAMES = ("numpy.py", "ray.py", "click.py", "duckdb.py", "queue.py", "string.py", "test.py", "pyarrow.py", "yaml.py")

FLOW = """
    from rayflow import task

    @task
    def main():
        import numpy
        return hasattr(numpy, "ndarray")
"""


def test_every_library_that_rayflow_imports_is_needed() -> None:
    found = set()
    for file in Path(rayflow.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {each.name.partition(".")[0] for each in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    assert found - {"pytest"} <= main_module.NEEDED_MODULES


@pytest.mark.parametrize("how", ["-m rayflow", "the program"])
def test_a_project_with_such_files_is_one_like_others(project: Project, how: str) -> None:
    project.write("flow.py", FLOW)
    for name in (*NAMES, "pandas/__init__.py", "rich/__init__.py"):
        project.write(name, FLOW)
    start = ["-m", "rayflow"] if how == "-m rayflow" else [str(Path(sys.executable).with_name("rayflow"))]
    commands = [
        ["run", "--inline", "flow.py"], ["log", "-"], ["sql", "select 1"], ["run", "--inline", "pandas/__init__.py"],
        ["run", "--inline", "numpy.py"], ["why", "flow.main"], ["export", "x.zip"], ["store", "check"], ["viz", "-"],
        ["config", "show"], ["repl", "--inline", "flow.py"],
    ]  # fmt: skip
    for words in commands if how == "-m rayflow" else commands[:3]:
        found = project.python(*start, *words, is_warm=False)  # which has imported no library yet
        assert found.returncode == 0, (words, found.stderr)
        assert words[0] != "run" or found.stdout == "True\n"


def test_a_file_that_hides_a_library_all_the_same_is_named(project: Project) -> None:
    project.write("flow.py", FLOW)
    file = project.write("numpy.py", FLOW)
    found = project.rayflow("run", "--inline", "flow.py", PYTHONPATH=str(project.path))
    assert found.returncode == 1
    assert f"{file} was imported in place of the library of this name, which rayflow needs: rename it" in found.stderr
