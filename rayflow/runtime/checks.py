"""Witnesses of recorded values that are being checked on workers, where the user's code is.

In: witnesses, and who wants to know. Out: the answers, in the loop's thread. Never: decides what an answer means. A
check whose workers are lost again and again is answered with nothing: what cannot be checked does not hold.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from rayflow.runtime import remote
from rayflow.runtime.lowering import shape_of
from rayflow.runtime.objects import watch
from rayflow.runtime.surrounds import Around, Travelling
from rayflow.values.witnesses import Witness

TRIES = 3
"""How often a check is sent before its lost workers leave it without an answer."""


@dataclass(slots=True)
class _Check:
    witnesses: Sequence[Witness]
    then: Callable[[Mapping[Witness, bool]], None]
    travelling: Travelling
    ref: Any = None
    tries: int = 0


class Checks:
    """The checks in flight. wake: called from any thread when there is news."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._in_flight: dict[int, _Check] = {}
        self._completed: deque[tuple[int, Any]] = deque()
        self._count = 0
        # It must not wait until a task that runs for hours lets go of its processor.
        options = shape_of({"num_cpus": 0}).ray_options()
        self._function = ray.remote(remote.run_check).options(name=f"{remote.NAME}check", **options)

    def __len__(self) -> int:
        return len(self._in_flight)

    def send(
        self,
        around: Mapping[str, Around],
        witnesses: Sequence[Witness],
        then: Callable[[Mapping[Witness, bool]], None],
    ) -> None:
        """Have these checked by a worker. around: the surroundings of the executions, the newest last."""
        # All executions of a scheduler are of one project: the newest knows its code best.
        newest = next(reversed(list(around.values())), None)
        if newest is None:
            then({})
        else:
            self._send(_Check(witnesses, then, newest.travelling()))

    def _send(self, check: _Check) -> None:
        check.tries += 1
        check.ref = self._function.remote(*remote.arguments_of(check.travelling, list(check.witnesses), []))
        self._count += 1
        self._in_flight[self._count] = check
        watch(check.ref, self._count, self._completed, self._wake)

    def work(self) -> bool:
        """Hand out the answers that have come; whether there were any."""
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

    def abandon(self) -> None:
        """Nobody wants the answers any more."""
        for check in self._in_flight.values():
            ray.cancel(check.ref, force=True)
        self._in_flight.clear()
