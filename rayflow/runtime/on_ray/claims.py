"""Claims: notes in the cluster that calls wait for more room than small calls ever leave them.

In: the claims of schedulers. Out: whether a bundle that is about to begin has to give way to one. Never: decides what
is claimed, or for how long (`actor/room_claims.py` does).

Ray gives what a task leaves to the next one that fits. So a gang, or a call that takes a whole node, never finds enough
at one time while smaller calls stand in Ray's queues. A task cannot be taken out of a queue for certain before it
begins. So the workers do that: a bundle that stood in a queue looks for claims before it begins its first call, and
goes back to its scheduler unbegun if it has to give way.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Collection
from typing import NamedTuple

from rayflow.runtime.on_ray import cluster_notes

QUEUED_SECONDS = 1.0
"""A bundle that was sent so long ago stood in a queue of Ray's: its scheduler may not have known of a claim."""

LOOK_SECONDS = 1.0
"""How long a worker process remembers what it has read."""

VALID_SECONDS = 10.0
"""A claim that its scheduler has not renewed for so long counts no more."""

_PREFIX = "claims:"
"""Stands before a claim's name in the key of its note."""


class Claim(NamedTuple):
    """A claim of waiting calls. name: what the names of their bundles begin with. resources: the names of what they
    need. until: the moment from which it counts no more, in seconds since the epoch."""

    name: str
    resources: frozenset[str]
    until: float

    def concerns(self, name: str, resources: Collection[str]) -> bool:
        """Whether a bundle of this name that takes these resources has to give way."""
        return not name.startswith(self.name) and not self.resources.isdisjoint(resources)


def write(claim: Claim) -> None:
    """Make a claim, or renew it."""
    cluster_notes.write(f"{_PREFIX}{claim.name}", json.dumps([sorted(claim.resources), claim.until]))


def remove(name: str) -> None:
    """Take a claim back."""
    cluster_notes.remove(f"{_PREFIX}{name}")


def claims() -> tuple[Claim, ...]:
    """All claims that count now. Removes those that counted once: their schedulers have died."""
    found = []
    for key in cluster_notes.keys(_PREFIX):
        text = cluster_notes.read(key)
        if text is None:
            continue
        resources, until = json.loads(text)
        claim = Claim(key.removeprefix(_PREFIX), frozenset(resources), until)
        if claim.until > time.time():
            found.append(claim)
        elif claim.until < time.time() - VALID_SECONDS:  # this much apart may the clocks of two nodes be
            remove(claim.name)
    return tuple(found)


class ClaimsHere:
    """What a worker process knows of claims, for the bundles that begin in it."""

    def __init__(self) -> None:
        self._claims: tuple[Claim, ...] = ()
        self._read_at = float("-inf")

    def must_give_way(self, name: str, sent_at: float, resources: Collection[str]) -> bool:
        """Whether the bundle of this name, which begins here now, has to go back. sent_at: seconds since the epoch.
        resources: the names of what it takes from others.

        If a claim was made for this very bundle, the claim is fulfilled, and is taken back.
        """
        if not name or time.time() - sent_at < QUEUED_SECONDS:
            return False
        with contextlib.suppress(*cluster_notes.NO_ANSWER):  # the cluster is about to be lost, and this process with it
            if time.monotonic() - self._read_at > LOOK_SECONDS:
                self._claims, self._read_at = claims(), time.monotonic()
            for claim in self._claims:
                if name.startswith(claim.name):
                    remove(claim.name)
        return any(claim.concerns(name, resources) for claim in self._claims)
