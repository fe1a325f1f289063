"""`rayflow schedules`: when the clock starts runs.

In: nothing, or the name of a schedule and what is to become of it. Out: a list; a schedule with its firings; what has
changed. Never: decides when something fires.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from rayflow.cli.output.render import table
from rayflow.cli.output.style import short_execution
from rayflow.cli.parsing.given_options import moment_of
from rayflow.cli.services import client_of, local_moment, service_option
from rayflow.cli.stores import json_option, print_json, store_option

F = TypeVar("F", bound=Callable[..., Any])

NAMES = click.argument("name", metavar="SCHEDULE")


def _asked(function: F) -> F:
    """The options of every verb that asks a service."""
    return service_option(store_option(json_option(function)))


@click.group("schedules", invoke_without_command=True)
@_asked
@click.pass_context
def command(context: click.Context, service: str | None, store: str | None, as_json: bool) -> None:
    """List the schedules: when they start runs, and what they start.

    \b
    rayflow schedules
    rayflow schedules show digest               one: its next moments, its changes, its latest firings
    rayflow schedules trigger digest            start a run of it now
    rayflow schedules put nightly report --cron "0 3 * * *" --tz Europe/Oslo
    """
    if context.invoked_subcommand is not None:
        return
    with client_of(service, store) as client:
        rows = client.schedules.list()
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo("There are no schedules.")
        return
    cells = [
        (row["schedule"], row["state"], row["when"], local_moment(row["next_at"]), row["flow"], _goes_on(row))
        for row in rows
    ]
    heads = ("schedule", "state", "when", "next", "starts", "not ended")
    click.echo(table(heads, cells, sys.stdout, flexible=("when", "not ended")), nl=False)


def _goes_on(row: dict[str, Any]) -> str:
    """What of a schedule has not ended."""
    counts = {"running": len(row["runs"]), "queued": len(row["queued"]), "pending": len(row["pending"])}
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


@command.command("show")
@NAMES
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 10_000), help="How many firings.")
@_asked
def show(name: str, limit: int, service: str | None, store: str | None, as_json: bool) -> None:
    """Show one schedule: its next moments, its changes, and its latest firings.

    \b
    rayflow schedules show digest
    """
    with client_of(service, store) as client:
        found = client.schedules.show(name, limit=limit)
    if as_json:
        print_json(found)
        return
    click.echo(f"schedule {found['schedule']}")
    click.echo(f"  state    {found['state']}, since {local_moment(found['changed_at'])}")
    click.echo(f"  when     {found['when']}")
    given = f" with {json.dumps(found['arguments'])}" if found["arguments"] else ""
    click.echo(f"  starts   {found['flow']}{given}")
    click.echo(f"  overlap  {found['overlap']}; a firing may be late by {found['catch_up_seconds']:g} s")
    if found["next"]:
        click.echo(f"  next     {', '.join(map(local_moment, found['next']))}")
    if going := _goes_on(found):
        click.echo(f"  goes on  {going}")
    for head, lines in (("changes", map(_change, found["changes"])), ("firings", map(_firing, found["firings"]))):
        click.echo(f"  {head}")
        for line in lines:
            click.echo(f"    {line}")


def _change(row: dict[str, Any]) -> str:
    return f"{local_moment(row['at'])}  {row['state']} ({row['cause']})"


def _firing(row: dict[str, Any]) -> str:
    when = local_moment(row["moment"])
    if row["last_moment"] is not None:
        many = "many" if row["many"] is None else row["many"]
        when += f" to {local_moment(row['last_moment'])} ({many})"
    why = row["error"] or row["cause"]
    run = f": run {short_execution(row['run_id'])}" if row["run_id"] else ""
    return f"{when}  {row['state']}{run}" + (f": {why}" if why else "")


@command.command("next")
@NAMES
@click.option("--count", default=5, show_default=True, type=click.IntRange(1, 1_000), help="How many moments.")
@_asked
def coming(name: str, count: int, service: str | None, store: str | None, as_json: bool) -> None:
    """Print the next moments of a schedule, by the clock of this machine.

    \b
    rayflow schedules next digest --count 10
    """
    with client_of(service, store) as client:
        found = client.schedules.next(name, count)
    if as_json:
        print_json(found)
        return
    for moment in found:
        click.echo(local_moment(moment))
    if not found:
        click.echo("It fires no more, or is paused: `rayflow schedules show` says which.")


@command.command("put")
@NAMES
@click.argument("task", metavar="TASK")
@click.option("--cron", "crons", multiple=True, metavar="TEXT", help='Times such as "0 9 * * 1-5"; may be repeated.')
@click.option("--tz", metavar="ZONE", default="UTC", show_default=True, help="The time zone of --cron.")
@click.option("--every", "periods", multiple=True, metavar="DURATION", help="A period: 30s, 5m, 2h; may be repeated.")
@click.option("--start", metavar="MOMENT", help="The first moment of --every; full periods since 1970 by default.")
@click.option("--arguments", metavar="JSON", help='The arguments by name: \'{"city": "Oslo"}\'.')
@click.option(
    "--overlap",
    type=click.Choice(["skip", "queue", "allow", "cancel_previous"]),
    default="skip",
    show_default=True,
    help="What a firing does while a run of the schedule has not ended.",
)
@click.option("--catch-up", metavar="DURATION", default="1h", show_default=True, help="How late a firing may be.")
@_asked
def put(
    name: str,
    task: str,
    crons: tuple[str, ...],
    tz: str,
    periods: tuple[str, ...],
    start: str | None,
    arguments: str | None,
    overlap: str,
    catch_up: str,
    service: str | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Make a schedule for a task of the service, or change one that was put.

    \b
    rayflow schedules put nightly report --cron "0 3 * * *" --tz Europe/Oslo
    rayflow schedules put poll fetch --every 5m --arguments '{"city": "Oslo"}' --overlap queue
    """
    from rayflow.lang.durable.schedules import cron, every

    if not crons and not periods:
        raise click.UsageError("Say when: --cron or --every.")
    if start is not None and not periods:
        raise click.UsageError("--start is the first moment of --every.")
    begin = None if start is None else moment_of(start)
    timetable = [*(cron(each, tz=tz) for each in crons), *(every(each, start=begin) for each in periods)]
    with client_of(service, store) as client:
        found = client.schedules.put(
            name, task, timetable, arguments=_object(arguments), overlap=overlap, catch_up=catch_up
        )
    _say(found, as_json)


def _object(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        found = json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"--arguments {text!r} is not JSON: {error}.") from None
    if not isinstance(found, dict):
        raise click.UsageError(f"--arguments {text!r} is not a JSON object with the arguments by name.")
    return found


def _say(found: dict[str, Any], as_json: bool) -> None:
    """What a schedule is after a change."""
    if as_json:
        print_json(found)
        return
    coming = f"; next {local_moment(found['next_at'])}" if found["next_at"] is not None else ""
    click.echo(f"{found['schedule']}: {found['state']}, {found['when']}{coming}")


@command.command("pause")
@NAMES
@_asked
def pause(name: str, service: str | None, store: str | None, as_json: bool) -> None:
    """Pause a schedule: its moments are skipped until it is resumed. Its runs go on.

    \b
    rayflow schedules pause digest
    """
    with client_of(service, store) as client:
        _say(client.schedules.pause(name), as_json)


@command.command("resume")
@NAMES
@_asked
def resume(name: str, service: str | None, store: str | None, as_json: bool) -> None:
    """Have a paused schedule go on.

    \b
    rayflow schedules resume digest
    """
    with client_of(service, store) as client:
        _say(client.schedules.resume(name), as_json)


@command.command("trigger")
@NAMES
@click.option("--at", metavar="MOMENT", help="The moment that it is for: 2026-05-01T09:00Z; now by default.")
@_asked
def trigger(name: str, at: str | None, service: str | None, store: str | None, as_json: bool) -> None:
    """Start a run of a schedule now, whatever runs, also when it is paused. Print the run's id.

    \b
    rayflow schedules trigger digest
    """
    with client_of(service, store) as client:
        run = client.schedules.trigger(name, None if at is None else moment_of(at))
    if as_json:
        print_json({"run_id": run.id, "is_new": run.is_new})
    else:
        click.echo(run.id)


@command.command("backfill")
@NAMES
@click.option("--from", "first", required=True, metavar="MOMENT", help="The first moment: 2026-05-01, or 7d for then.")
@click.option("--to", "last", metavar="MOMENT", help="The last moment; now by default.")
@_asked
def backfill(
    name: str, first: str, last: str | None, service: str | None, store: str | None, as_json: bool
) -> None:
    """Start the runs of all moments of a schedule between two times that have had none, in order.

    \b
    rayflow schedules backfill digest --from 2026-05-01 --to 2026-05-07
    """
    with client_of(service, store) as client:
        found = client.schedules.backfill(name, moment_of(first), None if last is None else moment_of(last))
    if as_json:
        print_json(found)
        return
    click.echo(f"{len(found['moments'])} new firings; {found['known']} moments had a run already.")
    for moment in found["moments"]:
        click.echo(f"  {local_moment(moment)}")


@command.command("delete")
@NAMES
@_asked
def delete(name: str, service: str | None, store: str | None, as_json: bool) -> None:
    """Delete a schedule that was put. Its runs go on.

    \b
    rayflow schedules delete nightly
    """
    with client_of(service, store) as client:
        _say(client.schedules.delete(name), as_json)
