"""`get_gang`: what a body knows of the gang that its call holds, and how it puts its own Ray tasks there.

In: the placement group that this process runs in. Out: `Gang`. Never: makes or removes one (the scheduler does).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rayflow.errors import NotFound
from rayflow.values.display.tracebacks import front_door

if TYPE_CHECKING:  # modules of workflows import this one, and many runs need no Ray
    from ray.util.placement_group import PlacementGroup
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

ANY_BUNDLE = -1
"""The number by which Ray knows no bundle in particular."""

_OPTIONS = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}


@dataclass(frozen=True, slots=True)
class Gang:
    """The gang of the call whose body runs here. bundles: the resources of each, by name. placement_group: Ray's own
    object.

        @task(gang=[{"CPU": 2}] * 4, strategy="SPREAD")
        def train(data):
            gang = get_gang()
            ranks = [step.options(**gang.place(rank)).remote(rank, len(gang), data) for rank in range(len(gang))]
            return ray.get(ranks)

    Ray tasks and actors that the body starts without a place of their own run in the gang, too, where there is room.
    """

    bundles: tuple[dict[str, float], ...]
    placement_group: PlacementGroup

    def __len__(self) -> int:
        return len(self.bundles)

    def place(self, rank: int) -> dict[str, Any]:
        """Options for a Ray task or actor that has the whole bundle of this number, from 0. Raises IndexError."""
        if not 0 <= rank < len(self.bundles):
            raise IndexError(f"This gang has the bundles 0 to {len(self.bundles) - 1}, and no {rank}.")
        bundle = self.bundles[rank]
        options: dict[str, Any] = {"num_cpus": 0}  # else Ray asks for one, which the bundle perhaps lacks
        options.update({_OPTIONS[name]: amount for name, amount in bundle.items() if name in _OPTIONS})
        others = {name: amount for name, amount in bundle.items() if name not in _OPTIONS}
        if others:
            options["resources"] = others
        return {**options, "scheduling_strategy": self.strategy(rank)}

    def strategy(self, rank: int = ANY_BUNDLE) -> PlacementGroupSchedulingStrategy:
        """Ray's scheduling strategy for a bundle of this gang; by default for any of them, for libraries that take one:
        `DataContext.get_current().scheduling_strategy = get_gang().strategy()`."""
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        return PlacementGroupSchedulingStrategy(
            self.placement_group,
            placement_group_bundle_index=rank,
            placement_group_capture_child_tasks=True,
        )


@front_door
def get_gang() -> Gang:
    """The gang that the running call holds, in its body and in the Ray tasks that it has started there.

    Raises NotFound where there is none: the task has no option `gang`, or runs inline, where nothing is held.
    """
    import ray

    found = ray.util.get_current_placement_group() if ray.is_initialized() else None
    if found is None:
        raise NotFound(
            "No gang is held here. A task holds one while its body runs if it has the option gang, as in "
            "@task(gang=[{'CPU': 2}] * 4); a run with inline holds none."
        )
    return Gang(tuple([dict(bundle) for bundle in found.bundle_specs]), found)
