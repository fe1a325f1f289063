"""An execution on a cluster says in the store what it does, and ends when somebody asks for it there."""

from __future__ import annotations

import socket
import urllib.request
from typing import Any

import pytest
from waiting import until

from rayflow.api import Scheduler
from rayflow.errors import Cancelled
from rayflow.store.live.live_files import CancelOrder
from rayflow.store.open import open_store

pytestmark = pytest.mark.ray

FLOW = """
    import time
    from rayflow import task

    @task
    def quick(n):
        return n

    @task
    def long(n):
        time.sleep(60)
        return n

    @task
    def main():
        return [quick(1), long(quick(2)), long(3)]
"""


def test_a_long_call_is_named_with_its_node_and_the_execution_is_cancelled_through_the_store(
    project: Any, ray_cluster: str
) -> None:
    flow = project.write("flow.py", FLOW) and project.load("flow")
    url = str(project.path / ".rayflow")
    with Scheduler(store=url, address=ray_cluster) as scheduler:
        submission = scheduler.submit(flow.main())
        live = open_store(url, read_only=True).live
        state = until(lambda: (found := live.read(submission.execution_id)) and len(found.running) == 2 and found)
        assert (state.shell, state.host) == ("ray", socket.gethostname())
        assert {call.task for call in state.running} == {"flow.long"}
        assert {call.node for call in state.running} == {socket.gethostname()}
        assert all(0 < state.written_at - call.since < 30_000_000 for call in state.running)
        assert state.tasks["flow.quick"]["computed"] == 2 and state.waits == {"calls": 1}
        open_store(url).live.order_cancel(submission.execution_id, CancelOrder("ada@lab", "enough"))
        with pytest.raises(Cancelled, match="was cancelled by ada@lab: enough"):
            submission.result(timeout=60)
    [(status, error)] = project.sql("select status, error from executions")
    assert status == "cancelled" and "ada@lab: enough" in error
    assert live.executions() == []


def test_prometheus_reads_the_metrics_of_the_scheduler_on_the_port_of_its_node(
    project: Any, ray_cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setenv("RAYFLOW_METRICS", "1")
    flow = project.write("flow.py", FLOW) and project.load("flow")
    [node] = ray.nodes()
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"

    def scraped() -> dict[str, float]:
        with urllib.request.urlopen(url, timeout=20) as answer:
            lines = [line for line in answer.read().decode().splitlines() if line.startswith("ray_rayflow")]
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}

    def total(values: dict[str, float], name: str, label: str = "") -> float:
        return sum(value for key, value in values.items() if key.startswith(name) and label in key)

    def is_whole(found: dict[str, float]) -> bool:
        open_now = total(found, "ray_rayflow_open_jobs") + total(found, "ray_rayflow_executions")
        ended = total(found, "ray_rayflow_jobs_total", 'how="computed"')
        return ended == 31 and open_now == 0  # the root is one, too

    with Scheduler(store=str(project.path / ".rayflow"), address=ray_cluster) as scheduler:
        assert scheduler.run([flow.quick(n) for n in range(30)]) == list(range(30))
        values = until(lambda: (found := scraped()) and is_whole(found) and found)
        assert total(values, "ray_rayflow_lookups_total") >= 30
        assert total(values, "ray_rayflow_commits_total") >= 1
        assert 1 <= total(values, "ray_rayflow_bundle_calls_count") <= 31
        assert 0 <= total(values, "ray_rayflow_scheduler_lag_seconds") < 60
