"""The command as a whole: help, version, errors and exit codes, and what it loads."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import click
import pytest
from projects import Project

from rayflow.__main__ import main
from rayflow.cli.main import VERBS, command
from rayflow.errors import Bug, StoreUnavailable, UserError


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for verb, text in VERBS.items():
        assert re.search(rf"\n  {verb} +{re.escape(text)}\n", shown), "a verb has a line of its own"


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_is_a_sentence_and_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"\n  rayflow {verb}" in shown
    found = command.get_command(click.Context(command), verb)
    assert found is not None and found.help is not None
    first = found.help.partition("\n\n")[0]
    assert first.endswith(".") and first[0].isupper()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rn"], "error: There is no verb 'rn'. Did you mean `rayflow run`?"),
        (["flow.py"], "Did you mean `rayflow run flow.py`?"),
        (["run"], "error: Name the file with the tasks"),
        (["run", "--inlin", "x.py"], "error: No such option '--inlin'. Did you mean '--inline'?"),
        (["run", "--store"], "error: Option '--store' requires an argument."),
        (["log", "--limit", "0"], "error: Invalid value for '--limit'"),
        (["sql"], "error: Give a query"),
        (["sql", "select 1", "--csv", "--json"], "error: Choose one of --csv and --json."),
        (["why"], "error: Name one job"),
        (["why", "--code"], "error: Name the file and the task"),
    ],
)
def test_a_wrong_command_line_is_one_clear_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 1
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.out == ""
    assert len(shown.err.splitlines()) <= 2


@pytest.mark.parametrize(
    ("error", "code"), [(UserError("u"), 1), (StoreUnavailable("w"), 2), (Bug("b"), 3), (RuntimeError("r"), 3)]
)
def test_the_exit_code_says_whose_fault_it_was(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(command, "invoke", fail)
    assert main(["log"]) == code
    shown = capsys.readouterr().err
    assert "error: " in shown
    assert ("Please report it" in shown) == (code == 3)
    assert ("Traceback" in shown) == isinstance(error, RuntimeError)


def test_ctrl_c_before_anything_has_started_ends_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "invoke", interrupt)
    assert main(["log"]) == 130


ENGINES = {"rich", "duckdb", "pyarrow", "ray", "numpy", "pandas", "fsspec"}


@pytest.mark.parametrize(
    ("commands", "heavy"),
    [
        ([["--help"], ["--version"]], ENGINES | {"rayflow.lang", "rayflow.store"}),
        ([[v, "--help"] for v in VERBS], ENGINES),
    ],
    ids=["the command", "its verbs"],
)
def test_a_help_text_loads_nothing_heavy(commands: list[list[str]], heavy: set[str]) -> None:
    code = (
        "import sys\n"
        "from rayflow.__main__ import main\n"
        f"for words in {commands}:\n"
        "    main(words)\n"
        f"loaded = {heavy} & set(sys.modules)\n"
        "sys.exit(str(loaded) if loaded else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_reader_that_goes_away_ends_the_command_quietly() -> None:
    code = "import sys\nfrom rayflow.__main__ import main\nsys.exit(main(['--help']))\n"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 141


def test_up_and_down_say_what_they_did_and_for_which_project(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rayflow.runtime.on_ray.connection import local_ray

    here, there = (local_ray.LocalRay(name, f"127.0.0.1:{port}", 1, token) for name, port, token in
                   ((str(project.path), 1, None), ("/elsewhere", 2, "t")))  # fmt: skip
    standing = {here.project: here, there.project: there}
    asked: list[object] = []
    monkeypatch.setattr(local_ray, "up", lambda *what: asked.append(what) or here)
    monkeypatch.setattr(local_ray, "down", lambda known: standing.pop(known.project))
    monkeypatch.setattr(local_ray, "all_running", lambda: list(standing.values()))
    monkeypatch.setattr(local_ray, "running", standing.get)

    def told(*words: str) -> str:
        assert main(words) == 0
        out, err = capsys.readouterr()
        return out + err

    said = told("up", "--num-cpus", "2")
    assert asked == [(here.project, 2)]
    assert f"Ray is up at 127.0.0.1:1 for the project {here.project}" in said
    assert "It asks for no token, because RAY_AUTH_MODE=disabled is set" in said
    project.write("rayflow.toml", "num_cpus = 3")
    told("up")
    assert asked[-1] == (here.project, 3)
    stays = "The Ray of /elsewhere stays up at 127.0.0.1:2; `rayflow down --all` stops all.\n"
    assert told("down") == f"The Ray of {here.project} is down.\n{stays}"
    assert told("down") == f"No Ray of `rayflow up` is running for the project {here.project}.\n{stays}"
    assert told("down", "--all") == "The Ray of /elsewhere is down.\n"
    assert told("down", "--all") == "No Ray of `rayflow up` is running.\n"
