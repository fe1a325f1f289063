"""The processes that these tests have started, children of children included, so that none stays behind."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

MARKER = "RAYFLOW_TESTED_BY"
"""Every process that a test starts inherits this variable with our process id."""


def mark() -> None:
    """From here on, what this process starts can be found again."""
    os.environ[MARKER] = str(os.getpid())


def started_here() -> list[int]:
    """The processes that carry our mark, also those whose parent has ended."""
    return marked(MARKER, str(os.getpid()))


def marked(name: str, value: str) -> list[int]:
    """The processes that have this variable with this value in their environment."""
    found = []
    mark = f"{name}={value}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def end_all() -> None:
    """End every process that carries our mark."""
    end(started_here())


def end(those: list[int]) -> None:
    """End these processes at once."""
    for process in those:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
