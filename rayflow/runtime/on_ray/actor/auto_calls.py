"""Chooses the sizes of calls that leave them to rayflow: `num_cpus="auto"`, `memory="auto"`.

In: attempts; what calls used, from the records and from this scheduler's own answers. Out: the attempts with numbers in
their options. Never: sends one; asks the records twice for one task.

The records are read in a thread, since that may take long. The attempts of the task wait for it here.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from rayflow.evaluator.commands import RunTask
from rayflow.evaluator.messages import Cost
from rayflow.evaluator.rows import requested_text
from rayflow.lang.options.option_values import AUTO, is_auto
from rayflow.runtime.on_ray.auto_sizes import Most, TaskSizes, Used, unknown_text

Recorded: TypeAlias = tuple[Sequence[Used], Most]
"""What calls of a task used, the latest one last, and the most that a node of the cluster has."""


class _Choice(NamedTuple):
    """What was chosen for a job of an execution, as records say it. of_memory: whether memory is a part of it."""

    execution_id: str
    requested: str
    of_memory: bool


def in_thread(work: Callable[[], None]) -> None:
    """Do this in a thread."""
    threading.Thread(target=work, name="rayflow-sizes", daemon=True).start()


class AutoCalls:
    """The calls of one scheduler whose sizes are chosen.

    recorded: reads what calls of a task used. warned: takes an execution's id and a text. arrived: called from a thread
    when a task's records have been read. start: does that reading, now or later.
    """

    def __init__(
        self,
        recorded: Callable[[str], Recorded],
        warned: Callable[[str, str], None],
        arrived: Callable[[], None],
        start: Callable[[Callable[[], None]], None] = in_thread,
    ) -> None:
        self._recorded = recorded
        self._warned = warned
        self._arrived = arrived
        self._start = start
        self._sizes: dict[str, TaskSizes] = {}
        self._waiting: dict[str, list[RunTask]] = {}
        self._read: deque[tuple[str, Recorded]] = deque()
        self._chosen: dict[int, _Choice] = {}
        self._resolved: dict[str, tuple[Mapping[str, Any], dict[str, Any]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def ready(self, attempts: Sequence[RunTask]) -> list[RunTask]:
        """Those of these attempts that can be sent now, their sizes chosen; the others wait here."""
        found = []
        for attempt in attempts:
            if not is_auto(attempt.options):
                found.append(attempt)
                continue
            sizes = self._sizes.get(attempt.entry.name)
            if sizes is not None:
                found.append(self._sized(attempt, sizes))
            elif attempt.entry.name in self._waiting:
                self._waiting[attempt.entry.name].append(attempt)
            else:
                self._waiting[attempt.entry.name] = [attempt]
                self._start(lambda name=attempt.entry.name: self._look_up(name))  # type: ignore[misc]
        return found

    def _look_up(self, task: str) -> None:
        try:
            recorded = self._recorded(task)
        except Exception as error:  # without the records the calls run all the same, at Ray's default
            recorded = (), Most()
            for execution_id in {attempt.execution_id for attempt in self._waiting.get(task, ())}:
                self._warned(execution_id, f"What calls of {task} used cannot be read: {error}")
        self._read.append((task, recorded))
        self._arrived()

    def take_waiting(self) -> list[RunTask]:
        """The attempts whose task's records have been read, their sizes chosen."""
        found: list[RunTask] = []
        while self._read:
            task, (calls, most) = self._read.popleft()
            sizes = self._sizes[task] = TaskSizes(most)
            sizes.note(calls)
            waiting = self._waiting.pop(task, [])
            if not calls:
                for execution_id in dict.fromkeys(attempt.execution_id for attempt in waiting):
                    self._warned(execution_id, unknown_text(task))
            found.extend(self._sized(attempt, sizes) for attempt in waiting)
        return found

    def _sized(self, attempt: RunTask, sizes: TaskSizes) -> RunTask:
        chosen = sizes.resolved(attempt.options)
        before, options = self._resolved.get(attempt.entry.name, ({}, {}))
        if before is not attempt.options or options != chosen:
            # The same object for all calls of a shape: bundles know it by that.
            options = chosen
            self._resolved[attempt.entry.name] = attempt.options, options
        of_memory = attempt.options.get("memory") == AUTO
        self._chosen[attempt.job] = _Choice(attempt.execution_id, requested_text(options) or "", of_memory)
        return attempt._replace(options=options)

    def note(self, task: str, job: int, cost: Cost) -> Cost:
        """A call has ended with this cost. Gives the cost with what was asked for, if that was chosen here."""
        if not self._sizes:
            return cost
        sizes = self._sizes.get(task)
        if sizes is not None:
            sizes.note([Used(cost.wall_seconds, cost.cpu_seconds, cost.peak_memory_bytes)])
        choice = self._chosen.pop(job, None)
        return cost if choice is None else cost._replace(requested=choice.requested)

    def note_out_of_memory(self, attempt: RunTask, asked: int | None) -> bool:
        """A call has run out of memory that had asked for so much. Whether its next attempt asks for more, since that
        is chosen here."""
        sizes, choice = self._sizes.get(attempt.entry.name), self._chosen.get(attempt.job)
        return choice is not None and choice.of_memory and sizes is not None and sizes.note_out_of_memory(asked)

    def drop(self, stopped: Collection[tuple[int, int]]) -> list[tuple[int, int]]:
        """Take these attempts (job, attempt) out of those that wait here; gives those."""
        dropped: list[tuple[int, int]] = []
        for task, waiting in self._waiting.items():
            dropped.extend((each.job, each.attempt) for each in waiting if (each.job, each.attempt) in stopped)
            self._waiting[task] = [each for each in waiting if (each.job, each.attempt) not in stopped]
        return dropped

    def forget(self, execution_id: str) -> None:
        """Drop the attempts of an execution that has ended."""
        for task, waiting in self._waiting.items():
            self._waiting[task] = [each for each in waiting if each.execution_id != execution_id]
        self._chosen = {job: choice for job, choice in self._chosen.items() if choice.execution_id != execution_id}
