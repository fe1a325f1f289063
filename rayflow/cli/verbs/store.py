"""`rayflow store`: look after a store."""

from __future__ import annotations

import sys

import click

from rayflow.cli.stores import json_option, open_for, print_json, store_option

DAMAGED = 2
"""Exit code when files are damaged or missing: nobody's fault, but not well."""


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
        from rayflow.cli.render import table

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
    from rayflow.cli.style import size

    click.echo(
        f"{result.merged} commits became {result.written}: {size(result.bytes_before)} before, "
        f"{size(result.bytes_after)} now; {result.swept} old files removed."
    )


@command.command("gc")
@click.option("--older-than", metavar="TIME", help="Forget executions first that are older: 30d, or a date.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@store_option
@json_option
def gc(older_than: str | None, dry_run: bool, store: str | None, as_json: bool) -> None:
    """Remove what nothing refers to: replaced and half-written files after an hour, values that no record names after a
    day.

    \b
    rayflow store gc --dry-run
    rayflow store gc --older-than 30d

    With --older-than, executions of which nothing was recorded since are forgotten first; what younger ones have used
    stays. The space that only they took is free after the next gc, from an hour later on. Others may run meanwhile.
    """
    from rayflow.cli.asked import moment_of
    from rayflow.cli.lives import is_lost
    from rayflow.store.garbage import collect

    before = moment_of(older_than) if older_than is not None else None
    opened = open_for(store, read_only=dry_run)
    result = collect(opened, older_than=before, is_over=is_lost, dry_run=dry_run)
    if as_json:
        print_json(result)
        return
    from rayflow.cli.style import many, size

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
        click.echo(f"Values stay: {result.unread}, and nobody knows what it names (`rayflow store check`).", err=True)
