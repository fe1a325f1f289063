"""Arguments that are files are read as such on the command line, wherever they stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

FILES = '''
from dataclasses import dataclass
from typing import Optional

from rayflow import ContentFile, Dir, File, FileSet, task


@dataclass
class Sample:
    name: str
    reads: File


@task
def one(file: File):
    return [type(file).__name__, file.read()]


@task
def content(file: ContentFile):
    return [type(file).__name__, file.read()]


@task
def folder(files: Dir):
    return [type(files).__name__, *(file.read() for file in files)]


@task
def matching(files: FileSet):
    return [type(files).__name__, *(file.read() for file in files)]


@task
def many(files: list[File]):
    return [file.read() for file in files]


@task
def named(files: dict[str, File]):
    return {name: file.read() for name, file in files.items()}


@task
def maybe(file: Optional[File] = None):
    return None if file is None else file.read()


@task
def inside(sample: Sample):
    return [sample.name, sample.reads.read()]
'''


@pytest.fixture
def files(rayflow: Any) -> Any:
    """A project with tasks that take files, and two files."""
    rayflow.path.write_text(FILES)
    Path("data").mkdir()
    Path("data/a.csv").write_text("A")
    Path("data/b.csv").write_text("B")
    return rayflow


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["one", "--file", "data/a.csv"], "['File', 'A']"),
        (["content", "data/a.csv"], "['ContentFile', 'A']"),
        (["folder", "data"], "['Dir', 'A', 'B']"),
        (["matching", "data/*.csv"], "['FileSet', 'A', 'B']"),
        (["many", "--files", "data/a.csv", "data/b.csv"], "['A', 'B']"),
        (["many", "--files", '["data/b.csv"]'], "['B']"),
        (["named", "--files", "x=data/a.csv", "y=data/b.csv"], "{'x': 'A', 'y': 'B'}"),
        (["named", "--files", '{"x": "data/b.csv"}'], "{'x': 'B'}"),
        (["maybe", "--file", "data/a.csv"], "'A'"),
        (["maybe"], "None"),
        (["inside", "--sample", '{"name": "s", "reads": "data/b.csv"}'], "['s', 'B']"),
    ],
)
def test_a_file_is_read_by_its_annotation(files: Any, words: list[str], answer: str) -> None:
    done = files.run(*words)
    assert (done.code, done.out) == (0, f"{answer}\n"), done.err


def test_a_file_that_changed_makes_its_call_run_again(files: Any) -> None:
    files.run("one", "data/a.csv")
    Path("data/a.csv").write_text("changed")
    assert files.run("one", "data/a.csv").out == "['File', 'changed']\n"


def test_help_says_what_kind_of_file_is_taken(files: Any) -> None:
    assert "File; required" in files.run("one", "--help").out
    assert "list[File]; required" in files.run("many", "--help").out
    assert "File or None; default: None" in files.run("maybe", "--help").out
