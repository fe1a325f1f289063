"""A cluster that is reached by its dashboard alone, as users of clusters have it.

Its Python is a virtual environment of its own, which PATH does not name: PATH has `bash` and `sleep` alone, which Ray
itself needs. (Without `sleep`, Ray's watcher of each job would take a whole processor.) rayflow can be taken out of
this environment, and be put back. The cluster asks for a token.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import processes
import pytest
from heads import running_head
from played_dashboard import PlayedDashboard
from projects import REPOSITORY, Project

from rayflow.__main__ import main
from rayflow.submission.job_api import JobApi

TOKEN = "0123456789abcdef" * 4


@dataclass
class RemoteCluster:
    """A head that was started for these tests. address: of its dashboard. control: of its control service."""

    folder: Path
    address: str
    control: str
    environment: Path

    @property
    def token_file(self) -> Path:
        return self.folder / "token"

    @property
    def python(self) -> Path:
        return self.environment / "bin" / "python"

    @property
    def api(self) -> JobApi:
        return JobApi(self.address, TOKEN)

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


def site_packages(environment: Path) -> Path:
    return next((environment / "lib").glob("python*/site-packages"))


def make_environment(folder: Path) -> None:
    """A virtual environment with all that this one has, but without rayflow."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "rayflow" not in entry.name and entry.name != "__pycache__":
            (site_packages(folder) / entry.name).symlink_to(entry)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture(scope="session")
def remote_cluster(s3_server: str) -> Iterator[RemoteCluster]:
    """A head with a dashboard and a token, for all tests of this folder. It reaches the S3 server, too."""
    folder = Path(tempfile.mkdtemp(prefix="rf", dir="/tmp"))  # short: the paths of Ray's sockets have a limit
    control, dashboard, *others = free_ports(6)
    found = RemoteCluster(folder, f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{control}", folder / "venv")
    make_environment(found.environment)
    found.install_rayflow()
    found.token_file.write_text(TOKEN)
    (folder / "bin").mkdir()
    for name in ("bash", "sleep"):
        (folder / "bin" / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    names = (
        "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "runtime-env-agent-port", "metrics-export-port",
    )  # fmt: skip
    command = [
        str(found.python), "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={control}",
        "--num-cpus=2", "--node-ip-address=127.0.0.1", "--include-dashboard=true", f"--dashboard-port={dashboard}",
        *(f"--{name}={port}" for name, port in zip(names, others, strict=True)), "--object-store-memory=100000000",
        "--disable-usage-stats", f"--temp-dir={folder / 'ray'}",
    ]  # fmt: skip
    environment = {
        "HOME": str(folder), "PATH": str(folder / "bin"), "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(found.token_file), "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_USAGE_STATS_ENABLED": "0", processes.MARKER: os.environ[processes.MARKER],
        **{name: text for name, text in os.environ.items() if name.startswith("AWS_")},
    }  # fmt: skip
    with running_head(command, environment, folder, cwd=folder):
        yield found


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
        return done.returncode, done.stderr

    def submit(self, *words: str) -> tuple[int, str, str]:
        return self("submit", "--address", self.cluster.address, *words)

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        from rayflow.api import history

        return list(history(store=self.store).sql(query).fetchall())


@pytest.fixture
def laptop(
    remote_cluster: RemoteCluster,
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Laptop:
    """A project whose store is a folder that the cluster reaches, too; its tasks are in `flows/steps.py`."""
    store = tmp_path / "shared" / "store"
    store.parent.mkdir()
    project.write("rayflow.toml", f'store = "{store}"\n')
    project.write("flows/steps.py", FLOW)
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(remote_cluster.token_file))
    return Laptop(project, remote_cluster, str(store), capsys)


@pytest.fixture
def dashboard() -> Iterator[PlayedDashboard]:
    played = PlayedDashboard()
    yield played
    played.server.shutdown()
    played.server.server_close()
