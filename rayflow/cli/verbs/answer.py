"""`rayflow answer`: answer a run that asks a person.

In: nothing, or a run and an answer as JSON. Out: the open questions; or that the run goes on. Never: takes an answer
that does not fit its form.
"""

from __future__ import annotations

import json
import sys

import click

from rayflow.cli.output.render import table
from rayflow.cli.output.style import short_execution
from rayflow.cli.services import client_of, local_moment, service_option
from rayflow.cli.stores import json_option, print_json, store_option


@click.command("answer")
@click.argument("run", required=False, metavar="[RUN]")
@click.argument("value", required=False, metavar="[JSON]")
@click.option("--place", metavar="ID", help="Which question of the run, if several are open.")
@service_option
@store_option
@json_option
def command(
    run: str | None, value: str | None, place: str | None, service: str | None, store: str | None, as_json: bool
) -> None:
    """List the questions that runs ask; or answer one.

    \b
    rayflow answer
    rayflow answer order-7 '{"approved": true}'
    """
    with client_of(service, store) as client:
        if run is None:
            _list(client.asks(), as_json)
            return
        if value is None:
            raise click.UsageError("Give the answer as JSON: rayflow answer RUN '{\"approved\": true}'.")
        try:
            given = json.loads(value)
        except ValueError as error:
            raise click.UsageError(f"{value!r} is not JSON: {error}. A text is written '\"text\"'.") from None
        found = client.get(run)
        found.answer(given, place=place)
    if as_json:
        print_json({"run_id": found.id, "answered": True})
    else:
        click.echo(f"{found.id} has its answer")


def _list(asks: list[dict[str, object]], as_json: bool) -> None:
    if as_json:
        print_json(asks)
        return
    cells = [
        (short_execution(str(ask["run_id"])), str(ask["prompt"]), local_moment(ask["deadline_at"]), str(ask["place"]))  # type: ignore[arg-type]  # a time
        for ask in asks
    ]
    if cells:
        click.echo(table(("run", "question", "until", "place"), cells, sys.stdout, flexible=("question",)), nl=False)
    else:
        click.echo("No run asks anything.")
