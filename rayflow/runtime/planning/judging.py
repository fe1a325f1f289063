"""Whether the cache would answer recorded calls now, without evaluating them.

In: recorded calls; the tasks, files and code as they are now. Out: for each call the reason why not, or None. Never:
runs a task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rayflow import misses
from rayflow.errors import BadOption
from rayflow.evaluator import lookups, messages
from rayflow.evaluator.graph import Execution
from rayflow.lang.options.options import scope_of
from rayflow.lang.task_table import TaskEntry
from rayflow.records import SHALLOW_VALUE
from rayflow.runtime.inline import LookingCarrier
from rayflow.runtime.loop import Loop
from rayflow.runtime.outbox import broken_of, relied_on
from rayflow.runtime.planning.predictions import PredictedCall
from rayflow.runtime.worker.worker import Worker
from rayflow.store.history.history import History
from rayflow.store.history.why.comparison import named
from rayflow.store.store import Store

NO_ANSWER = "the cache has no answer that counts"


class Judge:
    """Asks the cache as the evaluator would, for calls that are only predicted.

    It uses the options of the task and of the run; the options of such a call itself are not known.
    """

    def __init__(
        self, store: Store, history: History, worker: Worker, loop: Loop[LookingCarrier], execution: Execution
    ) -> None:
        self._store = store
        self._history = history
        self._worker = worker
        self._loop = loop
        self._execution = execution

    @property
    def table(self) -> Mapping[str, TaskEntry]:
        """The tasks as they are now."""
        return self._execution.tasks.table

    def why_not(self, calls: Sequence[PredictedCall]) -> list[str | None]:
        """The reason for each call why the cache has no answer for its task's current code; None if it has one."""
        questions = [(bytes.fromhex(str(call.eval_hash)), bytes.fromhex(str(call.task_hash))) for call in calls]
        found = self._store.look_up(questions)
        relied = [relied_on(row) for rows in found for row in rows]
        verdicts = self._worker.check(list(dict.fromkeys(each for witnesses in relied for each in witnesses)))
        broken = broken_of(relied, verdicts)
        answers: list[str | None] = []
        start = 0
        for call, rows in zip(calls, found, strict=True):
            candidates = self._loop.outbox.candidates(rows, broken[start : start + len(rows)])
            start += len(rows)
            answers.append(self._why_not(self.table[call.task_name], candidates))
        return answers

    def _why_not(self, entry: TaskEntry, candidates: Sequence[messages.Candidate]) -> str | None:
        execution = self._execution
        received = execution.inherited
        try:
            options, hands_down = execution.call_options.of_call(entry, None, received)
        except BadOption as error:
            return str(error)
        if not execution.cache:
            return misses.Miss(misses.RUN).phrase()
        if scope_of(options) != "BACKEND":
            return misses.from_text(lookups.scope_reason(options))[0].phrase()
        first: str | None = None
        for candidate in candidates:
            if candidate.kind == SHALLOW_VALUE and options.get("check_valid") != "shallow":
                continue
            against = lookups.against(options, execution, hands_down, candidate, self._loop.clock.now())
            if not against:
                return None
            first = first or "; ".join(miss.phrase() for miss in named(self._history, against))
        return first or NO_ANSWER
