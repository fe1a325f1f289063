"""Listings of the files in a directory, or of the matches of a pattern. Two listings show which files have changed.

In: names with sizes and versions. Out: packed bytes, and the differences of two listings in words. Never: looks at a
directory; decides whether a state is valid.

The state of a directory contains only the number of files, and a digest of their names and states. This digest is the
name of the listing. The process keeps its latest listings, and records a listing together with the state.
"""

from __future__ import annotations

import json
import threading
import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from rayflow.values.files.changes import FileChange, ObservedFile, seen_of

MOST_LISTED = 2_000
"""The most files in a listing. For a directory with more files, one knows only that some file has changed."""

CONTENT = "content "
"""The beginning of a version that is the digest of a content."""

_MOST_REMEMBERED = 256

Listing: TypeAlias = Mapping[str, tuple[int | None, int | str | None]]
"""The size and version of each file, by name. Both are None if only the names are part of the state."""

_Members: TypeAlias = tuple[tuple[str, int | None, int | str | None], ...]

_remembered: OrderedDict[str, _Members] = OrderedDict()
_packed: dict[str, bytes] = {}
"""The packed bytes of listings that were recorded. Each result that contains the directory needs them again."""

_lock = threading.Lock()
"""Protects both dicts: tasks in several threads of this process look at directories."""


def remember(digest: str, members: Sequence[tuple[str, int | None, int | str | None]]) -> None:
    """Keep a listing under its digest for a while, unless it is too long."""
    if len(members) > MOST_LISTED:
        return
    kept = tuple(members)
    with _lock:
        if _remembered.get(digest) != kept:
            _remembered[digest] = kept
            _packed.pop(digest, None)
        _remembered.move_to_end(digest)
        while len(_remembered) > _MOST_REMEMBERED:
            gone, _ = _remembered.popitem(last=False)
            _packed.pop(gone, None)


def packed(digest: str) -> bytes | None:
    """The packed bytes of a listing that this process has kept; None if it has not."""
    with _lock:
        members = _remembered.get(digest)
        if members is None:
            return None
        found = _packed.get(digest)
        if found is None:
            found = _packed[digest] = zlib.compress(json.dumps(members, separators=(",", ":")).encode())
        return found


def unpacked(kept: bytes) -> Listing:
    """The listing in packed bytes."""
    return {name: (size, version) for name, size, version in json.loads(zlib.decompress(kept))}


def differences(old: Listing, new: Listing) -> tuple[str, ...]:
    """The changes of the members, in words: first changed members, then new ones, then removed ones."""
    changed = [
        FileChange(name, _seen(*was), _seen(*new[name])).text()
        for name, was in old.items()
        if name in new and was != new[name]
    ]
    added = [f"{name} is new" for name in new if name not in old]
    gone = [f"{name} is gone" for name in old if name not in new]
    return (*changed, *added, *gone)


def _seen(size: int | None, version: int | str | None) -> ObservedFile:
    return seen_of("content" if isinstance(version, str) and version.startswith(CONTENT) else "stat", size, version)
