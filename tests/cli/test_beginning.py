"""How somebody begins: a project with its first files, and a shell that completes words."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from projects import Project

from rayflow.cli.main import VERBS
from rayflow.cli.parsing.completion import SHELLS, tasks_in


def test_a_new_project_runs_as_it_is(project: Project) -> None:
    made = project.rayflow("init", "genomes")
    assert made.returncode == 0 and "cd genomes && rayflow run flow.py --n 4" in made.stdout
    inner = Project(project.path / "genomes")
    assert inner.rayflow("run", "--inline", "flow.py", "--n", "4").stdout == "14\n"
    assert inner.rayflow("config", "show").returncode == 0
    assert (inner.path / ".gitignore").read_text() == ".rayflow/\n"


def test_nothing_that_is_there_is_changed(rayflow: Any) -> None:
    here: Path = rayflow.project.path
    for name, text in {"flow.py": "mine", "rayflow.toml": "inline = true\n", ".gitignore": "*.pyc"}.items():
        (here / name).write_text(text)
    said = rayflow("init").out
    assert said.startswith("left as it is: ./flow.py\nleft as it is: ./rayflow.toml\nmade: ./.gitignore\n")
    assert (here / "flow.py").read_text() == "mine"
    assert (here / "rayflow.toml").read_text() == "inline = true\n"
    assert (here / ".gitignore").read_text() == "*.pyc\n.rayflow/\n"
    assert "left as it is: ./.gitignore" in rayflow("init").out
    assert (here / ".gitignore").read_text() == "*.pyc\n.rayflow/\n"


def test_a_place_where_no_project_can_be_is_one_error(rayflow: Any) -> None:
    rayflow.project.write("file", "")
    found = rayflow("init", "file")
    assert (found.code, "Traceback" in found.err) == (1, False)
    found = rayflow("init", "x" * 300)
    assert (found.code, "Traceback" in found.err) == (2, False)


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_a_script_that_it_can_read(shell: str, project: Project) -> None:
    made = project.rayflow("completion", shell)
    assert made.returncode == 0 and "_RAYFLOW_COMPLETE" in made.stdout, made.stderr
    program = shutil.which(shell)
    if program is not None:
        read = subprocess.run([program, "-n", "/dev/stdin"], input=made.stdout, capture_output=True, text=True)
        assert read.returncode == 0, read.stderr


FLOW = '''
import rayflow
from rayflow import task
raise RuntimeError("nobody imports this to complete a word")

@task
def main(some_name: int, *, other: str = "x"): ...

@task(retries=2)
async def train(rate: float):
    """Trains."""

@rayflow.task
def third(): ...

def helper(hidden): ...
'''


@pytest.fixture
def offered(project: Project) -> Any:
    """What is offered for the last of some words."""
    project.write("done.py", "from rayflow import task\n@task\ndef main(): return 1\n")
    project.rayflow("run", "--inline", "done.py")
    project.write("flow.py", FLOW)
    project.write("folder/inner.py", "")

    def ask(*words: str) -> set[str]:
        found = project.rayflow(
            COMP_WORDS=" ".join(["rayflow", *words]), COMP_CWORD=str(len(words)), _RAYFLOW_COMPLETE="bash_complete"
        )
        assert found.stderr == ""
        return {line.partition(",")[2] for line in found.stdout.splitlines() if line}

    return ask


def test_a_shell_is_offered_what_may_follow(project: Project, offered: Any) -> None:
    assert offered("") == set(VERBS)
    assert offered("re") == {"repl", "resume", "retry"}
    assert offered("run", "") == {"done.py", "flow.py", "folder/"}
    assert offered("run", "folder/") == {"folder/inner.py"}
    assert offered("run", "flow.py", "") == {"main", "train", "third"}
    assert offered("run", "flow.py", "t") == {"train", "third"}
    assert offered("run", "flow.py", "--so") == {"--some-name"}
    assert offered("run", "flow.py", "train", "--ra") == {"--rate"}
    assert offered("run", "--in") == {"--inline", "--input"}
    assert offered("run", "nosuch.py", "") == set()
    assert offered("log", "--fa") == {"--failed"}
    assert offered("store", "") == {"check", "compact", "gc"}
    (execution,) = project.sql("select execution_id from executions")
    for words in (("log",), ("viz",), ("why",), ("resume",), ("run", "--rerun"), ("export", "x.zip")):
        assert offered(*words, "") >= {"-", execution[0][:18]}, words
    assert offered("log", "0") == {execution[0][:18]}


def test_where_nothing_is_nothing_is_offered_and_nothing_said(project: Project) -> None:
    for words in ("log ", "run nosuch.py --", "viz --store /nowhere "):
        found = project.rayflow(
            COMP_WORDS=f"rayflow {words}", COMP_CWORD=str(len(words.split()) + (words[-1] == " ")),
            _RAYFLOW_COMPLETE="bash_complete",
        )  # fmt: skip
        assert found.stderr == ""
    assert not (project.path / ".rayflow").exists()


def test_a_file_that_does_not_parse_has_no_tasks(tmp_path: Path) -> None:
    for content in (b"def (", b"\xff", b"\0"):
        (tmp_path / "flow.py").write_bytes(content)
        assert tasks_in(os.fspath(tmp_path / "flow.py")) == {}
