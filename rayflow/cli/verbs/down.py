"""`rayflow down`: stop the Ray that `rayflow up` started.

In: the project's directory, or --all. Out: a line for each Ray. Never: stops a Ray that `rayflow up` did not start.
"""

from __future__ import annotations

import click

from rayflow.cli.stores import config_of
from rayflow.runtime.on_ray.connection import local_ray


@click.command("down")
@click.option("--all", "wants_all", is_flag=True, help="Stop those of all your projects on this machine.")
def command(wants_all: bool) -> None:
    """Stop the Ray that `rayflow up` has started for this project, and only that one.

    \b
    rayflow down
    rayflow down --all
    """
    if wants_all:
        stopped = local_ray.all_running()
    else:
        project = config_of(None).project_dir
        known = local_ray.running(project)
        stopped = [known] if known is not None else []
    for each in stopped:
        local_ray.down(each)
        click.echo(f"The Ray of {each.project} is down.")
    if not stopped and wants_all:
        click.echo("No Ray of `rayflow up` is running.")
    elif not stopped:
        click.echo(f"No Ray of `rayflow up` is running for the project {project}.")
    for each in local_ray.all_running():
        click.echo(f"The Ray of {each.project} stays up at {each.address}; `rayflow down --all` stops all.")
