"""The distributions that are installed for this process: names and versions.

In: directories. Out: versions by normalised name. Never: imports a distribution, reads what is in it.

The names of the folders tell names and versions: reading their contents takes fifty times as long.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Iterable


@functools.cache
def installed() -> dict[str, str]:
    """The distributions of this process, looked up once."""
    return distributions_in(sys.path, sys.prefix)


def distributions_in(paths: Iterable[str], prefix: str | None = None) -> dict[str, str]:
    """The distributions installed in these directories: versions by normalised name. The first directory wins, as it
    does for imports. prefix: where conda may have installed other ones, programs among them."""
    found: dict[str, str] = {}
    for path in paths:
        try:
            names = os.listdir(path or ".")
        except OSError:  # no directory, such as the zip file of the standard library
            continue
        for name in names:
            stem, dot, kind = name.rpartition(".")
            if dot and kind in ("dist-info", "egg-info"):
                distribution, version = _parted(stem)
                found.setdefault(distribution, version)
    if prefix is not None:
        for distribution, version in _of_conda(prefix):
            found.setdefault(distribution, version)
    return found


def normalised(name: str) -> str:
    """The name of a distribution as it is compared: in lower case, with single hyphens."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _parted(stem: str) -> tuple[str, str]:
    """Name and version in the name of a folder, such as `numpy-2.1.0` or `old_tool-1.0-py3.11`."""
    name, _, rest = stem.partition("-")
    return normalised(name), rest.partition("-py")[0] or "?"


def _of_conda(prefix: str) -> Iterable[tuple[str, str]]:
    """What conda has installed: its records are named `NAME-VERSION-BUILD.json`."""
    try:
        names = os.listdir(os.path.join(prefix, "conda-meta"))
    except OSError:  # not conda's
        return
    for name in names:
        parts = name.removesuffix(".json").rsplit("-", 2)
        if name.endswith(".json") and len(parts) == 3:
            yield normalised(parts[0]), parts[1]
