"""`rayflow events`: what has happened outside, and where it was delivered.

In: nothing, or the id of an event. Out: a list; or an event with its deliveries. Never: emits one.
"""

from __future__ import annotations

import json
import sys

import click

from rayflow.cli.output.render import table
from rayflow.cli.services import client_of, local_moment, service_option
from rayflow.cli.stores import json_option, print_json, store_option


@click.command("events")
@click.argument("event", required=False, metavar="[EVENT]")
@click.option("--name", metavar="TEXT", help="Only events of this name.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="How many at most.")
@service_option
@store_option
@json_option
def command(
    event: str | None, name: str | None, limit: int, service: str | None, store: str | None, as_json: bool
) -> None:
    """List the latest events; or show one, with its deliveries.

    \b
    rayflow events --name order.created      the latest of one name
    rayflow events order-7
    """
    with client_of(service, store) as client:
        if event is not None:
            found = client.event(event)
            if as_json:
                print_json(found)
                return
            click.echo(f"{found['event_id']}  {found['name']}  {found['key'] or ''}  {found['status']}")
            click.echo(f"  data  {json.dumps(found['data'])}")
            for each in found["deliveries"]:
                click.echo(f"  {each['target']}  {each['state']}" + (f": {each['error']}" if each.get("error") else ""))
            return
        rows = client.events(name=name, limit=limit)
    if as_json:
        print_json(rows)
        return
    cells = [
        (row["event_id"], local_moment(row["at"]), row["name"], row["key"] or "", json.dumps(row["data"]))
        for row in rows
    ]
    click.echo(
        table(("event", "at", "name", "key", "data"), cells, sys.stdout, flexible=("data",))
        if cells
        else "There are no events.\n",
        nl=False,
    )
