"""`rayflow pull`: copy the records that this store lacks from another one.

In: the place of a store, executions. Out: new records in this store. Never: changes the other store.
"""

from __future__ import annotations

import click

from rayflow.cli.copying import copy_between, dry_run_option
from rayflow.cli.parsing import completion
from rayflow.cli.stores import config_of, json_option, open_for, store_option


@click.command("pull")
@click.argument("url", metavar="URL")
@click.argument("executions", metavar="[EXECUTION]...", nargs=-1, shell_complete=completion.executions)
@dry_run_option
@store_option
@json_option
def command(url: str, executions: tuple[str, ...], dry_run: bool, store: str | None, as_json: bool) -> None:
    """Copy what this store lacks from another one: all records and values, or those of some executions.

    \b
    rayflow pull s3://bucket/results             all that is not here yet
    rayflow pull s3://bucket/results 01a1fc1e    one execution, with all that it refers to

    What was computed there counts here, too: a run with the same code and arguments takes it from the cache.
    """
    copy_between(open_for(url), config_of(store).store, executions, dry_run=dry_run, as_json=as_json)
