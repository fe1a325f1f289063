"""Rows about processes: from the start of the command to its answer."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from tests.benchmarks.measuring import Plan, Row, child_environment, first_line_of, interleaved

FLOW = '''"""The smallest workflow."""

from rayflow import task


@task
def main(name: str = "world") -> str:
    """Greet."""
    return f"hello {name}"
'''

START_RAY = """
import ray
ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
print("up", flush=True)
ray.shutdown()
"""


def _project(plan: Plan) -> Path:
    folder = plan.folder("hello")
    (folder / "flow.py").write_text(FLOW)
    (folder / "rayflow.toml").write_text("")
    return folder


def _rayflow(*words: str) -> list[str]:
    return [sys.executable, "-m", "rayflow", *words]


def hello_cached(plan: Plan) -> Row:
    """A wholly cached run: process start to answer."""
    folder, environment = _project(plan), child_environment()
    assert first_line_of(_rayflow("run", "--inline", "flow.py", "main"), folder, environment)[2] == "'hello world'"
    command = _rayflow("run", "flow.py", "main")
    ends: list[float] = []

    def cached() -> float:
        answered, ended, line = first_line_of(command, folder, environment)
        assert line == "'hello world'"
        ends.append(ended)
        return answered

    cached()
    imported = _modules_of(command, folder, environment)
    assert "rayflow" in imported
    assert "ray" not in imported, "a cached run has imported Ray"
    bare, seconds = interleaved(
        2 * plan.rounds + 1, lambda: first_line_of([sys.executable, "-c", "pass"], folder, environment)[1], cached
    )
    return Row(
        "hello-cached",
        "cached hello world, Ray not imported",
        seconds,
        "s",
        "python -c pass",
        bare,
        "< 0.25 s more",
        seconds < bare + 0.25,
        (f"Ray was not imported; to the process's end {statistics.median(ends):.2f} s",),
        "process - answer",
        {"redun": _redun_hello(plan)},
    )


def _modules_of(command: list[str], folder: Path, environment: dict[str, str]) -> set[str]:
    """The top-level packages that a Python command imports."""
    first_line_of([command[0], "-X", "importtime", *command[1:]], folder, environment)
    lines = (folder / "stderr.txt").read_text().splitlines()
    names = [line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")]
    return {name.partition(".")[0] for name in names}


def _redun_hello(plan: Plan) -> str:
    found = plan.peer("redun", "hello", plan.rounds)
    return found if isinstance(found, str) else f"{found['seconds']:.2f} s"


def help_text(plan: Plan) -> Row:
    """`rayflow --help`."""
    folder, environment = _project(plan), child_environment()
    command = _rayflow("--help")
    first_line_of(command, folder, environment)
    bare, seconds = interleaved(
        2 * plan.rounds + 1,
        lambda: first_line_of([sys.executable, "-c", "pass"], folder, environment)[1],
        lambda: first_line_of(command, folder, environment)[1],
    )
    return Row(
        "help", "rayflow --help", seconds, "s", "python -c pass", bare, "< 0.15 s", seconds < 0.15,
        clock="process - its end",
    )  # fmt: skip


def hello_cold(plan: Plan) -> Row:
    """Nothing cached, no Ray running: process start to answer."""
    environment = child_environment()
    ends: list[float] = []

    def cold() -> float:
        folder = _project(plan)
        command = _rayflow("run", "--address", "local", "flow.py", "main")
        answered, ended, line = first_line_of(command, folder, environment)
        assert line == "'hello world'"
        ends.append(ended)
        return answered

    def start_ray() -> float:
        answered, _, line = first_line_of([sys.executable, "-c", START_RAY], plan.folder("ray"), environment)
        assert line == "up"
        return answered

    peer, seconds = interleaved(plan.rounds, start_ray, cold)
    return Row(
        "hello-cold",
        "cold hello world, no Ray yet",
        seconds,
        "s",
        "ray.init",
        peer,
        "< 0.8 s more",
        seconds < peer + 0.8,
        (f"{seconds - peer:.2f} s more than ray.init; to the process's end {statistics.median(ends):.2f} s",),
        "process - answer",
    )
