"""What git says of a project, as the record keeps it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rayflow.runtime.protocol import git_commit

pytestmark = pytest.mark.slow


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit_of(folder: Path) -> str | None:
    git_commit.forget()
    return git_commit.commit_of(str(folder))


def test_the_commit_is_named_with_a_plus_where_the_tree_has_changes(tmp_path: Path) -> None:
    assert commit_of(tmp_path) is None, "there is no git"
    git(tmp_path, "init", "-q")
    (tmp_path / "flow.py").write_text("1")
    git(tmp_path, "add", "-A")
    assert commit_of(tmp_path) is None, "nothing was committed yet"
    git(tmp_path, "commit", "-qm", "first")
    commit = git(tmp_path, "rev-parse", "--short=12", "HEAD")
    assert commit_of(tmp_path) == commit
    (tmp_path / "new.py").write_text("3")
    assert commit_of(tmp_path) == commit, "a file that git does not know is no change"
    (tmp_path / "flow.py").write_text("2")
    assert commit_of(tmp_path) == f"{commit}+"


def test_git_is_asked_once_for_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "-q")
    asked: list[object] = []
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *words, **how: asked.append(words) or run(*words, **how))
    git_commit.forget()
    for _ in range(3):
        git_commit.ask(str(tmp_path))
        git_commit.commit_of(str(tmp_path))
    assert len(asked) == 1


def test_a_git_that_does_not_answer_does_not_fail_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "-q")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_of(tmp_path) is None
