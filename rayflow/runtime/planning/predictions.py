"""Predicts the calls that a run will probably make, from the calls that similar ones made before.

In: recorded calls, the tasks as they are now. Out: predictions, none of them certain. Never: evaluates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from rayflow.lang.task_table import TaskEntry
from rayflow.runtime.planning.input_files import InputChange
from rayflow.store.history.answer_types import Record, RecordedArgument
from rayflow.store.history.history import History

MOST_CALLS = 20_000
"""The most recorded calls that are followed."""

MOST_ALIKE = 10_000
"""The most calls of one task by one call that are followed. They represent all these calls."""

RUNS, PERHAPS, CACHED = "runs", "perhaps", "cached"
"""Verdicts on a call: it runs; it runs if a value that it needs changes; the cache answers it."""


class Judgement(NamedTuple):
    """Whether the cache would answer a call now.

    reason: why not; None if it would. is_final: whether it would answer with the final value. Then the calls below are
    not even met.
    """

    reason: str | None
    is_final: bool = False


@dataclass(slots=True, eq=False)
class PredictedCall:
    """A recorded call, and the verdict on it.

    alike: how many calls of its task its parent made; only some of them are followed. varies: whether its result may
    change. is_final: as in `Judgement`. wall_seconds: of its body when it last ran. changed: hashes of its recorded
    arguments that have another value now.
    """

    call_hash: str
    task_name: str
    task_hash: str | None
    eval_hash: str | None
    alike: int = 1
    verdict: str = CACHED
    reason: str = ""
    varies: bool = False
    is_final: bool = False
    wall_seconds: float | None = None
    ordinal: int = 0
    arguments: tuple[RecordedArgument, ...] = ()
    changed: set[str] = field(default_factory=set)
    children: list[PredictedCall] = field(default_factory=list)

    @property
    def hides_calls(self) -> bool:
        """Whether the calls below it are not met, because the cache answers with the final value."""
        return self.is_final and not self.varies


class Predictor:
    """Follows recorded calls downwards.

    table: the tasks as they are now. judge: says for each of these calls whether the cache would answer it. inputs_of:
    says for each call how the files among its arguments have changed, without files that other calls made.
    """

    def __init__(
        self,
        history: History,
        table: Mapping[str, TaskEntry],
        judge: Callable[[list[PredictedCall]], list[Judgement]],
        inputs_of: Callable[[list[str]], Mapping[str, InputChange]],
    ) -> None:
        self._history = history
        self._table = table
        self._judge = judge
        self._inputs_of = inputs_of
        self._known: dict[str, PredictedCall] = {}
        self.is_cut = False
        """Whether some calls were not followed."""

    def follow(self, starts: Mapping[str, set[str]]) -> dict[str, list[PredictedCall]]:
        """The calls that each start made, with all calls below them.

        starts: by call_hash, the hashes of the recorded arguments that have another value now.
        """
        for call_hash, changed in starts.items():
            self._known[call_hash] = PredictedCall(
                call_hash, "", None, None, verdict=RUNS, varies=True, changed=set(changed)
            )
        level = list(starts)
        while level and len(self._known) < MOST_CALLS:
            level = self._next(level)
        self._vary(starts)
        return {call_hash: self._known[call_hash].children for call_hash in starts}

    def _next(self, level: list[str]) -> list[str]:
        """Load the calls that the calls of a level made; returns the new ones."""
        rows = self._history.child_calls(level, MOST_ALIKE)
        fresh: dict[str, PredictedCall] = {}
        edges: list[tuple[str, str]] = []
        for row in rows:
            call_hash = row["child_call_hash"]
            if call_hash not in self._known and call_hash not in fresh:
                if len(self._known) + len(fresh) >= MOST_CALLS:
                    self.is_cut = True
                    break
                fresh[call_hash] = PredictedCall(
                    call_hash, row["task_name"], row["task_hash"], row["eval_hash"], row["alike"]
                )
            edges.append((row["call_hash"], call_hash))
            self.is_cut |= row["alike"] > MOST_ALIKE
        self._known.update(fresh)
        self._look_at(fresh)
        for above, below in edges:
            parent, child = self._known[above], self._known[below]
            parent.children.append(child)
            for argument in child.arguments if parent.changed else ():
                if argument.value_hash in parent.changed:
                    child.changed.add(argument.value_hash)
                    if child.verdict == CACHED:
                        child.verdict, child.varies = PERHAPS, True
                        child.reason = f"its argument {argument.name} was given to the call above, and is another now"
        for above in level:
            self._known[above].children.sort(key=lambda child: (child.ordinal, child.call_hash))
        return list(fresh)

    def _look_at(self, fresh: Mapping[str, PredictedCall]) -> None:
        """Give each call the verdict that it has by itself."""
        if not fresh:
            return
        arguments = self._history.arguments_of(list(fresh))
        costs = self._history.call_costs(list(fresh))
        for call in fresh.values():
            call.arguments = arguments.get(call.call_hash, ())
            cost: Record = costs.get(call.call_hash, {})
            call.wall_seconds = cost.get("wall_seconds")
            call.ordinal = cost.get("ordinal") or 0
            entry = self._table.get(call.task_name)
            if entry is None:
                call.verdict, call.reason, call.varies = RUNS, "its task is gone: something else is called", True
            elif entry.hash.hex() != call.task_hash:
                call.verdict, call.reason, call.varies = RUNS, "its code has changed", True
        inputs = self._inputs_of([call.call_hash for call in fresh.values() if not call.varies])
        for call_hash, change in inputs.items():
            call = fresh[call_hash]
            call.verdict, call.reason, call.varies = RUNS if change.is_certain else PERHAPS, change.text, True
        asked = [call for call in fresh.values() if not call.varies and call.eval_hash and call.task_hash]
        for call, judgement in zip(asked, self._judge(asked), strict=True):
            call.is_final = judgement.is_final
            if judgement.reason is not None:
                call.verdict, call.reason, call.varies = RUNS, judgement.reason, True

    def _vary(self, starts: Iterable[str]) -> None:
        """Pass on that a result may change: to the calls that take it as an argument, and to the call that made it.

        Only a call that is met passes it on. A call that is answered with its final value meets none, and depends on
        none, unless it varies by itself.
        """
        users: dict[str, list[tuple[PredictedCall, RecordedArgument | None]]] = {}
        for call in self._known.values():
            for argument in call.arguments:
                for made_by, _ in argument.sources:
                    users.setdefault(made_by, []).append((call, argument))
            for child in call.children:
                users.setdefault(child.call_hash, []).append((call, None))
        met: set[str] = set()
        varying: list[PredictedCall] = []

        def meet(calls: Iterable[PredictedCall]) -> None:
            waiting = list(calls)
            while waiting:
                call = waiting.pop()
                if call.call_hash in met:
                    continue
                met.add(call.call_hash)
                if call.varies:
                    varying.append(call)
                if not call.hides_calls:
                    waiting.extend(call.children)

        meet([self._known[call_hash] for call_hash in starts])
        while varying:
            source = varying.pop()
            for call, taken in users.get(source.call_hash, ()):
                if taken is None and call.is_final:
                    continue
                if taken is not None and call.verdict == CACHED:
                    call.verdict = PERHAPS
                    of = source.task_name or "a call"
                    call.reason = f"its argument {taken.name} comes from {of}, which may differ"
                if not call.varies:
                    call.varies = True
                    if call.call_hash in met:
                        varying.append(call)
                        meet(call.children)
        for call in self._known.values():
            if call.hides_calls:
                call.children = []


def in_order(children: list[PredictedCall], seen: set[str], few: int) -> list[tuple[int, PredictedCall, int]]:
    """These calls and all calls below them, parents first: depth, call, and how many calls it represents.

    seen: calls that are listed already; each is listed once. few: the most calls of one task with one verdict by one
    call that are listed. The last of them represents the others.
    """
    found: list[tuple[int, PredictedCall, int]] = []
    waiting = [(1, *pair) for pair in reversed(_summed(children, few))]
    while waiting:
        depth, call, count = waiting.pop()
        if call.call_hash in seen:
            continue
        seen.add(call.call_hash)
        found.append((depth, call, count))
        waiting.extend((depth + 1, *pair) for pair in reversed(_summed(call.children, few)))
    return found


def _summed(children: list[PredictedCall], few: int) -> list[tuple[PredictedCall, int]]:
    """The calls to list, in order, each with the number of calls that it stands for."""
    groups: dict[tuple[str, str], list[PredictedCall]] = {}
    for child in children:
        groups.setdefault((child.task_name, child.verdict), []).append(child)
    counts: dict[int, int] = {}
    left_out: dict[str, int] = {}
    for child in children:
        left_out.setdefault(child.task_name, max(0, child.alike - MOST_ALIKE))
    # Calls that were not loaded are added to the largest group of those that were.
    for (task_name, _), group in sorted(groups.items(), key=lambda pair: -len(pair[1])):
        more = left_out.pop(task_name, 0)
        for child in group[:few]:
            counts[id(child)] = 1
        if len(group) > few or more:
            counts[id(group[:few][-1])] = len(group) - len(group[:few]) + 1 + more
    return [(child, counts[id(child)]) for child in children if id(child) in counts]
