"""The token of the tests' own Rays, so that no test writes to the one that this user has in ~/.ray, or reads it."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from pathlib import Path


def use_own() -> None:
    """From here on, what this process and its children start and join asks for this token."""
    global _file
    os.environ.pop("RAY_AUTH_TOKEN", None)
    descriptor, name = tempfile.mkstemp(prefix="rf-token-")  # which only this user can read
    with open(descriptor, "w") as stream:
        stream.write(secrets.token_hex(32))
    _file = Path(name)
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=name)


def remove() -> None:
    """Take the token away."""
    with contextlib.suppress(FileNotFoundError):
        _file.unlink()


_file: Path
