"""An execution on a cluster says in the store what it does, and ends when somebody asks for it there."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

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


def until(is_so: Callable[[], Any]) -> Any:
    end = time.monotonic() + 60
    while not (found := is_so()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


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
