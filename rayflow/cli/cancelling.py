"""Ask an execution to end through its store, and wait until it has.

In: an open store, an execution, who asks and why. Out: how it ended. Never: signals a process.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rayflow.store.live.live_files import CancelOrder

if TYPE_CHECKING:
    from rayflow.store.store import Store

WAIT_SECONDS = 30.0
"""How long an execution may take to end before nobody waits for it any longer."""

LOOK_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class CancelAnswer:
    """What became of a request to cancel. was: the status of the execution before the request; status: after it.
    error: as it is recorded."""

    execution_id: str
    status: str
    was: str
    error: str | None = None

    @property
    def exit_code(self) -> int:
        """The exit code of the verb: 0 when it is cancelled, 2 when it still runs, 1 when it had ended otherwise."""
        return {"cancelled": 0, "running": 2}.get(self.status, 1)


def cancel(opened: Store, execution_id: str, by: str, reason: str) -> CancelAnswer:
    """Ask an execution of this store to end, and wait for half a minute at most until it has."""
    history = opened.history()
    row, now = history.execution(execution_id), history.statuses()
    before = now.status(row)
    if before == "running":
        state = now.state(row)  # it knows of lives that the driver has begun since the row was recorded
        life = row["life"] if state is None else max(row["life"], state.life)
        opened.live.order_cancel(execution_id, CancelOrder(by, reason, life))
    end = time.monotonic() + WAIT_SECONDS
    while True:
        row = history.execution(execution_id)
        status = history.statuses().status(row)
        if status != "running" or time.monotonic() >= end:
            break
        time.sleep(LOOK_SECONDS)
    if before == "running" and status not in ("running", "lost"):
        # One that came as the execution ended. What seems lost may be submitted again.
        opened.live.drop_order(execution_id)
    return CancelAnswer(execution_id, status, before, row["error"])
