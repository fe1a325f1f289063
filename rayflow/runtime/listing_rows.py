"""Rows that list the files of directories and patterns.

In: witnesses and states of directories and patterns that this process has just looked at. Out: `ListingRow`s. Never:
looks at a directory itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rayflow.records import ListingRow
from rayflow.values.files import listings
from rayflow.values.files.changes import OF_MANY
from rayflow.values.witnesses import OF_FILE, Witness


def listing_rows(witnesses: Iterable[Witness]) -> tuple[ListingRow, ...]:
    """The listings of the directories and patterns among these witnesses. Long listings are not recorded."""
    return _rows(payload[3] for kind, payload in witnesses if kind == OF_FILE and payload[0] in OF_MANY)


def listing_rows_now(broken: Iterable[tuple[Witness, tuple[Any, ...] | None]]) -> tuple[ListingRow, ...]:
    """The new listings of directories and patterns that have changed. broken: witnesses, each with the state now."""
    return _rows(now[2] for _, now in broken if now is not None and now[0] in OF_MANY)


def _rows(digests: Iterable[Any]) -> tuple[ListingRow, ...]:
    rows = []
    for each in dict.fromkeys(digests):
        packed = listings.packed(each) if isinstance(each, str) else None
        if packed is not None:
            rows.append(ListingRow(bytes.fromhex(each), packed))
    return tuple(rows)
