"""`rayflow import`: copy what this store lacks from a file that `rayflow export` wrote.

In: a file's name, executions. Out: new records in the store, their numbers on stdout. Never: changes records.
"""

from __future__ import annotations

import click

from rayflow.cli.copying import copy_between, dry_run_option
from rayflow.cli.stores import config_of, json_option, store_option


@click.command("import")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False))
@dry_run_option
@store_option
@json_option
def command(file: str, dry_run: bool, store: str | None, as_json: bool) -> None:
    """Copy what this store lacks from a file that `rayflow export` wrote.

    \b
    rayflow import results.zip

    The file is checked whole before anything is taken from it. Like any store it may hold pickles, which run what their
    writer put there when they are read: import from those whose code you would run.
    """
    from rayflow.store.exchange.archive import reading

    with reading(file) as source:
        copy_between(source, config_of(store).store, (), dry_run=dry_run, as_json=as_json)
