"""What the keeper and the starters of runs ask of the user's code: root terms, and keys.

In: the keeper's orders, starts. Out: answers to the keeper, in the order in which they were asked for. Never: starts a
run by itself.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from rayflow.errors import BadArguments, RayflowError
from rayflow.keeper import commands as orders
from rayflow.keeper import requests
from rayflow.keeper.demands import NO_DEMANDS, Demands
from rayflow.lang.packing.pack import Keep
from rayflow.lang.tasks import registered
from rayflow.lang.terms.expressions import Term
from rayflow.service.admission import MOST_SECONDS, KeyDesk, demands_of_call, has_keys, within_seconds
from rayflow.service.flows import bound_to_event

R = TypeVar("R", requests.BoundArguments, requests.KeysComputed)


class FlowShell:
    """The flows of the loaded code, as far as runs depend on what their code computes.

    desk: computes keys. now: the time, in microseconds. realize: the object behind a symbolic value. keep: stores large
    values. post: hands a late answer to the keeper.
    """

    def __init__(
        self,
        desk: KeyDesk,
        now: Callable[[], int],
        realize: Callable[[Term], Any],
        keep: Keep,
        post: Callable[[requests.Request], None],
    ) -> None:
        self._desk = desk
        self._now = now
        self._realize = realize
        self._keep = keep
        self._post = post

    def bind(self, order: orders.BindEvent) -> requests.BoundArguments | None:
        """The root term of the run that an event starts. None if that is posted later."""
        task = registered().get(order.flow)

        def bound() -> requests.BoundArguments:
            return bound_to_event(order, task, self._now(), self._realize, self._keep)

        if task is None or not has_keys(task):
            return bound()
        lost = requests.BoundArguments(0, order.event_id, order.flow)
        return self._answered(bound, lambda text: lost._replace(error=text), order.flow)

    def keys(self, order: orders.ComputeKeys) -> requests.KeysComputed | None:
        """What a run asks of admission. None if that is posted later."""
        task = registered().get(order.flow)
        if task is None:
            return requests.KeysComputed(self._now(), order.run_id, is_missing=True)

        def computed() -> requests.KeysComputed:
            demands = demands_of_call(task, order.root, self._realize)
            return requests.KeysComputed(0, order.run_id, demands or NO_DEMANDS)

        failed = requests.KeysComputed(0, order.run_id)
        return self._answered(computed, lambda text: failed._replace(error=text), order.flow)

    def with_demands(
        self,
        flow: str | None,
        root: bytes,
        go_on: Callable[[Demands | None], None],
        fail: Callable[[Exception], None],
    ) -> None:
        """Go on with a start when it is known what it asks, after those that came before. It fails if that cannot be
        said."""
        task = registered().get(flow or "")
        if task is None or not has_keys(task):
            if self._desk.is_idle():
                go_on(None)
            else:
                self._desk.post(lambda: go_on(None))
            return

        def job() -> None:
            try:
                demands = within_seconds(
                    lambda: demands_of_call(task, root, self._realize), MOST_SECONDS, _what(task.fullname)
                )
            except Exception as error:  # also what the user's code raises in a way that nobody has foreseen
                fail(error)
            else:
                go_on(demands)

        self._desk.post(job)

    def _answered(self, compute: Callable[[], R], failed: Callable[[str], R], flow: str) -> R | None:
        came: list[R] = []

        def job() -> None:
            try:
                answer = within_seconds(compute, MOST_SECONDS, _what(flow))
            except RayflowError as error:
                answer = failed(str(error))
            except Exception as error:
                traceback.print_exc()
                answer = failed(str(BadArguments(f"{_what(flow)}: {type(error).__name__}: {error}")))
            answer = answer._replace(at=self._now())
            if self._desk.is_at_once:
                came.append(answer)
            else:
                self._post(answer)

        self._desk.post(job)
        return came[0] if came else None


def _what(flow: str) -> str:
    return f"What a run of {flow} asks of admission"
