"""A cluster that is reached by its dashboard alone, with a token, and a laptop that uses it; a played dashboard."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from played_dashboard import PlayedDashboard
from projects import Project
from remote_clusters import Laptop, RemoteCluster, laptop_of
from remote_clusters import remote_cluster as started

TOKEN = "0123456789abcdef" * 4


@pytest.fixture(scope="session")
def remote_cluster(s3_server: str) -> Iterator[RemoteCluster]:
    """A head with a dashboard and a token, for all tests of this folder. It reaches the S3 server, too."""
    aws = {name: text for name, text in os.environ.items() if name.startswith("AWS_")}
    with started(TOKEN, **aws) as found:
        yield found


@pytest.fixture
def laptop(
    remote_cluster: RemoteCluster,
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Laptop:
    """A project whose store is a folder that the cluster reaches, too; its tasks are in `flows/steps.py`."""
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(remote_cluster.token_file))
    return laptop_of(remote_cluster, project, tmp_path, capsys)


@pytest.fixture
def dashboard() -> Iterator[PlayedDashboard]:
    played = PlayedDashboard()
    yield played
    played.server.shutdown()
    played.server.server_close()
