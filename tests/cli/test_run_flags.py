"""Flags of `rayflow run`: tags, context, arguments from a file, an id of one's own, the debugger, stopping at once."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from projects import Project

CONTEXT = """
from rayflow import get_context, task

@task
def where(host=get_context("db.host", "nowhere"), port=get_context("db.port", 1)):
    return [host, port]
"""


def test_tags_of_a_run_are_its_executions(rayflow: Any) -> None:
    assert rayflow.run("main", "--tag", "owner=ada", "--tag", "n=3", "--tag", "draft").code == 0
    rows = json.loads(rayflow("tag", "list", "-", "--json").out)
    told = {row["key"]: json.loads(row["value_json"]) for row in rows}
    assert (told["owner"], told["n"], told["draft"]) == ("ada", 3, True)
    assert "main()" in rayflow("log", "--tag", "owner=ada").out


def test_a_context_is_given_by_names_json_and_files(rayflow: Any) -> None:
    rayflow.path.write_text(CONTEXT)
    rayflow.project.write("lab.json", '{"db": {"host": "lab", "port": 5}}')
    rayflow.project.write("lab.toml", '[db]\nhost = "barn"\n')
    told = [
        json.loads(rayflow.run("--json", *words).out)
        for words in (
            [],
            ["--context", "db.host=here"],
            ["--context", '{"db": {"host": "x", "port": 2}}', "--context", "db.port=7"],
            ["--context", "@lab.json"],
            ["--context", "@lab.json", "--context", "@lab.toml"],
        )
    ]
    assert told == [["nowhere", 1], ["here", 1], ["x", 7], ["lab", 5], ["barn", 5]]
    assert "would run" in rayflow("run", "--dry-run", rayflow.file, "--context", "db.host=far").out


def test_arguments_are_read_from_a_file_and_words_count_more(rayflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rayflow.project.write("args.json", '{"n": 3, "xs": [1, 2], "verbose": true, "other-one": 7}')
    rayflow.project.write("args.toml", "n = 4\nxs = [0.5]\n")
    given = json.loads(rayflow.run("add", "--input", "args.json", "--json").out)
    assert given == {"n": 3, "xs": [1.0, 2.0], "verbose": True, "other_one": 7}
    given = json.loads(rayflow.run("add", "--n", "9", "--input", "args.toml", "--json").out)
    assert given == {"n": 9, "xs": [0.5], "verbose": False}
    monkeypatch.setattr(sys, "stdin", (rayflow.project.path / "args.json").open())
    assert json.loads(rayflow.run("add", "--input", "-", "--json").out)["n"] == 3


ALONE = (
    ("run --pdb --address a:1 FILE", "--pdb runs everything in this process"),
    ("run FILE main --pdb --address a:1", "--pdb runs everything in this process"),
    ("run --inline --address a:1 FILE", "--inline runs everything in this process"),
    ("run --inline --address a:1 --rerun -", "--inline runs everything in this process"),
    ("resume - --inline --address a:1", "--inline runs everything in this process"),
    ("repl --inline --address a:1", "--inline runs everything in this process"),
    ("run --dry-run --pdb FILE", "--pdb has nothing to do"),
    ("run --dry-run --rerun -", "--rerun has nothing to do"),
    ("run --dry-run --execution-id 0197a3c2-51f0-7000-8000-000000000000 FILE", "--execution-id has nothing to do"),
    ("sql --schema SELECT", "a query has no use"),
    ("sql --schema --allow-files", "--allow-files has no use"),
    ("sql --csv --json SELECT", "Choose one of"),
    ("viz - --json --format dot", "leave out --format"),
    ("viz - --json --out x.html", "leave out --out"),
    ("why --code FILE main --store x", "leave out --store"),
    ("log main --task leaf", "are two tasks"),
    ("log - --limit 3", "--limit is for lists"),
    ("log --failed --status done", "contradict each other"),
    ("tag list --history", "Name what the history is wanted of"),
)


@pytest.mark.parametrize(("words", "message"), ALONE)
def test_an_option_that_would_do_nothing_beside_another_is_an_error(rayflow: Any, words: str, message: str) -> None:
    rayflow.run("main")
    rayflow.run("leaf", "--i", "1")
    found = rayflow(*({"FILE": rayflow.file, "SELECT": "select 1"}.get(word, word) for word in words.split()))
    assert (found.code, message in found.err) == (1, True), found.err
    assert found.out == ""


def test_a_dry_run_takes_a_command_line_as_it_is(rayflow: Any) -> None:
    words = ("--tag", "a=1", "--fail-fast", "--no-logs", "--context", "x=1", "--option", "retries=1", "--json")
    found = rayflow("run", "--dry-run", *words, rayflow.file, "main")
    assert found.code == 0 and json.loads(found.out)
    found = rayflow("run", "--dry-run", "--tag", "=1", rayflow.file, "main")
    assert "'=1' is not a tag" in found.err


def test_a_cluster_that_is_named_counts_more_than_inline_in_a_file(rayflow: Any) -> None:
    rayflow.project.write("rayflow.toml", "inline = true\n")
    found = rayflow("run", "--no-cache", "--address", "127.0.0.1:9", rayflow.file, "leaf", "--i", "1")
    assert found.code == 2 and "127.0.0.1:9" in found.err


def test_the_number_of_calls_of_a_task_can_be_limited(rayflow: Any) -> None:
    rayflow.run("wide", "--n", "5")
    assert len(rayflow("log", "leaf", "--limit", "2").out.splitlines()) == 2


def test_an_execution_gets_the_id_that_it_is_given_once(rayflow: Any) -> None:
    given = str(uuid.uuid4())
    assert rayflow.run("main", "--execution-id", given).code == 0
    assert rayflow.ids("select execution_id from executions") == [given]
    again = rayflow.run("main", "--execution-id", given)
    assert again.code == 1 and f"`rayflow resume {given}` goes on with it" in again.err


def test_fail_fast_starts_nothing_after_the_first_failure(rayflow: Any) -> None:
    assert "30 failed" not in rayflow.run("several", "--n", "30", "--fail-fast").err
    assert rayflow.ids("select count(*) from jobs where task_name like '%.fail' and status = 'failed'") == ["1"]
    [row] = json.loads(rayflow("log", "--failed", "--json").out)
    assert row["status"] == "failed" and row["error"] == "ValueError: no 0" and row["cancelled"] == 29


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["main", "--tag", "=1"], "'=1' is not a tag"),
        (["main", "--context", "a"], "--context a: write name=value"),
        (["main", "--context", "{a}"], "this is not a JSON object"),
        (["main", "--context", "@none.json"], "The file none.json cannot be read: No such file"),
        (["main", "--context", "a..b=1"], "write name=value"),
        (["main", "--input", "none.json"], "The file none.json cannot be read"),
        (["main", "--input", "bad.json"], "The file bad.json is not valid JSON"),
        (["main", "--input", "list.json"], "holds no JSON object"),
        (["main", "--input", "n.json"], "main has no argument --n"),
        (["fail", "--input", "text.json"], "--i: 'x' is not an int"),
        (["main", "--execution-id", "one"], "'one' is not an execution id: give a UUID"),
    ],
)
def test_wrong_words_are_one_error(rayflow: Any, words: list[str], message: str) -> None:
    for name, text in {"bad": "{", "list": "[1]", "n": '{"n": 1}', "text": '{"i": "x"}'}.items():
        rayflow.project.write(f"{name}.json", text)
    done = rayflow.run(*words)
    assert (done.code, done.out) == (1, "")
    assert message in done.err


# --- what tasks print -------------------------------------------------------------------------------------------------

LOUD = """
from rayflow import task

@task
def main(n=1):
    print("n is", n)
    return n
"""


def test_what_tasks_print_is_shown_unless_somebody_says_no_and_recorded_in_any_case(
    project: Project, rayflow: Any
) -> None:
    project.write("loud.py", LOUD)
    assert "[main(n=1)] n is 1\n" in rayflow("run", "--inline", "loud.py", "main").err
    quiet = rayflow("run", "--inline", "loud.py", "--no-logs", "main", "--n", "2")
    assert quiet.code == 0 and "n is 2" not in quiet.err
    assert "n is 2" in rayflow("log", rayflow.ids("SELECT job_id FROM jobs ORDER BY queued_at DESC")[0]).out
    project.write("rayflow.toml", "logs = false\n")
    assert "n is 3" not in rayflow("run", "--inline", "loud.py", "--n", "3").err
    assert "[main(n=4)] n is 4\n" in rayflow("run", "--inline", "loud.py", "--n", "4", "--logs").err


# --- the debugger -----------------------------------------------------------------------------------------------------

BUGGY = """
from rayflow import task

def halve(number):
    rest = number % 2
    raise ValueError("no half")

@task
def main(n=7):
    return halve(n)
"""


def test_the_debugger_stands_in_the_frame_that_raised(project: Project) -> None:
    project.write("flow.py", BUGGY)
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "rayflow", "run", "--pdb", "flow.py"],
        cwd=project.path, stdin=follower, stdout=subprocess.PIPE, stderr=follower, text=True,
        env={**os.environ, "NO_COLOR": "1", "TERM": "dumb"},
    )  # fmt: skip
    os.close(follower)
    shown = _until(leader, "(Pdb) ")
    os.write(leader, b"p 'rest is', rest, number\n")
    shown += _until(leader, "(Pdb) ")
    os.write(leader, b"up\np 'n is', n\nup\n")
    shown += _until(leader, "Oldest frame")
    os.write(leader, b"q\n")
    shown += _until(leader, "rayflow log")
    out, _ = process.communicate(timeout=60)
    os.close(leader)
    assert (process.returncode, out) == (1, "")
    assert "('rest is', 1, 7)" in shown and "('n is', 7)" in shown
    assert "flow.main failed: ValueError: no half" in shown and "workers.py" not in shown


def _until(leader: int, text: str) -> str:
    """What a terminal shows until a text stands there."""
    shown = ""
    while text not in shown:
        assert select.select([leader], [], [], 60)[0], shown
        try:
            shown += os.read(leader, 4096).decode(errors="replace")
        except OSError:  # the other side has ended
            raise AssertionError(shown) from None
    return shown


def test_the_debugger_needs_the_tasks_in_this_process(tmp_path: Path) -> None:
    from rayflow import Scheduler
    from rayflow.errors import BadConfig

    with pytest.raises(BadConfig, match="debug=True needs inline=True"):
        Scheduler(store=str(tmp_path / "store"), debug=True)
