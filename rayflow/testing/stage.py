"""The machinery of a rehearsal: this process, with replaced tasks, planned accidents and a clock that skips waits.

In: commands, and a plan of replacements and accidents. Out: their answers. Never: decides what runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from rayflow.config import Config
from rayflow.errors import NonRetriable
from rayflow.evaluator import commands, messages
from rayflow.evaluator.messages import NestedStart
from rayflow.lang.task_table import TaskEntry
from rayflow.lang.tasks import Task, find_task
from rayflow.runtime.carrier import LoopHandle
from rayflow.runtime.clock import Clock, News
from rayflow.runtime.driver.driver import Driver, InlineSubmission
from rayflow.runtime.inline import InlineCarrier
from rayflow.runtime.listener import LoopListener
from rayflow.runtime.loop import Loop
from rayflow.runtime.protocol.reports import Reporter
from rayflow.runtime.protocol.requests import Request
from rayflow.runtime.subruns import evaluate
from rayflow.runtime.worker.worker import Worker
from rayflow.store.store import Store
from rayflow.values.digests import digest
from rayflow.values.failures import failure_from_exception


class SkippingClock(Clock):
    """A clock that jumps over every wait.

    skipped_seconds: how far it is ahead of the real time. skipped_before: how far it was when the last run began.
    """

    def __init__(self) -> None:
        self.skipped_seconds = 0.0
        self.skipped_before = 0.0

    def skip(self, seconds: float) -> None:
        """Jump ahead by so many seconds."""
        self.skipped_seconds += max(0.0, seconds)

    def now(self) -> int:
        """Microseconds since the epoch."""
        return super().now() + int(self.skipped_seconds * 1_000_000)

    def seconds(self) -> float:
        """Seconds that only grow, for timers."""
        return super().seconds() + self.skipped_seconds

    def wait(self, news: News, longest_seconds: float, timer_seconds: float | None) -> None:
        """Skip to the next timer. Without a timer something outside is due, and the wait is real."""
        if timer_seconds is None:
            super().wait(news, longest_seconds, timer_seconds)
        elif not news.is_set():
            self.skip(timer_seconds)


KILLED = "its worker was killed, as the rehearsal wanted it"


@dataclass
class Plan:
    """The differences from a real run, by full name of the task.

    understudies: the functions that replace the tasks' own functions, each with its number. accidents: for each
    attempt, the error that it raises, or None if it loses its worker. replaced: the number of the last understudy.
    is_strict: an effect without an understudy is an error; unreplaced: the texts of such errors, until `check`.
    """

    understudies: dict[str, tuple[Callable[..., Any], int]] = field(default_factory=dict)
    accidents: dict[str, dict[int, BaseException | None]] = field(default_factory=dict)
    replaced: int = 0
    is_strict: bool = False
    unreplaced: list[str] = field(default_factory=list)

    def copy(self) -> Plan:
        """A plan that can be changed, and leaves this one as it is."""
        accidents = {name: dict(each) for name, each in self.accidents.items()}
        return Plan(dict(self.understudies), accidents, self.replaced, self.is_strict)

    def refused(self, entry: TaskEntry) -> NonRetriable | None:
        """The error of an attempt that may not run; None for one that may."""
        if not self.is_strict or not entry.is_effect or entry.name in self.understudies:
            return None
        short = entry.name.rpartition(".")[2]
        text = (
            f"The effect {entry.name} would have been done in earnest: this rehearsal is strict. Replace it by "
            f"rehearsal.replace({short}, fake)."
        )
        self.unreplaced.append(text)
        return NonRetriable(text)

    def check(self) -> None:
        """Raise AssertionError for an effect that was refused."""
        if self.unreplaced:
            text = self.unreplaced[0]
            self.unreplaced.clear()
            raise AssertionError(text)

    def replace(self, name: str, function: Callable[..., Any]) -> None:
        """Run this function in place of the task's own. Neither of them uses results of the other."""
        self.replaced += 1
        self.understudies[name] = (function, self.replaced)

    def changed(self, tasks: Mapping[str, TaskEntry]) -> dict[str, TaskEntry]:
        """These tasks; each replaced one has a hash of its own."""
        table = dict(tasks)
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
        """The task of this name, with its understudy as its function."""
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
    """Runs attempts in this process, except those with a planned accident."""

    def __init__(self, loop: LoopHandle, worker: Worker, plan: Plan) -> None:
        super().__init__(loop, worker)
        self._plan = plan
        self._project_dir = worker.surroundings.project_dir

    def run(self, attempts: Sequence[commands.RunTask]) -> None:
        for command in attempts:
            accidents = self._plan.accidents.get(command.entry.name, {})
            number = self._number(command)
            if number in accidents:
                error = accidents[number]
            else:
                error = self._plan.refused(command.entry)
                if error is None:
                    super().run([command])
                    continue
            at = self._loop.clock.now()
            if error is None:
                self._loop.post(messages.WorkerGone(at, command.job, command.attempt, KILLED))
            else:
                failure = failure_from_exception(error, project_dir=self._project_dir)
                self._loop.post(messages.Raised(at, command.job, command.attempt, failure, messages.Cost(0, 0.0, 0.0)))

    def _number(self, attempt: commands.RunTask) -> int:
        """The number of an attempt, as the plan counts them."""
        return attempt.attempt

    def run_vectors(self, vectors: Sequence[commands.RunVector]) -> None:
        """One by one: each may have an accident of its own."""
        self.run([attempt for vector in vectors for attempt in vector.attempts()])


class RehearsedDriver(Driver):
    """A driver whose submissions are rehearsed."""

    def __init__(
        self, config: Config, reporter: Reporter, plan: Plan, clock: SkippingClock, store: Store | None = None
    ) -> None:
        super().__init__(config, reporter, store, clock=clock)
        self.plan = plan
        self.skipping = clock

    def _start(self, request: Request) -> InlineSubmission:
        self.skipping.skipped_before = self.skipping.skipped_seconds
        self.reporter.started(request.execution_id, self.config.store, False)
        request.table = self.plan.changed(request.table)
        return self._submission(request)

    def _submission(self, request: Request) -> InlineSubmission:
        return Rehearsed(self, request)

    def value_of(self, finish: commands.Finish) -> Any:
        self.plan.check()
        return super().value_of(finish)


class Rehearsed(InlineSubmission):
    """An execution on a stage."""

    _driver: RehearsedDriver

    def _new_loop(self) -> Loop[InlineCarrier]:
        driver = self._driver
        worker = Ensemble(
            driver.worker_context(self._request),
            driver.store,
            printed=driver.reporter.printed,
            evaluate=partial(evaluate, loop_of=self._loop_below),
        )
        worker.plan = driver.plan
        return self._loop_with(worker, driver.config.capacities, self._listener())

    def _loop_below(self, worker: Worker, under: NestedStart, listener: LoopListener) -> Loop[InlineCarrier]:
        return self._loop_with(worker, under.limits, listener)

    def _loop_with(
        self, worker: Worker, limits: Mapping[str, float] | None, listener: LoopListener
    ) -> Loop[InlineCarrier]:
        driver = self._driver
        return Loop(
            driver.store,
            lambda loop: self._new_carrier(loop, worker),
            limits=limits,
            listener=listener,
            clock=driver.clock,
        )

    def _new_carrier(self, loop: LoopHandle, worker: Worker) -> InlineCarrier:
        return Stage(loop, worker, self._driver.plan)
