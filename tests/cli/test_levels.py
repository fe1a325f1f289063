"""`--quiet` and `--verbose`: how much a run tells, and whose option it is."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.filterwarnings("ignore:odd")

FLOW = """
import warnings
from rayflow import task

@task
def loud(x: int = 1):
    print("working")
    warnings.warn("odd")
    return x

@task
def main(n: int = 2):
    return [loud(i) for i in range(n)]

@task
def own(quiet: bool = False, verbose: bool = False):
    print("working")
    return [quiet, verbose]

@task
def broken():
    raise ValueError("no")
"""


@pytest.fixture
def cli(rayflow: Any) -> Any:
    rayflow.path.write_text(FLOW)
    return rayflow


@pytest.mark.parametrize("place", ["before", "between", "behind"])
def test_quiet_leaves_the_result_alone(cli: Any, place: str) -> None:
    words = {
        "before": ["--quiet", cli.file, "main"],
        "between": [cli.file, "--quiet", "main"],
        "behind": [cli.file, "main", "--quiet"],
    }[place]
    done = cli("run", "--inline", *words)
    assert (done.code, done.out, done.err) == (0, "[0, 1]\n", "")


def test_quiet_tells_errors(cli: Any) -> None:
    done = cli("run", "--inline", cli.file, "broken", "--quiet")
    assert done.code == 1 and "ValueError: no" in done.err and "rayflow log " in done.err
    assert "1 job" not in done.err
    missing = cli("run", "--inline", cli.file, "nothing", "--quiet")
    assert missing.code == 1 and missing.err.startswith("error: ")


def test_verbose_tells_each_job_also_a_cached_one(cli: Any) -> None:
    first = cli("run", "--inline", cli.file, "main", "--verbose")
    name = cli.namespace
    assert first.err.count(f"computed {name}.loud  ") == 2 and f"computed {name}.main  " in first.err
    assert f"cached {name}.main" in cli("run", cli.file, "main", "--verbose").err


@pytest.mark.parametrize(
    ("words", "value", "is_quiet"),
    [
        (["own"], [False, False], False),
        (["own", "--quiet"], [True, False], False),
        (["own", "--verbose"], [False, True], False),
        (["--quiet", "own"], [False, False], True),
        (["--quiet", "own", "--quiet"], [True, False], True),
        (["--quiet", "own", "--no-quiet", "--verbose"], [False, True], True),
    ],
)
def test_a_task_with_such_a_parameter_gets_what_stands_behind_its_name(
    cli: Any, words: list[str], value: list[bool], is_quiet: bool
) -> None:
    done = cli("run", "--inline", "--no-cache", cli.file, *words)
    assert done.code == 0 and done.out == f"{value}\n"
    assert (done.err == "") == is_quiet


def test_the_level_can_be_configured_and_a_flag_counts_more(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.project.write("rayflow.toml", 'log_level = "quiet"\n')
    assert cli("run", "--inline", cli.file, "main").err == ""
    assert "loud  " in cli("run", "--inline", "--no-cache", "--verbose", cli.file, "main").err
    cli.project.write("rayflow.toml", "")
    monkeypatch.setenv("RAYFLOW_LOG_LEVEL", "quiet")
    assert cli("run", "--inline", "--no-cache", cli.file, "main").err == ""


def test_resume_knows_the_levels_too(cli: Any) -> None:
    words = cli("resume", "--help").out
    assert "--quiet" in words and "--verbose" in words
