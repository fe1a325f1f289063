"""`rayflow resume`: go on with an execution that was stopped.

In: the id of an execution. Out: its answer. Never: takes up an execution that is heard from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rayflow.cli.evaluation import evaluate
from rayflow.cli.output.output import answer_alone
from rayflow.cli.output.style import short_execution
from rayflow.cli.parsing.completion import executions
from rayflow.cli.recorded_tasks import load_tasks
from rayflow.cli.stores import check_one_place, config_of, store_option
from rayflow.errors import BadArguments
from rayflow.pasting import command as pasted

if TYPE_CHECKING:
    from rayflow.store.history.history import History


@click.command("resume")
@click.argument("execution", metavar="EXECUTION", shell_complete=executions)
@click.option("--inline", is_flag=True, help="Run everything in this process, without Ray.")
@click.option("--address", metavar="ADDRESS", help="The Ray cluster to join.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--quiet", "log_level", flag_value="quiet", help="Only the result and errors.")
@click.option("--verbose", "log_level", flag_value="verbose", help="Each job that ends, too.")
@store_option
def command(
    execution: str, inline: bool, address: str | None, as_json: bool, log_level: str | None, store: str | None
) -> int:
    """Go on with an execution that was stopped or lost; what it had finished is not computed again.

    \b
    rayflow resume 0197a3c2-51f0      an id, or enough of its beginning; - for the last one

    The current code of the project is used. An execution that still runs, wherever that is, is left alone.
    """
    from rayflow.store.open import open_store

    check_one_place(inline, address)
    here = True if inline else False if address else None
    config = config_of(store, inline=here, address=address, log_level=log_level)
    history = open_store(config.store, create=False, read_only=True).history()
    found = history.resolve(execution, kinds=("execution",))
    with answer_alone() as stdout:
        _check_left(history, found.id)
        load_tasks(history, found.id)
        return evaluate(config, lambda scheduler: scheduler.resume(found.id), stdout=stdout, as_json=as_json)


def _check_left(history: History, execution_id: str) -> None:
    """Raise BadArguments for an execution that still runs: two processes would evaluate it at the same time, and
    neither `rayflow log` nor `rayflow cancel` would know of the first one any longer."""
    row, now = history.execution(execution_id), history.statuses()
    state = now.state(row)
    if state is None:
        return
    name = short_execution(execution_id)
    follow, cancel = pasted("log", name, "--follow", store=history.url), pasted("cancel", name, store=history.url)
    raise BadArguments(
        f"Execution {name} still runs, on {state.host}: `{follow}` watches it, and `{cancel}` ends it. If nothing is "
        "heard from it for some seconds, it is taken for lost, and can be resumed."
    )
