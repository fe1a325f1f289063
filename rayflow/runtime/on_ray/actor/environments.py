"""Watches calls that wait for their runtime environment, which Ray makes.

In: bundles that were sent long ago. Out: sentences about those that wait, and reasons to give up those that wait in
vain. Never: ends a call, or gives up one that is known to run.

Ray reports only after minutes that it cannot make an environment, and never that no worker starts in it. So, once a
call takes long, a probe is sent into the same environment: a task that does nothing and needs no processor. As soon as
the probe answers, or a call is known to run there, the environment exists: calls that still wait in it wait for
something else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from rayflow.runtime.on_ray.actor.bundles import Bundle, calls_text
from rayflow.runtime.on_ray.lowering import Shape

SLOW_SECONDS = 5.0
"""An environment in which nothing has answered for so long is taken as missing."""

INSTALL_SECONDS = 600.0
"""Ray gives up making an environment after so long, unless the environment says otherwise (`setup_timeout_seconds`)."""

START_SECONDS = 120.0
"""How long a worker may take to start in an environment that exists."""

_QUICK = {"env_vars", "py_executable", "config"}
"""Keys of an environment for which Ray need not install or fetch anything."""


def environment_of(shape: Shape) -> dict[str, Any]:
    """The runtime environment that a shape asks for; empty for none."""
    others = json.loads(shape.others) if shape.others else {}
    found: dict[str, Any] = others.get("runtime_env") or {}
    return found


def most_seconds(environment: Mapping[str, Any]) -> float:
    """How long it may take until a worker runs in an environment."""
    if environment.keys() <= _QUICK:
        return START_SECONDS
    limit = (environment.get("config") or {}).get("setup_timeout_seconds", INSTALL_SECONDS)
    return START_SECONDS + (float(limit) if limit > 0 else float("inf"))


@dataclass(frozen=True, slots=True)
class _Probe:
    ref: Any
    sent_at: float


class Environments:
    """The knowledge of one scheduler about the environments of its calls, by the options of their shapes.

    node_of: the node that is known to run a bundle, by the bundle's name; None where that is not known.
    """

    def __init__(self, node_of: Callable[[str], str | None]) -> None:
        self._node_of = node_of
        self._answered: set[str | None] = set()
        self._probes: dict[str | None, _Probe] = {}

    def note_answer(self, shape: Shape) -> None:
        """Note that a worker has answered in the environment of this shape."""
        self._answered.add(shape.others)
        self._probes.pop(shape.others, None)

    def look_at(
        self, old: Mapping[Shape, Sequence[Bundle]], moment: float
    ) -> tuple[list[str], list[tuple[Bundle, str]]]:
        """Look at calls that were sent long ago. Gives sentences about those that wait for their environment, and the
        bundles that have waited in vain, with the reason."""
        sentences: list[str] = []
        in_vain: list[tuple[Bundle, str]] = []
        for shape, bundles in _by_environment(old):
            environment = environment_of(shape)
            seconds = self._unanswered(shape, bundles, moment)
            if seconds > most_seconds(environment):
                # The probe stays: should it answer after all, later calls may have the environment.
                in_vain.extend((bundle, in_vain_text(environment, seconds)) for bundle in bundles)
            elif seconds > SLOW_SECONDS:
                sentences.append(
                    f"{calls_text(bundles)} cannot start yet: no worker runs in the runtime environment {environment}. "
                    "Ray is making it."
                )
        return sentences, in_vain

    def _unanswered(self, shape: Shape, bundles: Sequence[Bundle], moment: float) -> float:
        """For how long nothing has answered in an environment; 0 where something has."""
        if shape.others in self._answered:
            return 0.0
        probe = self._probes.get(shape.others)
        if probe is None:
            # No processor at all: the calls that run may have all of them.
            options = {**shape.ray_options(), "num_cpus": 0, "num_gpus": 0, "memory": None, "resources": None}
            self._probes[shape.others] = _Probe(_nothing.options(**options).remote(), moment)
            return 0.0
        seconds = moment - probe.sent_at
        # An error is an answer, too: the call itself will get it, and reports it better.
        has_answered = bool(ray.wait([probe.ref], timeout=0)[0])
        if has_answered or (seconds > SLOW_SECONDS and any(self._node_of(bundle.name) for bundle in bundles)):
            self.note_answer(shape)
            return 0.0
        return seconds

    def abandon(self) -> None:
        """End all probes: no call waits for an environment any more."""
        for probe in self._probes.values():
            ray.cancel(probe.ref, force=True)
        self._probes.clear()


def _by_environment(old: Mapping[Shape, Sequence[Bundle]]) -> list[tuple[Shape, list[Bundle]]]:
    """The bundles that ask for an environment, grouped by it, each group with one of its shapes."""
    found: dict[str | None, tuple[Shape, list[Bundle]]] = {}
    for shape, bundles in old.items():
        if environment_of(shape):
            found.setdefault(shape.others, (shape, []))[1].extend(bundles)
    return list(found.values())


@ray.remote(max_retries=0)
def _nothing() -> None:
    """The probe that shows whether an environment exists."""


def in_vain_text(environment: Mapping[str, Any], seconds: float) -> str:
    """The reason to give up calls whose environment is not made."""
    return (
        f"no worker came up in its runtime environment {dict(environment)} within {seconds:.0f} s: it cannot be made, "
        "or Python does not start in it. The logs of the Ray session on its nodes say more (raylet.err, "
        "runtime_env_setup-*.log)"
    )
