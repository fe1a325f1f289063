"""What a driver tells whoever watches a run.

In: what the scheduler knows. Out: plain data for a `Reporter`, and the two reporters that need no terminal. Never:
decides.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from rayflow.values.failures import Failure


@dataclass(frozen=True, slots=True)
class Progress:
    """Where an execution is.

    by_task: for each task's full name the counts open, running, computed, cached, shared, failed,
    cancelled.
    waiting: sentences about calls that cannot start, such as one that needs a GPU that no node has.
    """

    execution_id: str
    elapsed_seconds: float
    by_task: Mapping[str, Mapping[str, int]]
    waiting: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """How an execution ended.

    counts: jobs, computed, cached, shared, failed, cancelled. failures: (job id as hex, task name, Failure) of every
    job that failed by itself.
    """

    execution_id: str
    status: str
    elapsed_seconds: float
    counts: Mapping[str, int]
    by_task: Mapping[str, Mapping[str, int]]
    failures: tuple[tuple[str, str, Failure], ...] = ()


class Reporter(Protocol):
    """Watches a run. Every method may be called from another thread; none may raise or change anything."""

    def started(self, execution_id: str, store_url: str, is_new_store: bool) -> None:
        """The execution begins."""

    def recorded(self, execution_id: str) -> None:
        """The execution is in the records: from now on it can be taken up again."""

    def connecting(self, what: str) -> None:
        """Something that takes seconds begins: a local Ray is started, a cluster is joined."""

    def progress(self, progress: Progress) -> None:
        """Counts have changed; called a few times a second at the most."""

    def printed(self, task_name: str, stream: str, text: str) -> None:
        """A task has printed: one or more whole lines. stream: stdout or stderr."""

    def warned(self, text: str) -> None:
        """Something the user should know, once."""

    def ended(self, summary: Summary) -> None:
        """The execution has ended."""


class Silent:
    """A reporter that says nothing."""

    def started(self, execution_id: str, store_url: str, is_new_store: bool) -> None:
        pass

    def recorded(self, execution_id: str) -> None:
        pass

    def connecting(self, what: str) -> None:
        pass

    def progress(self, progress: Progress) -> None:
        pass

    def printed(self, task_name: str, stream: str, text: str) -> None:
        pass

    def warned(self, text: str) -> None:
        pass

    def ended(self, summary: Summary) -> None:
        pass


class Printing(Silent):
    """What a script or a notebook gets that names no reporter: tasks' prints and warnings on stderr, no progress."""

    def __init__(self) -> None:
        # The stream of now: while a body runs in this process, sys.stderr is what collects its prints.
        self._stream = sys.stderr

    def printed(self, task_name: str, stream: str, text: str) -> None:
        name = task_name.rpartition(".")[2]
        self._stream.write("".join(f"[{name}] {line}\n" for line in text.splitlines()))

    def warned(self, text: str) -> None:
        self._stream.write(f"rayflow: {text}\n")
