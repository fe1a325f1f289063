"""Changes of files, in words for people.

In: two observations of one file, directory or pattern. Out: a sentence without a full stop. Never: looks at a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

MOST_MEMBERS = 3
"""How many members of a directory or pattern are named; the others are counted."""


@dataclass(frozen=True, slots=True)
class ObservedFile:
    """A file, directory or pattern as it was observed at one time.

    size: in bytes; for a directory or pattern the number of files; None when there was nothing. modified_us: time of
    the last modification, in microseconds since the epoch. version: an etag or a generation. digest: of the content, or
    of the names and states of the members.
    """

    size: int | None
    modified_us: int | None = None
    version: str | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file that has changed between two calls. was, now: None where it was not observed.

    is_many: it is a directory or a pattern. is_other: only one of the two calls has this file: the later call if `was`
    is None, the earlier one if `now` is None. members: the known changes of its members, in words.
    """

    path: str
    was: ObservedFile | None
    now: ObservedFile | None
    is_many: bool = False
    is_other: bool = False
    members: tuple[str, ...] = ()

    def text(self) -> str:
        """The change in words: `data/in.csv has changed: 12 bytes, was 9`."""
        if self.is_other:
            return f"{self.path} {'has come in addition' if self.was is None else 'is not among them now'}"
        if self.was is None or self.now is None:
            return f"{self.path} has changed"
        if self.now.size is None:
            return f"{self.path} is gone"
        if self.was.size is None:
            return f"{self.path} is there now, and was not"
        return f"{self.path} has changed: {self._difference(self.was, self.now)}{self._members_text()}"

    def _difference(self, was: ObservedFile, now: ObservedFile) -> str:
        if self.is_many:
            if was.size == now.size:
                return f"as many files as before ({now.size:,}), with other names or states"
            return f"{now.size:,} files, were {was.size:,}"
        if was.size != now.size:
            return f"{now.size:,} bytes, was {was.size:,}"
        size = f"its size is the same ({now.size:,} bytes)"
        if was.modified_us is not None and now.modified_us is not None:
            return f"modified {_moment(now.modified_us)}, was {_moment(was.modified_us)}; {size}"
        if was.version is not None and now.version is not None:
            return f"its version is {now.version}, was {was.version}; {size}"
        return f"its content differs; {size}"

    def _members_text(self) -> str:
        if not self.members:
            return ""
        more = f", and {len(self.members) - MOST_MEMBERS:,} more" if len(self.members) > MOST_MEMBERS else ""
        return f" ({'; '.join(self.members[:MOST_MEMBERS])}{more})"


def seen_of(how: str, size: int | None, version: int | str | None) -> ObservedFile:
    """The observed file of a state (see file_states.py)."""
    if type(version) is int:
        return ObservedFile(size, modified_us=version // 1000)
    text = None if version is None else str(version)
    return ObservedFile(size, digest=text) if how in _OF_DIGESTS else ObservedFile(size, version=text)


OF_MANY = frozenset({"content tree", "content glob", "tree", "tree names", "glob", "glob names", "dir", "names"})
"""The ways to identify directories and patterns."""

_OF_DIGESTS = frozenset({"content", "exists"}) | OF_MANY
"""The ways to identify files whose version is a digest, which tells people nothing."""


def _moment(at_us: int) -> str:
    """A time, to the millisecond: a file may change twice within a second."""
    return datetime.fromtimestamp(at_us / 1_000_000).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def few(changes: Sequence[FileChange]) -> str:
    """Changes on one line; only the first ones when they are many."""
    shown = [change.text() for change in changes[:MOST_MEMBERS]]
    return "; ".join(shown) + (f"; and {len(changes) - MOST_MEMBERS:,} more" if len(changes) > MOST_MEMBERS else "")
