"""`rayflow store`: look after a store."""

from __future__ import annotations

import sys

import click

from rayflow.cli.stores import json_option, open_for, print_json, store_option

DAMAGED = 2
"""Exit code when files are damaged or missing: nobody's fault, but not well."""


@click.group("store")
def command() -> None:
    """Look after the store: check its files, or merge its small ones.

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
