"""Streams that refuse: an encoding that lacks a character, a closed one, a full disk, a reader that went away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from projects import Project

TEXT = "é€漢😀"

FLOW = f"""
from rayflow import task

@task
def main():
    return {{"{TEXT}": "{TEXT}"}}

@task
def fail():
    print("{TEXT}")
    raise ValueError("{TEXT}")
"""

ASKING = (
    ["log"], ["log", "-"], ["why", "flow.main"], ["why", "flow.fail"], ["viz", "-"], ["config", "show"],
    ["sql", f"select '{TEXT}' as x"], ["sql", "--csv", f"select '{TEXT}' as x"], ["tag", "list", "-"], ["fs", "ls"],
    ["store", "check"], ["--help"], ["why", "--code", "flow.py", "main"], ["log", "nosuch"], ["nosuch"],
)  # fmt: skip
RUNNING = (
    ["run", "--inline", "flow.py", "main"],
    ["run", "--inline", "--json", "flow.py", "main"],
    ["run", "--inline", "--dry-run", "--no-cache", "flow.py", "main"],
    ["run", "--inline", "--no-cache", "flow.py", "main"],
    ["run", "--inline", "flow.py", "fail"],
    ["repl", "--inline", "flow.py"],
    ["run", "--inline", "--input", "-", "flow.py", "main"],
    ["sql", "-"],
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with two runs."""
    project = Project(tmp_path_factory.mktemp("project"))
    project.write("pyproject.toml", "")
    project.write("flow.py", FLOW)
    project.rayflow("run", "--inline", "flow.py", "fail")
    project.rayflow("run", "--inline", "flow.py", "main")
    return project


@pytest.fixture(scope="module")
def usual(made: Project) -> Callable[[list[str]], int]:
    """The exit code of a command whose streams are usual."""
    codes: dict[str, int] = {}

    def code(words: list[str]) -> int:
        if str(words) not in codes:
            codes[str(words)] = made.rayflow(*words).returncode
        return codes[str(words)]

    return code


def _is_no_crash(code: int, err: str) -> None:
    assert code in (0, 1, 2, 141), err
    assert "Traceback (most recent call last)" not in err or "ValueError" in err, err
    assert "Exception ignored" not in err


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        *(("ascii", words) for words in (*ASKING, *RUNNING)),
        *((encoding, words) for encoding in ("latin-1", "cp1252") for words in (RUNNING[0], RUNNING[4], ASKING[7])),
    ],
)
def test_what_an_encoding_lacks_is_escaped(made: Project, words: list[str], encoding: str) -> None:
    found = made.rayflow(*words, encoding=encoding, PYTHONIOENCODING=encoding)
    _is_no_crash(found.returncode, found.stderr)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_data_for_programs_says_the_same_in_every_encoding(made: Project, encoding: str) -> None:
    def printed(*words: str) -> str:
        return made.rayflow(*words, encoding=encoding, PYTHONIOENCODING=encoding).stdout

    assert json.loads(printed("run", "--inline", "--json", "flow.py", "main")) == {TEXT: TEXT}
    assert json.loads(printed("sql", "--json", f"select '{TEXT}' as x")) == [{"x": TEXT}]
    written = TEXT.encode(encoding, "backslashreplace").decode(encoding)
    assert printed("sql", "--csv", f"select '{TEXT}' as x").split() == ["x", written]


def test_the_c_locale_without_utf8_is_an_encoding_like_others(made: Project) -> None:
    for words in (RUNNING[0], RUNNING[4], ["log", "-"]):
        found = made.rayflow(*words, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
        _is_no_crash(found.returncode, found.stderr)
        assert found.stdout.isascii()


CLOSED: dict[int, str | None] = {0: None, 1: None, 2: None}


@pytest.mark.parametrize(
    ("redirected", "words"),
    [
        *((CLOSED, words) for words in (*ASKING, *RUNNING)),
        *((each, words) for each in ({0: None}, {1: None}, {2: None}, {2: "/dev/full"}) for words in RUNNING[3:5]),
    ],
)
def test_a_stream_that_is_closed_or_stderr_that_is_full_changes_nothing(
    made: Project, usual: Callable[[list[str]], int], words: list[str], redirected: dict[int, str | None]
) -> None:
    found = made.rayflow(*words, redirected=redirected)
    assert found.returncode == usual(words), found.stderr
    _is_no_crash(found.returncode, found.stderr)


def test_no_file_gets_the_number_of_a_closed_stream(project: Project) -> None:
    project.write(
        "flow.py",
        """
        import os
        from rayflow import task

        @task
        def main():
            os.system("echo printed by a program")
            return [os.readlink(f"/proc/self/fd/{number}") for number in (0, 1, 2)]
        """,
    )
    found = project.rayflow("run", "--inline", "flow.py", redirected=CLOSED, is_warm=False)
    assert found.returncode == 0
    assert project.rayflow("run", "--inline", "flow.py").stdout.strip() == str([os.devnull] * 3)
    assert project.rayflow("store", "check").returncode == 0


@pytest.mark.parametrize("words", [words for words in (*ASKING, *RUNNING) if words[-1] not in ("fail", "nosuch")])
def test_a_full_stdout_is_the_worlds_fault_and_said_in_one_line(made: Project, words: list[str]) -> None:
    if (words[-1] == "-" and words[0] == "sql") or words[0] == "repl" or "--input" in words:
        pytest.skip("there is nothing to be printed")
    found = made.rayflow(*words, redirected={1: "/dev/full"})
    assert found.returncode == 2
    assert "error: stdout cannot be written: No space left on device." in found.stderr
    _is_no_crash(found.returncode, found.stderr)


def test_a_run_whose_answer_cannot_be_printed_is_recorded(project: Project) -> None:
    project.write("flow.py", FLOW)
    found = project.rayflow("run", "--inline", "flow.py", "main", redirected={1: "/dev/full"}, is_warm=False)
    assert "The run itself is done, and recorded." in found.stderr
    assert project.sql("select status from executions") == [("done",)]


@pytest.mark.parametrize("both", ["", "2>&1"])
def test_a_reader_that_goes_away_stops_no_run(project: Project, both: str) -> None:
    project.write(
        "flow.py",
        """
        from rayflow import task

        @task
        def step(i):
            print("noise", i)
            return "x" * 100

        @task
        def main():
            return [step(i) for i in range(2000)]
        """,
    )
    pipe = f'"$@" {both} | head -n 1; exit ${{PIPESTATUS[0]}}'
    found = subprocess.run(
        ["bash", "-c", pipe, "bash", sys.executable, "-m", "rayflow", "run", "--inline", "--json", "flow.py"],
        cwd=project.path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert found.returncode in (0, 141)
    _is_no_crash(found.returncode, found.stderr)
    assert project.sql("select status from executions") == [("done",)]


def test_bytes_that_are_no_text_are_a_users_error(made: Project) -> None:
    for words in ([b"sql", b"select '\xff'"], [b"log", b"\xff"], [b"log", b"--tag", b"\xff"], [b"run", b"\xff.py"]):
        found = subprocess.run(
            [sys.executable, "-m", "rayflow", *words], cwd=made.path, capture_output=True, timeout=60
        )
        assert found.returncode in (0, 1), found.stderr


def test_a_system_error_anywhere_is_the_worlds_and_one_line(rayflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError(24, "Too many open files", "/somewhere")

    monkeypatch.setattr("rayflow.cli.verbs.log.history_of", refuse)
    found = rayflow("log")
    assert (found.code, found.err) == (2, "error: Too many open files: /somewhere.\n")


def test_a_directory_that_is_gone_is_named_as_such(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    for words in ("log", "run flow.py", "config show", "sql 'select 1'", "run --inline /nowhere/flow.py", "fs ls"):
        folder.mkdir()
        code = f"cd {folder} && rmdir {folder} && exec {Path(sys.executable).parent / 'rayflow'} {words}"
        found = subprocess.run(["bash", "-c", code], capture_output=True, text=True, timeout=60)
        assert found.returncode == 1
        assert "is there no longer" in found.stderr or "There is no file" in found.stderr
