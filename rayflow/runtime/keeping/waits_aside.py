"""Beside the evaluator of the fast path: nothing that resolves a wait.

In: what the evaluator gives. Out: whether a wait was met, which shows that the cache cannot answer. Never: commits
anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rayflow.evaluator import commands, messages
from rayflow.evaluator.evaluator import Evaluator
from rayflow.records import Row
from rayflow.runtime.keeping.beside import Turned
from rayflow.runtime.keeping.held_executions import HeldExecutions


class WaitsAside:
    """It resolves no wait, and notes that one was met. held: takes the lease of an execution that is resumed."""

    def __init__(self, held: HeldExecutions) -> None:
        self.has_met_wait = False
        self._held = held

    def begin(self, submitted: messages.Submitted) -> messages.Submitted:
        return self._held.begin(submitted)

    def guard(self, rows: Iterable[Row]) -> None:
        """Nothing is committed."""

    def turn(self, evaluator: Evaluator, batch: Sequence[messages.Message]) -> Turned:
        kept = []
        for command in evaluator.handle(batch):
            if isinstance(command, commands.OpenWait):
                self.has_met_wait = True
            elif not isinstance(command, commands.CloseWait | commands.Parked):
                kept.append(command)
        return Turned(kept)

    def has_news(self) -> bool:
        return False

    def seconds_left(self) -> float | None:
        return None
