"""Copies of the examples, run in this way and that; what was seen of a run."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from projects import REPOSITORY, Project


@dataclass(frozen=True)
class Told:
    """What was seen of one run: its output, and how many jobs of each task were computed."""

    output: list[str]
    computed: Counter[str]


def copy_of(name: str, folder: Path) -> Project:
    """An example as it would be after a fresh checkout."""
    ignored = shutil.ignore_patterns(".rayflow", "data", "__pycache__")
    return Project(Path(shutil.copytree(REPOSITORY / "examples" / name, folder / name, ignore=ignored)))


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
    return Counter({name.rpartition(".")[2]: count for name, count in project.counts("computed").items()})
