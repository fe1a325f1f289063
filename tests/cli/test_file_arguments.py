"""Arguments that are files are read as such on the command line, wherever they stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rayflow import File

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


class TestAPathThatIsTypedElsewhereThanInTheProject:
    @pytest.fixture
    def below(self, files: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
        """The shell is in a directory of the project; there is one outside, too."""
        Path("rayflow.toml").write_text("")
        files.file = str(Path(files.file).absolute())
        outside = Path("../outside").absolute()
        outside.mkdir()
        (outside / "o.csv").write_text("O")
        Path("data/deep").mkdir()
        monkeypatch.chdir("data/deep")
        return files

    @pytest.mark.parametrize(
        ("words", "answer"),
        [
            (["one", "--file", "../a.csv"], "['File', 'A']"),
            (["content", "../../data/a.csv"], "['ContentFile', 'A']"),
            (["folder", ".."], "['Dir', 'A', 'B']"),
            (["folder", "../../data/"], "['Dir', 'A', 'B']"),
            (["matching", "../*.csv"], "['FileSet', 'A', 'B']"),
            (["many", "--files", "../a.csv", "../b.csv"], "['A', 'B']"),
            (["many", "--files", '["../b.csv"]'], "['B']"),
            (["named", "--files", "x=../a.csv"], "{'x': 'A'}"),
            (["maybe", "--file", "../a.csv"], "'A'"),
            (["inside", "--sample", '{"name": "s", "reads": "../b.csv"}'], "['s', 'B']"),
            (["one", "../../../outside/o.csv"], "['File', 'O']"),
        ],
    )
    def test_it_is_relative_to_where_it_is_typed(self, below: Any, words: list[str], answer: str) -> None:
        done = below.run(*words)
        assert (done.code, done.out) == (0, f"{answer}\n"), done.err

    def test_it_is_the_same_call_from_everywhere(self, below: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        below.run("one", "../a.csv")
        for directory, typed in (("..", "./a.csv"), ("..", "data/a.csv"), ("../outside", "../project/data/a.csv")):
            monkeypatch.chdir(directory)
            done = below.run("one", typed)
            assert (done.code, done.out) == (0, "['File', 'A']\n"), done.err
            assert "1 cached" in done.err, typed

    def test_one_that_leads_out_of_the_project_is_absolute(self, below: Any) -> None:
        below.run("one", "../../../outside/o.csv")
        outside = str(Path("../../../outside/o.csv").resolve())
        assert below.ids("select path from files") == [outside]
        assert below.run("one", outside).err.count("1 cached") == 1

    def test_one_in_a_file_of_arguments_is_relative_to_the_project(self, below: Any) -> None:
        Path("args.json").write_text('{"file": "data/a.csv"}')
        Path("many.json").write_text('["data/a.csv"]')
        assert below.run("one", "--input", "args.json").out == "['File', 'A']\n"
        assert below.run("many", "--files", "@many.json").out == "['A']\n"

    def test_a_url_and_an_absolute_path_stay(self, below: Any) -> None:
        File("memory://typed/x").write("M")
        assert below.run("one", "memory://typed/x").out == "['File', 'M']\n"
        assert below.run("one", str(Path("../a.csv").resolve())).out == "['File', 'A']\n"
