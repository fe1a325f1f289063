"""`rayflow stats`: how many runs a service has, and how it goes.

In: nothing. Out: counts, rates and times. Never: changes anything.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from rayflow.cli.output.render import table
from rayflow.cli.output.style import duration, short_execution, visible
from rayflow.cli.services import client_of, local_moment, service_option
from rayflow.cli.stores import json_option, print_json, store_option


@click.command("stats")
@service_option
@store_option
@json_option
def command(service: str | None, store: str | None, as_json: bool) -> None:
    """Count the runs by flow and state, and say how many begin and end, and what has waited longest.

    \b
    rayflow stats
    """
    with client_of(service, store) as client:
        found = client.stats()
    if as_json:
        print_json(found)
        return
    if not found["states"]:
        click.echo("There are no runs.")
        return
    states = list(found["states"])
    rows = [
        (visible(each["flow"] or "(no flow)"), *(str(each["states"].get(state, "")) for state in states))
        for each in found["flows"]
    ]
    rows.append(("all", *(str(found["states"][state]) for state in states)))
    click.echo(table(("flow", *states), rows, sys.stdout, right=tuple(states), flexible=("flow",)))
    heads = ("in the last", "started", "done", "failed", "cancelled")
    rates = [(duration(each["seconds"]), *(str(each[name]) for name in heads[1:])) for each in found["rates"]]
    click.echo(table(heads, rates, sys.stdout, right=heads[1:]))
    click.echo(_spread("from the request to the start", found["queue_seconds"]))
    click.echo(_spread("from the start to the end", found["run_seconds"]))
    for state, each in found["oldest"].items():
        click.echo(f"longest {state}: {short_execution(each['run_id'])}, since {local_moment(each['since'])}")


def _spread(what: str, spread: dict[str, Any]) -> str:
    if not spread["count"]:
        return f"{what}: nothing in the last hour"
    times = ", ".join(f"{name} {duration(spread[name])}" for name in ("p50", "p95", "max"))
    return f"{what}: {times} ({spread['count']} in the last hour)"
