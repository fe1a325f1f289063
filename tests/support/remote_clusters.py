"""Clusters that are reached by their dashboards alone, as users of clusters have them, and laptops that use them.

The Python of such a cluster is a virtual environment of its own, which PATH does not name. PATH has what Ray itself
needs alone: `bash`, and `sleep` for the shell that watches over each job, which would not pause without. rayflow can be
taken out of this environment, and be put back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import processes
from heads import running_head
from projects import REPOSITORY, Project

from rayflow.__main__ import main
from rayflow.submission.job_api import JobApi


@dataclass
class RemoteCluster:
    """A head. address: of its dashboard. control: of its control service. environment: of its Python.

    token: what it asks for; None where it asks for none. settings: the variables that it gets beside the few that every
    head needs.
    """

    folder: Path
    address: str
    control: str
    environment: Path
    token: str | None
    settings: dict[str, str]
    _head: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def token_file(self) -> Path:
        return self.folder / "token"

    @property
    def python(self) -> Path:
        return self.environment / "bin" / "python"

    @property
    def api(self) -> JobApi:
        return JobApi(self.address, self.token)

    @property
    def _link(self) -> Path:
        return site_packages(self.environment) / "rayflow.pth"

    def install_rayflow(self) -> None:
        self._link.write_text(f"{REPOSITORY}\n")

    @contextlib.contextmanager
    def without_rayflow(self) -> Iterator[None]:
        self._link.unlink()
        try:
            yield
        finally:
            self.install_rayflow()

    def start(self) -> None:
        """Start the head, and wait until it is up; after `stop`, a new one at the same addresses."""
        place = self.folder / "head"
        place.mkdir()
        control, dashboard = (text.rpartition(":")[2] for text in (self.control, self.address))
        names = (
            "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "runtime-env-agent-port", "metrics-export-port",
        )  # fmt: skip
        command = [
            str(self.python), "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={control}",
            "--num-cpus=2", "--node-ip-address=127.0.0.1", "--include-dashboard=true", f"--dashboard-port={dashboard}",
            *(f"--{name}={port}" for name, port in zip(names, free_ports(4), strict=True)),
            "--object-store-memory=100000000", "--disable-usage-stats", f"--temp-dir={place / 'ray'}",
        ]  # fmt: skip
        environment = {
            "HOME": str(self.folder), "PATH": str(self.folder / "bin"), "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
            "RAY_USAGE_STATS_ENABLED": "0", processes.MARKER: os.environ[processes.MARKER], **self.settings,
        }  # fmt: skip
        if self.token is not None:
            environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token_file)}
        self._head.enter_context(running_head(command, environment, place, cwd=self.folder))

    def stop(self) -> None:
        """Stop the head; all that it knew is gone."""
        self._head.close()


@contextlib.contextmanager
def remote_cluster(token: str | None, **settings: str) -> Iterator[RemoteCluster]:
    """A cluster whose head is up. It is stopped at the end, and leaves nothing."""
    folder = Path(tempfile.mkdtemp(prefix="rf", dir="/tmp"))  # short: the paths of Ray's sockets have a limit
    control, dashboard = free_ports(2)
    made = RemoteCluster(
        folder, f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{control}", folder / "venv", token, settings
    )
    make_environment(made.environment)
    made.install_rayflow()
    if token is not None:
        made.token_file.write_text(token)
    (folder / "bin").mkdir()
    for name in ("bash", "sleep"):
        (folder / "bin" / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def site_packages(environment: Path) -> Path:
    return next((environment / "lib").glob("python*/site-packages"))


def make_environment(folder: Path) -> None:
    """A virtual environment with all that this one has, but without rayflow."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "rayflow" not in entry.name and entry.name != "__pycache__":
            (site_packages(folder) / entry.name).symlink_to(entry)


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nothing listens on."""
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


FLOW = '''
import sys
import time
from pathlib import Path

from rayflow import run, task


@task
def double(n: int):
    print("doubling", n)
    return 2 * n


@task
def main(n: int = 2):
    return [double(i) for i in range(n)]


@task
def until(path: str):
    """Waits for a file."""
    Path(path).with_suffix(".begun").touch()
    while not Path(path).exists():
        time.sleep(0.05)
    return "seen"


@task
def fail():
    raise ValueError("no planet")


if __name__ == "__main__":
    print(run(main(4)))
'''


@dataclass
class Laptop:
    """A project on the submitting machine, and the command line there."""

    project: Project
    cluster: RemoteCluster
    store: str
    capsys: Any

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Carry out a command in this process: its exit code, stdout and stderr."""
        self.capsys.readouterr()
        code = main(words)
        out, err = self.capsys.readouterr()
        self.project.forget()
        return code, out, err

    def in_new_process(self, *words: str) -> tuple[int, str]:
        """Carry out a command in a process that is not in a Ray: its exit code and stderr."""
        command = [sys.executable, "-m", "rayflow", *words]
        done = subprocess.run(command, cwd=self.project.path, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    def submit(self, *words: str) -> tuple[int, str, str]:
        return self("submit", "--address", self.cluster.address, *words)

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        from rayflow.api import history

        return list(history(store=self.store).sql(query).fetchall())


def laptop_of(cluster: RemoteCluster, project: Project, folder: Path, capsys: Any) -> Laptop:
    """The project with tasks, and a store in a folder that this cluster reaches, too."""
    store = folder / "shared" / "store"
    store.parent.mkdir()
    project.write("rayflow.toml", f'store = "{store}"\n')
    project.write("flows/steps.py", FLOW)
    return Laptop(project, cluster, str(store), capsys)
