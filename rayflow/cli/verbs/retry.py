"""`rayflow retry`: have failed runs go on.

In: the id of a run, or a filter. Out: what becomes of them. Never: repeats an effect that has been done.
"""

from __future__ import annotations

from typing import Any

import click

from rayflow.cli.run_filters import change_many, check_one_or_filter, filter_of, filter_options, yes_option
from rayflow.cli.services import client_of, service_option
from rayflow.cli.stores import json_option, print_json, store_option


@click.command("retry")
@click.argument("run", metavar="[RUN]", required=False)
@filter_options
@click.option("--reason", metavar="TEXT", default="", help="Why: it is recorded with the run.")
@yes_option
@service_option
@store_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    run: str | None,
    reason: str,
    yes: bool,
    service: str | None,
    store: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Have a failed run go on: failures that reached its root are tried again, and nothing else.

    \b
    rayflow retry order-7 --reason "the shop was down"
    rayflow retry --state failed --since 2h --yes      all runs that fit; without --yes it asks first

    Effects that have been done are not done again. Exit code 1: one of many runs has refused.
    """
    wanted = filter_of(options)
    check_one_or_filter(context, run, wanted, "run")
    with client_of(service, store) as client:
        if run is None:
            return change_many(client.retry_runs, wanted, "retried", reason=reason, yes=yes, as_json=as_json)
        found = client.get(run)
        found.retry(reason)
    if as_json:
        print_json({"run_id": found.id, "retried": True})
    else:
        click.echo(f"{found.id} goes on")
    return 0
