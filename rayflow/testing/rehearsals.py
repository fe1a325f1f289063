"""Rehearse a workflow: run it in this process, and see what ran, what did not, and why.

In: a user's expressions, and what is to go otherwise than in earnest. Out: values, counts, assertions that say what
happened instead. Never: Ray, a wait, the project's own store.

    def test_only_what_changed_runs(rehearsal):
        assert rehearsal.run(main(3)) == 6
        rehearsal.assert_computed("main", "load", "train")
        rehearsal.run(main(3))
        rehearsal.assert_computed()
        rehearsal.assert_cached("main", "load", "train")

The body of a task is tested by `task.func(...)`, which is the plain function.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rayflow import config as configuration
from rayflow.api import Scheduler
from rayflow.lang.expressions import Term
from rayflow.lang.modules import pick
from rayflow.lang.options import parse_seconds
from rayflow.lang.tasks import Task, registered
from rayflow.runtime import driver
from rayflow.runtime.circumstances import project_start
from rayflow.runtime.reports import Reporter, Silent, Summary
from rayflow.store.answers import Why
from rayflow.store.filters import Filter
from rayflow.testing.stage import Plan, RehearsedDriver, SkippingClock
from rayflow.testing.storms import ROUGH, play
from rayflow.testing.weather import Weather

MOST_TOLD = 20
"""So many jobs are told of in the message of a failed assertion."""


@dataclass(frozen=True, slots=True)
class JobTold:
    """One job of the last run.

    task: full name. how: computed, cached or shared. status: done or failed. attempts: how often its body was entered,
    or lost its worker. arguments, result: as text, shortened. error: type and message. why: why it ran, or did not.
    """

    task: str
    how: str | None
    status: str
    attempts: int
    arguments: Mapping[str, str]
    result: str | None
    error: str | None
    why: str

    def __str__(self) -> str:
        arguments = ", ".join(f"{name}={text}" for name, text in self.arguments.items())
        return f"{self.how or self.status} {self.task}({arguments}): {self.why}"


class Watching(Silent):
    """Keeps what is told of the last run."""

    def __init__(self) -> None:
        self.summary: Summary | None = None
        self.printed_lines: list[tuple[str, str]] = []
        self.warnings: list[str] = []

    def started(self, execution_id: str, store_url: str, is_new_store: bool) -> None:
        self.summary, self.printed_lines, self.warnings = None, [], []

    def printed(self, task_name: str, stream: str, text: str) -> None:
        self.printed_lines += [(task_name.rpartition(".")[2], line) for line in text.splitlines()]

    def warned(self, text: str) -> None:
        self.warnings.append(text)

    def ended(self, summary: Summary) -> None:
        self.summary = summary


class Rehearsal(Scheduler):
    """A scheduler for tests: in this process, with a store in memory and time that skips every wait.

    store: a folder to keep the results in, for the next rehearsal. limits, config: as for `Scheduler`; by default the
    project's own configuration counts.

    Runs share what they computed, as they do in earnest, until `forget_all`.
    """

    def __init__(
        self,
        *,
        store: str = ":memory:",
        limits: Mapping[str, float] | None = None,
        config: configuration.Config | None = None,
    ) -> None:
        self.clock = SkippingClock()
        self._plan = Plan()
        self._watching = Watching()
        if config is None:
            config = configuration.load(project_start(), store=store, inline=True, limits=limits)
        super().__init__(config=config, reporter=self._watching)

    def _new_driver(self, reporter: Reporter) -> driver.Driver:
        return RehearsedDriver(self.config, reporter, self._plan, self.clock)

    # --- what goes otherwise than in earnest --------------------------------------------------------------------------

    def forget_all(self) -> None:
        """Begin anew with an empty store in memory."""
        self._driver.close()
        self.config = replace(self.config, store=":memory:")
        self._driver = self._new_driver(self._watching)

    def replace(self, task: Task[..., Any] | str, function: Callable[..., Any]) -> None:
        """Have `function` run wherever the task would: a fake for what is slow, far away or dear.

        Nothing that the task itself has computed counts for it. task: the task, or its full or short name.
        """
        self._plan.replace(_named(task), function)

    def fail(self, task: Task[..., Any] | str, error: BaseException, *, attempts: int | Iterable[int] = 1) -> None:
        """Have each call of the task raise `error` in these attempts (the first is 1) in place of its body."""
        if not isinstance(error, BaseException):
            raise TypeError(f"fail(task, error) takes an exception, not {error!r}")
        self._plan.accidents.setdefault(_named(task), {}).update(dict.fromkeys(_several(attempts), error))

    def lose(self, task: Task[..., Any] | str, *, attempts: int | Iterable[int] = 1) -> None:
        """Have each call of the task lose its worker in these attempts, as when it is killed for its memory."""
        self._plan.accidents.setdefault(_named(task), {}).update(dict.fromkeys(_several(attempts), None))

    def restore(self) -> None:
        """Take back every `replace`, `fail` and `lose`."""
        self._plan.understudies.clear()
        self._plan.accidents.clear()

    def skip(self, time: float | str) -> None:
        """Let so much time go by at once: seconds, or text such as "90m" or "2d"."""
        self.clock.skip(parse_seconds(time, where="skip"))

    # --- what happened ------------------------------------------------------------------------------------------------

    @property
    def waited_seconds(self) -> float:
        """How long the last run would have waited, for retries and the like, had its waits not been skipped."""
        return self.clock.skipped_seconds - self.clock.skipped_before

    @property
    def printed(self) -> list[tuple[str, str]]:
        """What the tasks of the last run printed: (short name of the task, line)."""
        return list(self._watching.printed_lines)

    @property
    def warnings(self) -> list[str]:
        """What the user of the last run would have been warned of."""
        return list(self._watching.warnings)

    @property
    def computed(self) -> Counter[str]:
        """How many calls of each task were computed in the last run, by the task's short name.

        Two tasks of one short name go by their full names, here and below.
        """
        return self._counts("computed")

    @property
    def cached(self) -> Counter[str]:
        """How many calls of each task came from the cache in the last run."""
        return self._counts("cached")

    @property
    def shared(self) -> Counter[str]:
        """How many calls of each task had an equal one in the last run that was computed, or cached, for both."""
        return self._counts("shared")

    @property
    def failed(self) -> Counter[str]:
        """How many calls of each task failed in the last run, by themselves or because of what they needed."""
        return self._counts("failed")

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
        """The jobs of the last run, of one task or of all, in the order in which they were met."""
        name = task.fullname if isinstance(task, Task) else task
        history = self.history()
        rows = history.jobs(Filter(execution_id=self._last().execution_id), limit=None)
        rows = [row for row in rows if row["task_name"] != ROOT]
        if name is not None:
            rows = [row for row in rows if name in (row["task_name"], row["task_name"].rpartition(".")[2])]
        rows.sort(key=lambda row: row["ordinal"] or 0)
        calls = [row["call_hash"] for row in rows if row["call_hash"] is not None]
        arguments, results = history.arguments(calls), history.results(calls)
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
            )
            for row in rows
        ]

    def assert_computed(self, *tasks: Task[..., Any] | str, **times: int) -> None:
        """Fail unless exactly these tasks were computed in the last run: each once, or as often as `times` says.

        `assert_computed("main", "load", train=3)`; without a name: nothing was computed. The message of the failure
        tells each job that was, and why.
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
        told = [f"  {job}" for job in jobs[:MOST_TOLD]]
        if len(jobs) > MOST_TOLD:
            told.append(f"  and {len(jobs) - MOST_TOLD} more")
        raise AssertionError(f"{how} in the last run: {'; '.join(wrong)}\n" + "\n".join(told))

    # --- bad weather --------------------------------------------------------------------------------------------------

    def storm(self, expr: Term, *, seeds: Iterable[int] = range(10), weather: Weather = ROUGH) -> None:
        """Fail unless the expression comes to the same in any weather: the order of calls changes with every seed,
        workers are lost, answers come twice, the scheduler crashes and takes up again what it had begun.

        A task that keeps something between its calls, or counts on an order that nothing gives, is found so. Each seed
        begins with an empty store; the message of the failure names the seed. What fails in calm weather, too, raises
        its error.
        """
        __tracebackhide__ = True
        untrue = play(self.config, self._plan, expr, seeds, weather)
        if untrue is not None:
            raise AssertionError(untrue)


ROOT = "<expression>"
"""The name of the job of a root that is no call."""


def _named(task: Task[..., Any] | str) -> str:
    full: str = (
        task.fullname if isinstance(task, Task) else pick(registered().values(), task, where="This process").fullname
    )
    return full


def _several(attempts: int | Iterable[int]) -> Iterable[int]:
    return (attempts,) if isinstance(attempts, int) else attempts


def _reason(found: Why) -> str:
    """Why a job ran, or did not, in one line."""
    if found.job["how"] == "cached":
        return "an earlier run had its result"
    if found.job["how"] == "shared":
        return "an equal call of this run had its result"
    earlier = found.earlier
    if earlier is None:
        return "no call of this task was computed before"
    reasons = ["its code has changed"] if found.task_changed else []
    for change in found.changes:
        was = "not there" if change.old is None else change.old.preview
        now = "not there" if change.new is None else change.new.preview
        reasons.append(f"{change.name} was {was} and is {now}")
    if found.forgotten_at is not None:
        reasons.append("the earlier result was forgotten")
    if not reasons and found.arguments_changed:
        reasons.append("its arguments differ")
    if not reasons:
        if earlier["status"] != "done":
            reasons.append(f"the same call {earlier['status']} before")
        else:
            reasons.append(
                "the same call was computed before, but its result did not count: no cache was wanted, or it was too "
                "old, or what it names has changed"
            )
    return "; ".join(reasons)
