"""The gang that a call holds while its body runs, and whether the nodes of a cluster can hold it.

In: the options `gang` and `strategy`; the resources of nodes. Out: a hashable `GangShape`; in words, why the nodes can
never hold it. Never: asks Ray.

Ray places the bundles of a gang one after the other, the largest first. So does this: a gang that would need a cleverer
order than that cannot start on Ray either.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rayflow.lang.options.option_values import parse_bytes

STRICT_PACK, STRICT_SPREAD = "STRICT_PACK", "STRICT_SPREAD"

Amounts: TypeAlias = tuple[tuple[str, float], ...]
"""Quantities by name, sorted."""

ROUNDING = 1e-9
"""Ray counts in ten-thousandths; sums of fractions are compared with this much tolerance."""


@dataclass(frozen=True, slots=True)
class GangShape:
    """The bundles of a gang, in their order, and how they are spread over nodes: a strategy of Ray's."""

    bundles: tuple[Amounts, ...]
    strategy: str

    def given(self) -> list[dict[str, float]]:
        """The bundles as Ray takes them."""
        return [dict(bundle) for bundle in self.bundles]

    def describe(self) -> str:
        """The gang for people: `2 bundles of CPU=2, 1 of CPU=4`."""
        counts = Counter(self.bundles)
        (first, count), *others = counts.items()
        texts = [f"{count} bundle{'s' * (count > 1)} of {_text(first)}"]
        texts.extend(f"{count} of {_text(bundle)}" for bundle, count in others)
        return ", ".join(texts)


def gang_of(options: Mapping[str, Any]) -> GangShape | None:
    """The gang that checked options ask for; None for a call without one."""
    gang = options.get("gang")
    if gang is None:
        return None
    return GangShape(tuple([_amounts(bundle) for bundle in gang]), options.get("strategy") or "PACK")


def _amounts(bundle: Mapping[str, Any]) -> Amounts:
    return tuple(sorted((name, float(parse_bytes(amount))) if name == "memory" else (name, float(amount))
                        for name, amount in bundle.items()))  # fmt: skip


def why_not_held(gang: GangShape, nodes: Sequence[Mapping[str, float]]) -> str | None:
    """Why nodes with these resources, in use or not, can never hold a gang; None when they can. A sentence without its
    subject."""
    asked = f"asks for a gang of {gang.describe()}"
    groups = Counter(gang.bundles)
    for bundle in groups:
        if not any(_how_many(bundle, node) for node in nodes):
            return f"{asked}; the most that a node has is {_most(bundle, nodes)}"
    number = len(gang.bundles)
    total = _sum(gang.bundles)
    if gang.strategy == STRICT_PACK:
        if not any(_how_many(total, node) for node in nodes):
            return f"{asked}, all on one node; the most that a node has is {_most(total, nodes)}"
        return None
    is_apart = gang.strategy == STRICT_SPREAD
    if is_apart and number > len(nodes):
        return f"{asked}, each on a node of its own; there are {len(nodes)} nodes"
    there = _sum([tuple(node.items()) for node in nodes])
    if not _how_many(total, dict(there)):
        return f"{asked}; the nodes together have {_most(total, [dict(there)])}"
    if not _placed(groups, nodes, is_apart):
        return f"{asked}{', each on a node of its own' * is_apart}; the nodes do not have that in such parts"
    return None


def _placed(groups: Mapping[Amounts, int], nodes: Sequence[Mapping[str, float]], is_apart: bool) -> bool:
    """Whether bundles find room, the largest first, each on the smallest node. is_apart: one on a node at the most."""
    free = sorted((dict(node) for node in nodes), key=lambda node: sum(node.get(name, 0.0) for name in _names(groups)))
    for bundle, count in sorted(groups.items(), key=lambda item: -sum(amount for _, amount in item[0])):
        left = count
        taken = []
        for node in free:
            fits = min(left, _how_many(bundle, node), 1 if is_apart else left)
            if fits:
                left -= fits
                taken.append(node)
                for name, amount in bundle:
                    node[name] = node.get(name, 0.0) - fits * amount
        if left:
            return False
        if is_apart:
            free = [node for node in free if not any(node is each for each in taken)]
    return True


def _names(groups: Iterable[Amounts]) -> set[str]:
    return {name for bundle in groups for name, _ in bundle}


def _how_many(bundle: Amounts, node: Mapping[str, float]) -> int:
    """How many such bundles fit on a node."""
    return min(math.floor((node.get(name, 0.0) + ROUNDING) / amount) for name, amount in bundle)


def _sum(bundles: Iterable[Amounts]) -> Amounts:
    found: dict[str, float] = {}
    for bundle in bundles:
        for name, amount in bundle:
            found[name] = found.get(name, 0.0) + amount
    return tuple(sorted(found.items()))


def _most(asked: Amounts, nodes: Sequence[Mapping[str, float]]) -> str:
    return _text(tuple((name, max((node.get(name, 0.0) for node in nodes), default=0.0)) for name, _ in asked))


def _text(amounts: Amounts) -> str:
    return ", ".join(
        f"memory={amount / (1 << 30):.3g}GiB" if name == "memory" else f"{name}={amount:g}" for name, amount in amounts
    )
