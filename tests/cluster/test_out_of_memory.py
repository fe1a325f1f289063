"""A call that takes more memory than its node has: it is ended by Ray, and has a node to itself the next time.

The machine's memory is played: Ray reads files that say how much is used, and a call that "fills" it writes there. What
others use on this machine at the same time, which may be more than the call does, makes no difference.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from typing import Any

import pytest
from projects import Project

pytestmark = [pytest.mark.ray, pytest.mark.mounts, pytest.mark.slow]

ALL_BYTES = 16 * 1024**3
"""The memory of the played machine."""

SHARE = 0.9
"""From this share of it on, Ray ends workers."""

RAY = {
    "RAY_memory_usage_threshold": str(SHARE),
    "RAY_memory_monitor_refresh_ms": "1000",
    "RAY_max_kill_memory_buffer_bytes": "1000000",
}
"""Ray's settings. It ends workers, those first that began last, until as much is free as it wants, with the buffer: the
call that fills the machine has to be enough, else it ends the scheduler, too. And it has to look so seldom that what
the call took is given back before the next look."""

CONTROL_GROUPS = "/sys/fs/cgroup"
"""Where Ray reads how much memory there is, and how much is used."""

FLOW = """
    import os
    import time
    import ray
    from rayflow import task

    def fill(others_ended=lambda: True):
        # Some of it in truth, so that to end this process is enough.
        while not others_ended():
            time.sleep(0.05)
        taken = b"x" * (1 << 28)
        with open("filled_by", "w") as file:
            file.write(str(os.getpid()))
        with open("machine/memory.current", "w") as file:
            file.write(open("machine/full").read())
        time.sleep(600)

    @task
    def hungry(folder):
        tries = len(os.listdir(folder))
        open(f"{folder}/{tries}", "w").close()
        if tries == 0:
            fill(lambda: len(os.listdir("small")) == 3)
        return tries, ray.get_runtime_context().get_assigned_resources()["CPU"]

    @task(memory="auto")
    def grows(folder, n):
        asked = ray.get_runtime_context().get_assigned_resources().get("memory")
        if n and not os.path.exists(f"{folder}/asked"):
            with open(f"{folder}/asked", "w") as file:
                file.write(str(asked))
            fill()
        return asked

    @task
    def small(n):
        open(f"small/{n}", "w").close()
        return n

    @task
    def main(folder: str):
        return hungry(folder), [small(n) for n in range(3)]

    @task(max_worker_losses=0)
    def greedy():
        fill()
"""


SCRIPT = """
    import json
    import os
    import sys
    import threading
    import time
    import flow
    from rayflow import Scheduler

    def lives(pid):
        try:
            return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    def give_back():
        # What a process has filled is free when it has ended.
        while True:
            time.sleep(0.01)
            if os.path.exists("filled_by") and (pid := open("filled_by").read()) and not lives(pid):
                with open("machine/memory.current", "w") as file:
                    file.write("0")
                os.remove("filled_by")

    threading.Thread(target=give_back, daemon=True).start()
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
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process has seen on a machine with little memory."""
    project = Project(tmp_path_factory.mktemp("tight"))
    for name, text in (("rayflow.toml", ""), ("flow.py", FLOW), ("script.py", SCRIPT)):
        project.write(name, text)
    for name in ("tries", "small", "machine"):
        (project.path / name).mkdir()
    machine = project.path / "machine"
    for name, value in (("max", ALL_BYTES), ("current", 0)):
        (machine / f"memory.{name}").write_text(str(value))
    (machine / "memory.stat").write_text("inactive_file 0\nactive_file 0\n")
    (machine / "full").write_text(str(int(ALL_BYTES * SHARE) + (1 << 20)))
    with tempfile.TemporaryDirectory(prefix="rf", dir="/tmp", ignore_cleanup_errors=True) as folder:
        environment = {"RAY_TMPDIR": folder, "RAYFLOW_NUM_CPUS": "2", **RAY}
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", f'mount --bind machine {CONTROL_GROUPS} && exec "$@"', "sh",
             sys.executable, "script.py", str(project.path / "tries")],
            cwd=project.path, env=project.full_environment(environment), capture_output=True, text=True, timeout=240,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


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
