"""Effects in a plain `rayflow run`: killed and resumed, none is done twice; and one process at a time goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from processes import end, marked
from projects import Project
from services import ledger
from waiting import until

FLOW = """
    import os
    import time

    from rayflow import ask, catch, effect, seq, sleep, task

    @effect
    def do(what: str) -> str:
        with open(FOLDER + "/ledger.txt", "a") as file:
            file.write(what + "\\n")
        if what[0] == "b" and not os.path.exists(FOLDER + "/ready"):
            raise LookupError(f"{what}: not ready")
        return f"did {what}"

    @task
    def main(seconds: float):
        return seq([do("a"), sleep(seconds), do("c")])

    @effect
    def hold():
        while not os.path.exists(FOLDER + "/go"):
            time.sleep(0.05)

    @task
    def held():
        return seq([do("a"), hold(), do("c")])

    @task
    def told(error: Exception) -> str:
        return "caught"

    @task
    def failing():
        return seq([do("a"), catch(do("b caught"), LookupError, told), do("b"), do("c")])

    @task
    def asking():
        return seq([do("a"), ask("may I?")])
"""

PLACES = [pytest.param("inline"), pytest.param("ray", marks=pytest.mark.ray)]


@pytest.fixture
def flags(request: pytest.FixtureRequest, project: Project) -> Iterator[list[str]]:
    """Where the runs of a test are evaluated, by the name that the test is given."""
    project.write("flow.py", f"FOLDER = {str(project.path)!r}\n")
    with (project.path / "flow.py").open("a") as file:
        import textwrap

        file.write(textwrap.dedent(FLOW))
    mark = f"{project.path}-run"
    project.environment["RAYFLOW_TEST_RUN"] = mark
    if request.param == "inline":
        yield ["--inline"]
    else:
        yield ["--address", request.getfixturevalue("ray_cluster")]
    end(marked("RAYFLOW_TEST_RUN", mark))


def begun(project: Project, *words: str) -> subprocess.Popen[bytes]:
    """A process of the command line."""
    with (project.path.parent / "run.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "rayflow", *words], cwd=project.path, env=project.full_environment(),
            stdout=log, stderr=log, stdin=subprocess.DEVNULL,
        )  # fmt: skip


def latest(project: Project) -> Any:
    return project.sql("SELECT execution_id FROM executions ORDER BY execution_id DESC LIMIT 1")[0][0]


def sleeps(project: Project) -> bool:
    if not (project.path / ".rayflow" / "format").exists():
        return False
    return bool(project.sql("SELECT 1 FROM waits WHERE state = 'open'"))


def holds(project: Project) -> bool:
    if not (project.path / ".rayflow" / "format").exists():
        return False
    return bool(project.sql("SELECT 1 FROM places WHERE name = 'flow.hold'"))


@pytest.mark.parametrize("flags", PLACES, indirect=True)
def test_an_execution_that_was_killed_is_resumed_without_its_done_effects(project: Project, flags: list[str]) -> None:
    process = begun(project, "run", "flow.py", "main", "--seconds", "4", *flags)
    until(lambda: sleeps(project))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    resumed = project.rayflow("resume", "-", *flags)
    assert resumed.returncode == 0, resumed.stderr
    assert "did c" in resumed.stdout
    assert ledger(project) == {"a": 1, "c": 1}


@pytest.mark.parametrize("flags", PLACES, indirect=True)
def test_an_execution_that_somebody_evaluates_is_not_resumed_and_stays_as_it_is(
    project: Project, flags: list[str]
) -> None:
    process = begun(project, "run", "flow.py", "held", *flags)
    until(lambda: holds(project))
    [before] = project.sql("SELECT execution_id, life, status FROM executions")
    refused = project.rayflow("resume", before[0], *flags)
    assert refused.returncode == 1, refused.stderr
    assert "still runs, on" in refused.stderr
    assert project.sql("SELECT execution_id, life, status FROM executions") == [before]
    (project.path / "go").touch()
    assert process.wait(60) == 0, (project.path.parent / "run.log").read_text()
    assert ledger(project) == {"a": 1, "c": 1}


@pytest.mark.parametrize("flags", PLACES, indirect=True)
def test_resume_of_a_failed_execution_tries_again_what_has_failed_and_nothing_else(
    project: Project, flags: list[str]
) -> None:
    failed = project.rayflow("run", "flow.py", "failing", *flags)
    assert failed.returncode == 1
    assert "not ready" in failed.stderr
    again = project.rayflow("resume", latest(project), *flags)
    assert again.returncode == 1
    assert ledger(project) == {"a": 1, "b": 2, "b caught": 1}
    (project.path / "ready").touch()
    done = project.rayflow("resume", latest(project), *flags)
    assert done.returncode == 0, done.stderr
    assert "caught" in done.stdout
    assert ledger(project) == {"a": 1, "b": 3, "b caught": 1, "c": 1}


@pytest.mark.parametrize("flags", PLACES[:1], indirect=True)
def test_a_wait_that_needs_a_service_says_how_to_start_one(project: Project, flags: list[str]) -> None:
    refused = project.rayflow("run", "flow.py", "asking", *flags)
    assert refused.returncode == 1
    assert "rayflow serve" in refused.stderr
