"""Calls of tasks of another project on a cluster of its own, with a store of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rayflow.submission.job_api import PREFIX

pytestmark = [pytest.mark.ray, pytest.mark.slow]

FAR = '''
import time
from pathlib import Path

from rayflow import task


@task
def double(n: int):
    return 2 * n


@task
def align(reads: list, scale: int = 1):
    """Its own calls are in its own execution."""
    return {"sum": double(sum(reads)), "scale": scale}


@task
def until(path: str):
    Path(path).with_suffix(".begun").touch()
    while not Path(path).exists():
        time.sleep(0.05)
    return "seen"


@task
def fail(n: int):
    raise ValueError(f"no planet {n}")
'''

NEAR = '''
from rayflow import deployment_task, task

align = deployment_task("genomics", "align")


@task
def total(found):
    return found["sum"] + found["scale"]


@task
def main(n: int = 3):
    return total(align(list(range(n)), scale=7))


@task
def anew():
    return align.options(cache=False)([0, 1, 2], scale=7)


@task
def fail():
    return deployment_task("genomics", "fail")(3)


@task
def until(path: str, wait: bool = True):
    return deployment_task("genomics", "until", wait=wait)(path)


@task
def misfit():
    return align([1], size=3)
'''


@dataclass
class Sides:
    """The caller's project with its store, and the store of the other side."""

    laptop: Any
    far_store: Path

    def run(self, *words: str) -> tuple[int, str, str]:
        return self.laptop("run", "--inline", "flow.py", *words)

    def near(self, query: str) -> list[tuple[Any, ...]]:
        return self.laptop.sql(query)

    def far(self, query: str) -> list[tuple[Any, ...]]:
        from rayflow.api import history

        return list(history(store=str(self.far_store)).sql(query).fetchall())


@pytest.fixture
def sides(laptop) -> Sides:
    far_store = laptop.store.parent / "far store"
    laptop.project.write("genomics/rayflow.toml", "")
    laptop.project.write("genomics/pipeline.py", FAR)
    laptop.project.write("flow.py", NEAR)
    laptop.project.write(
        "rayflow.toml",
        f"""
        store = "{laptop.store}"
        [deployments.genomics]
        address = "{laptop.cluster.address}"
        token_file = "{laptop.cluster.token_file}"
        store = "{far_store}"
        project = "genomics"
        entries = {{ align = "pipeline.py:align", fail = "pipeline.py:fail", until = "pipeline.py:until" }}
        """,
    )
    return Sides(laptop, far_store)


def until(holds: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_call_is_an_execution_there_and_its_value_here_and_is_not_asked_for_again(sides, capsys):
    code, out, err = sides.run("main")
    assert (code, out) == (0, "13\n"), err
    [(far_id, status, there)] = sides.far("select execution_id, status, task_name from executions")
    assert (status, there) == ("done", "pipeline.align")
    assert sides.far("select count(*) from jobs where task_name = 'pipeline.double'") == [(1,)]
    # Each store knows of the other one's execution.
    [(execution, job)] = sides.near("select execution_id, job_id from jobs where task_name = 'rayflow.deployment_call'")
    assert f"genomics: started execution {far_id} in {sides.far_store}" in err
    assert f"far_execution={far_id}" in sides.laptop("log", job)[1]
    told = sides.laptop("log", far_id, "--store", str(sides.far_store))[1]
    assert f"called_by_execution={execution}" in told and f"called_by_store={sides.laptop.store}" in told
    # The cache answers here, and the cluster is not asked.
    sides.laptop.project.edit("rayflow.toml", sides.laptop.cluster.address, "http://127.0.0.1:9")
    assert sides.run("main")[:2] == (0, "13\n")
    assert len(sides.far("select 1 from executions")) == 1
    # Another version is another call; no cluster is an error within seconds, which tells the deployment.
    sides.laptop.project.edit("rayflow.toml", 'project = "genomics"', 'project = "genomics"\nversion = 2')
    begun = time.monotonic()
    code, _, err = sides.run("main")
    assert code == 1 and "127.0.0.1:9" in err and "ClusterUnavailable" in err and time.monotonic() - begun < 10
    assert "genomics" in err


def test_a_call_without_the_cache_is_computed_there_anew(sides):
    assert sides.run("main")[0] == 0
    code, out, err = sides.run("anew")
    assert (code, out) == (0, "{'sum': 6, 'scale': 7}\n"), err
    how = "select task_name, how from jobs order by started_at"
    [_, last] = sides.far("select execution_id from executions order by started_at")
    jobs = dict(sides.far(f"select task_name, how from jobs where execution_id = '{last[0]}'"))
    assert jobs == {"pipeline.align": "computed", "pipeline.double": "cached"}, how


def test_a_failure_there_is_the_failure_of_the_call(sides):
    code, out, err = sides.run("fail")
    [(far_id, status)] = sides.far("select execution_id, status from executions")
    assert (code, out, status) == (1, "", "failed")
    assert f"The execution {far_id} has failed at the deployment 'genomics': " in err and "no planet 3" in err
    assert f"rayflow log {far_id}" in err
    code, _, err = sides.run("misfit")
    assert code == 1 and "unexpected keyword argument 'size'" in err
    assert len(sides.far("select 1 from executions")) == 1


def test_a_killed_driver_that_is_resumed_starts_it_once(sides, tmp_path):
    sign = tmp_path / "sign"
    words = [sys.executable, "-m", "rayflow", "run", "--inline", "flow.py", "until", "--path", str(sign)]
    with (tmp_path / "err").open("w") as err:
        driver = subprocess.Popen(
            words, cwd=sides.laptop.project.path, env=sides.laptop.project.full_environment(), stderr=err
        )
    until(sign.with_suffix(".begun").exists)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    resumed = subprocess.Popen(
        [sys.executable, "-m", "rayflow", "resume", "-", "--inline"], cwd=sides.laptop.project.path, text=True,
        env={**sides.laptop.project.full_environment(), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert resumed.stdout is not None
    lines = []
    for line in resumed.stdout:
        lines.append(line)
        if "was started before" in line:
            sign.touch()
            break
    rest = resumed.communicate(timeout=60)[0]
    assert resumed.returncode == 0 and "'seen'" in rest, "".join([*lines, rest])
    [(far_id, status)] = sides.far("select execution_id, status from executions")
    assert status == "done"
    jobs = [job.submission_id for job in sides.laptop.cluster.api.jobs()]
    assert jobs.count(f"{PREFIX}{far_id}") == 1


def test_a_call_that_does_not_wait_gives_the_id_and_its_lost_job_is_taken_up_again(sides, tmp_path):
    sign = tmp_path / "sign"
    code, out, err = sides.run("until", "--path", str(sign), "--no-wait")
    assert code == 0, err
    far_id = out.strip().strip("'")
    until(sign.with_suffix(".begun").exists)
    assert sides.far("select execution_id, status from executions") == [(far_id, "running")]
    sign.touch()
    until(lambda: sides.far("select status from executions") == [("done",)])
    assert os.path.exists(sign)
