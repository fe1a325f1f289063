"""Two machines, as far as the network can tell: head and worker in a network namespace each, a run from the head."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from projects import Project

pytestmark = [pytest.mark.ray, pytest.mark.netns]

HEAD, WORKER = "10.77.31.1", "10.77.31.2"

FLOW = """
    import numpy
    from rayflow import task
    from helper import doubled

    @task
    def address(n):
        import ray
        return ray.util.get_node_ip_address()

    @task
    def array(n):
        return numpy.ones(n)

    @task
    def total(a):
        print("summing")
        return doubled(float(a.sum()))
"""

SCRIPT = """
    import json
    import sys
    from rayflow import Scheduler
    from flows import flow

    there = {"resources": {"there": 0.1}}
    here = {"resources": {"here": 0.1}}
    with Scheduler(address=sys.argv[1], store=sys.argv[2]) as scheduler:
        told = {
            "addresses": scheduler.run([flow.address.options(**here)(1), flow.address.options(**there)(2)]),
            "moved": scheduler.run(flow.total.options(**here)(flow.array.options(**there)(500_000))),
        }
    print(json.dumps(told))
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def inside(namespace: str, *command: str, **options: object) -> subprocess.Popen[bytes]:
    words = ["ip", "netns", "exec", namespace, *command]
    return subprocess.Popen(words, start_new_session=True, **options)  # type: ignore[call-overload,no-any-return]


def run(project: Project, words: list[str]) -> subprocess.CompletedProcess[str]:
    environment = project._environment({"RAY_AUTH_MODE": "disabled"})
    return subprocess.run(words, cwd=project.path, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture
def two_machines(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The namespace of the head, and the address of the cluster."""
    name = f"rf{os.getpid() % 100000}"
    head, worker = f"{name}h", f"{name}w"
    folder = Path(tempfile.mkdtemp(prefix="rf", dir="/tmp"))
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    started: list[subprocess.Popen[bytes]] = []

    def start(namespace: str, own: str, label: str, *words: str) -> None:
        log = (folder / f"{label}.log").open("wb")
        command = [
            sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--node-ip-address={own}", "--num-cpus=1",
            "--object-store-memory=100000000", "--disable-usage-stats", "--resources", json.dumps({label: 1}), *words,
        ]  # fmt: skip
        cwd = folder / label
        cwd.mkdir()
        started.append(inside(namespace, *command, stdout=log, stderr=log, env=environment, cwd=cwd))
        end = time.monotonic() + 60
        while b"Ray runtime started" not in (folder / f"{label}.log").read_bytes():
            assert started[-1].poll() is None and time.monotonic() < end, (folder / f"{label}.log").read_text()[-2000:]
            time.sleep(0.1)

    try:
        for namespace in (head, worker):
            ip("netns", "add", namespace)
        ip("link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b")
        for namespace, link, own in ((head, f"{name}a", HEAD), (worker, f"{name}b", WORKER)):
            ip("link", "set", link, "netns", namespace)
            ip("-n", namespace, "addr", "add", f"{own}/24", "dev", link)
            ip("-n", namespace, "link", "set", link, "up")
            ip("-n", namespace, "link", "set", "lo", "up")
        (folder / "h").mkdir()
        (folder / "w").mkdir()
        start(head, HEAD, "here", "--head", "--port=6379", "--include-dashboard=false", f"--temp-dir={folder / 'h'}")
        start(worker, WORKER, "there", f"--address={HEAD}:6379", f"--temp-dir={folder / 'w'}")
        yield head, f"{HEAD}:6379"
    finally:
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
        for process in started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        for namespace in (head, worker):
            pids = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True).stdout.split()
            for pid in pids:
                os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_project_and_its_values_travel_between_two_machines(two_machines, project: Project, tmp_path: Path):
    head, address = two_machines
    project.write("flows/__init__.py", "")
    project.write("flows/flow.py", FLOW.replace("from helper", "from flows.helper"))
    project.write("flows/helper.py", "def doubled(x):\n    return 2 * x\n")
    script = project.write("script.py", SCRIPT)
    words = ["ip", "netns", "exec", head, sys.executable, str(script), address, str(tmp_path / "store")]
    done = run(project, words)
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout)
    assert told == {"addresses": [HEAD, WORKER], "moved": 1_000_000.0}


def test_a_store_that_only_one_machine_has_is_one_clear_error(two_machines, project: Project):
    head, address = two_machines
    project.write("flows/__init__.py", "")
    project.write("flows/flow.py", FLOW.replace("from helper", "from flows.helper"))
    project.write("flows/helper.py", "def doubled(x):\n    return 2 * x\n")
    project.write(
        "script.py",
        """
        import os
        import sys
        from rayflow import Scheduler
        from flows import flow

        here = "/tmp/" + sys.argv[2]
        with Scheduler(address=sys.argv[1], store=here) as scheduler:
            try:
                scheduler.run(flow.address.options(resources={"there": 0.1})(1))
            except Exception as error:
                print(type(error).__name__, error.exit_code, error)
        """,
    )
    # A mount of its own hides the store's folder from the worker, which started before.
    name = f"rf-store-{os.getpid()}"
    hidden = f"mkdir -p /tmp/{name} && mount -t tmpfs tmpfs /tmp/{name}"
    command = f"ip netns exec {head} {sys.executable} script.py {address} {name}/store"
    done = run(project, ["unshare", "-m", "sh", "-c", f"{hidden} && exec {command}"])
    shutil.rmtree(f"/tmp/{name}", ignore_errors=True)
    assert "StoreUnavailable 2" in done.stdout, done.stdout + done.stderr[-3000:]
    assert "a store that all of them reach" in done.stdout
