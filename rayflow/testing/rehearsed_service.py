"""The service of a rehearsal: it keeps runs in this thread, and time stands still unless the test lets it pass.

In: requests, one at a time. Out: their answers, when everything has happened that follows from them. Never: waits,
opens a port, or starts a thread.

It is the service itself, with the same keeper, evaluator and tables of the store. Only three things differ: the thread
that asks turns the loop; attempts run on a `Stage`; and the store has no lease. So it can be killed at any commit: it
forgets all that is in memory, and takes up its runs from what the store has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from rayflow.config import Config
from rayflow.evaluator import commands
from rayflow.evaluator.messages import NestedStart
from rayflow.keeper import requests
from rayflow.keeper.keeper import Keeper
from rayflow.keeper.run_states import WAITING
from rayflow.keeper.timers import FIRING_DUE, holds
from rayflow.lang.packing.realize import realized
from rayflow.lang.task_table import TaskEntry
from rayflow.lang.terms.codec import dumps
from rayflow.lang.terms.expressions import Term
from rayflow.lang.terms.outcomes import unpack_outcome
from rayflow.records import PlaceRow, RunRow
from rayflow.runtime.carrier import LoopHandle
from rayflow.runtime.clock import Clock, News
from rayflow.runtime.inline import Answer, InlineCarrier
from rayflow.runtime.listener import LoopListener
from rayflow.runtime.loop import Loop
from rayflow.runtime.protocol.attempts import Reply
from rayflow.runtime.protocol.reports import Reporter
from rayflow.runtime.subruns import evaluate
from rayflow.runtime.worker.body_series import BodySeries
from rayflow.runtime.worker.results import pack_expression
from rayflow.runtime.worker.worker import Worker
from rayflow.service.admission import KeyDesk
from rayflow.service.questions import run_text
from rayflow.service.service import Service
from rayflow.store.store import Store
from rayflow.testing.stage import Ensemble, Plan, SkippingClock, Stage
from rayflow.values.display.tracebacks import raise_failure
from rayflow.values.failures import Failure, exception_from_failure
from rayflow.values.files.file_states import use_project

T = TypeVar("T")

MOST_TIMERS = 10_000
"""A run that has not ended after so many timers is taken for one that never ends."""

MOST_IDLE_TIMERS = 100
"""When all runs wait, and nothing but schedules has a time to come, nothing is expected of more timers than these."""


class Killed(BaseException):
    """The service is killed here. Everything in memory is lost."""


class StandingClock(Clock):
    """A clock that stands still unless it skips. skipping: the rehearsal's clock; both skip together.

    began: the time before anything was skipped, in microseconds since the epoch.
    """

    def __init__(self, skipping: SkippingClock, began: int) -> None:
        self._skipping = skipping
        self._began = began

    def now(self) -> int:
        return self._began + self._skipped_us

    def seconds(self) -> float:
        return self._skipped_us / 1_000_000

    @property
    def _skipped_us(self) -> int:
        return round(self._skipping.skipped_seconds * 1_000_000)

    def advance(self, at: int) -> None:
        """Go to this time, in microseconds since the epoch."""
        self._skipping.skip((at - self.now()) / 1_000_000)

    def wait(self, news: News, longest_seconds: float, timer_seconds: float | None) -> None:
        """Nothing: whoever asks decides whether time passes."""


class Doings:
    """How often the effects of the runs were done, in all lives of a service. An effect is named by its execution and
    its job id, which is the same in every life.

    returned: how often its body has returned. hit: how often a kill came between its start and the commit of its
    outcome. at_most_once: those that may not be tried again then (`on_unknown="fail"`).
    """

    def __init__(self) -> None:
        self.returned: Counter[tuple[str, bytes]] = Counter()
        self.hit: Counter[tuple[str, bytes]] = Counter()
        self.at_most_once: set[tuple[str, bytes]] = set()
        self.names: dict[tuple[str, bytes], str] = {}

    def began(self, attempt: commands.RunTask) -> None:
        """The body of an attempt begins."""
        effect = (attempt.execution_id, attempt.job_id)
        self.names[effect] = attempt.shown_name
        if attempt.options.get("on_unknown") == "fail":
            self.at_most_once.add(effect)

    def returned_from(self, attempt: commands.RunTask) -> None:
        """The body of an attempt has returned a value."""
        self.returned[attempt.execution_id, attempt.job_id] += 1

    def killed(self, places: Iterable[PlaceRow]) -> None:
        """The service was killed. places: what the store has of the runs that have not ended."""
        begun: Counter[tuple[str, bytes]] = Counter()
        for row in places:
            if row.is_effect and row.job_id is not None:
                begun[row.execution_id, row.job_id] += {"started": 1, "tried": -1, "outcome": -1, "late": -1}.get(
                    row.kind, 0
                )
        for effect, many in begun.items():
            if many > 0:
                self.hit[effect] += 1

    def done_again(self) -> list[str]:
        """The names of the effects that were done more often than is promised: once, and once more for each hit."""
        return sorted(self.names[each] for each, many in self.returned.items() if many > 1 + self.hit[each])


class CountingStage(Stage):
    """A stage that counts what effects do."""

    def __init__(self, loop: LoopHandle, worker: Worker, plan: Plan, doings: Doings) -> None:
        super().__init__(loop, worker, plan)
        self._doings = doings

    def _number(self, attempt: commands.RunTask) -> int:
        """An attempt that a kill has hit does not count: the next one meets the same accident."""
        return attempt.attempt - self._doings.hit[attempt.execution_id, attempt.job_id]

    def _answer(self, command: commands.RunTask | commands.RunOperation, series: BodySeries) -> Answer:
        if not isinstance(command, commands.RunTask) or not command.entry.is_effect:
            return super()._answer(command, series)
        self._doings.began(command)
        answer = super()._answer(command, series)
        if isinstance(answer, Reply) and answer.failure is None and not answer.is_paused:
            self._doings.returned_from(command)
        return answer


class RehearsedService(Service):
    """The service of a rehearsal. Use it as: `begin()`, then any number of `answered`, `settle` and `pass_time`."""

    def __init__(
        self, config: Config, plan: Plan, clock: StandingClock, store: Store, reporter: Reporter, doings: Doings
    ) -> None:
        super().__init__(config, ("this process",), reporter, clock=clock)
        self.store = store
        self._desk = KeyDesk(is_at_once=True)
        self.doings = doings
        self.lives = 0
        """How often it was killed."""
        self._plan = plan
        self._standing = clock
        self._ended_before: dict[str, str] = {}
        """The states of the runs that had ended when it was killed, if their ids say what has started them."""

    # --- what differs from a service in earnest -----------------------------------------------------------------------

    def begin(self) -> requests.Recovered:
        use_project(self.config.project_dir, self.config.files)
        return super().begin()

    def _tasks(self) -> Mapping[str, TaskEntry]:
        return self._plan.changed(super()._tasks())

    def _new_loop(self) -> Loop[InlineCarrier]:
        worker = Ensemble(
            self._context,
            self.store,
            printed=self._reporter.printed,
            evaluate=partial(evaluate, loop_of=self._loop_below),
        )
        worker.plan = self._plan
        listener = LoopListener(warned=lambda _, text: self._reporter.warned(text))
        return Loop(
            self.store,
            lambda loop: CountingStage(loop, worker, self._plan, self.doings),
            limits=self.config.limits,
            listener=listener,
            clock=self._standing,
            beside=self._turn,
        )

    def _loop_below(self, worker: Worker, under: NestedStart, listener: LoopListener) -> Loop[InlineCarrier]:
        return Loop(
            self.store,
            lambda loop: CountingStage(loop, worker, self._plan, self.doings),
            limits=under.limits,
            listener=listener,
            clock=self._standing,
        )

    def look(self, question: Callable[[Keeper], T]) -> T:
        """Ask the keeper something that changes nothing."""
        return question(self._turn.keeper)

    def now(self) -> int:
        """The time of its clock, in microseconds since the epoch."""
        return self._standing.now()

    # --- turning ------------------------------------------------------------------------------------------------------

    def answered(self, ask: Callable[[bool], Future[T]]) -> T:
        """The answer to a request, when everything has happened that follows from it.

        ask: makes the request. It is called again, with True, if the service was killed before it has answered.
        """
        is_again = False
        while True:
            future = ask(is_again)
            self.settle()
            if future.done():
                return future.result()
            is_again = True

    def settle(self) -> None:
        """Turn until nothing is left to be done at this moment. Raises AssertionError for an effect that should have
        been replaced."""
        while True:
            try:
                self._turn_once(0.0)
                while not self._loop.is_idle():
                    self._turn_once(0.0)
                self.store.commit()
                break
            except Killed:
                self._take_up_again()
        self._plan.check()

    def _take_up_again(self) -> None:
        """Forget all that is in memory, and begin again with what the store has."""
        self.lives += 1
        self._loop.carrier.forget("")
        self._futures.clear()
        self._posted.clear()
        self.store = Store(self.store.folder)
        recovered = self.begin()
        self.doings.killed(self._runs.places())
        self._ended_before = {each.run_id: each.state for each in recovered.ended}

    def pass_time(self, until: int | None, is_over: Callable[[], bool] = lambda: False) -> None:
        """Let time pass, from timer to timer: until this time, in microseconds since the epoch, or until it is over, or
        until no timer is left. Timers of schedules alone count for a while only. Raises AssertionError after very many
        timers."""
        idle_timers = 0
        for _ in range(MOST_TIMERS):
            if is_over() or idle_timers > MOST_IDLE_TIMERS:
                return
            left = self._loop.seconds_left()
            if not self._loop.is_idle():
                self.settle()
                continue
            next_at = None if left is None else self._standing.now() + max(1, round(left * 1_000_000))
            if next_at is None or (until is not None and next_at > until):
                if until is not None:
                    self._standing.advance(until)
                    self.settle()
                return
            if until is None and self._waits_for_schedules_alone():
                idle_timers += 1
            self._standing.advance(next_at)
            self.settle()
        raise AssertionError(
            f"Time has passed over {MOST_TIMERS:,} timers, and there are still more: something begins again and again. "
            "rehearsal.skip(...) lets a given time pass."
        )

    def _waits_for_schedules_alone(self) -> bool:
        """Whether all runs wait, and no time is set for any of them."""
        state = self._turn.keeper.state
        if any(run.state != WAITING for run in state.runs.values()):
            return False
        return all(timer[1] == FIRING_DUE for timer in state.timers if holds(state, timer))

    # --- runs ---------------------------------------------------------------------------------------------------------

    def start_expression(self, expr: Term, **how: Any) -> Future[Any]:
        """Start a run of an expression. how: as for `start_packed`."""
        symbolic, _ = pack_expression(expr, self._keep)
        return self.start_packed(dumps(symbolic), **how)

    def end_of(self, run_id: str) -> RunRow | None:
        """The last row of a run that has ended; None for one that has not. Of a chain, that of its last run."""
        last = self._runs.last_in_chain(run_id)
        if self.look(lambda keeper: keeper.run(last)) is not None:
            return None
        return self._runs.end_of(last) or self.questions.end_of(last)

    def open_run(self, run_id: str) -> dict[str, Any]:
        """A run that has not ended, as plain data; of a chain, its last run."""
        last = self._runs.last_in_chain(run_id)
        found = self.look(lambda keeper: keeper.run(last))
        assert found is not None
        return found

    def states(self, known: Iterable[str] = ()) -> dict[str, str]:
        """The states of all runs, by id. known: ids of runs of which the store is asked, if nothing else knows them."""
        found = dict(self._ended_before)
        found |= {row.run_id: row.state for row in self._runs.ends()}
        found |= {run["run_id"]: run["state"] for run in self.look(lambda keeper: keeper.runs())}
        for run_id in known:
            if run_id not in found and (row := self.questions.last_of(run_id)) is not None:
                found[run_id] = row.state
        return found

    def value_of(self, row: RunRow) -> Any:
        """The value that a run has come to. Raises its failure as its own exception."""
        assert row.outcome is not None
        found = unpack_outcome(row.outcome)
        if isinstance(found, Failure):
            raise_failure(exception_from_failure(found, project_dir=self.config.project_dir))
        return realized(found, self._fetch)

    def why(self, run_id: str) -> str:
        """Why a run is where it is, as one sentence."""
        explained = self.look(lambda keeper: keeper.explain(run_id))
        row = None if explained is not None else self.end_of(run_id)
        return run_text({} if row is None else row._asdict(), explained)
