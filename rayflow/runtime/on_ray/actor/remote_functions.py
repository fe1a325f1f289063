"""Ray's remote functions, with the options of a shape.

In: the kind of a Ray task, a shape, the name of a task. Out: a remote function. Never: calls it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ray

from rayflow.runtime.on_ray import remote
from rayflow.runtime.on_ray.lowering import Shape, away_from

MOST_KNOWN = 5_000
"""So many remote functions are kept: options double the cost of a call."""


class RemoteFunctions:
    """The remote functions of one scheduler. A kind is "bundle", "small bundle" or "operation"."""

    def __init__(self) -> None:
        bundle = ray.remote(remote.run_bundle)
        self._plain: dict[str, Any] = {
            "bundle": bundle,
            "small bundle": bundle,
            "operation": ray.remote(remote.run_operation),
        }
        self._known: dict[tuple[str, str, Shape, tuple[str, ...]], Any] = {}

    def of(self, kind: str, shape: Shape, task: str, avoided: tuple[str, ...], place: Any = None) -> Any:
        """The remote function of a kind, for a shape and a task.

        avoided: the ids of the nodes that it must not go to. place: the scheduling strategy for one bundle alone.
        """
        if place is not None:
            options = {**shape.ray_options(), "label_selector": None, "scheduling_strategy": place}
            return self._with_options(kind, task, options)
        known = self._known.get((kind, task, shape, avoided))
        if known is None:
            if len(self._known) > MOST_KNOWN:
                self._known.clear()
            known = self._with_options(kind, task, away_from(shape.ray_options(), avoided))
            self._known[kind, task, shape, avoided] = known
        return known

    def _with_options(self, kind: str, task: str, options: Mapping[str, Any]) -> Any:
        returns = 1 if kind == "small bundle" else 2
        # The name stands beside what the task's own child processes print.
        return self._plain[kind].options(name=f"{remote.NAME}{task}", num_returns=returns, **options)
