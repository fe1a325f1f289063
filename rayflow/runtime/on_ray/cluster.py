"""The driver's way to a Ray cluster: it joins one or starts a local one, and talks to a scheduler actor there.

In: a configuration and requests. Out: submissions. Never: evaluates.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar
from weakref import WeakSet

import ray
from ray import exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rayflow.config import Config
from rayflow.errors import Cancelled, ClusterLost, ClusterUnavailable
from rayflow.evaluator import commands
from rayflow.lang.options.runtime_environments import shown
from rayflow.pasting import command
from rayflow.runtime.on_ray import remote
from rayflow.runtime.on_ray.actor.environments import LOOK_SECONDS, impossible_text, most_seconds, verdict
from rayflow.runtime.on_ray.actor.scheduler import SchedulerActor, Status
from rayflow.runtime.on_ray.connection import connecting, kept_actors, ray_output
from rayflow.runtime.on_ray.connection.cluster_watch import Watch
from rayflow.runtime.on_ray.environment_trouble import trouble_here
from rayflow.runtime.on_ray.ray_errors import lacks_rayflow, reason_of
from rayflow.runtime.protocol.attempts import unpack_finish
from rayflow.runtime.protocol.driver_handle import DriverHandle
from rayflow.runtime.protocol.reports import Progress, Reporter
from rayflow.runtime.protocol.requests import Request
from rayflow.runtime.signals import Stopped, exit_when_stopped, stopped_by
from rayflow.values.display import masking
from rayflow.values.display.tracebacks import front_door
from rayflow.values.process.waits import waiting

T = TypeVar("T")

WAIT_SECONDS = 0.2
"""How long the scheduler waits before it answers one question for the status."""

RESTARTS = 20
"""How often a scheduler that died is started again for one execution."""

CANCEL_SECONDS = 15.0
"""How long an interrupted execution may take to end what runs."""

TIDY_SECONDS = 20.0
"""How long a driver that ends waits for the scheduler to merge an execution's files in the store."""

PAUSE_SECONDS = 0.2
"""The pause before another scheduler is started in place of one that has died."""

ANSWER_SECONDS = 300.0
"""A scheduler that has not answered for so long is replaced by another one. A new one may take so long to open the
store, once it runs."""


REST_SECONDS = 10.0
"""An actor at rest that has not answered for so long is ended, and a new one takes its place."""


def cluster_for(config: Config, reporter: Reporter, keeps_actor: bool) -> RayCluster:
    """The cluster for this process: its connected cluster, else the cluster in the configuration, else a local one,
    which is started here. Raises ClusterUnavailable if none answers.
    """
    connecting.connect(config, reporter)
    return RayCluster(config, reporter, keeps_actor)


class RayCluster:
    """A scheduler actor on a cluster, for the executions of one driver.

    keeps_actor: the actor may come from an earlier run of this process, and rests for the next one at the end.
    """

    def __init__(self, config: Config, reporter: Reporter, keeps_actor: bool = False) -> None:
        self._config = config
        self._reporter = reporter
        self._keeps_actor = keeps_actor
        self._lock = threading.RLock()
        self._actor: Any = None
        self._has_begun: Any = None
        self._watch: Watch | None = None
        self._anywhere = False
        self._tidying: list[Any] = []
        self._submitted: WeakSet[RaySubmission] = WeakSet()
        self._unended: set[str] = set()

    def actor(self) -> Any:
        """The scheduler actor; started when it is first needed, or when the last one has died."""
        with self._lock:
            if not connecting.is_connected():
                # The user has called ray.shutdown() between two runs, or the last cluster was lost.
                self._actor = None
                connecting.connect(self._config, self._reporter)
            self._watch = connecting.watch(self._watch)
            if self._actor is None:
                self._actor = self._kept()
            if self._actor is None:
                self._reporter.connecting("starting the scheduler")
                self._actor = self.ask(self._started)
            return self._actor

    def _kept(self) -> Any:
        """An actor of an earlier run that rests and answers; None when there is none."""
        while self._keeps_actor and (kept := kept_actors.take()) is not None:
            try:
                self.ask(partial(ray.get, kept.rests, timeout=REST_SECONDS))
            except exceptions.RayError:
                self.ask(partial(ray.kill, kept.actor))
            else:
                return kept.actor
        return None

    def ask(self, call: Callable[[], T], what: str = "an answer of the Ray cluster") -> T:
        """The answer of a call of Ray's. Raises the call's errors, and ClusterLost when the cluster is lost.

        what: for people, what the call waits for.
        """
        watch = self._watch
        if watch is None:
            raise ClusterLost("it was lost")
        try:
            with waiting(what):
                return watch.ask(call)
        except ClusterLost:
            self._leave(watch)
            raise

    def _leave(self, watch: Watch) -> None:
        """The cluster is lost: leave it, unless another submission has. The next run looks for a cluster anew."""
        with self._lock:
            if self._watch is watch:
                self._actor = self._watch = None
                self._tidying.clear()
                connecting.leave()

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.stop()
            self._watch = None

    def _started(self) -> Any:
        """A new scheduler actor. A first worker starts beside it, and not after it.

        When it has died the driver starts another one, and never Ray: on a node that runs out of memory Ray ends an
        actor with restarts left first, before the task that fills the memory.
        """
        actor = (
            ray.remote(SchedulerActor)
            .options(
                num_cpus=0,
                max_restarts=0,
                max_concurrency=32,
                max_task_retries=0,
                scheduling_strategy="DEFAULT" if self._anywhere else _on_this_node(),
            )
            .remote(*self._settings())
        )
        started = ray.remote(remote.start_up).options(num_cpus=0, max_retries=0).remote()
        started.future()  # takes an error, which Ray would print: the first call meets the same one, and reports it
        return actor

    def _settings(self) -> tuple[str, dict[str, float], bool, bool]:
        """The arguments of a scheduler actor, and of its `prepare`."""
        config = self._config
        return config.store, config.capacities, config.log_level == "verbose", config.metrics

    def prepare(self, actor: Any) -> Any:
        """Have an actor open its store; the reference of its answer."""
        return actor.prepare.remote(*self._settings())

    def give_up_node(self, refused: Any) -> None:
        """Let the scheduler run on any node from now on: this process's node will leave the cluster and takes none."""
        self.give_up_actor(refused)
        if not self._anywhere:
            self._anywhere = True
            self._reporter.warned("This node of the cluster takes no new processes: the scheduler runs on another one.")

    def answer_of(self, actor: Any, call: Callable[[Any], Any], begins: bool = False) -> Any:
        """The answer of a call of a scheduler actor. begins: the call makes it open the store, unless it has.

        Raises Ray's errors, and ClusterUnavailable for a new actor that gives no answer.
        """
        is_new = actor is not self._has_begun
        seconds = ANSWER_SECONDS + (most_seconds(self._config.environment) if is_new else 0.0)
        timeout = seconds if math.isfinite(seconds) else None
        try:
            ref = call(actor)
            answer = self.ask(lambda: self._got(ref, timeout, is_new), self.waits_for())
        except exceptions.GetTimeoutError:
            self.ask(lambda: ray.kill(actor))  # an actor that hangs may still have calls that run
            self.give_up_actor(actor)
            if not is_new:
                raise
            raise ClusterUnavailable(
                f"No answer came within {seconds:.0f} s from {self.waits_for()}. The logs of the Ray session say more."
            ) from None
        if begins:
            self._has_begun = actor
        return answer

    def _got(self, ref: Any, timeout: float | None, is_new: bool) -> Any:
        """The answer behind a reference of an actor's. Raises ClusterUnavailable when the environment of all tasks
        cannot be made for a new actor; Ray's errors, among them GetTimeoutError after so many seconds."""
        environment = self._config.environment
        if not is_new or not environment:
            return ray.get(ref, timeout=timeout)
        began = time.monotonic()
        while not ray.wait([ref], timeout=LOOK_SECONDS)[0]:
            waited = time.monotonic() - began
            reason = verdict([trouble_here(environment, waited)], 1, waited)
            if reason is not None:
                raise ClusterUnavailable(
                    f"The scheduler does not start: {impossible_text(environment, reason)}. It comes from "
                    "[environment] in the configuration."
                )
            if timeout is not None and waited > timeout:
                raise exceptions.GetTimeoutError(f"no answer within {timeout:g} s")
        return ray.get(ref, timeout=timeout)

    def waits_for(self) -> str:
        """For people, what a scheduler that does not answer may be doing."""
        env = f", in the runtime environment {shown(self._config.environment)}" if self._config.environment else ""
        return f"the scheduler: it starts on the cluster{env}, or waits for its store {self._config.store}"

    def give_up_actor(self, dead: Any) -> None:
        """Forget a dead actor, unless another submission has, and has a new one already."""
        with self._lock:
            if self._actor is dead:
                self._actor = None

    def submit(self, driver: DriverHandle, request: Request) -> RaySubmission:
        """Start an execution."""
        self._unended.add(request.execution_id)
        submission = RaySubmission(self, driver, request, self._reporter)
        self._submitted.add(submission)
        return submission

    def note_end(self, execution_id: str) -> None:
        """Note that an execution has ended as it should, with its rows recorded: nothing of it is left in the actor."""
        self._unended.discard(execution_id)

    def others(self, one: RaySubmission) -> list[RaySubmission]:
        """The other submissions that have not ended."""
        return [each for each in self._submitted if each is not one and each.is_open]

    def tidy(self, execution_id: str) -> None:
        """Have the scheduler tidy up after an execution, without waiting; `release` waits for it."""
        with self._lock:
            actor = self._actor
            if actor is None or not connecting.is_connected():
                return
            with contextlib.suppress(ClusterLost):  # a later execution tidies up, too
                done, self._tidying = self._tidied()
                for ref in done:
                    self._await(ref)
                self._tidying.append(self.ask(lambda: actor.release.remote(execution_id)))

    def _tidied(self) -> tuple[list[Any], list[Any]]:
        """The references of the tidying that is done, and of that which is not."""
        refs = self._tidying
        return self.ask(lambda: ray.wait(refs, num_returns=len(refs), timeout=0)) if refs else ([], [])

    def release(self) -> None:
        """End the scheduler when it has tidied up, or let it rest. Ray stays for the next run of this process."""
        with self._lock:
            actor = self._actor
            if actor is not None and connecting.is_connected():
                with contextlib.suppress(ClusterLost):  # the scheduler is gone with the cluster
                    self._await_tidying()
                    if self._may_rest():
                        kept_actors.keep(actor, self.ask(actor.rest.remote))
                    else:
                        self.ask(lambda: ray.kill(actor))
            self._actor = None
            self._stop_watching()

    def _may_rest(self) -> bool:
        """Whether the actor can serve another run. If it is not on this node, it would hold another of the cluster."""
        return self._keeps_actor and not self._anywhere and not self._unended and kept_actors.is_room()

    def _await_tidying(self) -> None:
        """Wait until the scheduler has tidied up, though not for ever. All records are safe even if it does not."""
        tidying, self._tidying = self._tidying, []
        for ref in tidying:
            self._await(ref)

    def _await(self, ref: Any) -> None:
        try:
            what = f"the scheduler to tidy up the store {self._config.store}"
            self.ask(lambda: ray.get(ref, timeout=TIDY_SECONDS), what)
        except exceptions.RayError as error:
            cause = error.cause if isinstance(error, exceptions.RayTaskError) else error
            self._reporter.warned(f"The store could not be tidied up: {cause}")


def _on_this_node() -> Any:
    """Places the scheduler on the driver's node: near the store, and cut off from the cluster only together with it.

    It takes no processor, so that there is always room. The affinity is hard, since Ray mostly ignores a soft one.
    """
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


class RaySubmission:
    """An execution on a cluster."""

    def __init__(self, cluster: RayCluster, driver: DriverHandle, request: Request, reporter: Reporter) -> None:
        self._cluster = cluster
        self._driver = driver
        self._request = request
        self._reporter = reporter
        self.execution_id = request.execution_id
        self._channel = ray_output.channel_for(reporter) if driver.config.log_level != "quiet" else ""
        self._surroundings = driver.worker_context(request, self._channel)
        self._outlook = driver.outlook()
        self._finish: commands.Finish | None = None
        self._error: BaseException | None = None
        self._started = time.monotonic()
        self._reported: set[str] = set()
        self._deaths = 0
        self._is_cancelled = False
        self._cancelled_by: str | None = None
        self._lock = threading.RLock()
        try:
            self._prepare()
            request.begin(driver.clock.now())
            self._started = time.monotonic()
            self._submit()
        except KeyboardInterrupt as error:
            self._interrupted(error)
            raise
        reporter.recorded(request.execution_id)

    def _prepare(self) -> None:
        """Wait until the scheduler has started and opened its store. That time counts as start-up."""
        self._again(self._cluster.prepare, lambda: None)

    def _submit(self) -> None:
        """Hand the request over. When the scheduler dies meanwhile, it is handed over again, as a further life."""

        def call(actor: Any) -> Any:
            return actor.submit.remote(self._request, self._surroundings)

        def died() -> None:
            self._request.life += 1

        self._again(call, died)

    def _again(self, call: Callable[[Any], Any], died: Callable[[], None] | None = None) -> Any:
        """The answer of an actor call; when the actor dies, the call goes to a new one. Raises ClusterLost when the
        cluster is lost."""
        if isinstance(self._error, ClusterLost):
            raise self._error
        try:
            return self._answered(call, died)
        except ClusterLost as lost:
            self._error = self._explained(lost)
            raise self._error from None

    def _answered(self, call: Callable[[Any], Any], died: Callable[[], None] | None) -> Any:
        while self._deaths < RESTARTS:
            actor = self._cluster.actor()
            try:
                return self._cluster.answer_of(actor, call, begins=died is not None)
            except exceptions.ActorUnavailableError:
                pass
            except exceptions.ActorUnschedulableError:
                self._deaths += 1
                self._cluster.give_up_node(actor)
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
            except exceptions.RuntimeEnvSetupError as error:
                raise ClusterUnavailable(
                    f"The scheduler does not start: {reason_of(error)[0]}. It comes from [environment] in the "
                    "configuration."
                ) from None
            except exceptions.GetTimeoutError:
                self._deaths += 1
            except exceptions.OutOfMemoryError:
                self._deaths += 1
                self._cluster.ask(partial(ray.kill, actor))
                self._cluster.give_up_actor(actor)
            except exceptions.RayTaskError as error:
                raise error.cause from None
            if died is not None:
                died()
            time.sleep(PAUSE_SECONDS)
        raise ClusterUnavailable("The scheduler died again and again; see the logs of the Ray session.")

    @property
    def is_open(self) -> bool:
        """Whether it has not ended, as far as is known."""
        return self._finish is None and self._error is None

    @front_door
    def result(self, timeout: float | None = None) -> Any:
        end = None if timeout is None else time.monotonic() + timeout
        with exit_when_stopped(self._reporter.warned), self._lock:
            try:
                while self.is_open:
                    self._poll(end)
            except KeyboardInterrupt as error:
                self._interrupted(error)
                raise
        if self._error is not None:
            raise self._error
        assert self._finish is not None
        return self._driver.value_of(self._finish)

    def _poll(self, end: float | None) -> None:
        left = WAIT_SECONDS if end is None else max(0.0, min(WAIT_SECONDS, end - time.monotonic()))
        status: Status = self._again(lambda actor: actor.wait.remote(self.execution_id, left))
        if not status.known:
            # A new actor has started, which knows nothing: submit the execution again.
            if self._is_cancelled:
                self._error = Cancelled(f"Execution {self.execution_id} was cancelled before it had begun.")
                return
            self._request.life += 1
            self._submit()
            if self._cancelled_by is not None:
                self._cancel(self._cancelled_by)  # the actor that got the first request has died
            return
        elapsed = time.monotonic() - self._started
        for warning in status.warnings:
            self._reporter.warned(warning)
        for row in status.ended:
            self._reporter.job_ended(row)
        for sentence in status.waiting:
            if sentence not in self._reported:
                self._reported.add(sentence)
                self._reporter.warned(sentence)
        if status.error is not None:
            self._error = status.error
            self._cluster.tidy(self.execution_id)
        elif status.finish is not None:
            self._finish = unpack_finish(status.finish)
            masking.learn(status.masks)
            ray_output.flush(self._channel, status.lines)
            self._driver.report_end(self._request, status.finish)
            self._cluster.note_end(self.execution_id)
            self._cluster.tidy(self.execution_id)
        else:
            tasks = status.by_task
            rates, time_left = self._outlook.rates(tasks), self._outlook.left(tasks, elapsed)
            self._reporter.progress(Progress(self.execution_id, elapsed, tasks, status.waiting, rates, time_left))
            if end is not None and time.monotonic() >= end:
                raise TimeoutError("The execution has not ended yet; it goes on.")

    def _interrupted(self, error: KeyboardInterrupt) -> None:
        """A signal came: end the execution, and wait until that is recorded."""
        by = stopped_by(error, self.execution_id, self._driver.config.store)
        # A signal that ends the process ends all its executions. After Ctrl-C the process, and the others, may go on.
        ending = [self, *(self._cluster.others(self) if isinstance(error, Stopped) else ())]
        end = time.monotonic() + CANCEL_SECONDS
        # The same signal may have ended the cluster. Work that the scheduler has not recorded is done again.
        with contextlib.suppress(ClusterLost):
            for each in ending:
                each._is_cancelled = True
                each._cancel(by)
            for each in ending:
                each._run_down(end)
        for each in ending:
            if each._finish is None:
                self._driver.record_cancelled(each._request, by)

    def _run_down(self, end: float) -> None:
        """Wait until the execution has ended; another thread may wait for it, too."""
        while self.is_open and time.monotonic() < end:
            if self._lock.acquire(timeout=WAIT_SECONDS):
                try:
                    self._poll(None)
                finally:
                    self._lock.release()

    def cancel(self) -> None:
        self._cancel("")

    def _cancel(self, by: str) -> None:
        self._cancelled_by = by
        self._again(lambda actor: actor.cancel.remote(self.execution_id, self._request.life, by))

    def _explained(self, lost: ClusterLost) -> ClusterLost:
        """The error for the user, of a cluster that was lost while this execution ran."""
        where = self._driver.config.address
        which = "The Ray of this machine" if where in (None, "local") else f"The Ray cluster at {where}"
        return ClusterLost(
            f"{which} is lost: {lost}. What was finished is kept. When a cluster is there, go on with: "
            f"{command('resume', self.execution_id, store=self._driver.config.store)}"
        )


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1][:500]
