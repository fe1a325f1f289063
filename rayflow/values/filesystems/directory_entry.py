"""Directory entries: what a listing says about one file or folder.

In: nothing. Out: `DirectoryEntry`. Never: asks a disk or a remote.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """One file or folder in a listing.

    size: in bytes. modified_ns: time of the last modification in nanoseconds, 0 if unknown. version: differs between
    two states of the file, as an etag does; None if unknown. leads_nowhere: it is a broken link, and its version is
    the target of the link.
    """

    path: str
    size: int
    modified_ns: int
    is_dir: bool = False
    version: str | None = None
    leads_nowhere: bool = False

    @property
    def is_file(self) -> bool:
        """Whether it is a file that can be read."""
        return not self.is_dir and not self.leads_nowhere


def path_of_entry(entry: DirectoryEntry) -> str:
    """The path: a key for sorting."""
    return entry.path
