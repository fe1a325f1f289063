"""`rayflow fork`: start another run that begins with what a run has done.

In: the id of a run, what is done anew, other arguments. Out: the new run's id. Never: changes the run that it forks.
"""

from __future__ import annotations

from typing import Any

import click

from rayflow.cli.output.output import answer_alone, write_json
from rayflow.cli.parsing.given_options import tags_of
from rayflow.cli.parsing.words import take_own
from rayflow.cli.services import client_of

_OPTIONS: list[click.Parameter] = [
    click.Option(
        ["--at"],
        multiple=True,
        metavar="PLACE",
        help="What is done anew, with all below it: a place of the run, or the name of a task.",
    ),
    click.Option(["--id"], metavar="TEXT", help="The new run's own id."),
    click.Option(["--tag"], multiple=True, metavar="KEY=VALUE", help="A tag; those of the old run by default."),
    click.Option(["--service"], metavar="URL", help="The service; that of the project's store by default."),
    click.Option(["--store"], metavar="URL", help="Which store; .rayflow in the project by default."),
    click.Option(["--json", "as_json"], is_flag=True, help="Print JSON."),
]
_WORDS = click.Argument(["words"], nargs=-1, required=True, type=click.UNPROCESSED, metavar="RUN [--argument VALUE]...")


@click.command(
    "fork",
    params=[*_OPTIONS, _WORDS],
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.pass_context
def command(context: click.Context, /, words: tuple[str, ...], **options: Any) -> None:
    """Start another run that begins with what a run has done, and print its id.

    \b
    rayflow fork order-7 --at charge           charge is called again, and what gets another value because of that
    rayflow fork order-7 --order @other.json   with another argument; what does not depend on it is kept

    The run that is forked stays as it is. What the new run keeps is not done again: `rayflow runs show RUN` lists what
    a run has done, and its places. The options below may stand anywhere; behind -- all words are the task's.
    """
    own = {name: not option.is_flag for option in _OPTIONS if isinstance(option, click.Option) for name in option.opts}
    run = words[0]
    if run.startswith("-"):
        raise click.UsageError(f"No such option {run!r}.", context)
    mine, arguments = take_own(words[1:], own, frozenset())
    if mine:
        reader = click.Command("fork", params=_OPTIONS, add_help_option=False)
        late = reader.make_context("fork", mine, parent=context.parent)
        for key, value in late.params.items():
            if late.get_parameter_source(key) is click.core.ParameterSource.COMMANDLINE:
                options[key] = (*options[key], *value) if key in ("tag", "at") else value
    tags = dict(tags_of(options["tag"])) or None
    with answer_alone() as stdout, client_of(options["service"], options["store"]) as client:
        made = client.get(run).fork(at=options["at"], words=arguments, id=options["id"], tags=tags)
        if options["as_json"]:
            write_json(stdout, {"run_id": made.id, "is_new": made.is_new})
        else:
            stdout.write(f"{made.id}\n")
