"""`rayflow runs`: the runs of a service.

In: nothing, or the id of a run. Out: a list; what is known of one run; items of its streams. Never: changes a run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import click

from rayflow.cli.output.render import table
from rayflow.cli.output.style import short_execution, visible
from rayflow.cli.run_filters import filter_of, filter_options
from rayflow.cli.services import client_of, local_moment, service_option
from rayflow.cli.stores import json_option, print_json, store_option


@click.group("runs", invoke_without_command=True)
@filter_options
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="How many at most.")
@service_option
@store_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    limit: int,
    service: str | None,
    store: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """List the latest runs: their states, and what they wait for.

    \b
    rayflow runs --state waiting --state running
    rayflow runs --flow checkout --tag team=billing --since 2d --text "order-7"
    rayflow runs show 0197a3c2-51f0    one run: why it is where it is, its waits, what has happened
    rayflow runs stream 0197a3c2-51f0 tokens --follow    what its bodies write to a stream
    """
    if context.invoked_subcommand is not None:
        return
    with client_of(service, store) as client:
        rows = client.runs(**filter_of(options), limit=limit)
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo("There are no runs.")
        return
    cells = [
        (
            short_execution(row["run_id"]), row["id"] or "", row["state"], local_moment(row["created_at"]),
            row["arguments"] or "", row.get("explanation") or row["error"] or "",
        )
        for row in rows
    ]  # fmt: skip
    heads = ("run", "id", "state", "since", "what", "why")
    click.echo(table(heads, cells, sys.stdout, flexible=("what", "why")), nl=False)


@command.command("show")
@click.argument("run", metavar="RUN")
@service_option
@store_option
@json_option
def show(run: str, service: str | None, store: str | None, as_json: bool) -> None:
    """Show one run: its state, why it is in it, its open waits, and its history.

    \b
    rayflow runs show order-7
    """
    with client_of(service, store) as client:
        found = client.get(run)
        described = {**found.describe(), "history": found.history()}
    if as_json:
        print_json(described)
        return
    click.echo(f"run {described['run_id']}" + (f" ({described['id']})" if described["id"] else ""))
    click.echo(f"  what   {described['arguments']}")
    click.echo(f"  state  {described['state']}: {described['explanation']}")
    if described.get("schedule"):
        click.echo(f"  since  the schedule {described['schedule']} fired for {local_moment(described['moment'])}")
    _list("waits", described["waits"], lambda wait: f"{wait['kind']}: {wait['explanation']}")
    _list("history", described["history"], _transition)


@command.command("stream")
@click.argument("run", metavar="RUN")
@click.argument("name", metavar="STREAM", required=False)
@click.option("--follow", is_flag=True, help="Wait for further items until the run has ended.")
@click.option("--after", default=0, type=click.IntRange(0), metavar="N", help="Begin behind the item with this number.")
@click.option("--joined", is_flag=True, help="Write texts one after the other, without a line for each.")
@service_option
@store_option
@json_option
def stream(
    run: str,
    name: str | None,
    follow: bool,
    after: int,
    joined: bool,
    service: str | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Print what a run's bodies have written to a stream, one item a line. Without STREAM: list the streams.

    With --json each line is an object: number, value, task, job_id, attempt, item and at. A later attempt of a call
    writes anew: its items stand in place of those that the earlier attempts of the call have written.

    \b
    rayflow runs stream order-7 tokens --follow --joined
    """
    with client_of(service, store) as client:
        found = client.get(run)
        if name is None:
            _print_streams(found.streams(), as_json)
            return
        is_within_line, count = False, 0
        for item in found.stream(name, after=after, follow=follow):
            count += 1
            if as_json:
                print_json(item._asdict())
            elif joined and isinstance(item.value, str):
                click.echo(visible(item.value), nl=False)
                is_within_line = not item.value.endswith("\n")
            else:
                text = item.value if isinstance(item.value, str) else json.dumps(item.value, ensure_ascii=False)
                click.echo(("\n" if is_within_line else "") + visible(text))
                is_within_line = False
            sys.stdout.flush()
        if is_within_line:
            click.echo()
        if not count and name not in (streams := found.streams()):
            known = f"Its streams are: {', '.join(streams)}" if streams else "It has no streams"
            click.echo(visible(f"Nothing has written to the stream {name!r} of this run. {known}."), err=True)


def _print_streams(streams: Mapping[str, int], as_json: bool) -> None:
    if as_json:
        print_json(streams)
    elif streams:
        rows = [(name, str(last)) for name, last in streams.items()]
        click.echo(table(("stream", "last"), rows, sys.stdout, flexible=("stream",)), nl=False)
    else:
        click.echo("Nothing has written to a stream of this run.")


def _list(head: str, rows: list[dict[str, Any]], text_of: Any) -> None:
    if rows:
        click.echo(f"  {head}")
        for row in rows:
            click.echo(f"    {text_of(row)}")


def _transition(row: dict[str, Any]) -> str:
    cause = f" ({row['cause']})" if row.get("cause") else ""
    about = f": {row['about']}" if row.get("about") else ""
    place = f" [{row['place'][:12]}]" if row.get("place") else ""
    return f"{local_moment(row['at'])}  {row['what']}{place} {row['state']}{cause}{about}"
