"""The live files of a store: what each living execution says, and who asks for its end.

In: states and requests. Out: the same; whether an execution was not heard from for too long. Never: raises because a
file is not there.

    live/<execution>             its state, written again every second (five on a network)
    live/<execution>.cancel      the request to cancel it

A state is stale when three of its own intervals have passed and no later one was written. The clocks of two machines
may differ by minutes. So the age is the one that the folder itself gives the file, compared with the folder's own now:
the time that it gives a file which is written at this moment.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass

from rayflow.errors import StoreUnavailable
from rayflow.store import layout
from rayflow.store.folders.protocol import Folder
from rayflow.store.live.live_state import LiveState, decoded, encoded

LOCAL_SECONDS = 1.0
"""The time from one state of an execution to the next, in a store on this machine."""

REMOTE_SECONDS = 5.0
"""The same in a store on a network, where each write may cost money."""

INTERVALS = 3
"""An execution that has missed so many of its own intervals is taken for lost."""

CLOCKS_DIFFER_SECONDS = 120.0
"""By so much the clocks may differ, where the folder cannot be asked for its own time."""

_CANCEL = ".cancel"


@dataclass(frozen=True, slots=True)
class CancelOrder:
    """The request to cancel an execution. by: who asks. reason: why, in their words; may be empty. life: of the
    execution as they saw it; None if that is not known. A life that somebody has begun later is not meant."""

    by: str
    reason: str = ""
    life: int | None = None

    @property
    def text(self) -> str:
        """Who and why, as it is recorded."""
        return f"{self.by}: {self.reason}" if self.reason else self.by


class LiveFiles:
    """The live files of one folder. Any thread may use it."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._ahead: float | None = None
        """By how many seconds the folder's clock is ahead of ours, once that was asked."""

    @property
    def interval_seconds(self) -> float:
        """The time from one state of an execution to the next."""
        return REMOTE_SECONDS if self._folder.remote else LOCAL_SECONDS

    # --- states -------------------------------------------------------------------------------------------------------

    def write(self, state: LiveState) -> None:
        """Write a state over the last one. Raises StoreUnavailable."""
        self._folder.overwrite(layout.live_path(state.execution_id), [encoded(state)])

    def read(self, execution_id: str) -> LiveState | None:
        """The last state of an execution; None if there is none, or none that can be read."""
        try:
            return decoded(bytes(self._folder.read(layout.live_path(execution_id))))
        except (FileNotFoundError, StoreUnavailable):
            # A store that cannot be reached says so where its records are read.
            return None

    def age_seconds(self, state: LiveState) -> float | None:
        """How long ago the last state of an execution was written, by the clock of the folder; None if unknown."""
        path = layout.live_path(state.execution_id)
        age = self._folder.age_seconds(path)
        if age is None or _is_plausible(age, state):
            return age
        if self._ahead is None:
            self._ahead = self._asked_clock()
        return age if self._ahead is None else age + self._ahead

    def is_stale(self, state: LiveState, patience_seconds: float = 0.0) -> bool:
        """Whether an execution has missed so many of its intervals that it has to be taken for lost.

        patience_seconds: it may be silent for so long, in any case.
        """
        age = self.age_seconds(state)
        if age is None:  # a folder without times, in memory: its writer is this process
            return False
        patience = max(patience_seconds, INTERVALS * max(state.interval_seconds, LOCAL_SECONDS))
        return age > patience + (0.0 if self._ahead is not None else CLOCKS_DIFFER_SECONDS)

    def executions(self) -> list[str]:
        """The ids of all executions with a state, in no order."""
        return [name for name in self._folder.names(layout.LIVE) if not name.endswith(_CANCEL)]

    def remove(self, execution_id: str, life: int) -> None:
        """Remove what an execution said and what was asked of it in this life, and in earlier ones. What is of a later
        life stays. Raises StoreUnavailable."""
        state = self.read(execution_id)
        if state is not None and state.life > life:
            return
        self._folder.remove(layout.live_path(execution_id))
        order = self.cancel_order(execution_id)
        if order is not None and (order.life is None or order.life <= life):
            self.drop_order(execution_id)

    # --- requests -----------------------------------------------------------------------------------------------------

    def order_cancel(self, execution_id: str, order: CancelOrder) -> None:
        """Ask the shell of an execution to cancel it. Raises StoreUnavailable."""
        self._folder.overwrite(layout.live_path(execution_id) + _CANCEL, [json.dumps(asdict(order)).encode()])

    def cancel_order(self, execution_id: str) -> CancelOrder | None:
        """The request to cancel an execution; None if there is none. Raises StoreUnavailable."""
        try:
            content = bytes(self._folder.read(layout.live_path(execution_id) + _CANCEL))
        except FileNotFoundError:
            return None
        try:
            parts = json.loads(content)
            life = parts.get("life")
            return CancelOrder(str(parts["by"]), str(parts.get("reason", "")), None if life is None else int(life))
        except (ValueError, TypeError, KeyError, AttributeError):
            return CancelOrder("somebody")  # the file is there, so somebody asks

    def drop_order(self, execution_id: str) -> None:
        """Remove the request to cancel an execution. Raises StoreUnavailable."""
        self._folder.remove(layout.live_path(execution_id) + _CANCEL)

    # --- the folder's clock -------------------------------------------------------------------------------------------

    def _asked_clock(self) -> float | None:
        """By how many seconds the folder's clock is ahead of ours. None for a folder that we may not write to."""
        probe = f"{layout.TEMPORARY}/clock-{os.urandom(8).hex()}"
        try:
            self._folder.overwrite(probe, [b"1"])
            age = self._folder.age_seconds(probe)
        except StoreUnavailable:
            return None
        finally:
            with suppress(StoreUnavailable):  # the next compaction sweeps it away
                self._folder.remove(probe)
        return None if age is None else -age


def _is_plausible(age: float, state: LiveState) -> bool:
    """Whether an age can be trusted: the execution was heard from in time, or this clock agrees with the folder's."""
    return -LOCAL_SECONDS <= age <= INTERVALS * max(state.interval_seconds, LOCAL_SECONDS)
