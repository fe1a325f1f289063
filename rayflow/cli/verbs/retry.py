"""`rayflow retry`: have a failed run go on.

In: the id of a run. Out: what becomes of it. Never: repeats an effect that has been done.
"""

from __future__ import annotations

import click

from rayflow.cli.services import client_of, service_option
from rayflow.cli.stores import json_option, print_json, store_option


@click.command("retry")
@click.argument("run", metavar="RUN")
@click.option("--reason", metavar="TEXT", default="", help="Why: it is recorded with the run.")
@service_option
@store_option
@json_option
def command(run: str, reason: str, service: str | None, store: str | None, as_json: bool) -> None:
    """Have a failed run go on: failures that reached its root are tried again, and nothing else.

    \b
    rayflow retry order-7 --reason "the shop was down"

    Effects that have been done are not done again.
    """
    with client_of(service, store) as client:
        found = client.get(run)
        found.retry(reason)
    if as_json:
        print_json({"run_id": found.id, "retried": True})
    else:
        click.echo(f"{found.id} goes on")
