"""Whether the process behind an execution still lives.

In: the record of an execution. Out: its status as it really is. Never: signals a process.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

from rayflow.cli.style import short_execution


def is_lost(row: Mapping[str, Any]) -> bool:
    """Whether an execution is recorded as running, and its driver, a process of this machine, is gone.

    What runs on other machines cannot be told from here and is taken for alive.
    """
    pid = row["pid"]
    return row["status"] == "running" and pid is not None and row["host"] == socket.gethostname() and not is_alive(pid)


def is_alive(pid: int) -> bool:
    """Whether this machine has such a process, and it has not ended."""
    if os.name != "posix":  # elsewhere asking by signal 0 would end it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):  # no such file on this system
        return True


def status_of(row: Mapping[str, Any]) -> str:
    """The recorded status, but "lost" for an execution whose driver is gone."""
    return "lost" if is_lost(row) else str(row["status"])


def how_to_go_on(row: Mapping[str, Any]) -> str:
    """What to do about a lost execution."""
    return f"rayflow resume {short_execution(row['execution_id'])}"
