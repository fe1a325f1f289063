"""Decides when other calls are held back for those that wait for more room than these ever leave.

In: the bundles in flight, those that run, the claims of other schedulers. Out: the shapes whose calls are not sent, and
the claim to which queued bundles give way (`claims.py`). Never: asks Ray, ends what runs.

Without it Ray serves a gang, or a call of a whole node, only when no smaller call waits any more. While a claim lasts,
nothing else begins that takes a resource of the kinds claimed, so that what runs makes room as it ends.

Others must not wait for ever, either. A claim ends as soon as one of its calls begins, or after a while; then it rests
for at least as long, and the next one lasts longer. Where nothing of ours stood in the way at the end, something else
has the room (an actor of somebody's, perhaps), and claims become rare.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rayflow.runtime.on_ray import claims
from rayflow.runtime.on_ray.actor.bundles import Bundle, calls_text
from rayflow.runtime.on_ray.claims import Claim
from rayflow.runtime.on_ray.cluster_notes import NO_ANSWER
from rayflow.runtime.on_ray.lowering import Shape

PATIENCE_SECONDS = 10.0
"""Calls of which none has begun for so long, while others have, wait for room. More than a note takes to come."""

LATE_SECONDS = 3.0
"""Calls that could not have begun until so much later, since their environment was being made, have waited for room
only since then."""

FIRST_SECONDS = 30.0
"""How long the first claim of a shape lasts at most. Each one in vain doubles that."""

MOST_SECONDS = 600.0
"""How long a claim lasts at most."""

LONGEST_REST = 16
"""How many times as long as the last claim the rest is, at most, where claims are in vain for another reason."""

RENEWAL_SECONDS = 3.0
"""How often a claim is written again: its note counts only for some seconds."""


@dataclass(slots=True)
class _Tries:
    """The claims of a shape that were in vain. blameless: those at whose end nothing of ours stood in the way."""

    in_vain: int = 0
    blameless: int = 0


@dataclass(slots=True)
class _Claimed:
    """The shape that has a claim now. name: of the claim. since, until: monotonic seconds. text: its calls, for people.
    is_fulfilled: whether a worker says that one of its calls has begun."""

    shape: Shape
    name: str
    since: float
    until: float
    text: str
    is_fulfilled: bool = False


class RoomClaims:
    """The claims of one scheduler. name_of: the beginning of the names of bundles of a shape."""

    def __init__(self, name_of: Callable[[Shape], str]) -> None:
        self._name_of = name_of
        self._served: dict[Shape, float] = {}
        self._could_begin: dict[Shape, float] = {}
        """Since when calls have waited that nothing but room can keep from beginning."""
        self._tries: dict[Shape, _Tries] = {}
        self._claimed: _Claimed | None = None
        self._others: tuple[Claim, ...] = ()
        self._others_since: float | None = None
        self._rests_until = float("-inf")
        self._written: str | None = None
        self._written_at = float("-inf")

    # --- in the loop's thread -----------------------------------------------------------------------------------------

    def holds_back(self, shape: Shape) -> bool:
        """Whether calls of this shape are not to be sent now."""
        if self._claimed is None and not self._others:
            return False
        name, names = self._name_of(shape), shape.resource_names()
        if self._claimed is not None and shape != self._claimed.shape:
            return not names.isdisjoint(self._claimed.shape.resource_names())
        return any(other.concerns(name, names) for other in self._others)

    def note_served(self, shape: Shape, moment: float) -> None:
        """A bundle of this shape has run."""
        self._served[shape] = moment
        self._tries.pop(shape, None)

    def look(
        self,
        bundles: Collection[Bundle],
        noted: Collection[str],
        waiting: Mapping[Shape, Sequence[Bundle]],
        moment: float,
    ) -> None:
        """Begin or end a claim. bundles: in flight. noted: the names of those that run. waiting: by their shapes, those
        that were sent long ago, that a node could run, and whose environment exists."""
        for shape in {bundle.shape for bundle in bundles if bundle.name in noted}:
            self.note_served(shape, moment)
        for shape, bundles_waiting in waiting.items():
            begins = bundles_waiting[0].sent_at
            is_late = moment - begins > PATIENCE_SECONDS + LATE_SECONDS
            self._could_begin.setdefault(shape, moment if is_late else begins)
        for shape in self._could_begin.keys() - waiting.keys():
            del self._could_begin[shape]
        self._look_at_others(moment)
        if self._claimed is not None:
            self._look_at_claimed(self._claimed, bundles, waiting, moment)
        elif moment >= self._rests_until and not self._others:
            self._begin(waiting, moment)
        for shape in (self._served.keys() | self._tries.keys()) - {bundle.shape for bundle in bundles}:
            self._served.pop(shape, None)
            self._tries.pop(shape, None)

    def _look_at_others(self, moment: float) -> None:
        """Rest after the claims of other schedulers as after our own, so that there is always time for small calls."""
        if self._others:
            self._others_since = moment if self._others_since is None else self._others_since
        elif self._others_since is not None:
            self._rests_until = max(self._rests_until, moment + (moment - self._others_since))
            self._others_since = None

    def _look_at_claimed(
        self, claimed: _Claimed, bundles: Iterable[Bundle], waiting: Mapping[Shape, Sequence[Bundle]], moment: float
    ) -> None:
        is_served = claimed.is_fulfilled or self._served.get(claimed.shape, claimed.since) > claimed.since
        yields = any(other.name < claimed.name for other in self._others)  # two schedulers have begun at the same time
        if not is_served and not yields and claimed.shape in waiting and moment < claimed.until:
            return
        self._claimed = None
        rest = moment - claimed.since
        if is_served:
            self.note_served(claimed.shape, moment)
        elif claimed.shape in waiting and not yields:
            tries = self._tries.setdefault(claimed.shape, _Tries())
            tries.in_vain += 1
            names = claimed.shape.resource_names()
            ours = (each.shape for each in bundles if each.shape != claimed.shape)
            if all(names.isdisjoint(shape.resource_names()) for shape in ours):
                tries.blameless += 1
                rest *= min(2**tries.blameless, LONGEST_REST)
        self._rests_until = moment + rest

    def _begin(self, waiting: Mapping[Shape, Sequence[Bundle]], moment: float) -> None:
        """Claim room for the calls that have waited longest, if any have waited for long."""
        since = {
            shape: max(bundles[0].sent_at, self._could_begin[shape], self._served.get(shape, float("-inf")))
            for shape, bundles in waiting.items()
        }  # fmt: skip
        shape = min(since, key=lambda each: since[each], default=None)
        if shape is None or moment - since[shape] < PATIENCE_SECONDS:
            return
        tries = self._tries.get(shape, _Tries())
        seconds = min(FIRST_SECONDS * 2**tries.in_vain, MOST_SECONDS)
        text = calls_text(waiting[shape])
        self._claimed = _Claimed(shape, self._name_of(shape), moment, moment + seconds, text)

    def sentences(self) -> tuple[str, ...]:
        """What is held back now, for people."""
        if self._claimed is not None:
            return (f"{self._claimed.text} cannot start yet for want of room. Other calls are held back until it can.",)
        if self._others:
            return ("Calls are held back for those of another run, which need more room than these leave.",)
        return ()

    def abandon(self) -> None:
        """Take the claim back: no call waits any more."""
        self._claimed = None
        if self._written is not None:
            with contextlib.suppress(*NO_ANSWER):  # the cluster is lost, and the claim with it
                claims.remove(self._written)

    # --- in a thread --------------------------------------------------------------------------------------------------

    def trade(self) -> None:
        """Write or take back our claim, and read those of others."""
        claimed, found = self._claimed, claims.claims()
        self._others = tuple([each for each in found if claimed is None or each.name != claimed.name])
        if self._written is not None and (claimed is None or claimed.name != self._written):
            claims.remove(self._written)
            self._others = tuple([each for each in self._others if each.name != self._written])
            self._written = None
        if claimed is None or claimed.is_fulfilled:
            return
        if self._written is not None and all(each.name != claimed.name for each in found):
            claimed.is_fulfilled = True  # the worker that has begun one of its calls has taken the note away
            self._written = None
        elif time.monotonic() - self._written_at > RENEWAL_SECONDS or self._written is None:
            claims.write(Claim(claimed.name, claimed.shape.resource_names(), time.time() + claims.VALID_SECONDS))
            self._written, self._written_at = claimed.name, time.monotonic()
