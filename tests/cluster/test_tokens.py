"""A cluster that wants a token: who has it gets in without further words, who has not is told so at once."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from heads import running_head
from projects import Project

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TOKEN = "0123456789abcdef" * 4


@pytest.fixture
def guarded() -> Iterator[tuple[str, Path]]:
    """The address of a cluster that wants a token, and the file with the token."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="rf", dir="/tmp"))
    token = folder / "token"
    token.write_text(TOKEN)
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}", "--num-cpus=1",
        "--node-ip-address=127.0.0.1", "--include-dashboard=false", "--object-store-memory=100000000",
        "--disable-usage-stats", f"--temp-dir={folder / 'ray'}",
    ]  # fmt: skip
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    with running_head(command, environment, folder):
        yield f"127.0.0.1:{port}", token


def test_a_token_opens_the_cluster_and_the_lack_of_one_is_told_in_one_line(guarded, project: Project, monkeypatch):
    address, token = guarded
    project.write("flow.py", "from rayflow import task\n\n@task\ndef double(n: int):\n    return 2 * n\n")
    home = project.path / "home"
    home.mkdir()
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    monkeypatch.setenv("HOME", str(home))

    def run(n: int, **environment: str) -> subprocess.CompletedProcess[str]:
        return project.rayflow("run", "flow.py", "double", "--n", str(n), "--address", address, **environment)

    done = run(1)
    assert done.returncode == 2, done.stderr
    assert f"The Ray cluster at {address} wants a token, and this process has none" in done.stderr
    assert "RAY_AUTH_TOKEN_PATH" in done.stderr
    assert "Traceback" not in done.stderr

    done = run(2, RAY_AUTH_TOKEN="f" * 64)
    assert done.returncode == 2, done.stderr
    assert "wants another token" in done.stderr
    assert "Traceback" not in done.stderr

    done = run(3, RAY_AUTH_TOKEN_PATH=str(token))
    assert (done.returncode, done.stdout.strip()) == (0, "6"), done.stderr

    # Where Ray itself keeps it.
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text(TOKEN)
    done = run(4)
    assert (done.returncode, done.stdout.strip()) == (0, "8"), done.stderr
