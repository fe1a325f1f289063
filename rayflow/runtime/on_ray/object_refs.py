"""Large values in Ray's object store: which object holds which value, and for how long.

In: the value slots of finished tasks. Out: object references for the inputs of later tasks. Never: fetches a value.

Every large value is in the store's blobs before anything names it; the object store only saves reading it from there.
So any reference may be dropped at any time: the newest ones stay, up to a share of the object store's memory.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Any

KEPT_SHARE = 0.3
"""The share of the object store that values may take whose references are kept for speed."""


def watch(ref: Any, number: int, completed: deque[tuple[int, Any]], wake: Callable[[], None]) -> None:
    """When the object of this reference (or an error in its place) is there, put (number, answer) into `completed` and
    call `wake`, from a thread of Ray's."""

    def done(answer: Any) -> None:
        completed.append((number, answer))
        wake()

    # Private. No other way notices a completion without a thread for each call or a scan over all references;
    # `ref.future().add_done_callback(done)` does the same for twice the price.
    ref._on_completed(done)


class ObjectRefs:
    """Object references by the digest of their value, the least recently used first.

    capacity_bytes: how much the values may take together.
    """

    def __init__(self, capacity_bytes: float) -> None:
        self._capacity = capacity_bytes
        self._refs: OrderedDict[bytes, tuple[Any, int]] = OrderedDict()
        self._bytes = 0

    def keep(self, digests: Iterable[tuple[bytes, int]], ref: Any) -> None:
        """The object `ref` holds these values (digest, size in bytes)."""
        for digest, size in digests:
            if digest in self._refs:
                continue
            self._refs[digest] = (ref, size)
            self._bytes += size
        while self._bytes > self._capacity and self._refs:
            _, (_, size) = self._refs.popitem(last=False)
            self._bytes -= size

    def refs_for(self, digests: Iterable[bytes]) -> list[Any]:
        """The objects that hold these values, each once; a value without one is read from its blob."""
        found: dict[int, Any] = {}
        for digest in digests:
            known = self._refs.get(digest)
            if known is not None:
                self._refs.move_to_end(digest)
                found[id(known[0])] = known[0]
        return list(found.values())

    def forget(self, ref: Any) -> None:
        """This object is lost."""
        for digest in [digest for digest, (known, _) in self._refs.items() if known is ref]:
            self._bytes -= self._refs.pop(digest)[1]
