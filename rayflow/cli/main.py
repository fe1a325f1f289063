"""The verbs of `rayflow`, each loaded when it is named.

In: the first word. Out: the verb's command. Never: imports a verb that is not asked for, but to list them all.
"""

from __future__ import annotations

import importlib
from typing import Any

import click

VERBS = (
    "run", "repl", "log", "why", "viz", "tag", "sql", "resume", "forget", "push", "pull", "export", "import", "fs",
    "store", "config", "up", "down",
)  # fmt: skip
"""Every verb, in the order of `rayflow --help`. Each is `command` of the module `rayflow.cli.verbs.<verb>`."""


class Verbs(click.Group):
    """A group whose commands are modules."""

    def list_commands(self, context: click.Context) -> list[str]:
        """The names of the verbs."""
        return list(VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The verb's command; None when there is none of that name."""
        if name not in VERBS:
            return None
        found: click.Command = importlib.import_module(f"rayflow.cli.verbs.{name}").command
        return found

    def resolve_command(self, context: click.Context, words: list[str]) -> Any:
        """As click does, but an unknown verb offers the nearest one."""
        try:
            return super().resolve_command(context, words)
        except click.UsageError:
            from difflib import get_close_matches

            near = get_close_matches(words[0], VERBS, n=1)
            file = words[0].endswith(".py")
            offer = near[0] if near else f"run {words[0]}" if file else "--help"
            raise click.UsageError(f"There is no verb {words[0]!r}. Did you mean `rayflow {offer}`?") from None


def _print_version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from rayflow.version import VERSION

        click.echo(f"rayflow {VERSION}")
        context.exit()


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def command() -> None:
    """Run Python workflows whose results are kept, and ask what happened.

    \b
    rayflow run flow.py main --n 3     run a task; what was computed before is not computed again
    rayflow log -                      what the last run did
    rayflow COMMAND --help             more about a command, with an example
    """
