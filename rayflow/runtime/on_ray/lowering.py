"""Translates task options into Ray's options.

In: merged options of a call. Out: a hashable shape (what the call asks of a node) and Ray's remote options for it.
Never: submits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rayflow.errors import BadOption
from rayflow.lang.options.option_values import parse_bytes
from rayflow.lang.options.options import NO_GANG, TWO_PLACES
from rayflow.lang.options.runtime_environments import shown_in
from rayflow.runtime.on_ray.gang_fit import ROUNDING, GangShape, gang_of, why_not_held
from rayflow.values.encoding.encoding import decode_inline
from rayflow.values.refs import ValueRef

FREE_CPUS = 0.01
"""The CPUs for a call with `num_cpus=0`. With zero, Ray would start a worker process for every call at once."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The needs of a Ray task on a node. Calls of one shape may share a Ray task.

    others: the remaining Ray options as JSON, or None. strategy: a scheduling strategy object of Ray's (as it is, or as
    a reference that carries it), or its name. gang: what the call holds while its body runs; the quantities are then
    those that the body itself takes of the first bundle.
    """

    num_cpus: float
    num_gpus: float
    memory: int | None
    others: str | None
    strategy: Any = None
    gang: GangShape | None = None

    def ray_options(self) -> dict[str, Any]:
        """Keyword arguments for Ray's `.options()`."""
        options: dict[str, Any] = {"num_cpus": self.num_cpus, "max_retries": 0}
        if self.num_gpus:
            options["num_gpus"] = self.num_gpus
        if self.memory:
            options["memory"] = self.memory
        if self.others:
            options.update(json.loads(self.others))
        if self.strategy is not None:
            options["scheduling_strategy"] = _strategy(self.strategy)
        return options

    def describe(self) -> str:
        """The shape for people: `num_gpus=1, label_selector={"zone": "a"}`."""
        options = shown_in(self.ray_options())
        texts = [f"{key}={value!r}" for key, value in options.items() if key != "max_retries"]
        if self.gang is not None:
            texts.append(f"gang={self.gang.given()!r}, strategy={self.gang.strategy!r}")
        return ", ".join(texts)

    @property
    def held_cpus(self) -> float:
        """The processors that nothing else can have while the call runs."""
        if self.gang is None:
            return self.num_cpus
        return sum(amount for bundle in self.gang.bundles for name, amount in bundle if name == "CPU")

    def resources(self) -> dict[str, float]:
        """Named quantities that one node has to have."""
        needs = {"CPU": self.num_cpus}
        if self.num_gpus:
            needs["GPU"] = self.num_gpus
        if self.memory:
            needs["memory"] = float(self.memory)
        others = json.loads(self.others) if self.others else {}
        needs.update(others.get("resources", {}))
        if "accelerator_type" in others:
            needs[f"accelerator_type:{others['accelerator_type']}"] = 0.001  # as Ray does it
        return needs

    def resource_names(self) -> frozenset[str]:
        """The names of all quantities that the call, and its gang, take of nodes."""
        if self.gang is None:
            return frozenset(self.resources())
        return frozenset(name for bundle in self.gang.bundles for name, _ in bundle)

    def labels(self) -> dict[str, str]:
        """Labels that one node has to have."""
        others = json.loads(self.others) if self.others else {}
        return dict(others.get("label_selector", {}))


def _strategy(given: Any) -> Any:
    """The strategy for Ray. One that was sent inside a term is a reference, and may only be of Ray's own classes."""
    if type(given) is not ValueRef:
        return given
    if given.inline is None or not given.kind.startswith("ray."):
        raise BadOption(f"scheduling_strategy is a {given.kind}: it takes a name, or a scheduling strategy of Ray's.")
    return decode_inline(given)


_NODE_LABEL = "ray.io/node-id"
"""The label by which Ray knows each node."""


def away_from(options: dict[str, Any], node_ids: Sequence[str]) -> dict[str, Any]:
    """Ray's options for a task that must not go to some nodes. A node that the user has chosen stays chosen."""
    strategy, selector = options.get("scheduling_strategy", "DEFAULT"), options.get("label_selector", {})
    if not node_ids or not isinstance(strategy, str) or _NODE_LABEL in selector:
        return options
    return {**options, "label_selector": {**selector, _NODE_LABEL: f"!in({','.join(node_ids)})"}}


def on_node(node_id: str) -> dict[str, Any]:
    """Ray's options for a small task of ours that looks at one node, and at no other one, whatever runs there."""
    return {"num_cpus": 0, "max_retries": 0, "label_selector": {_NODE_LABEL: node_id}}


_PASSED_ON = ("resources", "accelerator_type", "label_selector", "runtime_env")


def shape_of(options: Mapping[str, Any]) -> Shape:
    """The shape of a call with these options. Raises BadOption for an option that cannot be sent to Ray."""
    gang = gang_of(options)
    # In a gang no other call waits for these processors, so that a body may well take none of them.
    cpus = options.get("num_cpus", 1) or FREE_CPUS if gang is None else options.get("num_cpus", 0)
    memory = options.get("memory")
    others = {name: options[name] for name in _PASSED_ON if options.get(name)}
    try:
        packed = json.dumps(others, sort_keys=True) if others else None
    except (TypeError, ValueError) as error:
        raise BadOption(f"{' or '.join(others)} holds something that is not plain data: {error}.") from None
    shape = Shape(
        float(cpus),
        float(options.get("num_gpus", 0)),
        None if memory is None else parse_bytes(memory),
        packed,
        options.get("scheduling_strategy"),
        gang,
    )
    if gang is not None:
        _check_in_gang(shape, gang)
    elif options.get("strategy") is not None:
        raise BadOption(NO_GANG)
    return shape


def _check_in_gang(shape: Shape, gang: GangShape) -> None:
    """Raise BadOption for a body that its gang has no room for, or that is to run elsewhere."""
    if shape.strategy is not None:
        raise BadOption(TWO_PLACES)
    first = dict(gang.bundles[0])
    for name, amount in shape.resources().items():
        if amount > first.get(name, 0.0) + ROUNDING:
            raise BadOption(
                f"The body runs in the first bundle of its gang, and asks for {name}={amount:g} of it, which has "
                f"{name}={first.get(name, 0.0):g}. Leave the option out: a body that only directs its gang needs "
                "nothing."
            )


def missing_from(shape: Shape, nodes: list[Mapping[str, Any]]) -> str | None:
    """Why no node alive can ever run a task of this shape; None when one can. A sentence without the subject."""
    alive = [node for node in nodes if node.get("Alive")]
    needs, labels = shape.resources(), shape.labels()
    if shape.gang is not None:
        labelled = [node["Resources"] for node in alive if _labels_fit(labels, node.get("Labels", {}))]
        why = why_not_held(shape.gang, labelled)
        return f"{why}, among the nodes with the labels {labels}" if why and labels else why
    fitting = nodes_for(shape, alive)
    if not fitting:
        asked = ", ".join(f"{name}={amount:g}" for name, amount in needs.items())
        most = {name: max((node["Resources"].get(name, 0) for node in alive), default=0) for name in needs}
        has = ", ".join(f"{name}={amount:g}" for name, amount in most.items())
        return f"asks for {asked}; the most that a node has is {has}"
    if labels and not any(_labels_fit(labels, node.get("Labels", {})) for node in fitting):
        return f"asks for a node with the labels {labels}; no node has them"
    return None


def nodes_for(shape: Shape, nodes: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The nodes alive that have the quantities that the shape asks for, in use or not."""
    needs = shape.resources()
    return [
        node
        for node in nodes
        if node.get("Alive") and all(node["Resources"].get(name, 0) >= amount for name, amount in needs.items())
    ]


def whole_node(shape: Shape, nodes: list[Mapping[str, Any]]) -> Shape:
    """The shape for a call that has all processors of a node to itself; of a gang, the same: it has its bundles."""
    if shape.gang is not None:
        return shape
    most = max((node["Resources"].get("CPU", 0.0) for node in nodes_for(shape, nodes)), default=0.0)
    return replace(shape, num_cpus=max(most, shape.num_cpus))


def _labels_fit(wanted: Mapping[str, str], has: Mapping[str, str]) -> bool:
    """Ray's label selectors: a value, `!value`, `in(a,b)` or `!in(a,b)`."""
    for key, rule in wanted.items():
        negated = rule.startswith("!")
        rule = rule.removeprefix("!")
        choices = rule[3:-1].split(",") if rule.startswith("in(") and rule.endswith(")") else [rule]
        if (has.get(key) in [choice.strip() for choice in choices]) == negated:
            return False
    return True
