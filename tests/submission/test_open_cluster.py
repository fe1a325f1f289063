"""A cluster that asks for no token and has no credentials: what a laptop with both meets there, and what it is told."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from remote_clusters import Laptop, RemoteCluster, laptop_of, remote_cluster, site_packages
from waiting import until

from rayflow.submission.job_api import PREFIX

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TOKEN = "0123456789abcdef" * 4
ID = "0197a3c2-51f0-7000-8000-0000000001{:02d}"

FLOW = """
from rayflow import task

@task
def ask(n: int = 1):
    return n

@task(resources={"moon": 1})
def moon():
    return 1

@task(gang=[{"CPU": 200}], strategy="STRICT_PACK")
def gang():
    return 1

@task(runtime_env={"image_uri": "no/such:1"})
def image():
    return 1

@task(runtime_env={"conda": "nowhere"})
def conda():
    return 1
"""


@pytest.fixture(scope="module")
def open_cluster(s3_server: str) -> Iterator[RemoteCluster]:
    """A head that knows where the S3 server is, but not who may read there."""
    with remote_cluster(None, AWS_ENDPOINT_URL=s3_server, AWS_DEFAULT_REGION="us-east-1") as found:
        yield found


@pytest.fixture
def laptop(open_cluster: RemoteCluster, project: Any, tmp_path: Path, monkeypatch, capsys) -> Laptop:
    """A project; its user has a token of another cluster."""
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    made = laptop_of(open_cluster, project, tmp_path, capsys)
    project.write("flows/asks.py", FLOW)
    return made


@pytest.mark.parametrize("mode", [None, "token"])
def test_a_token_is_no_obstacle_where_none_is_asked_for(laptop, monkeypatch, mode):
    if mode is not None:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    words = ["flows/asks.py", "ask", "--n", "7" if mode else "8"]
    if mode is None:
        code, out, err = laptop.submit(*words)
        assert (code, out) == (0, "8\n"), err
    code, told = laptop.in_new_process("run", *words, "--no-cache", "--address", laptop.cluster.control)
    assert code == 0, told
    assert told.count("starting the scheduler") == 1


def test_credentials_that_only_the_laptop_has_end_the_job_before_anything_runs(laptop, bucket):
    begun = time.monotonic()
    code, _, err = laptop.submit("flows/asks.py", "ask", "--store", f"{bucket}/results")
    assert code == 2
    assert f"{bucket}/results" in err and re.search(
        r"This process on \S+ has no credentials for it: see AWS_ACCESS_K", err
    )
    assert time.monotonic() - begun < 30
    assert "starting the scheduler" not in err


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ("gang", r"asks for a gang of 1 bundle of CPU=200; the most that a node has is CPU=2\."),
        pytest.param(
            "moon", r"asks for CPU=1, moon=1; the most that a node has is CPU=2, moon=0\.", marks=pytest.mark.campaign
        ),
    ],
)
def test_what_no_node_has_is_said_once_and_in_seconds_and_the_execution_can_be_cancelled(laptop, task, says):
    follower = subprocess.Popen(
        [sys.executable, "-m", "rayflow", "submit", "--address", laptop.cluster.address, "flows/asks.py", task],
        cwd=laptop.project.path, text=True, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert follower.stderr is not None
    begun, told = time.monotonic(), ""
    while not (found := re.search(says, told)):
        told += follower.stderr.readline()
        assert time.monotonic() - begun < 40, told
    assert found
    execution = told.partition(PREFIX)[2].split()[0]
    code, out, err = laptop("cancel", execution, "--address", laptop.cluster.address, "--reason", "too large")
    assert code == 0 and f"{execution[:18]} is cancelled" in out, err
    told += follower.stderr.read()
    assert follower.wait(20) == 130
    assert len(re.findall(says, told)) == 1
    assert ": too large." in told


@pytest.mark.parametrize(
    ("task", "says"),
    [("image", "podman"), pytest.param("conda", "Conda executable", marks=pytest.mark.campaign)],
)
def test_an_environment_that_cannot_be_made_fails_its_call_within_a_minute(laptop, task, says):
    begun = time.monotonic()
    code, _, err = laptop.submit("flows/asks.py", task)
    assert code == 2, err
    assert f"asks.{task} failed: rayflow.errors.WorkerLost" in err and says in err
    assert time.monotonic() - begun < 60


@pytest.mark.campaign
def test_a_package_that_does_not_exist_fails_the_job_within_a_minute_with_the_installers_last_lines(laptop):
    with (laptop.project.path / "rayflow.toml").open("a") as stream:
        stream.write('[environment]\npip = ["no-such-dist-zzz==9"]\n')
    begun = time.monotonic()
    code, _, err = laptop.submit("flows/asks.py", "ask")
    assert code == 2, err
    assert "No matching distribution found for no-such-dist-zzz==9" in err and "[environment]" in err
    assert time.monotonic() - begun < 60


def test_two_clients_that_submit_one_execution_at_the_same_time_start_it_once(laptop):
    execution = ID.format(1)
    words = ["submit", "--address", laptop.cluster.address, "flows/asks.py", "ask", "--execution-id", execution]
    with ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(lambda _: laptop.in_new_process(*words), range(4)))
    assert [code for code, _ in ended] == [0] * 4, ended
    assert all(told.splitlines()[0] == "1" for _, told in ended)
    assert sum("submitted as" in told for _, told in ended) == 1
    assert sum("submitted before as" in told for _, told in ended) == 3
    assert laptop.sql("select count(*), count(distinct execution_id) from executions") == [(1, 1)]
    assert not [name for name in os.listdir(f"{laptop.store}/tmp") if name.startswith("beacon-")]


def test_a_client_that_is_killed_before_the_start_has_started_nothing_and_the_next_one_starts_it(laptop, monkeypatch):
    from rayflow.submission.job_api import JobApi

    execution = ID.format(2)
    words = ["flows/asks.py", "ask", "--execution-id", execution]

    def killed(*_: Any) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(JobApi, "submit", killed)
        code, _, err = laptop.submit(*words)
    assert code == 130 and "Traceback" not in err
    assert laptop.cluster.api.job(f"{PREFIX}{execution}") is None
    code, out, err = laptop.submit(*words)
    assert (code, out) == (0, "1\n"), err
    assert "the cluster has this version already" in err


def test_another_version_on_the_cluster_is_named_before_anything_runs(laptop):
    packages = site_packages(laptop.cluster.environment)
    with laptop.cluster.without_rayflow():
        (packages / "rayflow").mkdir()
        (packages / "rayflow" / "__init__.py").touch()
        (packages / "rayflow" / "version.py").write_text('VERSION = "0.0.9"\n')
        code, _, err = laptop.submit("flows/asks.py", "ask")
        for file in (packages / "rayflow").iterdir():
            file.unlink()
        (packages / "rayflow").rmdir()
    assert code == 2
    assert re.search(r"has rayflow 0\.0\.9, but version \S+ has submitted: install rayflow-evaluator==", err), err
    assert not laptop.sql("select 1 from executions")


OTHER_RAY = """
import sys
import ray
ray.__version__ = "2.59.0"
from rayflow.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("verb", [["run", "flows/asks.py", "ask", "--no-cache"], ["doctor"]])
def test_a_process_with_another_ray_is_told_both_versions(laptop, verb):
    laptop.project.write("other.py", OTHER_RAY)
    done = laptop.project.python("other.py", *verb, "--address", laptop.cluster.control)
    assert done.returncode == (1 if verb == ["doctor"] else 2)
    said = r"runs Ray 2\.60\.0 and Python 3\.\d+\.\d+, and this process Ray 2\.59\.0 and Python 3\."
    assert re.search(said, done.stdout + done.stderr), done.stderr
    assert ("failure  versions: " in done.stdout) == (verb == ["doctor"])


def test_the_doctor_says_that_no_token_is_asked_for_and_that_workers_would_lack_uv(laptop):
    # A shell that is called uv, and carries out the file `run`.
    (laptop.project.path / "run").write_text('"$@"\nexit $?\n')
    command = ["uv", "run", sys.executable, "-m", "rayflow", "doctor", "--address", laptop.cluster.control]
    environment = {**os.environ, "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "1"}
    done = subprocess.run(
        command, executable="/bin/sh", cwd=laptop.project.path, capture_output=True, text=True, env=environment,
        timeout=90,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert f"ok       reachable: {laptop.cluster.control}, which asks for no token: 1 node" in lines
    [uv] = [line for line in lines if "uv: " in line]
    assert uv.startswith(
        "failure  uv: this process runs under `uv run`, so Ray starts workers by uv, which is missing on"
    )
    assert any(line.startswith("ok       store: ") for line in lines), done.stdout
    assert done.returncode == 1


def test_a_head_that_was_started_again_knows_no_job_and_it_is_said_where_the_execution_is_found(laptop):
    execution = ID.format(3)
    sign = laptop.project.path / "sign"
    words = ["flows/steps.py", "until", "--path", str(sign), "--execution-id", execution]
    assert laptop.submit(*words, "--detach")[0] == 0
    until(sign.with_suffix(".begun").exists)
    laptop.cluster.stop()
    laptop.cluster.start()
    code, _, err = laptop("attach", execution, "--address", laptop.cluster.address)
    assert code == 1
    assert f"has no job of an execution {execution}. A cluster forgets its jobs when it ends." in err
    code, _, err = laptop("cancel", execution, "--address", laptop.cluster.address)
    assert code == 1 and "has no job of an execution" in err
    sign.touch()
    code, out, err = laptop("resume", execution, "--inline")
    assert (code, out) == (0, "'seen'\n"), err
