"""`rayflow down`: stop what `rayflow up` started."""

from __future__ import annotations

import click


@click.command("down")
def command() -> None:
    """Stop the Ray that `rayflow up` has started, and only that one.

    \b
    rayflow down
    """
    from rayflow.runtime.warm import down

    click.echo("Ray is down." if down() else "No Ray of `rayflow up` is running.")
