"""`rayflow up`: a local Ray that stays."""

from __future__ import annotations

import click


@click.command("up")
@click.option("--num-cpus", type=click.IntRange(min=1), metavar="N", help="Processors of this Ray; all by default.")
def command(num_cpus: int | None) -> None:
    """Start a local Ray that stays up, so that the next runs need not start one.

    \b
    rayflow up && rayflow run flow.py
    """
    from rayflow.runtime.warm import up

    click.echo(f"Ray is up at {up(num_cpus)}; runs of this machine join it. `rayflow down` stops it.")
