"""What all tests share: projects in temporary folders, one local Ray cluster, and no process left behind."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import conditional_gcs
import processes
import pytest
import tokens
from hypothesis import settings
from projects import REPOSITORY, Project

# No test may join a cluster, or write to a store, that the tests did not start. Ray reads its own when it is imported.
for _name in [name for name in os.environ if name.startswith("RAYFLOW_") or name == "RAY_ADDRESS"]:
    del os.environ[_name]
processes.mark()
# The processes that the tests start import this checkout, also where another rayflow is installed.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
tokens.use_own()
# Else gcsfs asks of what kind a bucket is by a protocol that the emulator does not speak, and waits for a minute.
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


# --- projects ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """An empty project; what it loads into this process is forgotten after the test."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "rayflow.toml").write_text("")
    path = list(sys.path)
    monkeypatch.chdir(folder)
    made = Project(folder)
    yield made
    made.forget()
    sys.path[:] = path


@pytest.fixture(autouse=True)
def plain_files() -> None:
    """A File is identified as it is without a configuration, whatever the project of an earlier test has set."""
    from rayflow.values.files import file_states

    file_states._usual = "stat"


# --- Ray --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """The address of a local cluster with two processors, for tests marked `ray`; this process is connected to it."""
    import ray

    folder = tempfile.mkdtemp(prefix="rf", dir="/tmp")  # short: the paths of Ray's sockets have a limit
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=200 * 1024 * 1024,
        _temp_dir=folder,
        log_to_driver=False,
        logging_level="ERROR",
        namespace="rayflow",
    )
    try:
        yield ray.get_runtime_context().gcs_address
    finally:
        ray.shutdown()
        processes.end_all()
        shutil.rmtree(folder, ignore_errors=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not is_sharing_out(session.config):  # else the workers end theirs, and may still be reporting
        processes.end_all()
    tokens.remove()


# --- three tiers: quick, full, campaign -------------------------------------------------------------------------------

QUICK_ROOMS = {
    "cluster_files", "contracts", "deployments", "evaluator", "house", "lang", "simulation", "store", "submission",
    "testing", "values",
}  # fmt: skip
"""Folders of tests that need no Ray. All of their tests are quick that are not marked otherwise."""

NOT_QUICK = {"ray", "netns", "mounts", "slow", "campaign"}

QUICK_SEEDS = "300"
"""How many seeds the simulation plays in the quick tier, unless TEST_SEEDS says otherwise."""


def pytest_configure(config: pytest.Config) -> None:
    if config.option.markexpr == "quick":
        os.environ.setdefault("TEST_SEEDS", QUICK_SEEDS)


def is_sharing_out(config: pytest.Config) -> bool:
    """Whether this process runs no tests itself, but gives them to others (pytest -n)."""
    return bool(getattr(config.option, "numprocesses", None)) and not hasattr(config, "workerinput")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is quick. With `-n`, what needs Ray comes first, since the process that runs it takes longest."""
    for item in items:
        room = item.path.relative_to(REPOSITORY / "tests").parts[0]
        names = {marker.name for marker in item.iter_markers()}
        if room in QUICK_ROOMS and names.isdisjoint(NOT_QUICK):
            item.add_marker("quick")
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: scope_of(item.nodeid) != RAY)


RAY = "ray"


@cache
def _ray_tests(file: str) -> set[str]:
    """The names of a file's tests that ask for the shared cluster."""
    return set(re.findall(r"def (test_\w+)\([^)]*\bray_cluster\b", (REPOSITORY / file).read_text()))


def scope_of(nodeid: str) -> str:
    """What one process runs, one after the other (see `pytest -n`): the tests of a file, and all that need Ray."""
    file, _, name = nodeid.partition("::")
    function, _, case = name.rpartition("::")[2].partition("[")
    return RAY if file.startswith("tests/cluster/") or case.startswith("ray") or function in _ray_tests(file) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class Scopes(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope_of(nodeid)

    return Scopes(config, log)


_LAUNCHES = frozenset(("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn"))
_quick_test: list[str] = []
"""The quick test that runs now, if one does."""


def _refuse_launches(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _LAUNCHES and _quick_test:
        if arguments and arguments[0] == "git":  # rayflow asks it once for the state of a project
            return
        raise AssertionError(f"{_quick_test[0]} starts a process: mark it slow")


sys.addaudithook(_refuse_launches)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    if item.get_closest_marker("quick") is not None:
        _quick_test.append(item.nodeid)
    try:
        yield
    finally:
        _quick_test.clear()


@pytest.fixture(autouse=True)
def _no_secret_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins without a secret to mask: masking starts a process, and would go on in all later tests."""
    monkeypatch.setattr("rayflow.values.display.masking._masks", {})


# --- object stores ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The endpoint of a server that speaks S3, for this process and those that it starts."""
    moto = pytest.importorskip("moto.server", reason="S3 is tried on moto's server, which is not installed")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield endpoint
    server.stop()


@pytest.fixture
def bucket(s3_server: str) -> str:
    """The URL of a new bucket, such as s3://bucket-1."""
    import s3fs

    url = f"s3://bucket-{next(_BUCKETS)}"
    s3fs.S3FileSystem(skip_instance_cache=True).mkdir(url)
    return url


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[str]:
    """The endpoint of a server that speaks the protocol of Google's cloud storage."""
    emulator = pytest.importorskip("gcp_storage_emulator.server", reason="gcp-storage-emulator is not installed")
    objects = pytest.importorskip("gcp_storage_emulator.handlers.objects")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = emulator.create_server("127.0.0.1", port, in_memory=True)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        conditional_gcs.heed_conditions(patch, emulator, objects)
        yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def gcs_bucket(gcs_server: str) -> str:
    """The URL of a new bucket, such as gs://bucket-1."""
    import gcsfs

    name = f"bucket-{next(_BUCKETS)}"
    gcsfs.GCSFileSystem(token="anon", skip_instance_cache=True).mkdir(name)
    return f"gs://{name}"


_BUCKETS = itertools.count(1)


# --- network namespaces and disks ------------------------------------------------------------------------------------


@cache
def reason_against_namespaces() -> str | None:
    """Why network namespaces cannot be used here; None when they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program, package in (("ip", "iproute2"), ("unshare", "util-linux"), ("nsenter", "util-linux")):
        if shutil.which(program) is None:
            return f"network namespaces need the command `{program}` (package {package})"
    probe = """
        mount -t tmpfs tmpfs /dev/shm && ip link set lo up && ip link add rf0 type veth peer name rf1 &&
        ip link add rf2 type bridge && ip rule add ipproto tcp dport 1 lookup main
    """
    words = ["unshare", "--mount", "--net", "--uts", "sh", "-c", probe]
    made = subprocess.run(words, capture_output=True, text=True)
    return f"this machine does not allow namespaces: {made.stderr.strip()}" if made.returncode else None


@cache
def reason_against_mounts() -> str | None:
    """Why no small disk can be mounted here; None when it can."""
    if os.geteuid() != 0:
        return "mounting a small disk needs root"
    with tempfile.TemporaryDirectory() as folder:
        made = subprocess.run(mounting(folder), capture_output=True, text=True)
        if made.returncode != 0:
            return f"this machine does not allow mounts: {made.stderr.strip()}"
        subprocess.run(["umount", "-l", folder], check=True)
    return None


def mounting(folder: str) -> list[str]:
    """The command that mounts a disk of a megabyte."""
    return ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of a megabyte, for tests marked `mounts`."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    subprocess.run(mounting(str(folder)), check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, reason_against in (("netns", reason_against_namespaces), ("mounts", reason_against_mounts)):
        if item.get_closest_marker(marker) is not None:
            reason = reason_against()
            if reason is not None:
                pytest.skip(reason)
