"""Finds and ends processes that a script has started and that have left its process group (with setsid, as daemons do).

In: the mark in the environment of a script; all processes that the script starts inherit it. Out: the processes that
are alive. Never: finds a process that has emptied its environment; finds any process on a system without /proc.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

VARIABLE = "RAYFLOW_SCRIPT"
"""The environment variable with the marks of the scripts around a process, the outermost first."""

_MOST_ROUNDS = 50
"""The most rounds of ending processes. A process may start others before it ends, so one round may not be enough."""


@dataclass(frozen=True)
class Stray:
    """A process that has left the process group of its script."""

    pid: int
    name: str


def marked(environment: Mapping[str, str], mark: str) -> dict[str, str]:
    """The environment of a script, with this mark added. A script may run inside another script."""
    outer = environment.get(VARIABLE)
    return {**environment, VARIABLE: f"{outer}:{mark}" if outer else mark}


def processes() -> frozenset[str]:
    """The ids of all processes of this machine."""
    with suppress(OSError):
        return frozenset(name for name in os.listdir("/proc") if name.isdigit())
    return frozenset()


def strays_of(mark: str, before: frozenset[str]) -> list[Stray]:
    """The processes of a script that are alive. before: the ids of the processes that existed when the script began."""
    found = []
    wanted = mark.encode()
    for pid in processes() - before:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                is_one = wanted in file.read()
            if is_one and not _is_dead(pid):
                with open(f"/proc/{pid}/comm") as file:
                    found.append(Stray(int(pid), file.read().strip()))
        except OSError:  # it has ended meanwhile, or belongs to another user
            continue
    return sorted(found, key=lambda each: each.pid)


def end_strays(mark: str, before: frozenset[str], *, grace: float = 0.0) -> list[Stray]:
    """End the processes of a script, and the processes that they start meanwhile. Gives the processes found at first.

    grace: how many seconds the processes have to end by themselves after SIGTERM.
    """
    first = left = strays_of(mark, before)
    if grace and left:
        _signal(left, signal.SIGTERM)
        end = time.monotonic() + grace
        while time.monotonic() < end and (left := strays_of(mark, before)):
            time.sleep(0.02)
    for _ in range(_MOST_ROUNDS):
        if not left:
            break
        _signal(left, signal.SIGKILL)
        time.sleep(0.002)
        left = strays_of(mark, before)
    return first


def _is_dead(pid: str) -> bool:
    """Whether a process has ended and its parent has not waited for it yet."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] in ("Z", "X")


def _signal(strays: list[Stray], number: signal.Signals) -> None:
    for each in strays:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(each.pid, number)


def left_text(strays: list[Stray]) -> str:
    """The message that the script has finished, but has left these processes in the background."""
    shown = ", ".join(f"{each.name} ({each.pid})" for each in strays[:5])
    more = f" and {len(strays) - 5} more" if len(strays) > 5 else ""
    return (
        f"rayflow: the script has finished, and left processes in the background, which were ended: {shown}{more}. "
        "Start what is meant to stay outside of the workflow.\n"
    )
