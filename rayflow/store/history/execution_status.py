"""The status of an execution as it is now: one that nobody has heard from records nothing any more.

In: the record of an execution, and the folder of the store with its live files. Out: its status. Never: signals a
process, asks another machine.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Mapping
from typing import Any

from rayflow.store.folders.protocol import Folder
from rayflow.store.live.live_files import LiveFiles
from rayflow.store.live.live_state import LiveState
from rayflow.values.filesystems.atomic_writes import is_alive_since


class ExecutionStatuses:
    """Says which executions of a store are lost. For one question: it remembers the states that it has read.

    patience_seconds: an execution may be silent for so long before it is lost, if it allows itself less. For decisions
    that cannot be taken back.
    """

    def __init__(self, folder: Folder, patience_seconds: float = 0.0) -> None:
        self._live = LiveFiles(folder)
        self._patience_seconds = patience_seconds
        self._states: dict[str, tuple[LiveState | None, bool]] = {}

    def is_lost(self, row: Mapping[str, Any]) -> bool:
        """Whether an execution is recorded as running, and nothing of it lives.

        If its driver is a process of this machine, that process tells. It may be slow, or stopped for a while. A
        process that has begun after the execution was heard from is another one that got its number. Else its live
        state tells, from whichever machine: it is written every few seconds, by the process that evaluates. An
        execution of another machine without such a state is taken for alive: nothing can tell.
        """
        if row["status"] != "running":
            return False
        here = socket.gethostname()
        if row["pid"] is not None and row["host"] == here:
            return not is_alive_since(row["pid"], self._seen_at(row))
        state, is_stale = self._read(row["execution_id"])
        if state is None:
            return False
        return is_stale or (state.host == here and not is_alive_since(state.pid, state.written_at / 1_000_000))

    def _seen_at(self, row: Mapping[str, Any]) -> float:
        """The latest known time at which the driver on this machine ran, in seconds since the epoch."""
        state, _ = self._read(row["execution_id"])
        if state is not None and state.host == row["host"] and state.life >= row["life"]:
            return state.written_at / 1_000_000
        # The row of a resumed execution has the begin of its first life, and another driver.
        return math.inf if row["life"] else row["started_at"].timestamp()

    def status(self, row: Mapping[str, Any]) -> str:
        """The recorded status, but "lost" for an execution of which nothing lives."""
        return "lost" if self.is_lost(row) else str(row["status"])

    def state(self, row: Mapping[str, Any]) -> LiveState | None:
        """What a running execution says of itself; None if it has ended, is lost, or says nothing."""
        if row["status"] != "running" or self.is_lost(row):
            return None
        return self._read(row["execution_id"])[0]

    def heard_seconds(self, row: Mapping[str, Any]) -> float | None:
        """How long ago a running execution was heard from; None if that is not known."""
        state = self.state(row)
        return None if state is None else self._live.age_seconds(state)

    def _read(self, execution_id: str) -> tuple[LiveState | None, bool]:
        """The last state of an execution, and whether it is stale."""
        if execution_id not in self._states:
            state = self._live.read(execution_id)
            self._states[execution_id] = state, state is not None and self._live.is_stale(state, self._patience_seconds)
        return self._states[execution_id]
