"""This process's connection to Ray: join the cluster that is named, or start a local one quietly.

In: a configuration. Out: a connected process, or one clear error within seconds. Never: stops a cluster.
"""

from __future__ import annotations

import atexit
import contextlib
import http.client
import importlib
import json
import os
import re
import socket
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from typing import Any

import ray
from ray._private import services
from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR
from ray.job_config import JobConfig

from rayflow.config import Config
from rayflow.errors import ClusterLost, ClusterUnavailable, VersionMismatch
from rayflow.installation import FOLDER, PACKAGE, is_installed
from rayflow.lang.modules import hides_needed
from rayflow.runtime.on_ray.connection import local_ray, ray_output, ray_settings
from rayflow.runtime.on_ray.connection.cluster_watch import Address, Watch, address_of, answer_of
from rayflow.runtime.protocol.reports import Reporter
from rayflow.runtime.signals import undisturbed
from rayflow.values.process.waits import waiting

REACH_SECONDS = 5.0
"""How long a named cluster may take to accept a connection."""

NODES_SECONDS = 30.0
"""How long the cluster may take to tell its nodes."""

LEAVING_SECONDS = 40.0
"""How long leaving a lost cluster may take."""

LEFT_BEHIND = (".rayflow", ".git", ".venv", "venv", "__pycache__")
"""The files and folders of a project that are not sent to a cluster."""


def connect(config: Config, reporter: Reporter, *, ships_project: bool = True) -> None:
    """Connect this process to Ray, unless it is. Raises ClusterUnavailable when no cluster answers, VersionMismatch for
    one with another Ray or Python.

    ships_project: whether machines that do not see the project's files get a copy of them.
    """
    global _is_ours
    _await_leaving()
    ray_output.listen()
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
    own = local_ray.running(config.project_dir) if address in (None, "auto") else None
    if own is None and address == "auto":
        address = _found()
    if own is None and address is not None:
        own = local_ray.running_at(address)
    if own is not None:
        reporter.connecting(f"joining the Ray of `rayflow up` at {own.address}")
        _join(config, own.address, ray_settings.for_own(own.token), ships_project)
    elif address is None or address == "local":
        token = ray_settings.own_token()
        without = "" if token else ", where every user can run code in it (RAY_AUTH_MODE=disabled)"
        reporter.connecting(f"starting Ray on this machine{without}")
        _initialize(config, "local", dict(config.environment), ray_settings.for_own(token))
    else:
        reporter.connecting(f"joining the Ray cluster at {address}")
        _join(config, address, ray_settings.for_others(), ships_project)
    _is_ours = True
    atexit.register(ray_output.silence)


_is_ours = False
"""Whether this process is connected because a run of ours needed it, and not by the user."""


def disconnect() -> None:
    """End our connection to Ray, because the process ends. A connection that the user has made stays.

    Ray would do it at the exit of Python, after half a second of sleep in which prints may still come. A run has waited
    for its prints already.
    """
    global _is_ours
    if _is_ours and is_connected():
        ray_output.silence()
        ray.shutdown()
    _is_ours = False


_process = os.getpid()
"""The process that has imported this module, and Ray."""


def is_connected() -> bool:
    """Whether this process is connected to a cluster that is not lost."""
    return ray.is_initialized() and not _leaving


def watch(before: Watch | None) -> Watch:
    """A watch over the parts of the cluster that this process needs. The one of before serves as long as the cluster is
    the same, also when it says that the cluster is lost. Raises ClusterLost when the cluster does not list its
    nodes, ClusterUnavailable in a process that was forked from the connected one."""
    if os.getpid() != _process:
        raise ClusterUnavailable(
            "This process was forked from one that is connected to Ray, and Ray answers only that one. Start processes "
            'by "spawn" (multiprocessing.get_context), or run inline.'
        )
    context = ray.get_runtime_context()
    control = address_of(context.gcs_address)
    if before is not None:
        if control in before.places.values():
            return before
        before.stop()  # it watches another cluster: the process was connected again
    places: dict[str, Address] = {"its control service (GCS)": control}
    own = context.get_node_id()
    for node in _nodes():
        if node["NodeID"] == own:
            places["its process on this machine (the raylet)"] = node["NodeManagerAddress"], node["NodeManagerPort"]
    return Watch(places)


def _nodes() -> list[dict[str, Any]]:
    """The cluster's nodes. This does not wait for ever for a lost control service, as Ray would: no watch runs yet."""
    asked: Callable[[], list[dict[str, Any]]] = ray.nodes
    try:
        return answer_of(asked).result(NODES_SECONDS)
    except TimeoutError:
        leave()
        raise ClusterLost(f"its control service (GCS) did not list its nodes within {NODES_SECONDS:g} s") from None


_leaving: list[threading.Thread] = []


def leave() -> None:
    """Disconnect from a cluster that is lost: Ray would end this process within a minute.

    Ray waits meanwhile for answers that never come. So a thread does it; the next connection, and the end of the
    process, wait for that thread.
    """
    if _leaving:
        return
    thread = threading.Thread(target=ray.shutdown, name="rayflow-leave", daemon=True)
    thread.start()
    _leaving.append(thread)
    atexit.register(_await_leaving)


def _await_leaving() -> None:
    while _leaving:
        _leaving.pop().join(LEAVING_SECONDS)


def _found() -> str:
    """The address of the cluster that this machine is a node of. Raises ClusterUnavailable when there is none."""
    try:
        # Private: `ray.init(address="auto")` begins with it. Before we join the cluster, we check that it answers.
        return str(services.get_ray_address_from_environment("auto", None))
    except ConnectionError:
        raise ClusterUnavailable(
            "--address auto finds no Ray on this machine. Give the address of a cluster, such as 10.0.0.5:6379, or "
            "give none: then rayflow starts Ray."
        ) from None


def _join(config: Config, address: str, environment: ray_settings.Environment, ships_project: bool) -> None:
    if not _reach(address, ray_settings.token_in(environment)):
        environment = ray_settings.without_token(environment)
    runtime_env = dict(config.environment)
    if not ships_project:
        _initialize(config, address, runtime_env, environment)
        return
    if _job_has_project():
        # Ray refuses a second one, and what is not sent with the first was left out then.
        runtime_env.pop("excludes", None)
        _initialize(config, address, runtime_env, environment)
        return
    if "working_dir" in runtime_env or not _is_here(address):
        _initialize(config, address, _with_project(config, runtime_env), environment)
        return
    _initialize(config, address, runtime_env, environment)
    if "working_dir" not in runtime_env and _has_other_machines():
        # Only a connected process can know this. But the files of a job are fixed when the process connects.
        ray.shutdown()
        _initialize(config, address, _with_project(config, runtime_env), environment)


def _job_has_project() -> bool:
    """Whether this process is the program of a Ray job with a working directory, which all of its workers get."""
    try:
        told = json.loads(os.environ.get(RAY_JOB_CONFIG_JSON_ENV_VAR) or "{}")
    except ValueError:
        return False
    return bool((told.get("runtime_env") or {}).get("working_dir"))


def _with_project(config: Config, runtime_env: dict[str, Any]) -> dict[str, Any]:
    """The environment of workers that do not see this machine's files: they get a copy of the project."""
    given = list(runtime_env.get("excludes") or ())
    return {"working_dir": config.project_dir, **runtime_env, "excludes": [*given, *LEFT_BEHIND]}


def _initialize(
    config: Config, address: str, runtime_env: dict[str, Any], environment: ray_settings.Environment
) -> None:
    job = JobConfig()
    # Private: workers on this machine find rayflow where this process has found it, also when it is not installed.
    job._py_driver_sys_path = _WorkerPath(_own_path())
    options: dict[str, Any] = {
        "address": address,
        "namespace": "rayflow",
        "logging_level": "ERROR",
        "log_to_driver": True,
        "configure_logging": True,
        "job_config": job,
    }
    if address == "local":
        options.update(include_dashboard=False, num_cpus=config.num_cpus)
    if runtime_env:
        options["runtime_env"] = runtime_env
    threading.Thread(target=_import_serializers, name="rayflow-import", daemon=True).start()
    try:
        what = "Ray to start on this machine" if address == "local" else f"the Ray cluster at {address} to let us in"
        with waiting(what), ray_output.hidden(), undisturbed(), ray_settings.settled(environment):
            ray.init(**options)
    except Exception as error:  # Ray raises many classes here; all mean that there is no cluster for us
        different = _DIFFERENT.search(str(error))
        if different is not None:
            raise VersionMismatch(
                "The Ray cluster at {} runs Ray {} and Python {}, and this process Ray {} and Python {}. A run that "
                "joins it needs the same Ray and the same minor version of Python: install them here, or use "
                "`rayflow submit`, which runs with those of the cluster.".format(address, *different.groups())
            ) from None
        has_token = ray_settings.token_in(environment) is not None
        raise ClusterUnavailable(_cannot_connect(address, error, has_token)) from error


_DIFFERENT = re.compile(
    r"cluster was started with:\s+Ray: (\S+)\s+Python: (\S+)\s.*?\sRay: (\S+)\s+Python: (\S+)", re.DOTALL
)
"""What Ray says of a cluster with another version, private to it: the versions of Ray and Python there and here."""


def _import_serializers() -> None:
    """Import beside `ray.init`, which mostly waits, what Ray imports when it first sends an object: pydantic's classes
    take it 0.1 s."""
    with contextlib.suppress(ImportError):  # another version of Ray imports something else
        importlib.import_module("ray._common.pydantic_compat")
        importlib.import_module("pydantic.v1.fields")


class _WorkerPath(list[str]):
    """The directories that workers search first for modules. Ray adds the current directory when it connects. It is
    left out where a file in it (such as numpy.py) would hide a library from Ray and from us. Workers find the project's
    modules by the paths of their context."""

    def extend(self, places: Iterable[str]) -> None:
        """Add the directories that hide no library."""
        super().extend(place for place in places if not hides_needed(place))


def _own_path() -> list[str]:
    """The folder from which rayflow was imported, unless installed packages are there, too."""
    return [] if is_installed(PACKAGE) or FOLDER not in sys.path else [FOLDER]


def _reach(address: str, token: str | None) -> bool:
    """Whether the Ray cluster at the address wants a token. Raises ClusterUnavailable unless one answers there, and
    lets this process in.

    Ray alone would try for minutes to speak with another service at a wrong port, and for half a minute to connect
    without the cluster's token.
    """
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS):
            pass
    except (OSError, OverflowError) as error:
        what = "nothing answers in time" if isinstance(error, TimeoutError) else str(error)
        raise ClusterUnavailable(_unreachable(address, what)) from None
    if os.environ.get("RAY_USE_TLS") == "1":
        return token is not None
    # Without the token first: it goes to nobody who does not ask for it. And a process with a token would refuse the
    # workers of a cluster without.
    if _is_let_in(address, None):
        return False
    if token is None or not _is_let_in(address, token):
        raise ClusterUnavailable(_locked(address, token is not None))
    return True


def _is_let_in(address: str, token: str | None) -> bool:
    """Ask the cluster the first question that Ray asks, too. Raises ClusterUnavailable when no cluster answers."""
    import grpc

    with grpc.insecure_channel(address) as channel:
        check_alive = channel.unary_unary(_CHECK_ALIVE)
        try:
            check_alive(b"", timeout=REACH_SECONDS, metadata=[("authorization", f"Bearer {token}")] if token else None)
        except grpc.RpcError as error:
            code = error.code()
            if code is grpc.StatusCode.UNAUTHENTICATED:
                return False
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise ClusterUnavailable(_no_control_service(address, "nothing answers in time")) from None
            if code is grpc.StatusCode.UNAVAILABLE:
                raise ClusterUnavailable(_no_control_service(address, "something else listens there")) from None
            # Any other answer comes from Ray, perhaps in another version, which Ray itself reports.
    return True


_CHECK_ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"
"""Private to Ray, like the whole protocol. It takes an empty message. A Ray without it still answers something."""


def _unreachable(address: str, what: str) -> str:
    return (
        f"No Ray cluster answers at {address}: {what}. Is it running (`ray status` there), and can this machine reach "
        "it?"
    )


def _no_control_service(address: str, what: str) -> str:
    """The message for an address that does not speak gRPC: perhaps a dashboard listens there. what: else the reason."""
    try:
        with urllib.request.urlopen(f"http://{address}/api/version", timeout=REACH_SECONDS) as answer:
            is_dashboard = b"ray_version" in answer.read(10_000)
    except urllib.error.HTTPError as error:
        is_dashboard = error.code in (401, 403)  # it wants a token
    except (OSError, http.client.HTTPException):
        is_dashboard = False
    if not is_dashboard:
        return _unreachable(address, what)
    return (
        f"{address} is the dashboard of a Ray cluster. A run joins its control service (GCS), mostly at port 6379 of "
        f"the same machine; with the dashboard alone, use `rayflow submit --address http://{address}`."
    )


def _locked(address: str, has_token: bool) -> str:
    if has_token:
        return (
            f"The Ray cluster at {address} wants another token than the one that this machine has: set "
            "RAY_AUTH_TOKEN_PATH to the cluster's token file."
        )
    return (
        f"The Ray cluster at {address} wants a token, and this process has none: set RAY_AUTH_MODE=token and "
        "RAY_AUTH_TOKEN_PATH to the cluster's token file."
    )


def _is_here(address: str) -> bool:
    """Whether an address is one of this machine's own."""
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
    """Raise ClusterUnavailable if this process is connected to another cluster than the named one."""
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


def _cannot_connect(address: str, error: BaseException, has_token: bool) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    first = lines[0] if lines else type(error).__name__
    if address == "local":
        return f"Ray cannot be started on this machine: {first}"
    if "token" in str(error).lower() or "auth" in type(error).__name__.lower():
        return f"{_locked(address, has_token)} ({first})"
    return _unreachable(address, first.rstrip("."))
