"""Two machines, started as `cluster/` says: by the commands of the systemd units, and by the batch script for Slurm."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cluster_files
import pytest
from machines import Machine, linked_machines, wait_for
from projects import REPOSITORY

pytestmark = [pytest.mark.ray, pytest.mark.netns, pytest.mark.campaign, pytest.mark.timeout(600)]

HEAD, WORKER = "10.77.36.1", "10.77.36.2"

FLOW = """
import socket
import time
from rayflow import task

@task
def where(n: int):
    time.sleep(0.2)
    return socket.gethostname()

@task
def main(n: int):
    return [where(each) for each in range(n)]
"""


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Machine, Machine]]:
    """Both machines. A project and a store lie on what they share; no setting of the tests reaches them."""
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    (tmp_path / "rayflow.toml").write_text("")
    (tmp_path / "flow.py").write_text(FLOW)
    with linked_machines(HEAD, WORKER) as (head, worker):
        yield head, worker


def by_unit(name: str, machine: Machine) -> tuple[str, dict[str, str]]:
    """The shell code of a unit, with the paths of this machine for those of the unit, and its environment."""
    places = {
        "/etc/rayflow/env.sh": str(cluster_files.CLUSTER / "env.sh"), "/etc/rayflow": str(machine.disk),
        "/var/lib/rayflow": str(machine.disk), "${HEAD}": HEAD, "10.0.0.5": HEAD,
    }  # fmt: skip

    def here(text: str) -> str:
        for there, place in places.items():
            text = text.replace(there, place)
        return text

    service = dict(cluster_files.unit(name)["Service"])
    environment = dict(re.findall(r"^(\w+)=(.*)$", here(cluster_files.FILES["onprem/cluster.conf"]), re.MULTILINE))
    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    if "Environment" in service:
        key, _, value = here(service["Environment"]).partition("=")
        environment[key] = value
    # A busy machine takes longer to start a node than Ray waits by default; the service would start it again.
    environment |= {"HOME": str(machine.disk), "RAY_raylet_start_wait_time_s": "120"}
    return here(shlex.split(service["ExecStart"])[2]), environment


def test_a_head_that_is_killed_is_started_again_by_its_service_and_the_worker_comes_back(
    pair: tuple[Machine, Machine], tmp_path: Path
) -> None:
    head, worker = pair

    def start(machine: Machine, name: str) -> None:
        code, environment = by_unit(name, machine)
        log = tmp_path / f"{name}-{time.monotonic_ns()}.log"
        wait_for(machine.start("/bin/sh", "-c", code, log=log, **environment), log, b"Ray runtime started", 200)

    def run(n: int) -> set[str]:
        _, environment = by_unit("ray-head", head)
        words = f"rayflow run --address auto --store {tmp_path}/store flow.py main --n {n}"
        code = f". {cluster_files.CLUSTER}/env.sh && {words}"
        own = {"PYTHONPATH": str(REPOSITORY), **environment}
        done = head.run("/bin/sh", "-c", code, cwd=tmp_path, **own)
        assert done.returncode == 0, done.stderr
        return set(re.findall(r"machine-\w+", done.stdout))

    for machine in pair:
        machine.seen(machine.disk / "token").write_text("00" * 32)
    start(head, "ray-head")
    start(worker, "ray-worker")
    assert run(4) == {"machine-two"}, "no task runs on the head"
    while left := set(head.processes()) - {head.init.pid}:  # as systemd: until none of its processes is left
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    tidy = dict(cluster_files.unit("ray-head")["Service"])["ExecStartPre"].replace("/var/lib/rayflow", str(head.disk))
    assert head.run(*shlex.split(tidy)).returncode == 0
    start(head, "ray-head")
    assert run(8) == {"machine-two"}


def test_a_slurm_job_uses_all_its_nodes_and_leaves_nothing(pair: tuple[Machine, Machine], tmp_path: Path) -> None:
    first, second = pair
    job = str(10_000_000 + os.getpid())
    scratch = Path(f"/tmp/rayflow-{job}")
    scratch.mkdir()  # on real nodes /tmp is the node's own
    assert second.run("mount", "-t", "tmpfs", "tmpfs", str(scratch)).returncode == 0
    enter = f"nsenter --target={second.init.pid} --mount --net --uts"
    programs = {
        "scontrol": "echo machine-one; echo machine-two",
        "srun": f'while [[ "$1" == --* ]]; do shift; done; exec {enter} "$@"',
    }
    for folder in ("bin", "home"):
        (tmp_path / folder).mkdir()
    for name, code in programs.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{code}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    own = {
        "HOME": str(tmp_path / "home"), "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "VENV": str(Path(sys.executable).parents[1]), "CLUSTER_ENV": str(cluster_files.CLUSTER / "env.sh"),
        "PYTHONPATH": str(REPOSITORY), "SLURM_JOB_ID": job, "SLURM_JOB_NODELIST": "machine-[one,two]",
        "SLURM_CPUS_ON_NODE": "1", "SLURM_CPUS_PER_TASK": "1", "SLURM_MEM_PER_NODE": "2000",
        "RAY_raylet_start_wait_time_s": "120",
    }  # fmt: skip
    script = str(cluster_files.CLUSTER / "slurm.sbatch")
    done = first.run("bash", script, "flow.py", "main", "--n", "60", cwd=tmp_path, timeout=240, **own)
    assert done.returncode == 0, done.stderr
    assert set(re.findall(r"machine-\w+", done.stdout.splitlines()[-1])) == {"machine-one", "machine-two"}
    assert os.listdir(tmp_path / "home") == [] and not scratch.exists()
    assert set(second.processes()) == {second.init.pid}
