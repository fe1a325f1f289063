"""`rayflow timeline`: write an execution as a trace, for Chrome and Perfetto.

In: the id of an execution. Out: a file of JSON. Never: needs the network, or memory for all jobs at once.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import click

from rayflow.cli.output.style import many, short_execution
from rayflow.cli.parsing.completion import executions
from rayflow.cli.stores import history_of, store_option
from rayflow.errors import OutputUnavailable
from rayflow.values.filesystems.atomic_writes import replacing


@click.command("timeline")
@click.argument("execution", default="-", shell_complete=executions)
@click.option("-o", "--out", metavar="FILE", help="The file; timeline-ID.json by default, - for stdout, .gz is packed.")
@store_option
def command(execution: str, out: str | None, store: str | None) -> None:
    """Write when each call of an execution ran, on which worker, and what it waited for.

    \b
    rayflow timeline -                        timeline-0197a3c2-51f0-7112.json
    rayflow timeline 0197a3c2 -o run.json.gz

    Open the file in https://ui.perfetto.dev or in chrome://tracing: both draw it in your browser. Each node is a
    process, each of its worker processes a track; cached calls are moments of a track of their own.
    """
    history = history_of(store)
    found = history.resolve(execution, kinds=("execution",)).id
    place = out or f"timeline-{short_execution(found)}.json"
    count = 0
    with _opened(place) as file:
        file.write('{"displayTimeUnit":"ms","traceEvents":[')
        for count, mark in enumerate(history.trace_marks(found), 1):
            file.write(f"{',' if count > 1 else ''}\n{json.dumps(mark, separators=(',', ':'))}")
        file.write(f'\n],"otherData":{json.dumps({"execution": found})}}}\n')
    if place != "-":
        click.echo(f"{place}: {many(count, 'mark')}. Open it in https://ui.perfetto.dev or chrome://tracing.")


@contextmanager
def _opened(place: str) -> Iterator[IO[str]]:
    """The file to write to: whole or not at all. Raises OutputUnavailable."""
    if place == "-":
        yield sys.stdout
        return
    try:
        with replacing(place) as beside:
            if place.endswith(".gz"):
                with gzip.open(beside, "wt", encoding="utf-8", compresslevel=5) as packed:
                    yield packed
            else:
                with open(beside, "w", encoding="utf-8") as plain:
                    yield plain
    except OSError as error:
        raise OutputUnavailable(f"{place} cannot be written: {error.strerror or error}.") from error
