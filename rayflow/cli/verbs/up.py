"""`rayflow up`: start a local Ray that stays up between runs.

In: the number of processors. Out: a Ray, its address on stdout. Never: starts a second one for a project.
"""

from __future__ import annotations

import click

from rayflow.cli.stores import config_of
from rayflow.runtime.on_ray.connection import local_ray


@click.command("up")
@click.option(
    "--num-cpus", type=click.IntRange(min=1), metavar="N", help="Processors of this Ray; as configured, or all."
)
def command(num_cpus: int | None) -> None:
    """Start a local Ray that stays up, so that the next runs of this project need not start one.

    \b
    rayflow up && rayflow run flow.py

    Only runs of this project join it, and those that name its address. It listens on this machine alone (127.0.0.1),
    and asks for a token, which runs of yours find by themselves. For a cluster of several machines, use `ray start`.
    """
    config = config_of(None, num_cpus=num_cpus)
    known = local_ray.up(config.project_dir, config.num_cpus)
    click.echo(
        f"Ray is up at {known.address} for the project {known.project}: its runs join it, others with "
        f"--address {known.address}. `rayflow down` stops it."
    )
    if known.token is None:
        click.echo(
            "It asks for no token, because RAY_AUTH_MODE=disabled is set: every user of this machine can run code in "
            "it, as you.",
            err=True,
        )
