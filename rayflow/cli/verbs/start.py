"""`rayflow start`: start a run.

In: a task of the service, its arguments. Out: the run's id, or its result. Never: loads the task's code: the service
has it.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from rayflow.cli.output.output import answer_alone, shown, write_json
from rayflow.cli.parsing.given_options import tags_of
from rayflow.cli.parsing.words import take_own
from rayflow.cli.services import client_of, moment_of

_OPTIONS: list[click.Parameter] = [
    click.Option(["--id"], metavar="TEXT", help="The run's own id: a second start with it gives the same run."),
    click.Option(
        ["--reuse"],
        type=click.Choice(["return", "reject", "if_failed"]),
        default="return",
        help="What an id means that has a run already: that run (the default), an error, or a retry of a failed one.",
    ),
    click.Option(["--at"], metavar="MOMENT", help="When to start it: 2026-05-01T09:00Z."),
    click.Option(["--delay"], metavar="DURATION", help="How much later to start it: 30s, 5m, 2h."),
    click.Option(["--queue"], metavar="NAME", help="Its queue; that of its flow by default."),
    click.Option(["--priority"], type=int, metavar="NUMBER", help="Greater ones come first in the queue."),
    click.Option(["--tag"], multiple=True, metavar="KEY=VALUE", help="A tag of the run."),
    click.Option(["--wait"], is_flag=True, help="Wait for its result, and print that."),
    click.Option(["--service"], metavar="URL", help="The service; that of the project's store by default."),
    click.Option(["--store"], metavar="URL", help="Which store; .rayflow in the project by default."),
    click.Option(["--json", "as_json"], is_flag=True, help="Print JSON."),
]
_WORDS = click.Argument(
    ["words"], nargs=-1, required=True, type=click.UNPROCESSED, metavar="TASK [--argument VALUE]..."
)


@click.command(
    "start",
    params=[*_OPTIONS, _WORDS],
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.pass_context
def command(context: click.Context, /, words: tuple[str, ...], **options: Any) -> int:
    """Start a run of a task that the service knows, and print the run's id.

    \b
    rayflow start checkout --order 7 --id order-7
    rayflow start report --delay 10m
    rayflow start checkout --order 7 --wait      the result, as `rayflow run` prints it

    The arguments are read as by `rayflow run`. The options below may stand anywhere; behind -- all words
    are the task's.
    """
    own = {name: not option.is_flag for option in _OPTIONS if isinstance(option, click.Option) for name in option.opts}
    name = words[0]
    if name.startswith("-"):
        raise click.UsageError(f"No such option {name!r}.", context)
    mine, arguments = take_own(words[1:], own, frozenset())
    if mine:
        reader = click.Command("start", params=_OPTIONS, add_help_option=False)
        late = reader.make_context("start", mine, parent=context.parent)
        for key, value in late.params.items():
            if late.get_parameter_source(key) is click.core.ParameterSource.COMMANDLINE:
                options[key] = (*options[key], *value) if key == "tag" else value
    with answer_alone() as stdout, client_of(options["service"], options["store"]) as client:
        run = client.start(
            name,
            words=arguments,
            id=options["id"],
            reuse=options["reuse"],
            at=moment_of(options["at"]),
            delay=options["delay"],
            queue=options["queue"],
            priority=options["priority"],
            tags=dict(tags_of(options["tag"])),
        )
        if not options["wait"]:
            if options["as_json"]:
                write_json(stdout, {"run_id": run.id, "is_new": run.is_new})
            else:
                stdout.write(f"{run.id}\n")
            return 0
        sys.stderr.write(f"run {run.id}\n")
        value = run.result()
        if options["as_json"]:
            write_json(stdout, value)
        else:
            stdout.write(f"{shown(value)[0]}\n")
    return 0
