"""Whether the cache would answer recorded calls now, without evaluating them.

In: recorded calls; the tasks, files and code as they are now. Out: a judgement for each call. Never: runs a task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rayflow import misses
from rayflow.errors import BadOption
from rayflow.evaluator import lookups, messages
from rayflow.evaluator.graph import Execution
from rayflow.evaluator.inheritance import Inherited
from rayflow.lang.options.options import scope_of
from rayflow.lang.task_table import TaskEntry
from rayflow.records import SHALLOW_VALUE, SINGLE
from rayflow.runtime.inline import LookingCarrier
from rayflow.runtime.loop import Loop
from rayflow.runtime.outbox import broken_of, relied_on
from rayflow.runtime.planning.predictions import Judgement, PredictedCall
from rayflow.runtime.worker.worker import Worker
from rayflow.store.history.history import History
from rayflow.store.history.why.comparison import named

NO_ANSWER = "the cache has no answer that counts"


class _Rules(NamedTuple):
    """What decides on an answer for a call. is_shallow: whether the call looks at no files between."""

    options: Mapping[str, Any]
    hands_down: Inherited
    is_shallow: bool


class Judge:
    """Asks the cache as the evaluator would, for calls that are only predicted.

    It uses the options of the task and of the run; the options of such a call itself are not known.
    """

    def __init__(self, history: History, worker: Worker, loop: Loop[LookingCarrier], execution: Execution) -> None:
        self._history = history
        self._worker = worker
        self._loop = loop
        self._execution = execution

    @property
    def table(self) -> Mapping[str, TaskEntry]:
        """The tasks as they are now."""
        return self._execution.tasks.table

    def judge(self, calls: Sequence[PredictedCall]) -> list[Judgement]:
        """For each call whether the cache has an answer for its task's current code, and why not."""
        rules = [self._rules_of(self.table[call.task_name]) for call in calls]
        questions = [(bytes.fromhex(str(call.eval_hash)), bytes.fromhex(str(call.task_hash))) for call in calls]
        wanting = [place for place, rule in enumerate(rules) if isinstance(rule, _Rules) and rule.is_shallow]
        found = self._loop.outbox.recorded(questions, wanting)
        relied = [relied_on(row) for rows in found for row in rows]
        verdicts = self._worker.check(list(dict.fromkeys(each for witnesses in relied for each in witnesses)))
        broken = broken_of(relied, verdicts)
        answers: list[Judgement] = []
        start = 0
        for rule, rows in zip(rules, found, strict=True):
            candidates = self._loop.outbox.candidates(rows, broken[start : start + len(rows)])
            start += len(rows)
            answers.append(self._judged(rule, candidates) if isinstance(rule, _Rules) else Judgement(rule))
        return answers

    def _rules_of(self, entry: TaskEntry) -> _Rules | str:
        """What decides on an answer for a call of a task; a text where the cache may not be asked."""
        execution = self._execution
        try:
            options, hands_down = execution.call_options.of_call(entry, None, execution.inherited)
        except BadOption as error:
            return str(error)
        if not execution.cache:
            return misses.Miss(misses.RUN).phrase()
        if scope_of(options) != "BACKEND":
            return misses.from_text(lookups.scope_reason(options))[0].phrase()
        return _Rules(options, hands_down, options.get("check_valid") == "shallow")

    def _judged(self, rules: _Rules, candidates: Sequence[messages.Candidate]) -> Judgement:
        first: str | None = None
        for candidate in candidates:
            is_final = candidate.kind != SINGLE
            if (candidate.kind == SHALLOW_VALUE and not rules.is_shallow) or (is_final and candidate.task_set is None):
                continue
            at = self._loop.clock.now()
            against = lookups.against(rules.options, self._execution, rules.hands_down, candidate, at)
            if not against:
                return Judgement(None, is_final)
            first = first or "; ".join(miss.phrase() for miss in named(self._history, against))
        return Judgement(first or NO_ANSWER)
