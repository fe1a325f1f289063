"""Says what is installed: where this package is, and which files belong to Python or to a library.

In: the path of a file. Out: whether it was installed; else it may be the user's. Never: reads a file.
"""

from __future__ import annotations

import functools
import os
import site
import sysconfig
from collections.abc import Iterable

PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
"""The folder of the package's own files, with a separator at its end."""

FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
"""The folder from which `import rayflow` finds the package."""


def _folders(places: Iterable[str | None]) -> tuple[str, ...]:
    """These folders, each as it is spelled and as it is without links, with a separator at the end."""
    spelled = [place.rstrip(os.sep) + os.sep for place in places if place]
    return tuple(dict.fromkeys([*spelled, *(os.path.realpath(place) + os.sep for place in spelled)]))


STANDARD_LIBRARY = _folders(
    [os.path.dirname(os.path.abspath(os.__file__)), *map(sysconfig.get_path, ("stdlib", "platstdlib"))]
)
"""The folders of Python's standard library, each with a separator at its end."""

PACKAGE_FOLDERS = frozenset({"site-packages", "dist-packages"})
"""The names of folders that contain installed packages."""

_INSTALLED = (
    *STANDARD_LIBRARY,
    *_folders([*map(sysconfig.get_path, ("purelib", "platlib")), *getattr(site, "getsitepackages", list)()]),
)


@functools.lru_cache(maxsize=4096)
def is_installed(file: str) -> bool:
    """Whether a file belongs to an installed package or to Python itself, and so not to a user's project."""
    return file.startswith(_INSTALLED) or not PACKAGE_FOLDERS.isdisjoint(os.path.dirname(file).split(os.sep))
