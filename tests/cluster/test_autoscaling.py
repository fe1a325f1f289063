"""A cluster whose autoscaler adds nodes for what waits, and takes them away again: calls are sent in such a way that it
sees them, gangs too; added nodes take part; what was made on them outlives them.

The autoscaler is Ray's; it starts the nodes on this machine (`support/scaled_nodes.py`).
"""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import processes
import pytest
import scaled_nodes
from heads import running_head
from projects import REPOSITORY, Project

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1200)]

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

    @task(num_cpus=2)
    def takes_a_second(folder, n):
        open(f"{folder}/{node()}", "w").close()
        time.sleep(1)

    where = ray.remote(node)

    @task(gang=[{"CPU": 2}] * 3, strategy="STRICT_SPREAD")
    def wide():
        gang = get_gang()
        return ray.get([where.options(**gang.place(rank)).remote() for rank in range(len(gang))])

    @task(resources={"island": 1})
    def large(size):
        return [node(), b"x" * size]

    @task(resources={"island": 1})
    def stays(mark, until):
        import os
        open(mark, "w").close()
        while not os.path.exists(until):
            time.sleep(0.05)
        return node()

    @task
    def length(made):
        return len(made[1])
"""

SCRIPT = """
    import json
    import os
    import sys
    import time
    import flow
    import ray
    from ray.experimental import internal_kv
    from rayflow import Scheduler

    def alive():
        return [node["NodeID"] for node in ray.nodes() if node["Alive"]]

    def until(is_so, seconds=400):
        end = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < end, (alive(), os.listdir("nodes"), seen())
            time.sleep(0.1)

    def seen():
        status = internal_kv._internal_kv_get("__autoscaling_status")
        return json.loads(status)["load_metrics_report"]["resource_demand"] if status else []

    told = {}
    with Scheduler(address=sys.argv[1]) as scheduler:
        submission = scheduler.submit([flow.takes_a_second("nodes", n) for n in range(10_000)])
        until(lambda: any(shape == {"CPU": 2.0} and count >= 50 for shape, count in seen()))
        until(lambda: len(os.listdir("nodes")) >= 3)
        told["nodes"] = os.listdir("nodes")
        # While small calls go on: a node that is idle leaves, also if a gang waits for it and for another one.
        told["wide"] = scheduler.submit(flow.wide()).result(timeout=400)
        submission.cancel()
        told["made_on"] = scheduler.submit(flow.large(3_000_000)[0]).result(timeout=400)

        # The nodes that are idle leave, while a call runs on another one.
        staying = scheduler.submit(flow.stays("begun", "go on"))
        until(lambda: os.path.exists("begun"))
        until(lambda: len(alive()) == 2)
        open("go on", "w").close()
        told["stayed_on"] = staying.result(timeout=400)
        lost = "select count(*) from attempts where ended = 'lost' and error not like 'stopped%'"
        told["lost"] = scheduler.sql(lost).fetchall()
    until(lambda: len(alive()) == 1)
    told["left"] = alive()
    with Scheduler(address=sys.argv[1]) as scheduler:
        told["length"] = scheduler.run(flow.length(flow.large(3_000_000)))
    print(json.dumps(told))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def scaling(gcs: str, head: str, logs: str) -> dict[str, Any]:
    """The autoscaler's settings: from no node to MOST_NODES of two processors, and an island, which has no room for a
    call of two; as soon as something waits."""
    return {
        "cluster_name": "scaled",
        "max_workers": MOST_NODES + 1,
        "idle_timeout_minutes": 0.2,
        "upscaling_speed": 100,
        "provider": {
            "type": "external", "module": "scaled_nodes.StartedNodes", "gcs": gcs, "head": head, "logs": logs,
            **scaled_nodes.ONLY_HERE,
        },
        "available_node_types": {
            "head": {"resources": {"CPU": 2}, "node_config": {}, "max_workers": 0},
            "worker": {"resources": {"CPU": 2}, "node_config": {}, "min_workers": 0, "max_workers": MOST_NODES},
            "island": {
                "resources": {"CPU": 1, "island": 1}, "node_config": {}, "min_workers": 0, "max_workers": 1,
            },
        },
        "head_node_type": "head",
        "auth": {},
        "file_mounts": {},
        **{f"{words}_commands": [] for words in COMMANDS},
        "cluster_synced_files": [],
    }  # fmt: skip


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a head with an autoscaler."""
    folder, mark, head_id = tempfile.mkdtemp(prefix="rf", dir="/tmp"), uuid.uuid4().hex, scaled_nodes.new_id()
    port = free_port()
    gcs = f"127.0.0.1:{port}"
    settings = Path(folder, "scaling.yaml")
    settings.write_text(json.dumps(scaling(gcs, head_id, folder)))
    environment = {
        **scaled_nodes.environment_of(head_id, "head"), **scaled_nodes.PATIENT, "RAYFLOW_SCALED_BY": mark,
    }  # fmt: skip
    environment["PYTHONPATH"] = f"{REPOSITORY / 'tests' / 'support'}:{environment['PYTHONPATH']}"
    words = scaled_nodes.command(
        "--head", f"--port={port}", "--num-cpus=2", "--include-dashboard=false", f"--temp-dir={folder}",
        f"--autoscaling-config={settings}",
    )  # fmt: skip
    try:
        with running_head(words, environment, Path(folder)):
            yield gcs
    finally:
        processes.end(processes.marked("RAYFLOW_SCALED_BY", mark))
        shutil.rmtree(folder, ignore_errors=True)


def test_nodes_are_added_for_what_waits_take_part_and_leave_again_and_nothing_is_lost(
    tmp_path: Path, address: str
) -> None:
    project = Project(tmp_path)
    for name, text in (("rayflow.toml", ""), ("flow.py", FLOW), ("script.py", SCRIPT)):
        project.write(name, text)
    (tmp_path / "nodes").mkdir()
    done = project.python("script.py", address, timeout=1100)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert len(told["nodes"]) == 1 + MOST_NODES
    assert len(set(told["wide"])) == 3
    assert told["made_on"] not in told["nodes"]
    assert told["stayed_on"] not in told["nodes"] + told["left"]
    assert told["lost"] == [[0]]
    assert told["length"] == 3_000_000
    assert project.counts("cached")["flow.large"] == 1
