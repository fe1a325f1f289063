"""`rayflow queues`: the queues of a service, and their slots.

In: nothing, or a queue and its slots. Out: a list. Never: starts or ends a run.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from rayflow.cli.output.render import table
from rayflow.cli.services import client_of, service_option
from rayflow.cli.stores import json_option, print_json, store_option


@click.group("queues", invoke_without_command=True)
@service_option
@store_option
@json_option
@click.pass_context
def command(context: click.Context, service: str | None, store: str | None, as_json: bool) -> None:
    """List the queues: how many of their runs may run at a time, run now, and wait.

    \b
    rayflow queues
    rayflow queues set billing 8       from now on, until it is set again
    rayflow queues set billing any     any number
    """
    if context.invoked_subcommand is not None:
        return
    with client_of(service, store) as client:
        rows = client.queues()
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo("There are no queues: no slots were set, and no run runs or waits.")
        return
    cells = [(row["queue"], _slots(row), str(row["used"]), str(row["waiting"])) for row in rows]
    click.echo(table(("queue", "slots", "used", "waiting"), cells, sys.stdout, flexible=("queue",)), nl=False)


@command.command("set")
@click.argument("queue", metavar="QUEUE")
@click.argument("slots", metavar="SLOTS")
@service_option
@store_option
@json_option
def set_slots(queue: str, slots: str, service: str | None, store: str | None, as_json: bool) -> None:
    """Give a queue so many slots; `any` for any number, 0 to let no more of its runs begin.

    \b
    rayflow queues set billing 8
    """
    if slots != "any" and not slots.isdecimal():
        raise click.UsageError(f"SLOTS is a whole number, or any, not {slots!r}.")
    with client_of(service, store) as client:
        row = client.set_queue(queue, None if slots == "any" else int(slots))
    if as_json:
        print_json(row)
    else:
        click.echo(f"queue {row['queue']}: {_slots(row)} slots, {row['used']} used, {row['waiting']} waiting")


def _slots(row: dict[str, Any]) -> str:
    return "any" if row["slots"] is None else str(row["slots"])
