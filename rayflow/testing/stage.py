"""What a rehearsal runs on: this process, with understudies, planned accidents and time that skips waits.

In: commands, and a plan of what is to go otherwise. Out: their answers. Never: decides what runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from rayflow.config import Config
from rayflow.evaluator import commands, events
from rayflow.evaluator.subruns import Under
from rayflow.lang.tasks import Task, find_task
from rayflow.runtime.clocks import Clock
from rayflow.runtime.driver import Driver, InlineSubmission
from rayflow.runtime.inline import InlineCarrier
from rayflow.runtime.loop import Loop
from rayflow.runtime.reports import Reporter
from rayflow.runtime.requests import Request
from rayflow.runtime.subruns import evaluate
from rayflow.runtime.workers import Worker
from rayflow.values.digests import digest
from rayflow.values.failures import failure_from_exception


class SkippingClock(Clock):
    """Goes as the time does, and jumps over every wait.

    skipped_seconds: by how much it is ahead. skipped_before: by how much it was when the last run began.
    """

    def __init__(self) -> None:
        self.skipped_seconds = 0.0
        self.skipped_before = 0.0

    def skip(self, seconds: float) -> None:
        """Go ahead by so many seconds at once."""
        self.skipped_seconds += max(0.0, seconds)

    def now(self) -> int:
        """Microseconds since the epoch."""
        return super().now() + int(self.skipped_seconds * 1_000_000)

    def seconds(self) -> float:
        """Seconds that only grow, for timers."""
        return super().seconds() + self.skipped_seconds

    def wait(self, news: threading.Event, longest_seconds: float, timer_seconds: float | None) -> None:
        """Skip to the next timer; without one, something outside is waited for, and that takes its time."""
        if timer_seconds is None:
            super().wait(news, longest_seconds, timer_seconds)
        elif not news.is_set():
            self.skip(timer_seconds)


KILLED = "its worker was killed, as the rehearsal wanted it"


@dataclass
class Plan:
    """What is to go otherwise than in earnest, by full name of the task.

    understudies: the functions that run instead of the tasks' own, and how many there were before them.
    accidents: attempt -> the error that it raises, or None when it loses its worker.
    """

    understudies: dict[str, tuple[Callable[..., Any], int]] = field(default_factory=dict)
    accidents: dict[str, dict[int, BaseException | None]] = field(default_factory=dict)
    replaced: int = 0

    def replace(self, name: str, function: Callable[..., Any]) -> None:
        """Run this function instead of the task's own. What either has computed does not count for the other."""
        self.replaced += 1
        self.understudies[name] = (function, self.replaced)

    def table(self, request: Request) -> dict[str, Any]:
        """The request's tasks, the replaced ones with a hash of their own."""
        table = dict(request.table)
        for name, (_, number) in self.understudies.items():
            if name in table:
                known = table[name]
                table[name] = replace(known, hash=digest("understudy", known.hash, str(number).encode()))
        return table


class Ensemble(Worker):
    """A worker that has understudies for some tasks."""

    plan: Plan
    """Set before the first call."""

    def find(self, name: str, task_hash: bytes) -> Task[..., Any]:
        """The task of this name, with the function that stands in for it."""
        understudy = self.plan.understudies.get(name)
        if understudy is None:
            return super().find(name, task_hash)
        original = super().find(name, self._original_hash(name))
        made: Task[..., Any] = Task.__new__(Task)
        made.__dict__.update(original.__dict__, func=understudy[0])
        return made

    def _original_hash(self, name: str) -> bytes:
        known: bytes = find_task(name).hash
        return known


class Stage(InlineCarrier):
    """Runs attempts in this process, but for those that have an accident."""

    def __init__(self, loop: Loop, worker: Worker, plan: Plan) -> None:
        super().__init__(loop, worker)
        self._plan = plan
        self._project_dir = worker.surroundings.project_dir

    def run(self, attempts: Sequence[commands.RunTask]) -> None:
        for command in attempts:
            accidents = self._plan.accidents.get(command.entry.name, {})
            if command.attempt not in accidents:
                super().run([command])
                continue
            error = accidents[command.attempt]
            if error is None:
                self._loop.post(events.WorkerLost(0, command.job, command.attempt, KILLED))
            else:
                failure = failure_from_exception(error, project_dir=self._project_dir)
                self._loop.post(events.Raised(0, command.job, command.attempt, failure, events.Cost(0, 0.0, 0.0)))


class RehearsedLoop(Loop):
    """Events come at the time of the loop's own clock."""

    def post(self, event: events.Event) -> None:
        """Tell the evaluator something."""
        super().post(event._replace(at=self.clock.now()))


class RehearsedDriver(Driver):
    """A driver whose submissions are rehearsed."""

    def __init__(self, config: Config, reporter: Reporter, plan: Plan, clock: SkippingClock) -> None:
        super().__init__(config, reporter)
        self.plan = plan
        self.clock = clock

    def _start(self, request: Request) -> InlineSubmission:
        self.clock.skipped_before = self.clock.skipped_seconds
        self.reporter.started(request.execution_id, self.config.store, False)
        request.table = self.plan.table(request)
        return self._submission(request)

    def _submission(self, request: Request) -> InlineSubmission:
        return Rehearsed(self, request)


class Rehearsed(InlineSubmission):
    """An execution on a stage."""

    _driver: RehearsedDriver

    def _new_loop(self) -> Loop:
        driver = self._driver
        worker = Ensemble(
            driver.surroundings(self._request),
            driver.store,
            printed=driver.reporter.printed,
            evaluate=partial(evaluate, loop_of=self._loop_below),
        )
        worker.plan = driver.plan
        return self._loop_with(worker, driver.config.limits, driver.reporter.warned)

    def _loop_below(self, worker: Worker, under: Under, warned: Callable[[str], None]) -> Loop:
        return self._loop_with(worker, under.limits, warned)

    def _loop_with(
        self, worker: Worker, limits: Mapping[str, float] | None, warned: Callable[[str], None]
    ) -> Loop:
        driver = self._driver
        return RehearsedLoop(
            driver.store,
            lambda loop: self._new_carrier(loop, worker),
            limits=limits,
            warned=warned,
            clock=driver.clock,
        )

    def _new_carrier(self, loop: Loop, worker: Worker) -> InlineCarrier:
        return Stage(loop, worker, self._driver.plan)
