"""The status of an execution as it is now: a process that is gone records nothing any more.

In: the record of an execution. Out: its status. Never: signals a process, asks another machine.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from rayflow.values.filesystems.atomic_writes import is_alive


def is_lost(row: Mapping[str, Any]) -> bool:
    """Whether an execution is recorded as running, and its driver, a process of this machine, is gone.

    An execution of another machine is taken for alive: nothing here can tell.
    """
    pid = row["pid"]
    return row["status"] == "running" and pid is not None and row["host"] == socket.gethostname() and not is_alive(pid)


def status_of(row: Mapping[str, Any]) -> str:
    """The recorded status, but "lost" for an execution whose driver is gone."""
    return "lost" if is_lost(row) else str(row["status"])
