"""`rayflow serve`: keep the runs of a store.

In: files with flows. Out: a process that listens. Never: lets two processes keep one store.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import click

from rayflow.cli.stores import check_one_place, config_of, store_option
from rayflow.config import MOST_SLOTS
from rayflow.errors import BadArguments


@click.command("serve")
@click.argument("targets", nargs=-1, required=True, metavar="FILE|MODULE...")
@click.option("--inline", is_flag=True, help="Run everything in this process, without Ray.")
@click.option("--address", metavar="ADDRESS", help="The Ray cluster to join; a local one is started by default.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", default=8700, show_default=True, type=click.IntRange(0, 65535), help="The port; 0 for any.")
@click.option("--grace", default=10.0, show_default=True, metavar="SECONDS", help="What runs may end in, at the end.")
@click.option("--standby", is_flag=True, help="Wait for the service that keeps the store now, and go on after it.")
@click.option("--queue", multiple=True, metavar="NAME=SLOTS", help="How many runs of a queue may run at a time.")
@store_option
def command(targets: tuple[str, ...], store: str | None, queue: tuple[str, ...], **options: Any) -> int:
    """Keep the runs of a store: start them, bring them to their ends, take up those that were left.

    \b
    rayflow serve flow.py              then, in another terminal:
    rayflow start checkout --order 7

    It listens on this machine alone, and asks for a token, which your own commands find by themselves. Ctrl-C and
    SIGTERM leave every run where it is: the next service goes on with it. Two services of one store do no harm: the
    second one says who keeps it, or waits with --standby.
    """
    from rayflow.service.serving import serve

    check_one_place(options["inline"], options["address"])
    here = True if options["inline"] else False if options["address"] else None
    config = config_of(store, inline=here, address=options["address"])
    config = replace(config, queues={**config.queues, **dict(map(_slots_of, queue))})
    return serve(
        config,
        targets,
        host=options["host"],
        port=options["port"],
        grace_seconds=options["grace"],
        standby=options["standby"],
        out=sys.stderr,
    )


def _slots_of(text: str) -> tuple[str, int]:
    """A queue and its slots, from NAME=SLOTS. Raises BadArguments."""
    name, _, slots = text.rpartition("=")
    if not name or not slots.isdecimal() or int(slots) > MOST_SLOTS:
        raise BadArguments(f"--queue {text}: write NAME=SLOTS, with slots from 0 to {MOST_SLOTS:,}.")
    return name, int(slots)
