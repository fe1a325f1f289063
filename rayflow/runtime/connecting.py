"""This process's connection to Ray: join the cluster that is named, or start a local one quietly.

In: a configuration. Out: a connected process, or one clear error within seconds. Never: stops a cluster.
"""

from __future__ import annotations

import atexit
import os
import socket
import sys
from pathlib import Path
from typing import Any

from rayflow.config import Config
from rayflow.errors import ClusterUnavailable
from rayflow.runtime import noise, warm
from rayflow.runtime.reports import Reporter

# Ray reads these when it is imported. Under `uv run` Ray would otherwise build an environment for every worker.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray  # the environment comes first
from ray.job_config import JobConfig

REACH_SECONDS = 5.0
"""How long a named cluster may take to accept a connection."""

LEFT_BEHIND = (".rayflow", ".git", ".venv", "venv", "__pycache__")
"""What of a project is not sent to a cluster."""


def connect(config: Config, reporter: Reporter) -> None:
    """Connect this process to Ray, unless it is. Raises ClusterUnavailable when no cluster answers."""
    noise.listen()
    address = config.address
    if ray.is_initialized():
        _agrees(address)
        return
    if address is not None and address.startswith("ray://"):
        raise ClusterUnavailable(
            f"{address}: the Ray client (ray://) is not supported, because it loses the work of a driver whose "
            "connection breaks. Run on the cluster's head node with --address auto, or give the address of its GCS, "
            "host:6379."
        )
    if address is None:
        address = warm.address_of_running()
    if address is None or address == "local":
        reporter.connecting("starting Ray on this machine")
        _initialize(config, "local", dict(config.runtime_env))
    else:
        reporter.connecting(f"joining the Ray cluster at {address}")
        _join(config, address)
    atexit.register(noise.silence)


def _join(config: Config, address: str) -> None:
    if address != "auto":
        _reach(address)
    runtime_env = dict(config.runtime_env)
    if "working_dir" in runtime_env or not _is_here(address):
        _initialize(config, address, _with_project(config, runtime_env))
        return
    _initialize(config, address, runtime_env)
    if "working_dir" not in runtime_env and _has_other_machines():
        # Only a connected process can know; and what a job takes with it is settled when it connects.
        ray.shutdown()
        _initialize(config, address, _with_project(config, runtime_env))


def _with_project(config: Config, runtime_env: dict[str, Any]) -> dict[str, Any]:
    """The environment of workers that do not see this machine's files: they get a copy of the project."""
    given = list(runtime_env.get("excludes") or ())
    return {"working_dir": config.project_dir, **runtime_env, "excludes": [*given, *LEFT_BEHIND]}


def _initialize(config: Config, address: str, runtime_env: dict[str, Any]) -> None:
    options: dict[str, Any] = {
        "address": address,
        "namespace": "rayflow",
        "logging_level": "ERROR",
        "log_to_driver": True,
        "configure_logging": True,
        # Private: workers on this machine find rayflow where this process has found it, also when it is not installed.
        "job_config": JobConfig(_py_driver_sys_path=_own_path()),
    }
    if address == "local":
        options.update(include_dashboard=False, num_cpus=config.num_cpus)
    if runtime_env:
        options["runtime_env"] = runtime_env
    try:
        with noise.hidden():
            ray.init(**options)
    except Exception as error:  # Ray raises many kinds here; all mean that there is no cluster for us
        raise ClusterUnavailable(_cannot_connect(address, error)) from error


def _own_path() -> list[str]:
    """The folder that rayflow was imported from, unless that is a place for installed packages."""
    folder = Path(__file__).resolve().parents[2]
    return [] if "site-packages" in folder.parts or str(folder) not in sys.path else [str(folder)]


def _reach(address: str) -> None:
    """Raise ClusterUnavailable unless a Ray cluster answers at the address, and lets this process in.

    Left to itself, Ray would try for minutes to speak with whatever listens at a wrong port, and for half a minute to
    get in without the cluster's token.
    """
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS):
            pass
    except (OSError, OverflowError) as error:
        what = "nothing answers in time" if isinstance(error, TimeoutError) else str(error)
        raise ClusterUnavailable(_unreachable(address, what)) from None
    if os.environ.get("RAY_USE_TLS") != "1":
        _ask_whether_alive(address)


def _ask_whether_alive(address: str) -> None:
    """Ask the cluster the first question that Ray asks, too."""
    import grpc

    token = _token()
    with grpc.insecure_channel(address) as channel:
        check_alive = channel.unary_unary(_CHECK_ALIVE)
        try:
            check_alive(b"", timeout=REACH_SECONDS, metadata=[("authorization", f"Bearer {token}")] if token else None)
        except grpc.RpcError as error:
            code = error.code()
            if code is grpc.StatusCode.UNAUTHENTICATED:
                raise ClusterUnavailable(_locked(address, bool(token))) from None
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise ClusterUnavailable(_unreachable(address, "nothing answers in time")) from None
            if code is grpc.StatusCode.UNAVAILABLE:
                raise ClusterUnavailable(_unreachable(address, "something else listens there")) from None
            # Any other answer is one of Ray's, if perhaps of another version: that is for Ray to tell.


_CHECK_ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"
"""Private to Ray, as the whole protocol is; it takes an empty message. Should it go, the cluster still answers."""


def _token() -> str | None:
    """The token that Ray would send to a cluster, if it would send any."""
    if os.environ.get("RAY_AUTH_MODE") != "token":
        return None
    if os.environ.get("RAY_AUTH_TOKEN"):
        return os.environ["RAY_AUTH_TOKEN"]
    try:
        return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser().read_text().strip()
    except OSError:
        return None


def _unreachable(address: str, what: str) -> str:
    return (
        f"No Ray cluster answers at {address}: {what}. Is it running (`ray status` there), and can this machine reach "
        "it?"
    )


def _locked(address: str, has_token: bool) -> str:
    if has_token:
        return (
            f"The Ray cluster at {address} wants another token than the one that this machine has: set "
            "RAY_AUTH_TOKEN_PATH to the cluster's token file."
        )
    return (
        f"The Ray cluster at {address} wants a token, and this process has none: set RAY_AUTH_MODE=token and "
        "RAY_AUTH_TOKEN_PATH to the cluster's token file, before Ray is imported."
    )


def _is_here(address: str) -> bool:
    """Whether an address is one of this machine's own."""
    if address == "auto":
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host in ("localhost", "127.0.0.1", "::1"):
        return True
    try:
        # Only a machine's own addresses can be bound to.
        family, kind, protocol, _, place = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(place)
    except OSError:
        return False
    return True


def _has_other_machines() -> bool:
    nodes = [node for node in ray.nodes() if node.get("Alive")]
    return len({node.get("NodeManagerAddress") for node in nodes}) > 1


def _agrees(address: str | None) -> None:
    """Raise ClusterUnavailable when this process is connected to another cluster than the one that is named."""
    if address in (None, "auto", "local"):
        return
    own = ray.get_runtime_context().gcs_address
    wanted = str(address)
    if own == wanted or (own.rpartition(":")[2] == wanted.rpartition(":")[2] and _is_here(own) and _is_here(wanted)):
        return
    raise ClusterUnavailable(
        f"This process is connected to the Ray cluster at {own} already, and cannot join {wanted} too: call "
        "ray.shutdown() first, or name no address."
    )


def _cannot_connect(address: str, error: BaseException) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    first = lines[0] if lines else type(error).__name__
    if address == "local":
        return f"Ray cannot be started on this machine: {first}"
    if "token" in str(error).lower() or "auth" in type(error).__name__.lower():
        return f"{_locked(address, _token() is not None)} ({first})"
    return _unreachable(address, first.rstrip("."))
