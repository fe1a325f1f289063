"""The calls between the loop and its carrier.

In: nothing. Out: two protocols: `Carrier`, which runs attempts somewhere, and `LoopHandle`, the loop as a carrier sees
it. Never: logic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from rayflow.evaluator import commands, messages
from rayflow.records import Row
from rayflow.runtime.clock import Clock
from rayflow.runtime.protocol.stream_items import WrittenItems
from rayflow.store.live.live_state import RunningCall
from rayflow.values.witnesses import Witness


class LoopHandle(Protocol):
    """The part of the loop that a carrier may use."""

    @property
    def clock(self) -> Clock:
        """The one clock of the loop: it stamps every message."""

    def post(self, message: messages.Message) -> None:
        """Hand a message to the evaluator. Any thread may call it."""

    def wake(self) -> None:
        """Let the loop turn, though there is no message. Any thread may call it."""

    def before_effect(self) -> None:
        """An effect is about to be sent, or its body to run. Raises LeaseLost if this process was stopped for so long
        that another one has taken over: then it must not be. The loop's thread alone calls it."""

    def take_items(self, execution_id: str, written: WrittenItems) -> None:
        """Take in what a body has written to a stream of an execution. Any thread may call it."""

    def record(self, row: Row) -> None:
        """Record a row that says nothing of a job, such as an environment. The loop's thread alone calls it."""


class Carrier(Protocol):
    """Runs attempts and operations somewhere, and posts their answers as messages."""

    @property
    def waiting(self) -> tuple[str, ...]:
        """Sentences for people about calls that cannot start."""

    @property
    def runs_in_loop(self) -> bool:
        """Whether bodies run in the loop's thread, inside `work`."""

    def run(self, attempts: Sequence[commands.RunTask]) -> None:
        """Run these attempts. Each one is answered by one of the messages that RunTask names."""

    def run_vectors(self, vectors: Sequence[commands.RunVector]) -> None:
        """Run the attempts of these vectors."""

    def operate(self, operations: Sequence[commands.RunOperation]) -> None:
        """Run these operations. Each one is answered by Operated."""

    def check(self, witnesses: Sequence[Witness], then: Callable[[Mapping[Witness, bool]], None]) -> None:
        """Check these witnesses in a process with the user's code.

        `then` gets the answers, in the loop's thread, now or later.
        """

    def stop(self, attempts: Sequence[commands.Stop]) -> None:
        """End these attempts: their results are not needed any more."""

    def forget(self, execution_id: str) -> None:
        """End all work of an execution that has ended."""

    def running(self) -> Mapping[str, Mapping[str, int]]:
        """How many calls are running, and not only sent, by execution and name."""

    def running_calls(self) -> Mapping[str, Sequence[RunningCall]]:
        """The calls that run longest, by execution, as far as they are known. Any thread may call it."""

    def busy(self) -> bool:
        """Whether anything is running or waiting to run."""

    def work(self, seconds: float) -> bool:
        """Do the work that needs the caller's thread, for about so long. Returns whether there was any."""
