"""Checks of witnesses of recorded values, on workers, which have the user's code.

In: witnesses, and a function for the answers. Out: the answers, in the loop's thread. Never: decides what an answer
means. A check whose workers are lost again and again gets an empty answer: a value that cannot be checked is not valid.
"""

from __future__ import annotations

import pickle
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from rayflow.runtime.on_ray import remote
from rayflow.runtime.on_ray.lowering import shape_of
from rayflow.runtime.on_ray.object_refs import watch
from rayflow.runtime.on_ray.shipped_context import ShippedContext, TravellingContext
from rayflow.values.witnesses import Witness

TRIES = 3
"""How often a check is sent. When all its workers are lost, its answer is empty."""


@dataclass(slots=True)
class _Check:
    witnesses: Sequence[Witness]
    then: Callable[[Mapping[Witness, bool]], None]
    travelling: TravellingContext
    ref: Any = None
    tries: int = 0
    at: float = 0.0


class WitnessChecks:
    """The checks in flight. wake: called from any thread when there is news."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._in_flight: dict[int, _Check] = {}
        self._completed: deque[tuple[int, Any]] = deque()
        self._count = 0
        # Without a processor, so that it does not wait for the end of tasks that run for hours.
        options = shape_of({"num_cpus": 0}).ray_options()
        self._function = ray.remote(remote.run_check).options(name=f"{remote.NAME}check", **options)

    def __len__(self) -> int:
        return len(self._in_flight)

    def send(
        self,
        contexts: Mapping[str, ShippedContext],
        witnesses: Sequence[Witness],
        then: Callable[[Mapping[Witness, bool]], None],
    ) -> None:
        """Let a worker check these witnesses. contexts: of the executions, the newest last. then: gets the answers."""
        # All executions of a scheduler are of one project, and the newest has its latest code.
        newest = next(reversed(list(contexts.values())), None)
        if newest is None:
            then({})
        else:
            self._send(_Check(witnesses, then, newest.travelling()))

    def _send(self, check: _Check) -> None:
        check.tries += 1
        check.at = time.monotonic()
        check.ref = self._function.remote(*remote.arguments_of(check.travelling, list(check.witnesses), []))
        self._count += 1
        self._in_flight[self._count] = check
        watch(check.ref, self._count, self._completed, self._wake)

    def work(self) -> bool:
        """Pass the answers on that have come; whether there were any."""
        any_news = bool(self._completed)
        while self._completed:
            number, answer = self._completed.popleft()
            check = self._in_flight.pop(number, None)
            if check is None:
                continue
            if not isinstance(answer, BaseException):
                check.then(dict(zip(check.witnesses, pickle.loads(answer), strict=True)))
            elif check.tries < TRIES:
                self._send(check)
            else:
                check.then({})
        return any_news

    def send_again(self, late: float) -> None:
        """Send the checks again that were sent before this moment: they may be on a node that does not answer."""
        for number, check in list(self._in_flight.items()):
            if check.at < late:
                del self._in_flight[number]
                ray.cancel(check.ref, force=True)
                self._send(check)

    def abandon(self) -> None:
        """End all checks: no answer is wanted any more."""
        for check in self._in_flight.values():
            ray.cancel(check.ref, force=True)
        self._in_flight.clear()
