"""The gangs that calls in flight hold, as placement groups of Ray.

In: a bundle that is about to be sent, one that has come back. Out: the scheduling strategy that puts it into its gang.
Never: waits for a gang: Ray starts the body when it has placed the gang.

They belong to the scheduler's process: Ray removes them when that ends, or the job of its driver. To remove one also
ends what the body has left running in it.
"""

from __future__ import annotations

from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from rayflow.runtime.on_ray.actor.bundles import Bundle


class HeldGangs:
    """The gangs of the bundles in flight, by the number of the bundle."""

    def __init__(self) -> None:
        self._held: dict[int, PlacementGroup] = {}

    def place(self, bundle: Bundle) -> PlacementGroupSchedulingStrategy | None:
        """The strategy that sends a bundle into its gang, which is asked for if it is not held yet; None for a bundle
        without a gang."""
        gang = bundle.shape.gang
        if gang is None:
            return None
        group = self._held.get(bundle.number)
        if group is None:
            labels = bundle.shape.labels()
            group = self._held[bundle.number] = placement_group(
                gang.given(),
                gang.strategy,
                name=f"rayflow:{bundle.first.entry.name}:{bundle.name}",  # Ray lets no two have one name
                bundle_label_selector=[labels] * len(gang.bundles) if labels else None,
            )
        return PlacementGroupSchedulingStrategy(
            group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
        )

    def release(self, number: int) -> None:
        """The bundle of this number has ended: give its gang back, if it held one."""
        group = self._held.pop(number, None)
        if group is not None:
            remove_placement_group(group)

    def release_all(self) -> None:
        """Give all gangs back."""
        for number in list(self._held):
            self.release(number)
