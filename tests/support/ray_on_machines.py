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


def start_ray(machine: Machine, *words: str, log: Path, **resources: int) -> subprocess.Popen[bytes]:
    """Start a node there, with a processor and these resources. words: `--head` and so on."""
    common = [
        "start", "--block", f"--node-ip-address={machine.address}", "--num-cpus=1", "--disable-usage-stats",
        "--object-store-memory=100000000", "--resources", json.dumps(resources), f"--temp-dir={machine.disk}/ray",
    ]  # fmt: skip
    machine.settings["RAY_raylet_start_wait_time_s"] = "60"
    for tries_left in (2, 1, 0):
        ray = machine.start(sys.executable, "-m", "ray.scripts.scripts", *common, *words, log=log)
        try:
            wait_for(ray, log, b"Ray runtime started", 120)
        except AssertionError:
            # Ray gives the agents of a node 15 seconds to start. On a busy machine that is too short at times.
            if not tries_left:
                raise
            ray.kill()
            ray.wait()
        else:
            break
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
