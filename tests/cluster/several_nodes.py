"""What tests/cluster/test_nodes.py runs: one cluster of several nodes on this machine, and what happens on it.

Prints one line of JSON for each scene: its name, and what was seen.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import flow
import ray
from ray.cluster_utils import Cluster
from waiting import until

from rayflow import Scheduler
from rayflow.config import load
from rayflow.errors import WorkerLost
from rayflow.runtime.on_ray.doctor.asking import examined
from rayflow.runtime.protocol.reports import Silent


class Watcher:
    """A reporter that remembers warnings."""

    def __init__(self) -> None:
        self.warnings: list[tuple[float, str]] = []

    def started(self, *_: Any) -> None:
        self.at = time.monotonic()

    def warned(self, text: str) -> None:
        self.warnings.append((time.monotonic() - self.at, text))

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def tell(scene: str, **seen: Any) -> None:
    sys.__stdout__.write(json.dumps({"scene": scene, **seen}) + "\n")
    sys.__stdout__.flush()


def _doctored(address: str, folder: Path) -> list[tuple[str, str, str]]:
    """What the doctor finds for a project in this folder."""
    (folder / "rayflow.toml").touch()
    _, findings = examined(load(folder, address=address, store=str(folder / "store")), Silent())
    return [(each.level, each.subject, each.text) for each in findings]


def main(folder: Path) -> None:
    watcher = Watcher()
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 2, "include_dashboard": False, "object_store_memory": 150_000_000, "labels": {"zone": "a"},
            "_system_config": {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500,
                               "health_check_timeout_ms": 500, "health_check_failure_threshold": 3},
        },
    )  # fmt: skip
    with Scheduler(store=str(folder / "store"), address=cluster.address, reporter=watcher) as scheduler:
        # A driver joins any of the nodes on its machine, and the scheduler sits beside it. With the head alone there is
        # no choice: else the node that is going to leave could take the scheduler with it.
        scheduler.run(flow.add(0, 0))
        other = cluster.add_node(
            num_cpus=1, resources={"island": 1}, object_store_memory=150_000_000, labels={"zone": "b"}
        )
        there = scheduler.run(flow.node.options(label_selector={"zone": "b"})(1))
        here = scheduler.run(flow.node.options(label_selector={"zone": "!b"})(2))
        tell("labels", there=there == other.node_id, here=here == cluster.head_node.node_id)
        told = _doctored(cluster.address, folder)
        (folder / "broken.py").write_text("import rayflow, no_such_library\n")
        tell("doctor", findings=told, lacking=_doctored(cluster.address, folder), left=os.listdir(folder / "store/tmp"))
        (folder / "broken.py").unlink()
        tell("scheduler", own=_own_node(), nodes=[_node_of_a_scheduler(cluster.address, folder) for _ in range(4)])

        submission = scheduler.submit([flow.node.options(resources={"moon": 1})(3), flow.add(1, 2)])
        zone = scheduler.submit(flow.node.options(label_selector={"zone": "c"})(4))
        end = time.monotonic() + 25
        waiters = [threading.Thread(target=_wait, args=(each,)) for each in (submission, zone)]
        for waiter in waiters:
            waiter.start()
        while len(watcher.warnings) < 2 and time.monotonic() < end:
            time.sleep(0.05)
        submission.cancel()
        zone.cancel()
        for waiter in waiters:
            waiter.join(30)
        tell("infeasible", warnings=watcher.warnings, waiting=[waiter.is_alive() for waiter in waiters])

        large = flow.large.options(resources={"island": 1})(3_000_000)
        made_on = scheduler.run(flow.made_on(large))
        tell("large", made_there=made_on == other.node_id)
        running = scheduler.submit([flow.total(large), flow.long.options(label_selector={"zone": "a"})(str(folder), 1)])
        until((folder / "1").exists)
        second = scheduler.submit(flow.long_there(str(folder), 2))
        until((folder / "2").exists)
        cluster.remove_node(other, allow_graceful=False)
        survived = scheduler.run(flow.total(large, 1))
        tell("survives", total=survived)
        island = cluster.add_node(
            num_cpus=1, resources={"island": 1}, object_store_memory=150_000_000, labels={"zone": "b"}
        )
        lost = "select 1 from attempts where ended = 'lost' and error != 'stopped'"
        until(lambda: scheduler.sql(lost).fetchall(), 120, what="the loss is not noticed")
        (folder / "go").touch()
        tell("node left", second=second.result(timeout=60), first=running.result(timeout=60))
        attempts = scheduler.sql("select task_name, attempts from jobs where attempts > 1").fetchall()
        reasons = scheduler.sql("select task_name, ended, a.error from attempts a join jobs using (job_id)").fetchall()
        tell("attempts", attempts=attempts, reasons=reasons)
        try:
            scheduler.run(flow.long_there.options(max_worker_losses=0, resources={"island": 0.5})("/nowhere", 3))
        except FileNotFoundError as error:
            tell("mistake", error=str(error))
        except WorkerLost as error:
            tell("mistake", error=f"lost {error}")

        spot = folder / "spot"
        spot.mkdir()
        preempted = scheduler.submit(flow.long_there.options(max_worker_losses=0)(str(spot), 5))
        until((spot / "5").exists)
        told_before = len(watcher.warnings)
        drain(cluster.address, island.node_id)
        values: list[int] = []
        waiter = threading.Thread(target=lambda: values.append(preempted.result(timeout=90)))
        waiter.start()
        until(
            lambda: any("drained" in text for _, text in watcher.warnings[told_before:]), 30,
            what="the drained node is not noticed",
        )  # fmt: skip
        cluster.remove_node(island, allow_graceful=False)
        (spot / "5").unlink()  # before the new node is there, which may start the call before it is told here
        island = cluster.add_node(num_cpus=1, resources={"island": 1}, object_store_memory=150_000_000)
        until((spot / "5").exists)
        (spot / "go").touch()
        waiter.join(60)
        tell("preempted", values=values)

        fan_out = scheduler.submit([flow.noted(str(folder), n) for n in range(3000)])
        until((folder / f"on {island.node_id}").exists)
        cluster.remove_node(island, allow_graceful=False)
        is_right = fan_out.result(timeout=100) == list(range(3000))
        rows = scheduler.sql("""
            select count(*), count(distinct job_id), count(*) filter (how = 'computed' and status = 'done')
            from jobs where task_name = 'flow.noted'
        """).fetchall()
        ran = [(folder / f"on {node}").read_text().split() for node in (cluster.head_node.node_id, island.node_id)]
        tell("members", is_right=is_right, rows=rows, ran=[list(map(int, each)) for each in ran])
    ray.shutdown()
    cluster.shutdown()


def drain(address: str, node_id: str) -> None:
    """Tell the cluster that this node will be taken away."""
    from ray._raylet import GcsClient
    from ray.core.generated import autoscaler_pb2

    reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    at = int((time.time() + 60) * 1000)
    accepted, why = GcsClient(address=address).drain_node(node_id, reason, "spot", at)
    assert accepted, why


def _own_node(*_: Any) -> str:
    return str(ray.get_runtime_context().get_node_id())


def _node_of_a_scheduler(address: str, folder: Path) -> Any:
    with Scheduler(store=str(folder / "store"), address=address) as made:
        made.run(flow.add(0, 0), cache=False)
        return ray.get(made._driver._cluster.actor().__ray_call__.remote(_own_node))


def _wait(submission: Any) -> None:
    try:
        submission.result()
    except Exception as error:
        tell("ended", error=type(error).__name__)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
