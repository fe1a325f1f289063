"""What calls beyond those that can be reached will probably do, told from the calls that their like have made before.

In: recorded calls, the tasks as they are now. Out: predictions. Never: evaluates; nothing here is certain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rayflow.lang.entries import TaskEntry
from rayflow.store import views
from rayflow.store.answers import Argument, Record
from rayflow.store.history import History

MOST_CALLS = 2_000
"""So many recorded calls are followed."""

MOST_ALIKE = 20
"""Of more calls of one task by one call, so many stand for all."""

RUNS, PERHAPS, CACHED = "runs", "perhaps", "cached"
"""What becomes of a call: it runs; it runs if something that it needs turns out otherwise; it is in the cache."""


@dataclass(slots=True, eq=False)
class Recorded:
    """A call that was recorded, and what will probably become of it.

    alike: how many calls of its task its parent made, where only some of them stand here. varies: whether its result
    may turn out otherwise. wall_seconds: of its body when it last ran. changed: hashes of the values among its
    arguments in whose places now stand others.
    """

    call_hash: str
    task_name: str
    task_hash: str | None
    eval_hash: str | None
    alike: int = 1
    verdict: str = CACHED
    reason: str = ""
    varies: bool = False
    wall_seconds: float | None = None
    ordinal: int = 0
    arguments: tuple[Argument, ...] = ()
    changed: set[str] = field(default_factory=set)
    children: list[Recorded] = field(default_factory=list)


class Predictor:
    """Follows recorded calls downwards.

    table: the tasks as they are now. is_kept: for (eval_hash, task_hash) whether the cache holds an answer.
    """

    def __init__(
        self,
        history: History,
        table: Mapping[str, TaskEntry],
        is_kept: Callable[[list[tuple[bytes, bytes]]], list[bool]],
    ) -> None:
        self._history = history
        self._table = table
        self._is_kept = is_kept
        self._known: dict[str, Recorded] = {}
        self.is_cut = False
        """Whether there was more than is followed."""

    def follow(self, starts: Mapping[str, set[str]]) -> dict[str, list[Recorded]]:
        """The calls that these calls made, all the way down, by the call that they start from.

        starts: call_hash -> hashes of its arguments in whose places now stand others.
        """
        for call_hash, changed in starts.items():
            self._known[call_hash] = Recorded(
                call_hash, "", None, None, verdict=RUNS, varies=True, changed=set(changed)
            )
        level = list(starts)
        while level and not self.is_cut:
            level = self._next(level)
        self._vary()
        return {call_hash: self._known[call_hash].children for call_hash in starts}

    def _next(self, level: list[str]) -> list[str]:
        """Load the calls that a level's calls made; returns those that were not known."""
        keys = [bytes.fromhex(call_hash) for call_hash in level]
        rows = self._history.records(views.text_of("child_calls"), {"calls": keys, "most": MOST_ALIKE})
        fresh: dict[str, Recorded] = {}
        edges: list[tuple[str, str]] = []
        for row in rows:
            call_hash = row["child_call_hash"]
            if call_hash not in self._known and call_hash not in fresh:
                if len(self._known) + len(fresh) >= MOST_CALLS:
                    self.is_cut = True
                    break
                fresh[call_hash] = Recorded(
                    call_hash, row["task_name"], row["task_hash"], row["eval_hash"], row["alike"]
                )
            edges.append((row["call_hash"], call_hash))
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
                        child.reason = f"its {argument.name} was given to the call above, and is another now"
        for above in level:
            self._known[above].children.sort(key=lambda child: (child.ordinal, child.call_hash))
        return list(fresh)

    def _look_at(self, fresh: Mapping[str, Recorded]) -> None:
        """What can be told of each call by itself."""
        if not fresh:
            return
        arguments = self._history.arguments(list(fresh))
        keys = [bytes.fromhex(call_hash) for call_hash in fresh]
        costs = {row["call_hash"]: row for row in self._history.records(views.text_of("call_costs"), {"calls": keys})}
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
        asked = [call for call in fresh.values() if not call.varies and call.eval_hash and call.task_hash]
        questions = [(bytes.fromhex(str(c.eval_hash)), bytes.fromhex(str(c.task_hash))) for c in asked]
        for call, kept in zip(asked, self._is_kept(questions), strict=True):
            if not kept:
                call.verdict, call.reason, call.varies = RUNS, "the cache has no answer that counts", True

    def _vary(self) -> None:
        """Carry on what may turn out otherwise: to the calls that take it, and to those that made it."""
        users: dict[str, list[tuple[Recorded, Argument | None]]] = {}
        for call in self._known.values():
            for argument in call.arguments:
                for made_by, _ in argument.sources:
                    users.setdefault(made_by, []).append((call, argument))
            for child in call.children:
                users.setdefault(child.call_hash, []).append((call, None))
        waiting = [call for call in self._known.values() if call.varies]
        while waiting:
            source = waiting.pop()
            for call, taken in users.get(source.call_hash, ()):
                if taken is not None and call.verdict == CACHED:
                    call.verdict = PERHAPS
                    call.reason = f"its {taken.name} comes from {source.task_name or 'a call'}, which may differ"
                if not call.varies:
                    call.varies = True
                    waiting.append(call)


def in_order(children: list[Recorded], seen: set[str], few: int) -> list[tuple[int, Recorded, int]]:
    """These calls and all below them: depth, call, and how many it stands for; parents before what they made.

    seen: calls that were listed already; each is listed once. few: of more calls of one task with one verdict by one
    call, so many are listed, and the last of them stands for the others.
    """
    found: list[tuple[int, Recorded, int]] = []
    waiting = [(1, *pair) for pair in reversed(_summed(children, few))]
    while waiting:
        depth, call, count = waiting.pop()
        if call.call_hash in seen:
            continue
        seen.add(call.call_hash)
        found.append((depth, call, count))
        waiting.extend((depth + 1, *pair) for pair in reversed(_summed(call.children, few)))
    return found


def _summed(children: list[Recorded], few: int) -> list[tuple[Recorded, int]]:
    """The calls that are listed, in order, and how many each stands for."""
    groups: dict[tuple[str, str], list[Recorded]] = {}
    for child in children:
        groups.setdefault((child.task_name, child.verdict), []).append(child)
    counts: dict[int, int] = {}
    for group in groups.values():
        # What was not even loaded counts to those that were.
        left_out = max(0, group[0].alike - MOST_ALIKE)
        for child in group[:few]:
            counts[id(child)] = 1
        if len(group) > few or left_out:
            counts[id(group[:few][-1])] = len(group) - len(group[:few]) + 1 + left_out
    return [(child, counts[id(child)]) for child in children if id(child) in counts]
