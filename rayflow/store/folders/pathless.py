"""The base of folders whose files have no paths of their own, no times, and no copies.

In: nothing. Out: the answers of such a folder to questions about paths and times. Never: reads or writes a file.
"""

from __future__ import annotations

from collections.abc import Callable


class PathlessFolder:
    """A folder in memory, or inside another file."""

    remote = False

    def local_path(self, path: str) -> str | None:
        """None: the files have no paths."""
        return None

    def local_root(self) -> str | None:
        """None: there is no directory."""
        return None

    def stamp(self, path: str) -> int | None:
        """None: only reading a file can tell whether it has changed."""
        return None

    def discard_copy(self, path: str) -> bool:
        """False: there are no copies."""
        return False

    def set_aside(self, path: str, is_intact: Callable[[memoryview], bool]) -> bool:
        """False: damaged files stay where they are."""
        return False

    def age_seconds(self, path: str) -> float | None:
        """None: the age is not known."""
        return None

    def ages(self, directory: str) -> dict[str, float]:
        """An empty dict: no age is known."""
        return {}

    def renew(self, path: str) -> bool:
        """True: nothing is removed for its age."""
        return True
