"""The options that choose runs of a service, and what many runs are asked at once.

In: what was given. Out: the filter as the client takes it; how many runs were changed. Never: changes all runs because
no option was given.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from rayflow.cli.output.style import many
from rayflow.cli.parsing import given_options
from rayflow.cli.stores import print_json
from rayflow.errors import BadArguments

STATES = ("scheduled", "queued", "running", "waiting", "ending", "done", "failed", "cancelled")

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--state", multiple=True, type=click.Choice(STATES), help="Only runs in this state; several: any."),
    click.option("--flow", multiple=True, metavar="TASK", help="Only runs of this task; several: any of them."),
    click.option("--tag", multiple=True, metavar="KEY=VALUE", help="Only runs with this tag; several: all of them."),
    click.option("--text", metavar="TEXT", help="Only runs with this in their id, input, tags, error or result."),
    click.option("--since", metavar="TIME", help="Only what was requested since: 2h, 7d, 2026-11-21."),
    click.option("--until", metavar="TIME", help="Only what was requested before: 2h, 7d, 2026-11-21."),
    click.option("--id-prefix", metavar="TEXT", help="Only runs whose id begins so."),
)
_NAMES = ("state", "flow", "tag", "text", "since", "until", "id_prefix")

yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask before many runs are changed.")


def filter_options(command: _Command) -> _Command:
    """Give a verb the options that choose runs."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def filter_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """The filter in the options of a verb, as the client takes it. Empty, if none was given. Raises BadArguments."""
    tags = {}
    for text in options["tag"]:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise click.UsageError(f"{text!r} is not a tag: write KEY=VALUE.")
        tags[key] = value
    given = {
        "state": list(options["state"]), "flow": list(options["flow"]), "tags": tags, "text": options["text"],
        "since": given_options.moment_of(options["since"]) if options["since"] else None,
        "until": given_options.moment_of(options["until"]) if options["until"] else None,
        "id_prefix": options["id_prefix"],
    }  # fmt: skip
    return {name: value for name, value in given.items() if value}


def check_one_or_filter(context: click.Context, one: str | None, wanted: Mapping[str, Any], what: str) -> None:
    """Raise UsageError unless the line names either one run or a filter."""
    if one is not None and wanted:
        raise click.UsageError(f"Name one {what}, or choose runs by options; not both.", context)
    if one is None and not wanted:
        raise click.UsageError(f"Name the {what}, or choose runs by --state, --flow, --tag, --since, ...", context)


def change_many(
    ask: Callable[..., dict[str, Any]], wanted: Mapping[str, Any], done: str, *, reason: str, yes: bool, as_json: bool
) -> int:
    """Change all runs that a filter means, after asking. ask: `Client.cancel_runs` or `Client.retry_runs`. done: what
    becomes of them, in one word. Returns the exit code: 1 if a run has refused."""
    dry = ask(**wanted, dry=True)
    if dry["count"] and not yes:
        what = many(dry["count"], "run")
        if not sys.stdin.isatty():
            raise BadArguments(f"This would change {what}. Nothing was changed; add --yes if that is meant.")
        if not click.confirm(f"Change {what}?", err=True):
            return 1
    # Runs that were requested meanwhile were not counted.
    told = ask(**wanted, reason=reason, latest=dry["latest"]) if dry["count"] else {**dry, "dry": False}
    if as_json:
        print_json(told)
    else:
        click.echo(f"{many(told['count'], 'run')} {done}")
        for each in told["refused"]:
            click.echo(f"{each['run_id']}: {each['message']}", err=True)
    return 1 if told["refused"] else 0
