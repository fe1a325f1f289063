"""`rayflow emit`: tell the service that something has happened.

In: the name of an event, its data as JSON. Out: what it was delivered to. Never: the same event twice, if it has an id.
"""

from __future__ import annotations

import click

from rayflow.cli.parsing.given_options import given_object
from rayflow.cli.services import client_of, moment_of, service_option
from rayflow.cli.stores import json_option, print_json, store_option


@click.command("emit")
@click.argument("name", metavar="EVENT")
@click.argument("data", required=False, metavar="[JSON]")
@click.option("--input", "file", metavar="FILE", help="Read the data from JSON (- for stdin) or TOML.")
@click.option("--key", metavar="TEXT", help="The key that waits may ask for.")
@click.option("--id", "event_id", metavar="TEXT", help="The event's own id: the same event twice is one.")
@click.option("--at", metavar="MOMENT", help="When to deliver it: 2026-05-01T09:00Z.")
@click.option("--delay", metavar="DURATION", help="How much later to deliver it: 30s, 5m, 2h.")
@click.option("--strict", is_flag=True, help="Refuse it if it does not fit one of its subscribers.")
@service_option
@store_option
@json_option
def command(
    name: str,
    data: str | None,
    file: str | None,
    key: str | None,
    event_id: str | None,
    at: str | None,
    delay: str | None,
    strict: bool,
    service: str | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Emit an event: it starts a run of each flow that is subscribed, and resolves the waits that it fits.

    \b
    rayflow emit approval '{"by": "ada"}' --key order-7
    """
    import json

    if data is not None and file is not None:
        raise click.UsageError("Give the data once: as JSON, or by --input.")
    try:
        given = json.loads(data) if data is not None else given_object(file) if file is not None else None
    except ValueError as error:
        raise click.UsageError(f"{data!r} is not JSON: {error}. A text is written '\"text\"'.") from None
    with client_of(service, store) as client:
        found = client.emit(name, given, key=key, id=event_id, at=moment_of(at), delay=delay, strict=strict)
    if as_json:
        print_json(found)
        return
    click.echo(f"{found['event_id']}: {found['status']}")
    for each in found["deliveries"]:
        click.echo(f"  {each['target']}  {each['state']}" + (f": {each['error']}" if each.get("error") else ""))
