"""Rehearse a workflow: run it in this process, and see what ran, what did not, and why.

In: a user's expressions, replacements and accidents. Out: values, counts, and assertions whose messages say what
happened. Never: uses Ray, waits, or touches the project's own store.

    def test_only_what_changed_runs(rehearsal):
        assert rehearsal.run(main(3)) == 6
        rehearsal.assert_computed("main", "load", "train")
        rehearsal.run(main(3))
        rehearsal.assert_computed()
        rehearsal.assert_cached("main", "load", "train")

The body of a task is tested by `task.func(...)`, which is the plain function.

`run` evaluates an expression, as `rayflow run` does, and skips every wait. `start` starts a durable run, as a client of
a service does: it goes on until it waits for time or for somebody outside, and the test does what happens then.
"""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from rayflow import config as configuration
from rayflow.api import Scheduler
from rayflow.client.wire import StreamItem, moment_us
from rayflow.errors import BadArguments
from rayflow.lang.modules import pick
from rayflow.lang.options.option_values import parse_seconds
from rayflow.lang.tasks import Task, registered
from rayflow.lang.terms.expressions import Expression, Term
from rayflow.runtime.driver import driver
from rayflow.runtime.protocol.execution_row import project_start
from rayflow.runtime.protocol.reports import Reporter, Silent, Summary
from rayflow.service.questions import moment_text
from rayflow.service.run_queries import RunFilter
from rayflow.store.folders.protocol import Folder
from rayflow.store.history.answer_types import Record, Why
from rayflow.store.history.filters import Filter
from rayflow.store.history.why.reasons import reason_of
from rayflow.store.store import Store
from rayflow.testing import crashes
from rayflow.testing.rehearsed_runs import RehearsedRun
from rayflow.testing.rehearsed_schedules import RehearsedSchedules
from rayflow.testing.rehearsed_service import Doings, RehearsedService, StandingClock
from rayflow.testing.simulation.weather import Weather
from rayflow.testing.stage import Plan, RehearsedDriver, SkippingClock
from rayflow.testing.storms import ROUGH, play
from rayflow.values.encoding.previews import preview

MOST_TOLD = 20
"""The message of a failed assertion lists at most so many jobs."""

MOST_RUNS = 10_000
"""`Rehearsal.runs` lists at most so many."""


@dataclass(frozen=True, slots=True)
class JobTold:
    """One job of the last run.

    task: full name. how: computed, cached or shared. status: done, failed or not_run (an argument had failed).
    attempts: how often its body began, or lost its worker. arguments, result: as text, shortened. error: type and
    message. why: why it ran, or did not. label: the displayed name, where that is not the task's.
    """

    task: str
    how: str | None
    status: str
    attempts: int
    arguments: Mapping[str, str]
    result: str | None
    error: str | None
    why: str
    label: str | None = None

    def __str__(self) -> str:
        arguments = ", ".join(f"{name}={text}" for name, text in self.arguments.items())
        ended = self.how if self.status == "done" else self.status
        return f"{ended} {self.label or self.task}({arguments}): {self.why}"


class Watching(Silent):
    """A reporter that remembers the last run."""

    def __init__(self) -> None:
        self.summary: Summary | None = None
        self.printed_lines: list[tuple[str, str]] = []
        self.warnings: list[str] = []

    def started(self, execution_id: str, store_url: str, is_new_store: bool) -> None:
        self.summary, self.printed_lines, self.warnings = None, [], []

    def printed(self, call: str, stream: str, text: str) -> None:
        self.printed_lines += [(call.partition("(")[0], line) for line in text.splitlines()]

    def warned(self, text: str) -> None:
        self.warnings.append(text)

    def ended(self, summary: Summary) -> None:
        self.summary = summary


class Rehearsal(Scheduler):
    """A scheduler for tests: in this process, with a store in memory and a clock that skips every wait.

    store: a folder for the results, so that the next rehearsal finds them. limits, config: as for `Scheduler`; the
    project's own configuration is the default. strict: an effect that was not replaced raises AssertionError, and is
    not done.

    A run uses the results of earlier runs, as real ones do, until `forget_all`.
    """

    def __init__(
        self,
        *,
        store: str = ":memory:",
        limits: Mapping[str, float] | None = None,
        config: configuration.Config | None = None,
        strict: bool = False,
    ) -> None:
        self.clock = SkippingClock()
        self._began = self.clock.now()
        self._service: RehearsedService | None = None
        self._started = 0
        self._emitted = 0
        self._plan = Plan(is_strict=strict)
        self._watching = Watching()
        self._doings = Doings()
        self.schedules = RehearsedSchedules(lambda: self.service)
        """What schedules are asked. They begin with the first request for durable runs, or when time passes."""
        if config is None:
            config = configuration.load(project_start(), store=store, inline=True, limits=limits)
        super().__init__(config=config, reporter=self._watching)

    def _new_driver(self, reporter: Reporter) -> driver.Driver:
        return RehearsedDriver(self.config, reporter, self._plan, self.clock)

    # --- what differs from a real run ---------------------------------------------------------------------------------

    def forget_all(self) -> None:
        """Begin again with an empty store in memory, and without any run."""
        self._service = None
        self._driver.close()
        self.config = replace(self.config, store=":memory:")
        self._driver = self._new_driver(self._watching)

    def replace(self, task: Task[..., Any] | str, function: Callable[..., Any]) -> None:
        """Run `function` wherever the task would run: a fake for a task that is slow, remote or expensive.

        It uses no results of the task itself. task: the task or effect, or its full or short name.
        """
        self._plan.replace(_named(task), function)
        self._service = None  # the next one takes the runs up, with the code that counts from now on

    def fail(self, task: Task[..., Any] | str, error: BaseException, *, attempts: int | Iterable[int] = 1) -> None:
        """Make each call of the task raise `error` in these attempts (the first is 1), in place of its body."""
        if not isinstance(error, BaseException):
            raise TypeError(f"fail(task, error) takes an exception, not {preview(error)}")
        self._plan.accidents.setdefault(_named(task), {}).update(dict.fromkeys(_several(attempts), error))

    def lose(self, task: Task[..., Any] | str, *, attempts: int | Iterable[int] = 1) -> None:
        """Make each call of the task lose its worker in these attempts, as when it is killed for its memory."""
        self._plan.accidents.setdefault(_named(task), {}).update(dict.fromkeys(_several(attempts), None))

    def restore(self) -> None:
        """Undo every `replace`, `fail` and `lose`."""
        self._plan.understudies.clear()
        self._plan.accidents.clear()
        self._service = None

    @property
    def strict(self) -> bool:
        """Whether an effect that was not replaced raises AssertionError, and is not done."""
        return self._plan.is_strict

    @strict.setter
    def strict(self, strict: bool) -> None:
        self._plan.is_strict = strict

    # --- time ---------------------------------------------------------------------------------------------------------

    def skip(self, time: float | str) -> None:
        """Let time pass. Runs that were started go on meanwhile: their sleeps end, their timeouts come; schedules fire.

        time: seconds, or text such as "90m" or "2d".
        """
        seconds = parse_seconds(time, where="skip")
        if self._service is None and not any(has_schedule(each) for each in registered().values()):
            self.clock.skip(seconds)
        else:
            self.service.pass_time(self.service.now() + round(seconds * 1_000_000))

    def advance_to(self, moment: datetime.datetime) -> None:
        """Let time pass until a moment. Raises BadArguments for one without a time zone, or in the past."""
        at = moment_us(moment, None)
        now = self.service.now()
        assert at is not None
        if at < now:
            raise BadArguments(f"advance_to({moment}): in this rehearsal it is {moment_text(now)} already.")
        self.service.pass_time(at)

    # --- durable runs -------------------------------------------------------------------------------------------------

    @property
    def service(self) -> RehearsedService:
        """The service that keeps the runs: for what the methods here do not show."""
        if self._service is None:
            clock = StandingClock(self.clock, self._began)
            self._service = RehearsedService(
                self.config, self._plan, clock, self._driver.store, self._watching, self._doings
            )
            self._service.begin()
            self._service.settle()
        return self._service

    def start(
        self,
        expr: Term,
        *,
        id: str | None = None,
        reuse: str = "return",
        at: datetime.datetime | None = None,
        delay: float | str | None = None,
        queue: str | None = None,
        priority: int | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> RehearsedRun:
        """Start a durable run, and let it go on until it has ended, or waits. Time stands still meanwhile.

        expr: a call of a task, such as `checkout(order)`. id, reuse, at, delay, queue, priority, tags: as for
        `Client.start`. Raises RunConflict, RateLimited, BadArguments; AssertionError for an effect that was not
        replaced, if the rehearsal is strict.
        """
        if not isinstance(expr, Expression):
            raise BadArguments(f"start() takes a call of a task, not {preview(expr)}.")
        self._started += 1
        request_id = f"start-{self._started}"
        due_at = self._due_at(at, delay)

        def ask(is_again: bool) -> Future[Any]:
            service = self.service
            return service.start_expression(
                expr, id=id, reuse=reuse, due_at=due_at, queue=queue, priority=priority, tags=tags,
                request_id=request_id, is_repeated=is_again,
            )  # fmt: skip

        answer = self.service.answered(ask)
        return RehearsedRun(lambda: self.service, answer["run_id"], is_new=answer["is_new"])

    def queues(self) -> list[dict[str, Any]]:
        """The queues, as `Client.queues` gives them."""
        return self.service.queues()

    def set_queue(self, name: str, slots: int | None) -> None:
        """Give a queue so many slots; None for any number. What can go on goes on."""
        self.service.answered(lambda is_again: self.service.set_queue(name, slots))

    def runs(self, flow: Task[..., Any] | str | None = None) -> list[RehearsedRun]:
        """All runs, oldest first: also those that events and other runs have started. flow: only those of this task."""
        name = flow.fullname if isinstance(flow, Task) else flow
        rows = self.service.questions.runs(RunFilter(flows=() if name is None else (name,)), limit=MOST_RUNS)
        return [RehearsedRun(lambda: self.service, row["run_id"]) for row in reversed(rows)]

    def emit(
        self,
        name: str,
        data: Any = None,
        *,
        key: str | None = None,
        id: str | None = None,
        at: datetime.datetime | None = None,
        delay: float | str | None = None,
        strict: bool = False,
    ) -> dict[str, Any]:
        """Emit an event, and let everything go on that it starts or wakes.

        The arguments and the errors are those of `Client.emit`. data: plain data, as in JSON. Returns the event and
        its deliveries, as `Client.event` does.
        """
        self._emitted += 1
        event_id = id or f"event-{self._emitted}"
        given = json.loads(json.dumps(data))
        due_at = self._due_at(at, delay)
        self.service.answered(
            lambda _: self.service.emit(name, given, key=key, id=event_id, due_at=due_at, strict=strict)
        )
        return self.service.event(event_id)

    def answer(self, run: RehearsedRun, value: Any, *, place: str | None = None) -> None:
        """Answer the `ask` of a run: `run.answer(value)`."""
        run.answer(value, place=place)

    def stream(self, run: RehearsedRun, name: str) -> list[StreamItem]:
        """What the bodies of a run have written to a stream, in order: `run.stream(name)`."""
        return run.stream(name)

    def _due_at(self, at: datetime.datetime | None, delay: float | str | None) -> int | None:
        if delay is None or at is not None:
            return moment_us(at, delay)
        return self.service.now() + round(parse_seconds(delay, where="delay") * 1_000_000)

    # --- what happened ------------------------------------------------------------------------------------------------

    @property
    def waited_seconds(self) -> float:
        """The seconds of the waits, such as those before retries, that the last run has skipped."""
        return self.clock.skipped_seconds - self.clock.skipped_before

    @property
    def printed(self) -> list[tuple[str, str]]:
        """The printed lines of the last run: (short name of the task, line)."""
        return list(self._watching.printed_lines)

    @property
    def warnings(self) -> list[str]:
        """The warnings of the last run."""
        return list(self._watching.warnings)

    @property
    def computed(self) -> Counter[str]:
        """How many calls of each task were computed in the last run, by the task's short name.

        Tasks with the same short name are listed by their full names, here and below.
        """
        return self._counts("computed")

    @property
    def cached(self) -> Counter[str]:
        """How many calls of each task came from the cache in the last run."""
        return self._counts("cached")

    @property
    def shared(self) -> Counter[str]:
        """How many calls of each task took the result of an equal call of the last run."""
        return self._counts("shared")

    @property
    def failed(self) -> Counter[str]:
        """How many calls of each task failed in the last run, by themselves or because a call that they made failed."""
        return self._counts("failed")

    @property
    def not_run(self) -> Counter[str]:
        """How many calls of each task never ran in the last run, because an argument of theirs had failed."""
        return self._counts("not_run")

    def _counts(self, how: str) -> Counter[str]:
        by_task = self._last().by_task
        shorts = Counter(name.rpartition(".")[2] for name in by_task)
        counts: Counter[str] = Counter()
        for name, row in by_task.items():
            short = name.rpartition(".")[2]
            if row[how] and name != ROOT:
                counts[short if shorts[short] == 1 else name] = row[how]
        return counts

    def _last(self) -> Summary:
        if self._watching.summary is None:
            raise AssertionError("nothing has run yet in this rehearsal: rehearsal.run(main()) comes first")
        return self._watching.summary

    def jobs(self, task: Task[..., Any] | str | None = None) -> list[JobTold]:
        """The jobs of the last run, in the order in which they began: all, or the jobs of one task or one label."""
        name = task.fullname if isinstance(task, Task) else task
        history = self.history()
        rows = history.jobs(Filter(execution_id=self._last().execution_id), limit=None)
        rows = [row for row in rows if row["task_name"] != ROOT]
        if name is not None:
            rows = [row for row in rows if name in _names(row)]
        rows.sort(key=lambda row: row["ordinal"] or 0)
        calls = [row["call_hash"] for row in rows if row["call_hash"] is not None]
        arguments, results = history.arguments_of(calls), history.results(calls)
        return [
            JobTold(
                task=row["task_name"],
                how=row["how"],
                status=row["status"],
                attempts=row["attempts"],
                arguments={each.name: each.preview or "?" for each in arguments.get(row["call_hash"], ())},
                result=(results.get(row["call_hash"]) or {}).get("preview"),
                error=row["error"],
                why=_reason(history.why(row["job_id"])),
                label=row["label"],
            )
            for row in rows
        ]

    def assert_computed(self, *tasks: Task[..., Any] | str, **times: int) -> None:
        """Fail unless exactly these tasks were computed in the last run: each once, or as often as `times` says.

        `assert_computed("main", "load", train=3)`. Without names: unless nothing was computed. The message of the
        failure lists the jobs that were, each with the reason.
        """
        __tracebackhide__ = True
        self._assert("computed", tasks, times)

    def assert_cached(self, *tasks: Task[..., Any] | str, **times: int) -> None:
        """Fail unless exactly these tasks were answered from the cache in the last run."""
        __tracebackhide__ = True
        self._assert("cached", tasks, times)

    def assert_shared(self, *tasks: Task[..., Any] | str, **times: int) -> None:
        """Fail unless exactly these tasks were answered by an equal call of the last run."""
        __tracebackhide__ = True
        self._assert("shared", tasks, times)

    def assert_failed(self, *tasks: Task[..., Any] | str, **times: int) -> None:
        """Fail unless exactly these tasks failed in the last run."""
        __tracebackhide__ = True
        self._assert("failed", tasks, times)

    def assert_not_run(self, *tasks: Task[..., Any] | str, **times: int) -> None:
        """Fail unless exactly these tasks never ran in the last run, because an argument of theirs had failed."""
        __tracebackhide__ = True
        self._assert("not_run", tasks, times)

    def _assert(self, how: str, tasks: Iterable[Task[..., Any] | str], times: Mapping[str, int]) -> None:
        __tracebackhide__ = True
        counts = self._counts(how)
        expected: Counter[str] = Counter()
        for each in tasks:
            full = each.fullname if isinstance(each, Task) else each
            short = full.rpartition(".")[2]
            expected[full if full in counts or short not in counts else short] += 1
        expected.update(times)
        if counts == expected:
            return
        names = sorted(counts.keys() | expected.keys())
        wrong = [
            f"{name} {counts[name]}, expected {expected[name]}" for name in names if counts[name] != expected[name]
        ]
        jobs = self.jobs()
        lines = [f"  {job}" for job in jobs[:MOST_TOLD]]
        if len(jobs) > MOST_TOLD:
            lines.append(f"  and {len(jobs) - MOST_TOLD} more")
        raise AssertionError(f"{how} in the last run: {'; '.join(wrong)}\n" + "\n".join(lines))

    # --- bad weather --------------------------------------------------------------------------------------------------

    def storm(self, expr: Term, *, seeds: Iterable[int] = range(10), weather: Weather = ROUGH) -> None:
        """Fail unless the expression gives the same result in any weather: with every seed the order of calls changes,
        workers are lost, answers come twice, the scheduler crashes and resumes the execution.

        This finds tasks that remember something between their calls, or rely on an order of calls. Each seed begins
        with an empty store; the message of the failure names the seed. An expression that fails in calm weather raises
        its error.
        """
        __tracebackhide__ = True
        untrue = play(self.config, self._plan, expr, seeds, weather)
        if untrue is not None:
            raise AssertionError(untrue)

    def crash_everywhere(self, expr: Term, script: Callable[[Rehearsal, RehearsedRun], None] | None = None) -> int:
        """Fail unless a durable run ends alike wherever its service is killed. Returns how many kills there were.

            def approve(rehearsal, run):
                rehearsal.skip("2h")
                rehearsal.emit("approval", {"by": "grace"}, key="order-7")

            rehearsal.crash_everywhere(checkout(order), approve)

        The run is played once without a kill, and then twice for each commit to the store: the service is killed right
        before it, and right after it, and loses all that is in memory. The next service takes the run up from the
        store. After the script time passes until the run has ended. Then its value or error is compared, and that of
        all other runs; and no effect may have been done more than once, or twice if the kill came between its start and
        the commit of its outcome. (Only an effect with `on_unknown="fail"` may end otherwise then.)

        script: does what happens outside. It gets a rehearsal of its own, which has an empty store and the fakes and
        accidents of this one, and the run. Ids of runs and events, times, and keys of effects are the same each time.
        """
        __tracebackhide__ = True
        began = self.clock.now()
        kills, untrue = crashes.play(
            lambda folder: RehearsedWorld(self.config, self._plan, folder, began), expr, script
        )
        if untrue is not None:
            raise AssertionError(untrue)
        return kills


class RehearsedWorld(Rehearsal):
    """A rehearsal on a given folder, with the fakes and accidents of another one. began: its time at the start."""

    def __init__(self, config: configuration.Config, plan: Plan, folder: Folder, began: int) -> None:
        self._folder = folder
        super().__init__(config=replace(config, store=":memory:"))
        self._plan = plan.copy()
        self._driver = self._new_driver(self._watching)
        self._began = began

    def _new_driver(self, reporter: Reporter) -> driver.Driver:
        return RehearsedDriver(self.config, reporter, self._plan, self.clock, Store(self._folder))


ROOT = "<expression>"
"""The task name of a root job that is not a call."""


def _named(task: Task[..., Any] | str) -> str:
    full: str = (
        task.fullname if isinstance(task, Task) else pick(registered().values(), task, where="This process").fullname
    )
    return full


def has_schedule(task: Task[..., Any]) -> bool:
    """Whether the clock starts runs of a task."""
    return task.flow_settings is not None and bool(task.flow_settings.timetable)


def _several(attempts: int | Iterable[int]) -> Iterable[int]:
    return (attempts,) if isinstance(attempts, int) else attempts


def _reason(found: Why) -> str:
    """Why a job ran, or did not, in one line."""
    if found.job["how"] == "cached":
        return "an earlier run had its result"
    if found.job["how"] == "shared":
        return "an equal call of this run had its result"
    if found.job["status"] == "not_run":
        return "an argument of it had failed"
    return reason_of(found)


def _names(row: Record) -> tuple[str, str, str | None]:
    """The names by which a job is found: its task's full and short name, and its label."""
    return row["task_name"], row["task_name"].rpartition(".")[2], row["label"]
