"""A call that takes more memory than its node has: it is ended by Ray, and has a node to itself the next time.

The machine's own memory is not filled: Ray is told that a little more than what is used now is all that there is.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from typing import Any

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

    @task(memory="auto")
    def grows(folder, n):
        asked = ray.get_runtime_context().get_assigned_resources().get("memory")
        if n and not os.path.exists(f"{folder}/asked"):
            with open(f"{folder}/asked", "w") as file:
                file.write(str(asked))
            fill(8)
        return asked

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


SCRIPT = """
    import json
    import sys
    import flow
    from rayflow import Scheduler

    with Scheduler() as scheduler:
        told = {"hungry": scheduler.run(flow.main(sys.argv[1]))}
        query = "select task_name, ended, a.error from attempts a join jobs using (job_id)"
        told["attempts"] = scheduler.sql(query).fetchall()
        told["grown"] = [scheduler.run(flow.grows(sys.argv[1], n)) for n in range(2)]
        told["deaths"] = scheduler.sql(query).fetchall()[len(told["attempts"]):]
        try:
            scheduler.run(flow.greedy())
        except Exception as error:
            told["greedy"] = [error.exit_code, str(error)]
    told["asked"] = open(f"{sys.argv[1]}/asked").read()
    print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What a process has seen whose Ray has little memory left."""
    from ray._common.utils import get_system_memory
    from ray._private.utils import get_used_memory

    share = (get_used_memory() + ROOM_BYTES) / get_system_memory()
    if share >= 0.9:
        pytest.skip("this machine has no 3 GiB of memory to spare")
    project = Project(tmp_path_factory.mktemp("tight"))
    for name, text in (("rayflow.toml", ""), ("flow.py", FLOW), ("script.py", SCRIPT)):
        project.write(name, text)
    tries = project.path / "tries"
    tries.mkdir()
    with tempfile.TemporaryDirectory(prefix="rf", dir="/tmp", ignore_cleanup_errors=True) as folder:
        done = project.python(
            "script.py", str(tries), RAY_TMPDIR=folder, RAY_memory_usage_threshold=f"{share:.5f}",
            RAY_memory_monitor_refresh_ms="50", RAYFLOW_NUM_CPUS="2",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        yield json.loads(done.stdout)


def test_a_call_that_ran_out_of_memory_has_a_node_to_itself_the_next_time(told: dict[str, Any]) -> None:
    assert told["hungry"] == [[1, 2.0], [0, 1, 2]], told["attempts"]
    assert told["attempts"] == [["flow.hungry", "lost", "killed because its node ran out of memory"]]


def test_a_call_whose_memory_is_chosen_asks_for_twice_as_much_after_it_ran_out(told: dict[str, Any]) -> None:
    first, last = told["grown"]
    assert first is None
    assert last == 2 * float(told["asked"]), told["deaths"]


def test_a_call_that_never_fits_is_named_as_what_ran_out_of_memory(told: dict[str, Any]) -> None:
    code, text = told["greedy"]
    assert code == 2
    assert "flow.greedy" in text and "ran out of memory" in text
