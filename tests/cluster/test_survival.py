"""Drivers that a signal ends, one that loses its own raylet, and a node that takes no scheduler.

Each driver is a process of its own, with a body and a script that run. All drivers of a test run at the same time: what
takes long is that each begins and ends.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from projects import Project
from waiting import until

from rayflow.api import Scheduler
from rayflow.runtime.protocol.reports import Silent
from rayflow.values.process import waits

pytestmark = pytest.mark.ray

FLOW = """
    import os
    import time
    from pathlib import Path
    from rayflow import Scheduler, script, task

    @task(num_cpus=0.1)
    def quick(n):
        return n

    @task(num_cpus=0.1)
    def slow(marks, after):
        Path(marks, "body").write_text(str(os.getpid()))
        time.sleep(600)

    @task
    def main(marks: str):
        first = quick(1)
        program = script(f"echo $$ > {marks}/new; mv {marks}/new {marks}/script; sleep 600", num_cpus=0.1)
        return [first, slow(marks, first), program]

    if __name__ == "__main__":
        with Scheduler() as scheduler:
            other = scheduler.submit(main(os.environ["MARKS"]))
            print(scheduler.run([main(os.environ["MARKS"]), quick(2)]))
"""


@dataclass
class Driver:
    """A driver that has begun its calls."""

    process: subprocess.Popen[str]
    marks: Path
    store: Path
    body: int
    script: int

    def end(self, seconds: float = 60) -> tuple[int, str, str, float]:
        """Wait for its end: exit code, stdout, stderr, seconds."""
        begun = time.monotonic()
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, err, time.monotonic() - begun


def is_there(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not collected does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def begin(project: Project, name: str, *words: str, **environment: str) -> Callable[[], Driver]:
    """Start a driver; what is given waits until its calls run."""
    marks = project.path / name
    marks.mkdir()
    store = project.path / f"{name}.store"
    options = [] if words[0].endswith(".py") else ["main", "--marks", str(marks)]
    process = subprocess.Popen(
        [sys.executable, *words, *options], cwd=project.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=project.full_environment({**environment, "MARKS": str(marks), "RAYFLOW_STORE": str(store)}),
    )  # fmt: skip

    def begun() -> Driver:
        def runs() -> bool:
            assert process.poll() is None, process.communicate()
            return (marks / "script").exists() and (marks / "body").exists() and bool((marks / "body").read_text())

        until(runs, 150)
        return Driver(process, marks, store, int((marks / "body").read_text()), int((marks / "script").read_text()))

    return begun


def executions(store: Path) -> list[tuple[Any, ...]]:
    from rayflow.api import history

    asked = "select status, error, (select count(*) from jobs where status = 'open') from executions"
    return list(history(store=str(store)).sql(asked).fetchall())


COMMAND = ("-m", "rayflow", "run", "flow.py")
SIGNALS = {"command": signal.SIGTERM, "library": signal.SIGHUP, "killed": signal.SIGKILL}


def test_a_signal_ends_a_run_on_a_cluster_as_ctrl_c_does_and_nothing_stays_behind(project: Project, ray_cluster: str):
    """Also of a driver that is killed at once: its scheduler and its calls end with it."""
    project.write("flow.py", FLOW)
    words = {"command": COMMAND, "library": ("flow.py",), "killed": COMMAND}
    starting = {name: begin(project, name, *words[name], RAYFLOW_ADDRESS=ray_cluster) for name in SIGNALS}
    drivers = {name: begun() for name, begun in starting.items()}
    for name, driver in drivers.items():
        driver.process.send_signal(SIGNALS[name])
    ended = {name: driver.end() for name, driver in drivers.items()}
    assert {name: code for name, (code, *_) in ended.items()} == {"command": 143, "library": 129, "killed": -9}
    for name, driver in drivers.items():
        until(lambda driver=driver: not is_there(driver.script) and not is_there(driver.body), 30)
        code, out, err, _ = ended[name]
        assert out == "" and "Traceback" not in err and "***" not in err, err
        if code > 0:
            assert "what was finished is kept. Go on with: rayflow resume " in err
            error = f"rayflow.errors.Cancelled: the execution was cancelled by {SIGNALS[name].name}"
            # The library's driver has submitted two, and waits for one of them.
            assert executions(driver.store) == [("cancelled", error, 0)] * (2 if name == "library" else 1)
    assert executions(drivers["killed"].store)[0][0] == "running", "`rayflow log` tells that it is lost"


def test_a_driver_whose_own_raylet_is_killed_ends_with_one_clear_error(project: Project) -> None:
    project.write("flow.py", FLOW)
    driver = begin(project, "raylet", *COMMAND, RAYFLOW_NUM_CPUS="1")()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_mine = entry.joinpath("stat").read_text().rpartition(")")[2].split()[1] == str(driver.process.pid)
            if is_mine and b"raylet/raylet" in (entry / "cmdline").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)
    code, out, err, took = driver.end()
    assert (code, out, took < 45) == (2, "", True), (err, took)
    *before, last = err.splitlines()
    assert last.startswith("error: The Ray of this machine is lost: its process on this machine (the raylet) has not")
    assert "What was finished is kept." in last and "go on with: rayflow resume " in last
    starting = ("results are kept in", "starting Ray on this machine", "starting the scheduler")
    ours = (*starting, "warning: The cluster has not answered", "warning: Still waiting after ", "Still waiting after ")
    assert all(line.startswith(ours) or " running" in line or " queued" in line for line in before), before
    until(lambda: not is_there(driver.script) and not is_there(driver.body), 30)


def test_where_the_drivers_node_takes_no_scheduler_it_runs_on_another_one_and_that_is_told(
    project: Project, ray_cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from rayflow.runtime.on_ray import cluster

    gone = NodeAffinitySchedulingStrategy("ab" * 28, soft=False)  # as of a node that is about to leave
    monkeypatch.setattr(cluster, "_on_this_node", lambda: gone)
    flow = project.write("flow.py", FLOW) and project.load("flow")
    told: list[str] = []
    with Scheduler(store=str(project.path / ".rayflow"), address=ray_cluster, reporter=Telling(told)) as scheduler:
        assert scheduler.run(flow.quick(3)) == 3
    assert told == ["This node of the cluster takes no new processes: the scheduler runs on another one."]


class Telling(Silent):
    """A reporter that remembers warnings."""

    def __init__(self, told: list[str]) -> None:
        self.told = told

    def warned(self, text: str) -> None:
        self.told.append(text)


def test_a_scheduler_that_hangs_is_told_of_and_replaced_and_the_run_goes_on(
    project: Project, ray_cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray takes a process that is stopped for one that is alive, for ever."""
    import ray

    from rayflow.runtime.on_ray import cluster

    flow = project.write("flow.py", FLOW) and project.load("flow")
    told: list[str] = []
    with Scheduler(store=str(project.path / ".rayflow"), address=ray_cluster, reporter=Telling(told)) as scheduler:
        assert scheduler.run(flow.quick(3)) == 3
        hung = ray.get(scheduler._driver._cluster.actor().process_id.remote())
        monkeypatch.setattr(waits, "SLOW_SECONDS", 0.5)
        monkeypatch.setattr(waits, "_reported_at", {})
        monkeypatch.setattr(cluster, "ANSWER_SECONDS", 2.0)
        os.kill(hung, signal.SIGSTOP)
        submission = scheduler.submit(flow.quick(4))
        monkeypatch.setattr(cluster, "ANSWER_SECONDS", 60.0)
        assert submission.result(timeout=60) == 4
    (first, *_) = told  # on a busy machine, also of the new one while it starts
    assert re.match(r"Still waiting after \d+ s for the scheduler: it starts on the cluster, or waits for its", first)
    until(lambda: not is_there(hung), 30)
