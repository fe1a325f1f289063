"""A call that takes more memory than its node has: it is ended by Ray, and has a node to itself the next time.

The machine's own memory is not filled: Ray is told that a little more than what is used now is all that there is.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pytest
from projects import Project

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROOM_BYTES = 3 * 1024**3
"""What Ray, its workers and whatever else runs on this machine may take until Ray ends a worker. Much more than what
others may take meanwhile, so that the call that fills it is the one that counts."""

FLOW = """
    import os
    import time
    import ray
    from rayflow import task

    def fill(gibibytes):
        parts = []
        for _ in range(int(gibibytes * 16)):
            parts.append(b"x" * (64 << 20))
            time.sleep(0.01)
        time.sleep(30)

    @task
    def hungry(folder):
        tries = len(os.listdir(folder))
        open(f"{folder}/{tries}", "w").close()
        if tries == 0:
            fill(8)
        return tries, ray.get_runtime_context().get_assigned_resources()["CPU"]

    @task
    def small(n):
        return n

    @task
    def main(folder: str):
        return hungry(folder), [small(n) for n in range(3)]

    @task(max_worker_losses=0)
    def greedy():
        fill(8)
"""


@pytest.fixture
def tight(project: Project) -> Iterator[Project]:
    """A project whose Ray has little memory left."""
    from ray._common.utils import get_system_memory
    from ray._private.utils import get_used_memory

    share = (get_used_memory() + ROOM_BYTES) / get_system_memory()
    if share >= 0.9:
        pytest.skip("this machine has no 3 GiB of memory to spare")
    with tempfile.TemporaryDirectory(prefix="rf", dir="/tmp", ignore_cleanup_errors=True) as folder:
        project.environment.update(
            RAY_TMPDIR=folder,
            RAYFLOW_NUM_CPUS="2",
            RAY_memory_usage_threshold=f"{share:.5f}",
            RAY_memory_monitor_refresh_ms="50",
        )
        project.write("flow.py", FLOW)
        yield project


def test_a_call_that_ran_out_of_memory_has_a_node_to_itself_the_next_time(tight):
    folder = tight.path / "tries"
    folder.mkdir()
    done = tight.rayflow("run", "flow.py", "main", "--folder", str(folder), "--json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[[1, 2.0], [0, 1, 2]]"
    lost = tight.sql(
        "select ended, attempts.error from attempts join jobs using (job_id) where task_name = 'flow.hungry'"
    )
    assert lost == [("lost", "killed because its node ran out of memory")]


def test_a_call_that_never_fits_is_named_as_what_ran_out_of_memory(tight):
    done = tight.rayflow("run", "flow.py", "greedy")
    assert done.returncode == 2, done.stderr
    assert "flow.greedy" in done.stderr
    assert "ran out of memory" in done.stderr
