"""`rayflow push`: copy the records that another store lacks to it.

In: the place of a store, executions. Out: new records in that store. Never: changes this store.
"""

from __future__ import annotations

import click

from rayflow.cli.copying import copy_between, dry_run_option
from rayflow.cli.parsing import completion
from rayflow.cli.stores import json_option, open_for, store_option


@click.command("push")
@click.argument("url", metavar="URL")
@click.argument("executions", metavar="[EXECUTION]...", nargs=-1, shell_complete=completion.executions)
@dry_run_option
@store_option
@json_option
def command(url: str, executions: tuple[str, ...], dry_run: bool, store: str | None, as_json: bool) -> None:
    """Copy what another store lacks to it: all records and values, or those of some executions.

    \b
    rayflow push s3://bucket/results       all that is not there yet
    rayflow push ../shared/.rayflow -      the last execution, with all that it refers to

    The other store is made when it is not there. Pushing again copies what is new; a push that was interrupted goes on
    where it was. Others may run on both stores meanwhile.
    """
    copy_between(open_for(store), url, executions, dry_run=dry_run, as_json=as_json)
