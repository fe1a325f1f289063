"""The driver's way to a Ray cluster: join one, or start a local one, and talk to a scheduler there.

In: a configuration and requests. Out: submissions. Never: evaluates.
"""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayflow.config import Config
from rayflow.errors import Bug, ClusterUnavailable, StoreUnavailable
from rayflow.runtime import noise, warm
from rayflow.runtime.reports import Progress, Reporter
from rayflow.runtime.requests import Request

if TYPE_CHECKING:
    from rayflow.evaluator import commands
    from rayflow.runtime.driver import Driver
    from rayflow.runtime.scheduler import Status

# Ray reads these when it is imported. Under `uv run` Ray would otherwise build an environment for every worker.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray  # noqa: E402  # the environment comes first
from ray import exceptions  # noqa: E402

WAIT_SECONDS = 0.2
"""How long one question for the status waits at the scheduler."""

RESTARTS = 20
"""How often a scheduler that died is started again."""

CANCEL_SECONDS = 15.0
"""How long an interrupted execution may take to end what runs."""


def cluster_for(config: Config, reporter: Reporter) -> Cluster:
    """The cluster of this process: the one that it is connected to, or the one that the configuration names, or a local
    one, started here.

    Raises ClusterUnavailable when none answers.
    """
    if not ray.is_initialized():
        _connect(config, reporter)
    return Cluster(config, reporter)


def _connect(config: Config, reporter: Reporter) -> None:
    address = config.address
    if address is not None and address.startswith("ray://"):
        raise ClusterUnavailable(
            f"{address}: the Ray client (ray://) is not supported, because it loses the work of a driver whose connection "
            "breaks. Run on the cluster's head node with --address auto, or give the address of its GCS, host:6379."
        )
    noise.quiet(reporter)
    if address is None:
        address = warm.address_of_running()
    common: dict[str, Any] = {
        "namespace": "rayflow",
        "logging_level": "ERROR",
        "log_to_driver": True,
        "configure_logging": True,
    }
    runtime_env = dict(config.runtime_env)
    if address is None or address == "local":
        reporter.connecting("starting Ray on this machine")
        common.update(address="local", include_dashboard=False, num_cpus=config.num_cpus)
    else:
        reporter.connecting(f"joining the Ray cluster at {address}")
        common.update(address=address)
        warm.prepare_token()
        if not _is_here(address):
            runtime_env.setdefault("working_dir", config.project_dir)
            runtime_env.setdefault("excludes", [".rayflow", ".git", ".venv"])
    if runtime_env:
        common["runtime_env"] = runtime_env
    try:
        with noise.hidden():
            ray.init(**common)
    except Exception as error:  # Ray raises many kinds here; all mean that there is no cluster for us
        raise ClusterUnavailable(_cannot_connect(address, error)) from error
    atexit.register(noise.silence)


def _is_here(address: str) -> bool:
    host = address.rpartition(":")[0] or address
    return host in ("auto", "localhost", "127.0.0.1", "::1") or host == noise.own_address()


def _cannot_connect(address: str | None, error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    first = lines[0] if lines else type(error).__name__
    if address in (None, "local"):
        return f"Ray cannot be started on this machine: {first}"
    if "token" in str(error).lower() or "auth" in type(error).__name__.lower():
        return (
            f"The Ray cluster at {address} wants a token that this machine does not have: set RAY_AUTH_MODE=token and "
            f"RAY_AUTH_TOKEN_PATH to the cluster's token file. ({first})"
        )
    return f"No Ray cluster answers at {address}: {first} Is it running (`ray status`), and can this machine reach it?"


class Cluster:
    """A scheduler actor on a cluster, for the executions of one driver."""

    def __init__(self, config: Config, reporter: Reporter) -> None:
        self._config = config
        self._reporter = reporter
        self._actor: Any = None

    def actor(self) -> Any:
        """The scheduler actor; started when it is first needed, or when Ray has given the last one up."""
        if self._actor is None:
            from rayflow.runtime.scheduler import Scheduler

            self._actor = (
                ray.remote(Scheduler)
                .options(
                    num_cpus=0,
                    max_restarts=RESTARTS,
                    max_concurrency=16,
                    max_task_retries=0,
                    name=None,
                    scheduling_strategy=_on_this_node(),
                )
                .remote(self._config.store, dict(self._config.limits))
            )
        return self._actor

    def give_up_actor(self) -> None:
        """Forget an actor that is dead for good."""
        self._actor = None

    def submit(self, driver: Driver, request: Request) -> RaySubmission:
        """Start an execution."""
        return RaySubmission(self, driver, request, self._reporter)

    def release(self) -> None:
        """Let the scheduler go. Ray stays for the next run of this process."""
        if self._actor is not None and ray.is_initialized():
            ray.kill(self._actor)
        self._actor = None


def _on_this_node() -> Any:
    """The scheduler sits where the driver is, if it can: near the store, and away with the driver."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)


class RaySubmission:
    """An execution on a cluster."""

    def __init__(self, cluster: Cluster, driver: Driver, request: Request, reporter: Reporter) -> None:
        self._cluster = cluster
        self._driver = driver
        self._request = request
        self._reporter = reporter
        self.execution_id = request.execution_id
        self._surroundings = driver.surroundings(request)
        self._finish: commands.Finish | None = None
        self._started = time.monotonic()
        self._told: set[str] = set()
        self._submit()

    def _submit(self) -> None:
        """Hand the request over. The scheduler may die at any moment: then it is handed over again, as a further life."""
        self._again(lambda actor: actor.submit.remote(self._request, self._surroundings))

    def _again(self, call: Callable[[Any], Any]) -> Any:
        """The answer of an actor call; after a crash the call is made again to the actor that Ray has started anew."""
        for _ in range(RESTARTS):
            try:
                return ray.get(call(self._cluster.actor()))
            except exceptions.ActorUnavailableError:
                time.sleep(0.2)
            except exceptions.ActorDiedError as error:
                if "StoreUnavailable" in str(error):
                    raise StoreUnavailable(_last_line(error)) from None
                self._cluster.give_up_actor()
                time.sleep(0.2)
            except exceptions.RayTaskError as error:
                raise error.as_instanceof_cause() from None
        raise ClusterUnavailable("The scheduler died again and again; see the logs of the Ray session.")

    def result(self, timeout: float | None = None) -> Any:
        end = None if timeout is None else time.monotonic() + timeout
        try:
            while self._finish is None:
                self._poll(end)
        except KeyboardInterrupt:
            self._interrupted()
            raise
        return self._driver.value_of(self._finish)

    def _poll(self, end: float | None) -> None:
        status: Status = self._again(lambda actor: actor.wait.remote(self.execution_id, WAIT_SECONDS))
        if status.broken is not None:
            raise Bug(f"The scheduler stopped on an error of its own:\n{status.broken}")
        if not status.known:
            # The actor was started anew and knows nothing: take the execution up again.
            self._request.life += 1
            self._submit()
            return
        elapsed = time.monotonic() - self._started
        for warning in status.warnings:
            self._reporter.warned(warning)
        for sentence in status.waiting:
            if sentence not in self._told:
                self._told.add(sentence)
                self._reporter.warned(sentence)
        if status.finish is None:
            self._reporter.progress(Progress(self.execution_id, elapsed, status.by_task, status.waiting))
            if end is not None and time.monotonic() > end:
                raise TimeoutError("The execution has not ended yet; it goes on.")
            return
        self._finish = status.finish
        noise.flush()
        self._driver.report_end(self._request, status.finish, elapsed)
        self._again(lambda actor: actor.release.remote(self.execution_id))

    def _interrupted(self) -> None:
        """Ctrl-C: end what runs, and wait until that is recorded."""
        self.cancel()
        end = time.monotonic() + CANCEL_SECONDS
        while self._finish is None and time.monotonic() < end:
            self._poll(None)

    def cancel(self) -> None:
        self._again(lambda actor: actor.cancel.remote(self.execution_id))


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if "StoreUnavailable" in line]
    return lines[-1].partition("StoreUnavailable:")[2].strip() if lines else str(error)
