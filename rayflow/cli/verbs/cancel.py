"""`rayflow cancel`: end an execution, from any machine that reaches its store.

In: the id of an execution, and why. Out: how it ended. Never: signals a process.
"""

from __future__ import annotations

import socket
import time

import click

from rayflow.cli.output.style import short_execution
from rayflow.cli.parsing.completion import executions
from rayflow.cli.stores import json_option, open_for, print_json, store_option
from rayflow.pasting import command as pasted
from rayflow.runtime.protocol.execution_row import user
from rayflow.store.live.live_files import CancelOrder

WAIT_SECONDS = 30.0
"""How long an execution may take to end before the verb waits no longer."""

LOOK_SECONDS = 0.3


@click.command("cancel")
@click.argument("execution", metavar="EXECUTION", shell_complete=executions)
@click.option("--reason", metavar="TEXT", default="", help="Why: it is recorded with the execution.")
@store_option
@json_option
def command(execution: str, reason: str, store: str | None, as_json: bool) -> int:
    """End an execution, wherever it runs: it starts no new calls, what runs is stopped, what is finished is kept.

    \b
    rayflow cancel 0197a3c2-51f0 --reason "wrong input"
    rayflow log --running              what there is to cancel

    The request goes through the store, so this works on any machine that can write to it. The run that is cancelled
    ends with exit code 130. To cancel twice does no harm. Exit code 1: the execution had ended otherwise, or is lost;
    2: it has not ended within half a minute, but the request stands.
    """
    opened = open_for(store, read_only=False)
    history = opened.history()
    found = history.resolve(execution, kinds=("execution",)).id
    row, now = history.execution(found), history.statuses()
    before = now.status(row)
    if before == "running":
        state = now.state(row)  # it knows of lives that the driver has begun since the row was recorded
        life = row["life"] if state is None else max(row["life"], state.life)
        by = f"{user() or 'somebody'}@{socket.gethostname()}"
        opened.live.order_cancel(found, CancelOrder(by, " ".join(reason.split()), life))
    end = time.monotonic() + WAIT_SECONDS
    while True:
        row = history.execution(found)
        status = history.statuses().status(row)
        if status != "running" or time.monotonic() >= end:
            break
        time.sleep(LOOK_SECONDS)
    if before == "running" and status not in ("running", "lost"):
        opened.live.drop_order(found)  # one that came as the execution ended; what seems lost may be submitted again
    if as_json:
        print_json({"execution_id": found, "status": status, "was": before, "error": row["error"]})
    else:
        click.echo(_said(found, before, status, opened.url))
    return {"cancelled": 0, "running": 2}.get(status, 1)


def _said(execution_id: str, before: str, status: str, store: str) -> str:
    name = short_execution(execution_id)
    resume = pasted("resume", name, store=store)
    if status == "running":
        follow = pasted("log", name, "--follow", store=store)
        return f"{name} is asked to end, and has not ended yet; `{follow}` shows when it has"
    if status == "lost":
        return f"{name} is lost: nothing of it runs any more. `{resume}` would go on with it."
    if status == "cancelled":
        if before == "running":
            return f"{name} is cancelled; what was finished is kept. Go on with: {resume}"
        return f"{name} was cancelled already"
    if before == "running":
        return f"{name} ended before the request reached it: it is {status}"
    return f"{name} has ended already: it is {status}"
