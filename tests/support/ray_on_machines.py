"""Ray on machines of one's own: heads, workers, and an object store that all of them reach.

In: machines (`machines.py`). Out: processes there, once they are up. Never: ends one; they end with their machines.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from machines import Machine, wait_for
from projects import REPOSITORY

S3_PORT = 9000

AGENTS = "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "runtime-env-agent-port", "metrics-export-port"
"""The options for the ports of a node's agents."""


def start_ray(machine: Machine, *words: str, log: Path, **resources: int) -> subprocess.Popen[bytes]:
    """Start a node there, with a processor and these resources. words: `--head` and so on."""
    # Else the raylet waits for its agents to choose, and on a busy machine it dies of that.
    ports = [f"--{name}={number}" for number, name in enumerate(AGENTS, 52365)]
    common = [
        "start", "--block", f"--node-ip-address={machine.address}", "--num-cpus=1", "--disable-usage-stats",
        "--object-store-memory=100000000", "--resources", json.dumps(resources), f"--temp-dir={machine.disk}/ray",
        *ports,
    ]  # fmt: skip
    # A busy machine takes longer to start a node than Ray waits by default.
    machine.settings["RAY_raylet_start_wait_time_s"] = "200"
    ray = machine.start(sys.executable, "-m", "ray.scripts.scripts", *common, *words, log=log)
    wait_for(ray, log, b"Ray runtime started", 300)
    return ray


def start_s3(machine: Machine, *others: Machine, log: Path) -> None:
    """Start a server that speaks S3, with a bucket that is called `bucket`; these machines use it from now on."""
    pytest.importorskip("moto.server", reason="S3 is tried on moto's server, which is not installed")
    url = f"http://{machine.address}:{S3_PORT}"
    server = machine.start(sys.executable, "-m", "moto.server", "-H", machine.address, "-p", str(S3_PORT), log=log)
    wait_for(server, log, b"Running on")
    made = machine.run("python3", "-c", f"{_PUT}(Request('{url}/bucket', method='PUT'))")
    assert made.returncode == 0, made.stderr
    for each in (machine, *others):
        each.settings |= {
            "AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1", "PYTHONPATH": str(REPOSITORY),
        }  # fmt: skip


_PUT = "from urllib.request import Request, urlopen; urlopen"
