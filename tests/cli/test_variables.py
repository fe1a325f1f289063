"""Values of `env_vars` among a run's options may be secrets: no record has them, and nothing prints them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from projects import Project

from rayflow.records import TABLES
from rayflow.store.open import open_store

VALUE = "hush-hush"
OPTION = f'runtime_env={{"env_vars": {{"TOKEN": "{VALUE}"}}}}'
EXPORTED = f'export_options={{"runtime_env": {{"env_vars": {{"KEY": "{VALUE}"}}}}, "retries": 1}}'
FLOW = """
from rayflow import task

@task
def leaf(n):
    return n

@task
def main(n: int = 1):
    return [leaf(n), leaf(n + 1)]
"""


def cells(folder: Path) -> list[str]:
    """All rows of the store, as text."""
    history = open_store(str(folder), create=False, read_only=True).history()
    found = [
        f"{table.name}: {row!r}" for table in TABLES for row in history.sql(f"select * from {table.name}").fetchall()
    ]
    history.close()
    return found


@pytest.mark.parametrize(
    "words", [("--option", OPTION, "--option", EXPORTED), (f"--option={OPTION}", "--option", EXPORTED)]
)
def test_no_record_and_no_answer_has_the_value_of_a_variable(project: Project, words: tuple[str, ...]) -> None:
    project.write("flow.py", FLOW)
    done = project.rayflow("run", "flow.py", "main", "--inline", "--verbose", *words)
    assert done.returncode == 0, done.stderr
    answers = [
        (done.stdout, done.stderr),
        *((each.stdout, each.stderr) for each in (
            project.rayflow("log"), project.rayflow("log", "-"), project.rayflow("log", "-", "--json"),
            project.rayflow("why", "-"), project.rayflow("sql", "from executions"),
        )),
    ]  # fmt: skip
    kept = cells(project.path / ".rayflow")
    assert any("TOKEN" in each for each in kept) and any("KEY" in each for each in kept)
    assert [each for each in (*kept, *map(str, answers)) if VALUE in each] == []
    ((options, command),) = project.sql("select options, command from executions")
    assert json.loads(options)["runtime_env"] == {"env_vars": ["TOKEN"]}
    assert json.loads(options)["export_options"] == {"runtime_env": {"env_vars": ["KEY"]}, "retries": 1}
    assert 'runtime_env={"env_vars": ["TOKEN"]}' in command
    files = [each for each in (project.path / ".rayflow").rglob("*") if each.is_file()]
    assert files and not any(VALUE.encode() in each.read_bytes() for each in files)


def test_what_runs_again_takes_the_values_of_now_and_says_which_it_lacks(rayflow: Any) -> None:
    assert rayflow.run("main", "--option", OPTION).code == 0
    for words in (("resume", "-", "--inline"), ("run", "--rerun", "-", "--inline")):
        refused = rayflow(*words)
        assert refused.code == 1 and "had values for TOKEN" in refused.err, words
        assert "options = { runtime_env = { env_vars = { TOKEN" in refused.err
    assert rayflow("run", "--rerun", "-", "--inline", "--option", OPTION).code == 0
    rayflow.project.write("rayflow.toml", f'options = {{ runtime_env = {{ env_vars = {{ TOKEN = "{VALUE}" }} }} }}\n')
    for words in (("resume", "-", "--inline"), ("run", "--rerun", "-", "--inline")):
        assert rayflow(*words).code == 0, words
    assert [each for each in cells(rayflow.project.path / ".rayflow") if VALUE in each] == []


def test_an_option_that_cannot_be_read_is_told_without_values(rayflow: Any) -> None:
    refused = rayflow.run("main", "--option", OPTION[:-1])
    assert refused.code == 1 and "write the value as JSON" in refused.err and VALUE not in refused.err
