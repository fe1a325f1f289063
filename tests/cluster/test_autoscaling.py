"""A cluster whose autoscaler adds nodes for what waits: calls are sent in such a way that it sees them, gangs too.

The nodes are of Ray's fake provider, which starts them on this machine. That takes half a minute where nothing else
runs, and minutes where much does: so this is tried by hand.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import processes
import pytest
from projects import Project

pytestmark = [pytest.mark.ray, pytest.mark.campaign]

HEAD = "f" * 51 + "00000"
"""The id under which the fake provider knows its head."""

MOST_NODES = 2

COMMANDS = (
    "initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray"
)  # fmt: skip

FLOW = """
    import time
    import ray
    from rayflow import get_gang, task

    def node():
        return ray.get_runtime_context().get_node_id()

    @task
    def takes_a_second(folder, n):
        open(f"{folder}/{node()}", "w").close()
        time.sleep(1)

    where = ray.remote(node)

    @task(gang=[{"CPU": 2}] * 3, strategy="STRICT_SPREAD")
    def wide():
        gang = get_gang()
        return ray.get([where.options(**gang.place(rank)).remote() for rank in range(len(gang))])
"""

SCRIPT = """
    import json
    import os
    import sys
    import time
    import flow
    from rayflow import Scheduler

    with Scheduler(address=sys.argv[1]) as scheduler:
        began = time.monotonic()
        submission = scheduler.submit([flow.takes_a_second("nodes", n) for n in range(1000)])
        while len(os.listdir("nodes")) < 3 and time.monotonic() - began < 100:
            time.sleep(0.05)
        seconds = time.monotonic() - began
        submission.cancel()
        wide = scheduler.submit(flow.wide()).result(timeout=60)
    print(json.dumps({"nodes": os.listdir("nodes"), "seconds": seconds, "wide": wide}))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def scaling(port: int) -> dict[str, Any]:
    """The autoscaler's settings: from no node to MOST_NODES of two processors, as soon as something waits."""
    return {
        "cluster_name": "scaled",
        "max_workers": MOST_NODES,
        "idle_timeout_minutes": 5,
        "upscaling_speed": 100,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": f"127.0.0.1:{port}",
            "head_node_id": HEAD,
            "launch_multiple": True,
        },
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 2}, "node_config": {}, "max_workers": 0},
            "worker": {"resources": {"CPU": 2}, "node_config": {}, "min_workers": 0, "max_workers": MOST_NODES},
        },
        "head_node_type": "ray.head.default",
        "auth": {},
        "file_mounts": {},
        **{f"{words}_commands": [] for words in COMMANDS},
        "cluster_synced_files": [],
    }


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a head with an autoscaler."""
    folder, mark, port = tempfile.mkdtemp(prefix="rf", dir="/tmp"), uuid.uuid4().hex, free_port()
    settings = Path(folder, "scaling.yaml")
    settings.write_text(json.dumps(scaling(port)))
    first = 20_000 + port % 12_000  # below the ports that the system gives out
    head = subprocess.Popen(
        [
            sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}",
            "--node-ip-address=127.0.0.1", "--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats",
            f"--temp-dir={folder}", "--object-store-memory=100000000", f"--min-worker-port={first}",
            f"--max-worker-port={first + 200}", f"--autoscaling-config={settings}",
        ],
        env={
            **os.environ, "RAYFLOW_SCALED_BY": mark, "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD, "RAY_CLOUD_INSTANCE_ID": HEAD,
        },
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        end = time.monotonic() + 60
        while not _answers(port):
            assert head.poll() is None and time.monotonic() < end, "the head does not start"
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        processes.end(processes.marked("RAYFLOW_SCALED_BY", mark))
        head.wait()
        processes.end(processes.marked("RAYFLOW_SCALED_BY", mark))
        shutil.rmtree(folder, ignore_errors=True)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_nodes_are_added_for_calls_that_wait_and_for_a_gang_and_take_part(tmp_path: Path, address: str) -> None:
    project = Project(tmp_path)
    for name, text in (("rayflow.toml", ""), ("flow.py", FLOW), ("script.py", SCRIPT)):
        project.write(name, text)
    (tmp_path / "nodes").mkdir()
    done = project.python("script.py", address, timeout=200)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert len(told["nodes"]) == 1 + MOST_NODES
    assert len(set(told["wide"])) == 3
