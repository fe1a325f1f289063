"""Plays a user's workflow in bad weather.

In: an expression, seeds, a `Weather`. Out: the first seed whose result differs from that in calm weather. Never: uses
Ray, or waits.

The bodies really run, one at a time, in an order that the seed decides. Their answers come late or twice, or are lost
with their workers. The scheduler crashes, loses everything uncommitted, and resumes the execution.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import Any

from rayflow.api import Scheduler
from rayflow.config import Config
from rayflow.evaluator import commands, messages
from rayflow.lang.terms.expressions import Term
from rayflow.runtime.carrier import LoopHandle
from rayflow.runtime.inline import InlineCarrier
from rayflow.runtime.protocol.reports import Reporter, Silent
from rayflow.runtime.protocol.requests import Request
from rayflow.runtime.worker.body_series import BodySeries
from rayflow.runtime.worker.worker import Worker
from rayflow.store.store import Store
from rayflow.testing.simulation.weather import Weather
from rayflow.testing.stage import Plan, Rehearsed, RehearsedDriver, SkippingClock, Stage
from rayflow.values.encoding.previews import preview
from rayflow.values.failures import Failure, exception_from_failure

ROUGH = Weather(lost=0.2, repeated=0.2, crashed=0.01)
"""The weather of a storm by default."""


class RoughStage(Stage):
    """Runs attempts in any order; answers come late or twice, or are lost with their workers."""

    def __init__(self, loop: LoopHandle, worker: Worker, plan: Plan, random: Random, weather: Weather) -> None:
        super().__init__(loop, worker, plan)
        self._random = random
        self._weather = weather
        self._answers: list[messages.Message] = []

    def busy(self) -> bool:
        return bool(self._answers) or super().busy()

    def work(self, seconds: float) -> bool:
        """One step: carry out a command, or give the answer to an earlier one."""
        random = self._random
        if self._answers and (not self._waiting or random.random() < 0.5):
            answer = self._answers.pop(random.randrange(len(self._answers)))
            self._loop.post(answer)
            if random.random() < self._weather.repeated:
                self._loop.post(answer)
            return True
        if not self._waiting:
            return False
        self._waiting.rotate(random.randrange(len(self._waiting)))
        command = self._waiting.popleft()
        assert not isinstance(command, commands.RunVector), "a stage takes vectors apart"
        is_lost = self._may_lose(command) and random.random() < self._weather.lost
        if is_lost and random.random() < 0.5:
            self._answers.append(self._loss(command))
        else:
            # The body of a lost answer has run: it may have written a file, and it runs again.
            with BodySeries(self._worker) as series:
                answer = self._message(self._answer(command, series), self._loop.clock.now(), {})
            self._answers.append(self._loss(command) if is_lost else answer)
        return True

    def _loss(self, command: Any) -> messages.WorkerGone:
        return messages.WorkerGone(self._loop.clock.now(), command.job, command.attempt, "lost in the storm")

    def _may_lose(self, command: commands.RunTask | commands.RunOperation) -> bool:
        if not isinstance(command, commands.RunTask):
            return False
        most: int = command.options.get("max_worker_losses", 3)
        return command.losses < most


class _Crashed(Exception):
    """The scheduler was lost, with all its uncommitted rows."""


class Stormy(Rehearsed):
    """An execution in bad weather."""

    _driver: StormyDriver

    @property
    def lives(self) -> int:
        """How many schedulers it took."""
        return self._request.life + 1

    def _new_carrier(self, loop: LoopHandle, worker: Worker) -> InlineCarrier:
        return RoughStage(loop, worker, self._driver.plan, self._driver.random, self._driver.weather)

    def _run(self, timeout: float | None) -> commands.Finish:
        while True:
            try:
                return self._loop.run(self.execution_id, self._crash_perhaps)
            except _Crashed:
                self._take_up_again()

    def _crash_perhaps(self) -> None:
        driver = self._driver
        if driver.random.random() < driver.weather.crashed:
            raise _Crashed

    def _take_up_again(self) -> None:
        driver = self._driver
        driver.store = Store(driver.store.folder)
        self._request.life += 1
        self._loop.carrier.forget(self.execution_id)
        self._loop = self._new_loop()
        self._loop.submit(self._request.submitted(driver.clock.now()))

    def finish(self) -> commands.Finish:
        """The end of the execution."""
        finish = self._run(None)
        self._driver.store.commit()
        return finish


class StormyDriver(RehearsedDriver):
    """A driver in bad weather."""

    def __init__(self, config: Config, plan: Plan, seed: int, weather: Weather) -> None:
        super().__init__(replace(config, store=":memory:"), Silent(), plan, SkippingClock())
        self.random = Random(seed)
        self.weather = weather

    def _submission(self, request: Request) -> Stormy:
        return Stormy(self, request)


class _Storm(Scheduler):
    """A scheduler in bad weather."""

    def __init__(self, config: Config, plan: Plan, seed: int, weather: Weather) -> None:
        self._arguments = (plan, seed, weather)
        super().__init__(config=config, reporter=Silent())

    def _new_driver(self, reporter: Reporter) -> StormyDriver:
        return StormyDriver(self.config, *self._arguments)


def play(config: Config, plan: Plan, expr: Term, seeds: Iterable[int], weather: Weather) -> str | None:
    """A text about the first seed whose result differs; None when all seeds give the result of calm weather.

    Raises the error with which the expression fails in calm weather.
    """
    calm = _finish(config, plan, expr, 0, Weather())
    if isinstance(calm.outcome, Failure):
        raise exception_from_failure(calm.outcome)
    for seed in seeds:
        rough = _finish(config, plan, expr, seed, weather)
        if rough.value_hash != calm.value_hash:
            return (
                f"seed {seed}: in the storm it came to {_shown(rough)}, and in calm weather to {_shown(calm)}. A task "
                "counts on the order of calls, or on what another call or attempt has left behind."
            )
    return None


def _finish(config: Config, plan: Plan, expr: Term, seed: int, weather: Weather) -> commands.Finish:
    with _Storm(config, plan, seed, weather) as scheduler:
        submission = scheduler.submit(expr)
        assert isinstance(submission, Stormy)
        return submission.finish()


def _shown(finish: commands.Finish) -> str:
    outcome = finish.outcome
    return f"the failure {outcome.summary}" if isinstance(outcome, Failure) else preview(outcome)
