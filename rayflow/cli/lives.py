"""Whether the process behind an execution still lives.

In: the record of an execution. Out: its status as it really is. Never: signals a process.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from rayflow.cli.style import short_execution
from rayflow.values.besides import is_alive


def is_lost(row: Mapping[str, Any]) -> bool:
    """Whether an execution is recorded as running, and its driver, a process of this machine, is gone.

    What runs on other machines cannot be told from here and is taken for alive.
    """
    pid = row["pid"]
    return row["status"] == "running" and pid is not None and row["host"] == socket.gethostname() and not is_alive(pid)


def status_of(row: Mapping[str, Any]) -> str:
    """The recorded status, but "lost" for an execution whose driver is gone."""
    return "lost" if is_lost(row) else str(row["status"])


def how_to_go_on(row: Mapping[str, Any]) -> str:
    """What to do about a lost execution."""
    return f"rayflow resume {short_execution(row['execution_id'])}"
