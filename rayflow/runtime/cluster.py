"""The driver's way to a Ray cluster: join one, or start a local one, and talk to a scheduler there.

In: a configuration and requests. Out: submissions. Never: evaluates.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayflow.config import Config
from rayflow.errors import ClusterUnavailable
from rayflow.runtime import connecting, noise
from rayflow.runtime.losses import lacks_rayflow
from rayflow.runtime.reports import Progress, Reporter
from rayflow.runtime.requests import Request

if TYPE_CHECKING:
    from rayflow.evaluator import commands
    from rayflow.runtime.driver import Driver
    from rayflow.runtime.scheduler import Status

# ruff: isort: split
import ray
from ray import exceptions

WAIT_SECONDS = 0.2
"""How long one question for the status waits at the scheduler."""

RESTARTS = 20
"""How often a scheduler that died is started again for one execution."""

CANCEL_SECONDS = 15.0
"""How long an interrupted execution may take to end what runs."""

TIDY_SECONDS = 20.0
"""How long a driver that ends waits for the scheduler to merge what an execution has written."""

PAUSE_SECONDS = 0.2
"""How long to wait for a scheduler that has died to be there again."""


def cluster_for(config: Config, reporter: Reporter) -> Cluster:
    """The cluster of this process: the one that it is connected to, or the one that the configuration names, or a local
    one, started here.

    Raises ClusterUnavailable when none answers.
    """
    connecting.connect(config, reporter)
    return Cluster(config, reporter)


class Cluster:
    """A scheduler actor on a cluster, for the executions of one driver."""

    def __init__(self, config: Config, reporter: Reporter) -> None:
        self._config = config
        self._reporter = reporter
        self._lock = threading.Lock()
        self._actor: Any = None
        self._tidying: list[Any] = []

    def actor(self) -> Any:
        """The scheduler actor; started when it is first needed, or when the last one has died."""
        with self._lock:
            if not ray.is_initialized():
                # Somebody has called ray.shutdown() between two runs.
                self._actor = None
                connecting.connect(self._config, self._reporter)
            if self._actor is None:
                self._actor = self._started()
            return self._actor

    def _started(self) -> Any:
        """A new scheduler actor.

        It is the driver that starts one anew when it has died, never Ray: an actor with restarts left is what Ray ends
        first on a node that runs out of memory, before the task that fills it.
        """
        from rayflow.runtime.scheduler import Scheduler

        return (
            ray.remote(Scheduler)
            .options(
                num_cpus=0,
                max_restarts=0,
                max_concurrency=32,
                max_task_retries=0,
                scheduling_strategy=_on_this_node(),
            )
            .remote(self._config.store, dict(self._config.limits))
        )

    def give_up_actor(self, dead: Any) -> None:
        """Forget an actor that is dead for good, unless another submission has done so and has a new one already."""
        with self._lock:
            if self._actor is dead:
                self._actor = None

    def submit(self, driver: Driver, request: Request) -> RaySubmission:
        """Start an execution."""
        return RaySubmission(self, driver, request, self._reporter)

    def tidy(self, execution_id: str) -> None:
        """Have the scheduler tidy up after an execution; nobody waits for that before `release`."""
        with self._lock:
            if self._actor is not None and ray.is_initialized():
                done, self._tidying = self._tidied()
                for ref in done:
                    self._await(ref)
                self._tidying.append(self._actor.release.remote(execution_id))

    def _tidied(self) -> tuple[list[Any], list[Any]]:
        """What has been tidied up by now, and what has not."""
        if not self._tidying:
            return [], []
        return ray.wait(self._tidying, num_returns=len(self._tidying), timeout=0)

    def release(self) -> None:
        """Let the scheduler go when it has tidied up. Ray stays for the next run of this process."""
        with self._lock:
            if self._actor is not None and ray.is_initialized():
                self._await_tidying()
                ray.kill(self._actor)
            self._actor = None

    def _await_tidying(self) -> None:
        """Wait until the scheduler has tidied up, though not for ever. What is kept is kept whether or not it has."""
        tidying, self._tidying = self._tidying, []
        for ref in tidying:
            self._await(ref)

    def _await(self, ref: Any) -> None:
        try:
            ray.get(ref, timeout=TIDY_SECONDS)
        except exceptions.RayError as error:
            told = error.cause if isinstance(error, exceptions.RayTaskError) else error
            self._reporter.warned(f"The store could not be tidied up: {told}")


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
        self._channel = noise.channel_for(reporter) if driver.config.logs else ""
        self._surroundings = driver.surroundings(request, self._channel)
        self._finish: commands.Finish | None = None
        self._error: BaseException | None = None
        self._started = time.monotonic()
        self._told: set[str] = set()
        self._deaths = 0
        self._lock = threading.Lock()
        self._submit()
        reporter.recorded(request.execution_id)

    def _submit(self) -> None:
        """Hand the request over. When the scheduler dies meanwhile, it is handed over again, as a further life."""

        def call(actor: Any) -> Any:
            return actor.submit.remote(self._request, self._surroundings)

        def died() -> None:
            self._request.life += 1

        self._again(call, died)

    def _again(self, call: Callable[[Any], Any], died: Callable[[], None] | None = None) -> Any:
        """The answer of an actor call; after a crash the call is made again to a new actor."""
        while self._deaths < RESTARTS:
            actor = self._cluster.actor()
            try:
                return ray.get(call(actor))
            except exceptions.ActorUnavailableError:
                pass
            except exceptions.ActorDiedError as error:
                text = str(error)
                if lacks_rayflow(text):
                    raise ClusterUnavailable(
                        "The cluster's workers cannot import rayflow: install it on every node, in the same version."
                    ) from None
                if "creation task" in text:
                    raise ClusterUnavailable(f"The scheduler does not start: {_last_line(text)}") from None
                self._deaths += 1
                self._cluster.give_up_actor(actor)
            except exceptions.OutOfMemoryError:
                self._deaths += 1
                self._cluster.give_up_actor(actor)
            except exceptions.RayTaskError as error:
                raise error.cause from None
            if died is not None:
                died()
            time.sleep(PAUSE_SECONDS)
        raise ClusterUnavailable("The scheduler died again and again; see the logs of the Ray session.")

    def result(self, timeout: float | None = None) -> Any:
        end = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            try:
                while self._finish is None and self._error is None:
                    self._poll(end)
            except KeyboardInterrupt:
                self._interrupted()
                raise
        if self._error is not None:
            raise self._error
        assert self._finish is not None
        return self._driver.value_of(self._finish)

    def _poll(self, end: float | None) -> None:
        left = WAIT_SECONDS if end is None else max(0.0, min(WAIT_SECONDS, end - time.monotonic()))
        status: Status = self._again(lambda actor: actor.wait.remote(self.execution_id, left))
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
        if status.error is not None:
            self._error = status.error
            self._cluster.tidy(self.execution_id)
        elif status.finish is not None:
            self._finish = status.finish
            noise.flush(self._channel, status.lines)
            self._driver.report_end(self._request, status.finish, elapsed)
            self._cluster.tidy(self.execution_id)
        else:
            self._reporter.progress(Progress(self.execution_id, elapsed, status.by_task, status.waiting))
            if end is not None and time.monotonic() >= end:
                raise TimeoutError("The execution has not ended yet; it goes on.")

    def _interrupted(self) -> None:
        """Ctrl-C: end what runs, and wait until that is recorded."""
        self.cancel()
        end = time.monotonic() + CANCEL_SECONDS
        while self._finish is None and self._error is None and time.monotonic() < end:
            self._poll(None)

    def cancel(self) -> None:
        self._again(lambda actor: actor.cancel.remote(self.execution_id))


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1][:500]
