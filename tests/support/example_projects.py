"""Copies of the examples, run in this way and that; what was seen of a run."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from projects import REPOSITORY, Project

SETTLED = frozenset({"04_tpch_etl"})
"""Examples whose calls are given absolute paths: in another folder they are others."""


@dataclass(frozen=True)
class Told:
    """What was seen of one run: its output, and how many jobs of each task were computed."""

    output: list[str]
    computed: Counter[str]


def copy_of(name: str, folder: Path) -> Project:
    """An example as it would be after a fresh checkout."""
    ignored = shutil.ignore_patterns(".rayflow", "data", "__pycache__")
    return Project(Path(shutil.copytree(REPOSITORY / "examples" / name, folder / name, ignore=ignored)))


def ran(name: str, folder: Path) -> tuple[Project, Told]:
    """An example that was run once, as it is then with all that it has kept; and what was seen of that run, which is
    made once for all tests, unless the example keeps to the folder that it is in."""
    if name in SETTLED:
        project = copy_of(name, folder)
        return project, run(project)
    made, told = _first_run(name)
    return Project(Path(shutil.copytree(made.path, folder / name, symlinks=True))), told


@cache
def _first_run(name: str) -> tuple[Project, Told]:
    folder = tempfile.mkdtemp(prefix="rayflow-examples-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    project = copy_of(name, Path(folder))
    return project, run(project)


def skip_without(*programs: str) -> None:
    """Skip the test where one of these programs is missing."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"this machine has no {program}")


def run(project: Project, **environment: str) -> Told:
    """`python flow.py`, in one process."""
    ended = project.python("flow.py", RAYFLOW_INLINE="1", **environment)
    assert ended.returncode == 0, ended.stderr
    return Told(ended.stdout.splitlines(), computed(project))


def told_by_command(project: Project, *words: str) -> Told:
    """What `rayflow run flow.py ...` prints, and what it computes, in one process."""
    ended = project.rayflow("run", "--inline", "flow.py", *words)
    assert ended.returncode == 0, ended.stderr
    return Told(ended.stdout.splitlines(), computed(project))


def computed(project: Project) -> Counter[str]:
    """How many jobs of each task the latest run computed, by the tasks' short names."""
    sums: Counter[str] = Counter()
    for name, count in project.counts("computed").items():
        sums[name.rpartition(".")[2].rpartition(":")[2]] += count  # scripts are named after their callers
    return sums
