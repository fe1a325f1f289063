"""A notebook on the head of a cluster: a real kernel, which env.sh and `address="auto"` bring to a real Ray.

What the display of a run looks like is tested without a kernel (`tests/runtime/test_notebook.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from heads import running_head
from projects import REPOSITORY
from waiting import until

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ENV = REPOSITORY / "cluster" / "env.sh"

WITH_SETTINGS = ["bash", "-c", '. "$0" && exec "$@"', str(ENV)]
"""What stands before a command that gets the settings of a cluster's nodes."""


@dataclass
class Node:
    """The head of a cluster, and what a shell of its user has set."""

    folder: Path
    environment: dict[str, str]
    address: str


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """A head that was started by `. env.sh && ray start --head`, with a token of its own."""
    folder = Path(tempfile.mkdtemp(prefix="rf", dir="/tmp"))  # short: the paths of Ray's sockets have a limit
    token = folder / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text(secrets.token_hex(32))
    own = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYFLOW_CACHE"))}
    # RAY_TMPDIR: `address="auto"` finds this cluster there, whatever else runs on this machine.
    own |= {"HOME": str(folder), "RAY_TMPDIR": str(folder), "RAYFLOW_CACHE_DIR": str(folder / "cache")}
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--port=0", "--num-cpus=2",
        "--node-ip-address=127.0.0.1", "--include-dashboard=false", "--object-store-memory=100000000",
        "--min-worker-port=0", "--max-worker-port=0",
    ]  # fmt: skip
    with running_head([*WITH_SETTINGS, *command], own, folder, patience_seconds=40):
        yield Node(folder, own, (folder / "ray" / "ray_current_cluster").read_text().strip())


@dataclass
class Ran:
    """What a cell has shown: its output by stream, its displays as they were last, its result, its error."""

    streams: dict[str, str] = field(default_factory=lambda: {"stdout": "", "stderr": ""})
    displays: dict[str, str] = field(default_factory=dict)
    result: str = ""
    error: str = ""


class Notebook:
    """A kernel on the node, and the cells that run in it."""

    def __init__(self, node: Node) -> None:
        from jupyter_client import KernelManager
        from jupyter_client.kernelspec import KernelSpecManager

        kernels = node.folder / "kernels" / "here"
        kernels.mkdir(parents=True, exist_ok=True)
        argv = [*WITH_SETTINGS, sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        (kernels / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "here", "language": "python"}))
        specs = KernelSpecManager(kernel_dirs=[str(kernels.parent)])
        self.manager = KernelManager(kernel_name="here", kernel_spec_manager=specs)
        self.manager.start_kernel(env=node.environment, cwd=str(node.folder))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def begin(self, cell: str) -> str:
        """Send a cell; its id."""
        return self.client.execute(cell)

    def shown(self, cell: str, ran: Ran, is_enough: Callable[[Ran], bool] = lambda ran: False) -> Ran:
        """Read what a cell shows until it has ended, or that is enough."""
        end = time.monotonic() + 90
        while not is_enough(ran):
            try:
                message = self.client.get_iopub_msg(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"the cell does not end: {ran}") from None
            content, kind = message["content"], message["header"]["msg_type"]
            if message["parent_header"].get("msg_id") != cell:
                continue
            if kind == "stream":
                ran.streams[content["name"]] += content["text"]
            elif kind in ("display_data", "update_display_data"):
                ran.displays[content["transient"]["display_id"]] = content["data"]["text/plain"]
            elif kind == "execute_result":
                ran.result = content["data"]["text/plain"]
            elif kind == "error":
                ran.error = content["ename"]
            elif kind == "status" and content["execution_state"] == "idle":
                break
        return ran

    def run(self, cell: str) -> Ran:
        """Run a cell to its end."""
        return self.shown(self.begin(cell), Ran())

    def restart(self) -> None:
        """Restart the kernel as a user does who does not wait."""
        self.manager.restart_kernel(now=True)
        self.client.wait_for_ready(timeout=60)

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def notebook(node: Node) -> Iterator[Notebook]:
    pytest.importorskip("ipykernel", reason="the kernel of notebooks is not installed")
    pytest.importorskip("jupyter_client", reason="the client of notebooks is not installed")
    opened = Notebook(node)
    with contextlib.closing(opened):
        yield opened


TASKS = """
import os, time
from rayflow import Scheduler, task

@task
def double(n: int):
    print("doubling", n)
    return 2 * n

@task
def total(values: list):
    return sum(values)

@task
def stays(mark: str):
    with open(mark, "w") as file:
        file.write(str(os.getpid()))
    try:
        while not os.path.exists(mark + ".go"):
            time.sleep(0.02)
    finally:
        open(mark + ".ended", "w").close()
    return "went on"

s = Scheduler(address="auto", store=os.environ["HOME"] + "/store")
"""

SUM = "s.run(total([double(n) for n in range(3)]))"


def test_a_notebook_on_the_head_edits_interrupts_restarts_and_keeps_what_it_has_computed(
    node: Node, notebook: Notebook
) -> None:
    assert notebook.run(TASKS).error == ""

    first = notebook.run(SUM)
    assert (first.result, first.error) == ("6", "")
    assert {f"[double(n={n})] doubling {n}" for n in range(3)} <= set(first.streams["stdout"].splitlines())
    assert f"joining the Ray cluster at {node.address}" in first.streams["stderr"]

    again = notebook.run(SUM)
    assert (again.result, again.streams["stdout"]) == ("6", ""), "all of it is cached"

    notebook.run(TASKS[TASKS.index("@task") : TASKS.index("@task\ndef total")].replace("2 * n", "3 * n"))
    edited = notebook.run(SUM)
    assert (edited.result, edited.streams["stdout"].count("doubling")) == ("9", 3)
    notebook.run(TASKS[TASKS.index("@task\ndef total") : TASKS.index("@task\ndef stays")].replace("sum(", "-sum("))
    edited = notebook.run(SUM)
    assert (edited.result, edited.streams["stdout"]) == ("-9", ""), "only the edited task is computed again"

    mark = node.folder / "progress"
    cell = notebook.begin(f"s.run(stays({str(mark)!r}))")
    seen = notebook.shown(cell, Ran(), lambda ran: any("1 running" in text for text in ran.displays.values()))
    Path(f"{mark}.go").touch()
    done = notebook.shown(cell, seen)
    [display] = done.displays.values()
    assert done.result == "'went on'" and display.startswith("done in ")

    mark = node.folder / "interrupted"
    cell = notebook.begin(f"s.run(stays({str(mark)!r}))")
    until(mark.exists)
    notebook.manager.interrupt_kernel()
    assert notebook.shown(cell, Ran()).error == "KeyboardInterrupt"
    until(Path(f"{mark}.ended").exists)
    assert notebook.run(SUM).result == "-9", "the kernel goes on"

    mark = node.folder / "restarted"
    notebook.begin(f"s.run(stays({str(mark)!r}))")
    until(lambda: mark.exists() and mark.read_text() != "")
    worker = int(mark.read_text())
    notebook.restart()
    until(lambda: not Path(f"/proc/{worker}").exists())
    assert notebook.run(TASKS).error == ""
    back = notebook.run(SUM)
    assert (back.result, back.streams["stdout"]) == ("6", ""), "the first cells again, and nothing is computed"


def test_a_shell_on_the_head_joins_it_with_the_same_settings(node: Node) -> None:
    project = node.folder / "project"
    project.mkdir()
    (project / "rayflow.toml").write_text('address = "auto"\n')
    (project / "flow.py").write_text(
        "import os\nfrom rayflow import task\n\n@task(cache=False)\ndef settings(prefix: str):\n"
        "    return {name: value for name, value in os.environ.items() if name.startswith(prefix)}\n"
    )
    words = ["-m", "rayflow", "run", "flow.py", "settings", "--prefix", "RAY_", "--json"]
    command = [*WITH_SETTINGS, sys.executable, *words]
    done = subprocess.run(command, cwd=project, env=node.environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["RAY_grpc_client_keepalive_time_ms"] == "10000", "the worker has the settings of its node"
    assert (seen["RAY_AUTH_MODE"], seen["RAY_memory_usage_threshold"]) == ("token", "0.9")
