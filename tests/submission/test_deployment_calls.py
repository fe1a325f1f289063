"""Calls of tasks of another project on a cluster of its own, with a store of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest
from waiting import until

from rayflow.submission.job_api import PREFIX

pytestmark = [pytest.mark.ray, pytest.mark.slow]

CALL = "rayflow.deployments.genomics"

FAR = '''
import os
import signal
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


@task(max_worker_losses=0)
def fragile(path: str):
    """Its worker is lost until the file is there."""
    if not Path(path).exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return "seen"


@task
def reverse(data: bytes):
    return data[::-1]
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
    return deployment_task("genomics", "align", wait=False).options(cache=False)([0, 1, 2], scale=7)


@task
def fail():
    return deployment_task("genomics", "fail")(3)


@task
def until(path: str):
    return deployment_task("genomics", "until").options(retries=1)(path)


@task
def fragile(path: str):
    return deployment_task("genomics", "fragile")(path)


@task
def reverse():
    return ends(deployment_task("genomics", "reverse")(bytes(range(250)) * 4000))


@task
def ends(data: bytes):
    return [len(data), data[0], data[-1]]


@task
def misfit():
    return align([1], size=3)
'''


ENTRIES = ("align", "fail", "until", "fragile", "reverse")


@dataclass
class Sides:
    """The caller's project with its store, and the store of the other side: a folder, or a URL."""

    laptop: Any
    far_store: str

    def run(self, *words: str) -> tuple[int, str, str]:
        return self.laptop("run", "--inline", "flow.py", *words)

    def near(self, query: str) -> list[tuple[Any, ...]]:
        return self.laptop.sql(query)

    def far(self, query: str) -> list[tuple[Any, ...]]:
        from rayflow.api import history

        return list(history(store=self.far_store).sql(query).fetchall())


@pytest.fixture
def sides(laptop) -> Sides:
    return sides_with(laptop, str(Path(laptop.store).parent / "far store"))


def sides_with(laptop: Any, far_store: str) -> Sides:
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
        entries = {{ {", ".join(f'{name} = "pipeline.py:{name}"' for name in ENTRIES)} }}
        """,
    )
    return Sides(laptop, far_store)


def test_a_call_is_an_execution_there_and_its_value_here_and_only_new_calls_are_asked_for(sides):
    # From a worker of a cluster, in a copy of the project: the settings and the code of the other side come along.
    code, out, err = sides.laptop.submit("flow.py", "main")
    assert (code, out) == (0, "13\n"), err
    [(far_id, status, there)] = sides.far("select execution_id, status, task_name from executions")
    assert (status, there) == ("done", "pipeline.align")
    assert sides.far("select count(*) from jobs where task_name = 'pipeline.double'") == [(1,)]
    # Each store knows of the other one's execution.
    [(execution, job)] = sides.near(f"select execution_id, job_id from jobs where task_name = '{CALL}'")
    assert f"genomics: started execution {far_id} in {sides.far_store}" in err
    assert f"far_execution={far_id}" in sides.laptop("log", job)[1]
    assert job[:12] in sides.laptop("log", "--jobs", "--tag", f"far_execution={far_id}")[1]
    told = sides.laptop("log", far_id, "--store", sides.far_store)[1]
    assert f"called_by_execution={execution}" in told and f"called_by_store={sides.laptop.store}" in told
    # The cache answers here, and the cluster is not asked.
    sides.laptop.project.edit("rayflow.toml", sides.laptop.cluster.address, "http://127.0.0.1:9")
    assert sides.run("main")[:2] == (0, "13\n")
    # Another version is another call; no cluster is an error within seconds.
    sides.laptop.project.edit("rayflow.toml", 'project = "genomics"', 'project = "genomics"\nversion = 2')
    begun = time.monotonic()
    code, _, err = sides.run("main")
    assert code == 2 and time.monotonic() - begun < 20
    assert "The cluster of the deployment 'genomics' does not take the call" in err and "127.0.0.1:9" in err
    assert len(sides.far("select 1 from executions")) == 1
    # Without the cache the call is computed anew there, too, but not what it calls. This one does not wait.
    sides.laptop.project.edit("rayflow.toml", "http://127.0.0.1:9", sides.laptop.cluster.address)
    code, out, err = sides.run("anew")
    assert code == 0, err
    status = f"select status from executions where execution_id = {out.strip()}"
    assert sides.far(status) in ([], [("running",)])
    until(lambda: sides.far(status) == [("done",)])
    jobs = sides.far(f"select task_name, how from jobs where execution_id != '{far_id}' order by task_name")
    assert jobs == [("pipeline.align", "computed"), ("pipeline.double", "cached")]


def test_a_failure_there_is_the_failure_of_the_call(sides):
    code, out, err = sides.run("fail")
    [(far_id, status)] = sides.far("select execution_id, status from executions")
    assert (code, out, status) == (1, "", "failed")
    assert f"The execution {far_id} has failed at the deployment 'genomics': ValueError: no planet 3" in err
    assert f"rayflow log {far_id}" in err
    # What its signature refuses has no execution there.
    code, _, err = sides.run("misfit")
    assert code == 1 and "unexpected keyword argument 'size'" in err
    assert len(sides.far("select 1 from executions")) == 1


def test_an_execution_that_the_world_has_ended_there_goes_on_when_the_one_here_is_resumed(sides, tmp_path):
    sign = tmp_path / "sign"
    code, out, err = sides.run("fragile", "--path", str(sign))
    [(far_id, status, error)] = sides.far("select execution_id, status, error from executions")
    assert (code, out, status) == (2, "", "failed") and error.startswith("rayflow.errors.WorkerLost"), err
    assert f"The execution {far_id} has failed at the deployment 'genomics': {error.partition('.')[0]}" in err
    sign.touch()
    code, out, err = sides.laptop("resume", "-", "--inline")
    assert (code, out) == (0, "'seen'\n"), err
    assert f"started execution {far_id} in {sides.far_store} again" in err
    assert sides.far("select execution_id, status, life from executions") == [(far_id, "done", 1)]


def test_the_store_of_a_deployment_may_be_a_bucket(laptop, bucket):
    sides = sides_with(laptop, f"{bucket}/far")
    code, out, err = sides.run("reverse", "--json")
    assert code == 0, err
    assert json.loads(out) == [1_000_000, 249, 0]
    assert sides.far("select status, task_name from executions") == [("done", "pipeline.reverse")]
    code, _, err = sides.run("fail")
    assert code == 1 and "ValueError: no planet 3" in err and f"--store {bucket}/far" in err


def test_an_execution_starts_once_whatever_is_killed_here_and_there(sides, tmp_path):
    sign = tmp_path / "sign"
    words = [sys.executable, "-m", "rayflow", "run", "--inline", "flow.py", "until", "--path", str(sign)]
    here = {"cwd": sides.laptop.project.path, "env": sides.laptop.project.full_environment({"PYTHONUNBUFFERED": "1"})}
    with (tmp_path / "err").open("w") as err:
        driver = subprocess.Popen(words, stderr=err, **here)
    until(sign.with_suffix(".begun").exists)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    resume = [sys.executable, "-m", "rayflow", "resume", "-", "--inline"]
    resumed = subprocess.Popen(resume, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **here)
    assert resumed.stdout is not None
    lines: list[str] = []
    read_to(resumed.stdout, "was started before", lines)
    [(far_id, pid)] = sides.far("select execution_id, pid from executions")
    job = f"{PREFIX}{far_id}"
    assert [each.submission_id for each in sides.laptop.cluster.api.jobs()].count(job) == 1
    # The next attempt of the call goes on with the execution whose process is gone.
    os.kill(pid, signal.SIGKILL)
    read_to(resumed.stdout, " again", lines)
    sign.touch()
    lines.append(resumed.communicate(timeout=90)[0])
    assert resumed.returncode == 0 and "'seen'" in lines[-1], "".join(lines)
    assert sides.far("select execution_id, status, life from executions") == [(far_id, "done", 1)]
    assert [each.submission_id.startswith(job) for each in sides.laptop.cluster.api.jobs()].count(True) == 2
    # Who attaches sees the job that went on.
    code, _, err = sides.laptop("attach", far_id, "--address", sides.laptop.cluster.address)
    assert code == 0 and "rayflow began" not in err, err


def read_to(stream: IO[str], text: str, lines: list[str]) -> None:
    for line in stream:
        lines.append(line)
        if text in line:
            return
    raise AssertionError("".join(lines))
