"""A project, its store and its caches work in folders whose names look like patterns."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from projects import Project

from rayflow.__main__ import main
from rayflow.store.write import compaction

FLOW = """
from rayflow import Dir, File, FileSet, script, task

@task
def size(file: File):
    return len(file.read())

@task
def main():
    return [size(file) for file in FileSet("data/*.txt")]

@task
def given(files: FileSet):
    return [file.path for file in files]

@task
def scripted():
    return script("cat in/* > all", inputs=Dir("data").stage("in"), outputs=File("all.txt").stage("all"))
"""

_NUMBERS = itertools.count()


ODD = [("br[1]ack", "br1ack"), ("st*r", "star"), ("[!a]?", "bc"), ("task_name=x", "x")]
"""Folders that look like patterns, or like a column of a table, each with one that the pattern would match."""


@pytest.fixture(params=ODD, ids=lambda names: names[0])
def projects(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Project, Project, str]]:
    """A project in an odd folder, one in a folder that its name would match, and the file of tasks in both."""
    file = f"odd{next(_NUMBERS)}.py"
    made = []
    for name in request.param:
        folder = tmp_path / name
        folder.mkdir()
        project = Project(folder)
        project.write("rayflow.toml", "")
        project.write(file, FLOW)
        for path, text in (("data/a.txt", "a" * len(name)), ("data/b.txt", "b")):
            project.write(path, text)
        made.append(project)
    monkeypatch.setenv("RAYFLOW_CACHE_DIR", str(tmp_path / request.param[0] / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / request.param[0]))
    yield made[0], made[1], file
    made[0].forget()


def test_a_run_and_its_records_are_those_of_its_folder(
    projects: tuple[Project, Project, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    odd, like, file = projects
    monkeypatch.setattr(compaction, "_SEGMENT_ROWS", 1)

    def out(*words: str) -> str:
        capsys.readouterr()
        code = main(words)
        answer = capsys.readouterr()
        assert code == 0, answer.err
        return answer.out

    monkeypatch.chdir(like.path)
    out("run", "--inline", file, "main")
    like.forget()
    monkeypatch.chdir(odd.path)
    sizes = f"[{len(odd.path.name)}, 1]"
    assert out("run", "--inline", file).strip() == sizes
    assert out("run", "--inline", file).strip() == sizes
    assert out("run", "--inline", file, "scripted").strip() == "File('all.txt')"
    assert (odd.path / "all.txt").read_text() == "a" * len(odd.path.name) + "b"
    monkeypatch.chdir(odd.path / "data")
    assert out("run", "--inline", f"../{file}", "given", "--files", "*.txt").strip() == "['data/a.txt', 'data/b.txt']"
    monkeypatch.chdir(odd.path)
    out("store", "compact")
    shutil.rmtree(like.path / ".rayflow")
    shutil.copytree(odd.path / ".rayflow", like.path / ".rayflow")
    for segment in (like.path / ".rayflow" / "segments").rglob("*.parquet"):
        segment.write_bytes(b"not ours")
    assert out("sql", "select count(*) from executions", "--csv").split()[1:] == ["4"]
    assert out("sql", "select count(*) from jobs where task_name like '%.given'", "--csv").split()[1:] == ["1"]
    assert "size" in out("log", "data/a.txt")
    assert out("store", "check").strip().endswith("is in order.")
