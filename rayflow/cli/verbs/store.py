"""`rayflow store`: check a store, merge its small files, remove its garbage.

In: the place of a store. Out: what was found or done. Never: removes anything that is still referred to.
"""

from __future__ import annotations

import sys
from functools import partial

import click

from rayflow.cli.output.render import table
from rayflow.cli.output.style import is_terminal, many, size
from rayflow.cli.parsing.given_options import moment_of
from rayflow.cli.stores import json_option, open_for, print_json, store_option
from rayflow.errors import BadArguments
from rayflow.pasting import command as pasted
from rayflow.store.history.execution_status import ExecutionStatuses

DAMAGED = 2
"""Exit code when files are damaged or missing."""


@click.group("store")
def command() -> None:
    """Look after the store: check its files, merge its small ones, or remove what nothing refers to.

    \b
    rayflow store check
    """


@command.command("check")
@store_option
@json_option
def check(store: str | None, as_json: bool) -> int:
    """Read every file of the store and name those that are damaged, missing or left over; exit code 2 if some are bad.

    \b
    rayflow store check --store s3://bucket/results
    """
    opened = open_for(store)
    problems = [*opened.check(), *opened.dangling()]
    if as_json:
        print_json(problems)
    elif not problems:
        click.echo(f"{opened.url} is in order.")
    else:
        rows = [(problem.kind, problem.path, problem.text) for problem in problems]
        click.echo(table(("kind", "path", "what"), rows, sys.stdout, flexible=("what",)), nl=False)
    return DAMAGED if any(problem.kind != "orphaned" for problem in problems) else 0


@command.command("compact")
@store_option
@json_option
def compact(store: str | None, as_json: bool) -> None:
    """Merge small files into large ones, so that questions are answered faster.

    \b
    rayflow store compact
    """
    opened = open_for(store, read_only=False)
    result = opened.compact()
    opened.close()
    if as_json:
        print_json(result)
        return
    click.echo(
        f"{result.merged} commits became {result.written}: {size(result.bytes_before)} before, "
        f"{size(result.bytes_after)} now; {result.swept} old files removed."
    )


@command.command("gc")
@click.option("--older-than", metavar="TIME", help="Forget executions first that are older: 30d, or a date.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before all executions are forgotten.")
@store_option
@json_option
def gc(older_than: str | None, dry_run: bool, yes: bool, store: str | None, as_json: bool) -> None:
    """Remove what nothing refers to: replaced and half-written files after an hour, values that no record names after a
    day.

    \b
    rayflow store gc --dry-run
    rayflow store gc --older-than 30d

    With --older-than, executions of which nothing was recorded since are forgotten first; what younger ones have used
    stays. The space that only they took is free after the next gc, from an hour later on. Others may run meanwhile.
    Where that would forget all executions it asks first; without a terminal it then needs --yes.
    """
    from rayflow.store.exchange.garbage import LIVE_SECONDS, collect

    before = moment_of(older_than) if older_than is not None else None
    opened = open_for(store, read_only=dry_run)
    asked = _no_question if yes else partial(_ask_first, opened.url)
    is_over = ExecutionStatuses(opened.folder, patience_seconds=LIVE_SECONDS).is_lost
    result = collect(opened, older_than=before, is_over=is_over, dry_run=dry_run, confirm=asked)
    if as_json:
        print_json(result)
        return
    said = "would be " if dry_run else ""
    if before is not None:
        click.echo(f"{many(result.forgotten, 'execution')} {said}forgotten.")
    click.echo(
        f"{many(result.files, 'old file')} and {many(result.blobs, 'value')} that no record names {said}removed "
        f"({size(result.removed_bytes)})."
    )
    if result.young:
        click.echo(f"{many(result.young, 'value')} that no record names: too young to be removed.")
    if result.unread is not None:
        check = pasted("store", "check", store=opened.url)
        click.echo(f"Values stay: {result.unread}, and nobody knows what it names (`{check}`).", err=True)


def _no_question(count: int) -> None:
    """Ask nothing: all of them may be removed."""


def _ask_first(url: str, count: int) -> None:
    """Ask at the terminal whether all executions may be forgotten. Raises BadArguments for any answer but yes."""
    what = f"all of {url}: {many(count, 'execution')}, with the cached results"
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise BadArguments(f"This would forget {what}. Nothing was removed; add --yes if that is meant.")
    if not click.confirm(f"Forget {what}?", err=True):
        raise BadArguments("Nothing was removed.")
