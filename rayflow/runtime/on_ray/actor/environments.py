"""Watches calls that wait for their runtime environment, which Ray makes.

In: bundles that were sent long ago. Out: sentences about those that wait, and reasons to give up those that wait in
vain. Never: ends a call, or gives up one that is known to run.

Ray reports only after minutes that it cannot make an environment, and never that no worker starts in it. So, once a
call takes long, a probe is sent into the same environment: a task that does nothing and needs no processor. As soon as
the probe answers, or a call is known to run there, the environment exists: calls that still wait in it wait for
something else. Until then the nodes are asked what is wrong there (`environment_trouble`): an installer that has
failed, or is missing, ends the calls within a minute. One that is only slow has its time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import ray

from rayflow.lang.options.runtime_environments import shown, without_values
from rayflow.runtime.on_ray import remote
from rayflow.runtime.on_ray.actor.bundles import Bundle, calls_text
from rayflow.runtime.on_ray.connection.cluster_watch import answer_of
from rayflow.runtime.on_ray.environment_trouble import Trouble, trouble_here
from rayflow.runtime.on_ray.lowering import Shape, on_node

SLOW_SECONDS = 5.0
"""An environment in which nothing has answered for so long is taken as missing."""

INSTALL_SECONDS = 600.0
"""Ray gives up making an environment after so long, unless the environment says otherwise (`setup_timeout_seconds`)."""

START_SECONDS = 120.0
"""How long a worker may take to start in an environment that exists."""

LOOK_SECONDS = 5.0
"""How often the nodes are asked what is wrong with an environment that has not come."""

ONE_FAILURE_SECONDS = 25.0
"""An environment of which one attempt has failed has this long to come by another one: the network may have failed."""

MOST_NODES = 50
"""At most so many nodes are asked about one environment."""

_NAME = f"{remote.NAME}environment"
"""The name of the Ray tasks that ask the nodes."""

_QUICK = {"env_vars", "py_executable", "config"}
"""Keys of an environment for which Ray need not install or fetch anything."""


def verdict(known: Sequence[Trouble], asked: int, seconds: float) -> str | None:
    """Why an environment cannot come; None while it may.

    known: what nodes know about it. asked: the number of nodes that were asked. seconds: for how long it has not come.
    """
    failures = [each for trouble in known for each in trouble.failures]
    if len(failures) > 1 or (failures and seconds > ONE_FAILURE_SECONDS):
        return f"its installation fails: {failures[-1]}"
    lacking = [trouble.lacking for trouble in known if trouble.lacking is not None]
    return lacking[0] if lacking and len(lacking) == asked else None


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


@dataclass(slots=True)
class _Probe:
    """A probe in an environment. looks: the questions to the nodes that have not been answered, by node. known: what
    each node has answered last. looked_at: when they were asked last."""

    ref: Any
    sent_at: float
    looks: dict[str, Future[Trouble]] = field(default_factory=dict)
    known: dict[str, Trouble] = field(default_factory=dict)
    looked_at: float = 0.0


class Environments:
    """The knowledge of one scheduler about the environments of its calls, by the options of their shapes.

    node_of: the node that is known to run a bundle, by the bundle's name; None where that is not known. nodes: gives
    the ids of the nodes that can be asked. ask: asks a node, by its id, what is wrong with an environment that has been
    wanted for so many seconds.
    """

    def __init__(
        self,
        node_of: Callable[[str], str | None],
        nodes: Callable[[], Sequence[str]] = tuple,
        ask: Callable[[str, Mapping[str, Any], float], Future[Trouble]] | None = None,
    ) -> None:
        self._node_of = node_of
        self._nodes = nodes
        self._ask = trouble_on if ask is None else ask
        self._answered: set[str | None] = set()
        self._probes: dict[str | None, _Probe] = {}

    def note_answer(self, shape: Shape) -> None:
        """Note that a worker has answered in the environment of this shape."""
        self._answered.add(shape.others)
        self._probes.pop(shape.others, None)

    def is_there(self, shape: Shape) -> bool:
        """Whether the environment of a shape is known to exist, or it asks for none."""
        return not environment_of(shape) or shape.others in self._answered

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
            reason = self._verdict(shape, bundles, seconds, moment)
            if reason is not None:
                in_vain.extend((bundle, impossible_text(environment, reason)) for bundle in bundles)
            elif seconds > most_seconds(environment):
                # The probe stays: should it answer after all, later calls may have the environment.
                in_vain.extend((bundle, in_vain_text(environment, seconds)) for bundle in bundles)
            elif seconds > SLOW_SECONDS:
                sentences.append(
                    f"{calls_text(bundles)} cannot start yet: no worker runs in the runtime environment "
                    f"{shown(environment)}. Ray is making it."
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

    def _verdict(self, shape: Shape, bundles: Sequence[Bundle], seconds: float, moment: float) -> str | None:
        """Why an environment that has not answered for so long cannot come; None while it may. Asks the nodes.

        Failures from before the calls were sent do not count: the reason may be gone.
        """
        environment = environment_of(shape)
        probe = self._probes.get(shape.others)
        if probe is None or seconds <= SLOW_SECONDS or environment.keys() <= {"env_vars", "config"}:
            return None
        for node, look in list(probe.looks.items()):
            if look.done():
                del probe.looks[node]
                if look.exception() is None:  # else the node has left, and is not asked again
                    probe.known[node] = look.result()
        nodes = self._nodes()[:MOST_NODES]
        if moment - probe.looked_at >= LOOK_SECONDS:
            probe.looked_at = moment
            waited = moment - min(bundle.sent_at for bundle in bundles)
            for node in nodes:
                if node not in probe.looks:
                    probe.looks[node] = self._ask(node, environment, waited)
        probe.known = {node: known for node, known in probe.known.items() if node in nodes}
        return verdict(list(probe.known.values()), len(nodes), seconds)

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


def trouble_on(node: str, environment: Mapping[str, Any], seconds: float) -> Future[Trouble]:
    """The trouble that a node knows of with an environment that has been wanted for so many seconds.

    This process finds it out for its own node: processes that do not start in the environment may take all the places
    for new workers there.
    """
    if node == ray.get_runtime_context().get_node_id():
        return answer_of(lambda: trouble_here(environment, seconds))
    asked: Future[Trouble] = _trouble.options(**on_node(node), name=_NAME).remote(dict(environment), seconds).future()
    return asked


@ray.remote(max_retries=0)
def _trouble(environment: dict[str, Any], seconds: float) -> Trouble:
    """The trouble that the node on which this runs knows of."""
    return trouble_here(environment, seconds)


def impossible_text(environment: Mapping[str, Any], reason: str) -> str:
    """The reason to give up calls whose environment cannot be made."""
    return f"its runtime environment {shown(environment)} cannot be made: {without_values(reason, environment)}"


def in_vain_text(environment: Mapping[str, Any], seconds: float) -> str:
    """The reason to give up calls whose environment is not made."""
    return (
        f"no worker came up in its runtime environment {shown(environment)} within {seconds:.0f} s: it cannot be made, "
        "or Python does not start in it. The logs of the Ray session on its nodes say more (raylet.err, "
        "runtime_env_setup-*.log)"
    )
