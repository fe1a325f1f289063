"""`rayflow export`: write what is recorded here to one file.

In: a file's name, executions. Out: a zip; on stdout a line that says what is in it. Never: overwrites a file.
"""

from __future__ import annotations

import click

from rayflow.cli.copying import chosen, copied, show
from rayflow.cli.parsing import completion
from rayflow.cli.stores import json_option, open_for, store_option


@click.command("export")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False))
@click.argument("executions", metavar="[EXECUTION]...", nargs=-1, shell_complete=completion.executions)
@store_option
@json_option
def command(file: str, executions: tuple[str, ...], store: str | None, as_json: bool) -> None:
    """Write all records and values, or those of some executions, to one file (a zip), for `rayflow import`.

    \b
    rayflow export results.zip
    rayflow export paper.zip - 01a1fc1e    two executions, with all that they refer to
    """
    from rayflow.store.exchange.archive import writing

    source = open_for(store)
    ids = chosen(source, executions)
    with writing(file) as archive:
        done = copied(source, archive, ids)
    show(done, source.url, file, as_json=as_json)
