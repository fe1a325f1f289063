"""`rayflow completion`: print the script by which a shell completes rayflow's words.

In: the name of a shell. Out: the script on stdout. Never: writes to the files of the shell.
"""

from __future__ import annotations

import click

from rayflow.cli.parsing.completion import SHELLS, script


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the script by which a shell completes verbs, options, files, tasks, their arguments and executions.

    \b
    rayflow completion bash > ~/.local/share/bash-completion/completions/rayflow
    rayflow completion zsh > ~/.zfunc/_rayflow          with ~/.zfunc in fpath, before compinit
    rayflow completion fish > ~/.config/fish/completions/rayflow.fish
    """
    click.echo(script(context.find_root().command, shell))
