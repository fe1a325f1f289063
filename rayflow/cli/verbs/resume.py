"""`rayflow resume`: go on with an execution that was stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rayflow.cli.stores import config_of, store_option

if TYPE_CHECKING:
    pass


@click.command("resume")
@click.argument("execution", metavar="EXECUTION")
@click.option("--inline", is_flag=True, help="Run everything in this process, without Ray.")
@click.option("--address", metavar="ADDRESS", help="The Ray cluster to join.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@store_option
def command(execution: str, inline: bool, address: str | None, as_json: bool, store: str | None) -> int:
    """Go on with an execution that was stopped or lost; what it had finished is not computed again.

    \b
    rayflow resume 0197a3c2-51f0      an id, or enough of its beginning; - for the last one

    The current code of the project is used.
    """
    from rayflow.cli.evaluation import evaluate
    from rayflow.cli.output import answer_alone
    from rayflow.cli.recorded import load_tasks
    from rayflow.store.store import open_store

    config = config_of(store, inline=inline or None, address=address)
    history = open_store(config.store, create=False, read_only=True).history()
    found = history.resolve(execution, kinds=("execution",))
    with answer_alone() as stdout:
        load_tasks(history, found.id)
        return evaluate(config, lambda scheduler: scheduler.resume(found.id), stdout=stdout, as_json=as_json)
