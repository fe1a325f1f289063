"""Coroutine bodies that stay alive in the worker while they await, so that they need not be replayed.

In: bodies that have paused, and the outcomes that they wait for. Out: the same bodies, when they go on. Never: runs a
body, decides when one goes on.

A replay of a body repeats all of its earlier steps. If a body awaits one expression after the other, each await causes
such a replay. If an execution has a single process (inline, or in a subrun), a body can mostly stay alive instead. On a
cluster it cannot: the next attempt goes to any free worker. A body that stayed on another worker would hold memory,
locks and connections there, and nothing would end it.
"""

from __future__ import annotations

import os
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from rayflow.lang.created_calls import CreatedCalls
from rayflow.lang.terms.expressions import TaskCall, Term
from rayflow.runtime.output.printing import Output
from rayflow.runtime.protocol.attempts import Call
from rayflow.runtime.worker.body import ended_text, inside_body
from rayflow.runtime.worker.call_values import CallValues
from rayflow.runtime.worker.process_state import ProcessState
from rayflow.values.failures import Failure, Outcome

MOST_BODIES = 100
"""The most bodies of an execution that stay alive at a time. Others are replayed."""

OPEN_FILES = 3
"""How many files the event loop of each body holds open. Together, the loops take at most a third of the files that a
process may still open (by default 256 on macOS)."""


class AwaitingBody(Protocol):
    """A coroutine body and its event loop: CoroutineBody, whose module loads asyncio and is imported only for one."""

    is_paused: bool
    is_open: bool
    reached: set[int]
    asked: dict[bytes, Term]

    def run(self, coroutine: Coroutine[Any, Any, Any], *, may_stay: bool = False) -> Any: ...

    def go_on(self, outcomes: Mapping[bytes, Outcome]) -> Any: ...

    def leave(self) -> None: ...

    def failure_of(self, error: BaseException) -> Failure | None: ...


@dataclass(slots=True)
class WaitingBody:
    """A body that is paused, with the data for its next attempt.

    attempt: its last one. created: collects the calls that it makes. unused: the calls that it has made so far, and
    that no awaited expression contains. change: its changes of the state of the process.
    """

    attempt: int
    coroutine: AwaitingBody
    output: Output
    created: CreatedCalls
    values: CallValues
    unused: list[TaskCall]
    change: ProcessState | None


class WaitingBodies:
    """The waiting bodies of one execution, by job id."""

    def __init__(self) -> None:
        import resource  # Windows has none

        self._waiting: dict[bytes, WaitingBody] = {}
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        left = limit - len(os.listdir("/dev/fd"))
        self._most = MOST_BODIES if limit < 0 else min(MOST_BODIES, max(0, left) // (3 * OPEN_FILES))

    @property
    def has_room(self) -> bool:
        """Whether one more may stay."""
        return len(self._waiting) < self._most

    def keep(self, call: Call, body: WaitingBody) -> None:
        """Keep the body of this call alive."""
        self._waiting[call.job_id] = body

    def take(self, call: Call) -> WaitingBody | None:
        """The waiting body of this call, which goes on now; None when it has none."""
        return self._waiting.pop(call.job_id, None)

    def news(
        self, job_id: bytes, attempt: int, known: Mapping[bytes, Outcome] | None
    ) -> Mapping[bytes, Outcome] | None:
        """The outcomes that an attempt takes along: for a waiting body those that it waits for, else all (`known`).

        A body whose last answer was lost has come further than the evaluator knows. It is ended, and replayed.
        """
        body = self._waiting.get(job_id)
        if body is None:
            return known
        if known is not None and body.attempt + 1 == attempt and known.keys() >= body.coroutine.asked.keys():
            return {key: known[key] for key in body.coroutine.asked}
        self._end(self._waiting.pop(job_id))
        return known

    def end(self) -> None:
        """End all of them: none goes on any more, and each can tidy up."""
        while self._waiting:
            self._end(self._waiting.popitem()[1])

    def _end(self, body: WaitingBody) -> None:
        with body.output, inside_body():
            try:
                body.coroutine.leave()
            except (Exception, SystemExit) as error:  # from its tidying up, and no call is left that could fail
                body.output.tell(f"rayflow: {ended_text(error, 'a body that was ended')}\n")
