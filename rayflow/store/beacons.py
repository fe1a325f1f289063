"""Beacons: small files in a store, by which other machines see that they reach the same store.

In: a store's place, a name. Out: the path of the beacon; whether this machine sees it. Never: makes a store.

The machine that finds or has left a beacon removes it. A compaction sweeps the others a month later.
"""

from __future__ import annotations

from rayflow.store import layout
from rayflow.store.open import folder_at


def leave_beacon(url: str, name: str) -> str:
    """Leave a beacon in a store. name: the same one again leaves the same beacon. Returns its path in the store."""
    path = layout.beacon_path(name)
    folder_at(url).overwrite(path, [path.encode()])
    return path


def sees_beacon(url: str, path: str) -> bool:
    """Whether this machine sees a beacon in the store."""
    try:
        return bytes(folder_at(url).read(path)) == path.encode()
    except FileNotFoundError:
        return False


def remove_beacon(url: str, path: str) -> None:
    """Remove a beacon, when nobody will look for it."""
    folder_at(url).remove(path)
