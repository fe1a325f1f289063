"""`rayflow push` and `rayflow pull`: what one store has recorded and computed counts in another."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from projects import Project

from rayflow.store.open import open_store

FLOW = """
    import numpy
    from rayflow import task

    @task
    def table(n: int):
        print("made")
        return numpy.arange(n)

    @task
    def total(values):
        print("summed")
        return int(values.sum())

    @task(check_valid="shallow")
    def main(n: int = 100_000):
        return total(table(n))
"""


@pytest.fixture
def two(tmp_path: Path) -> tuple[Project, Project]:
    """Two projects of equal code, each with a store of its own."""
    made = []
    for name in ("one", "two"):
        folder = tmp_path / name / "flows"
        folder.mkdir(parents=True)
        made.append(Project(folder, {"RAYFLOW_CACHE_DIR": str(tmp_path / name / "cache")}))
        made[-1].write("rayflow.toml", "")
        made[-1].write("flow.py", FLOW)
    return made[0], made[1]


def run(project: Project, *words: str) -> Any:
    done = project.rayflow("run", "--inline", "flow.py", *words)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("executions", [(), ("-",)])
def test_what_was_pulled_is_cached_and_is_shown(two: tuple[Project, Project], executions: tuple[str, ...]) -> None:
    one, other = two
    run(one, "main")
    pulled = other.rayflow("pull", str(one.path / ".rayflow"), *executions)
    assert pulled.returncode == 0, pulled.stderr
    assert "1 execution, 3 jobs" in pulled.stdout and "1 large value" in pulled.stdout
    assert "flow.table(n=100000)" in other.rayflow("log", "-").stdout
    printed = other.rayflow("sql", "select text from logs order by text", "--csv").stdout
    assert "made" in printed and "summed" in printed
    job = other.rayflow("sql", "select job_id from jobs where task_name = 'flow.total'", "--csv").stdout.split()[1]
    assert other.rayflow("why", job).returncode == 0
    again = run(other, "main")
    assert "1 job, 1 cached" in again.stderr and "summed" not in again.stderr
    assert "3 jobs" not in again.stderr
    assert run(other, "table", "--n", "100000").stderr.count("made") == 0


def test_a_shallow_answer_that_was_pulled_is_not_stale(two: tuple[Project, Project]) -> None:
    one, other = two
    run(one, "main")
    assert other.rayflow("pull", str(one.path / ".rayflow"), "-").returncode == 0
    other.edit("flow.py", "numpy.arange(n)", "numpy.arange(n) + 1")
    changed = run(other, "main")
    assert changed.stdout.strip() == str(sum(range(100_000)) + 100_000)
    assert "made" in changed.stderr and "summed" in changed.stderr
    # And back: both versions of the code find their own result, whichever was recorded last.
    assert other.rayflow("push", str(one.path / ".rayflow")).returncode == 0
    assert run(one, "main").stdout.strip() == str(sum(range(100_000)))
    assert "1 job, 1 cached" in run(one, "main").stderr


def test_a_push_to_a_bucket_is_whole_and_a_pull_brings_it_elsewhere(
    two: tuple[Project, Project], bucket: str
) -> None:
    one, other = two
    run(one, "main")
    counted = one.rayflow("push", f"{bucket}/results", "--dry-run")
    assert "would be copied" in counted.stdout, counted.stderr
    pushed = one.rayflow("push", f"{bucket}/results", "--json")
    told = json.loads(pushed.stdout)
    assert told["copied"]["blobs"] == 1 and told["copied"]["rows"]["jobs"] == 3
    assert "has all of it already" in one.rayflow("push", f"{bucket}/results").stdout
    assert one.rayflow("store", "check", "--store", f"{bucket}/results").returncode == 0
    pulled = other.rayflow("pull", f"{bucket}/results")
    assert pulled.returncode == 0, pulled.stderr
    assert "1 job, 1 cached" in run(other, "main").stderr


def test_a_push_that_is_killed_is_taken_up_where_it_was(two: tuple[Project, Project], tmp_path: Path) -> None:
    one, _ = two
    more = "@task\n    def many(k: int):\n        return [table(6_000 + i) for i in range(k)]\n"
    one.write("many.py", f"{FLOW}\n    {more}")
    done = one.rayflow("run", "--inline", "many.py", "many", "--k", "300", "--json")
    assert done.returncode == 0, done.stderr
    blobs = tmp_path / "other" / "blobs"
    pushing = subprocess.Popen(
        [sys.executable, "-m", "rayflow", "push", str(tmp_path / "other")],
        cwd=one.path, env={**os.environ, **one.environment}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    while pushing.poll() is None and (not blobs.exists() or len(list(blobs.glob("*/*"))) < 30):
        time.sleep(0.002)
    pushing.send_signal(signal.SIGKILL)
    pushing.wait()
    assert pushing.returncode == -signal.SIGKILL
    there = open_store(tmp_path / "other")
    assert there.snapshot().commits == ()
    assert {problem.kind for problem in there.check()} <= {"orphaned"}
    told = json.loads(one.rayflow("push", str(tmp_path / "other"), "--json").stdout)
    assert told["copied"]["present"] >= 30
    assert told["copied"]["present"] + told["copied"]["blobs"] >= 300
    assert {problem.kind for problem in open_store(tmp_path / "other").check()} <= {"orphaned"}
    assert "has all of it" in one.rayflow("push", str(tmp_path / "other")).stdout


def test_an_export_is_imported_elsewhere_and_answers_there(two: tuple[Project, Project], tmp_path: Path) -> None:
    one, other = two
    run(one, "main")
    file = str(tmp_path / "all.zip")
    done = one.rayflow("export", file, "-")
    assert done.returncode == 0 and "1 execution, 3 jobs" in done.stdout, done.stderr
    assert one.rayflow("export", file).returncode == 1
    taken = other.rayflow("import", file, "--json")
    assert json.loads(taken.stdout)["copied"]["executions"] == 1, taken.stderr
    assert "1 job, 1 cached" in run(other, "main").stderr
    other.edit("flow.py", "numpy.arange(n)", "numpy.arange(n) + 1")
    assert "made" in run(other, "main").stderr


def test_mistakes_are_one_clear_line(rayflow: Any, tmp_path: Path) -> None:
    rayflow.run("main")
    assert "no store" in rayflow("pull", str(tmp_path / "nowhere")).err
    same = rayflow("push", ".rayflow")
    assert same.code == 1 and "another one" in same.err
    unknown = rayflow("push", str(tmp_path / "other"), "abcdef")
    assert unknown.code == 1 and "abcdef" in unknown.err
    assert not (tmp_path / "other").exists()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("x")
    assert "not empty" in rayflow("push", str(tmp_path / "thesis")).err


def test_a_dry_run_makes_no_store(rayflow: Any, tmp_path: Path) -> None:
    rayflow.run("main")
    assert "would be copied" in rayflow("push", str(tmp_path / "other"), "--dry-run").out
    assert not (tmp_path / "other").exists()
