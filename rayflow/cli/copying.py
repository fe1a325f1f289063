"""Helpers of the verbs that copy records between stores: the choice of executions, the progress, the summary.

In: words and stores. Out: text. Never: copies.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from rayflow.cli.output.style import START_OVER, is_terminal, many, size
from rayflow.cli.stores import existing_or_new, print_json

if TYPE_CHECKING:
    from rayflow.store.exchange.transfer import Transferred
    from rayflow.store.store import Store

dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be copied, and copy nothing.")

_SAID_EVERY_SECONDS = {True: 0.2, False: 10.0}
"""Seconds between two reports of the progress: on a terminal, and elsewhere."""


def chosen(source: Store, executions: Sequence[str]) -> list[str] | None:
    """The ids of executions as people name them (the beginnings of ids, `-`, `~1`); None for all when none is named.

    Raises NotFound.
    """
    if not executions:
        return None
    history = source.history()
    ids = [history.resolve(text, kinds=("execution",)).id for text in executions]
    history.close()
    return ids


def copied(
    source: Store, destination: Store | None, ids: Sequence[str] | None, *, dry_run: bool = False
) -> Transferred:
    """Copy these executions, or all, and say on stderr how far it is."""
    from rayflow.store.exchange.transfer import transfer

    progress = _Progress()
    try:
        return transfer(source, destination, ids, dry_run=dry_run, report=progress)
    finally:
        progress.end()


def copy_between(source: Store, url: str, executions: Sequence[str], *, dry_run: bool, as_json: bool) -> None:
    """Copy from a store to the one at a URL, which is made when there is none, and print what was copied."""
    ids = chosen(source, executions)
    destination = existing_or_new(url, source, dry_run=dry_run)
    done = copied(source, destination, ids, dry_run=dry_run)
    show(done, source.url, destination.url if destination is not None else url, as_json=as_json, dry_run=dry_run)


class _Progress:
    """Shows how many blobs are copied: on a terminal in one line that changes, elsewhere in a line now and then."""

    def __init__(self) -> None:
        self._stream = sys.stderr
        self._is_terminal = is_terminal(self._stream)
        self._next = time.monotonic() + _SAID_EVERY_SECONDS[self._is_terminal]
        self._written = False

    def __call__(self, done: int, total: int, done_bytes: int) -> None:
        moment = time.monotonic()
        if moment < self._next:
            return
        self._next = moment + _SAID_EVERY_SECONDS[self._is_terminal]
        text = f"{done:,} of {total:,} values, {size(done_bytes)}"
        self._stream.write(f"{START_OVER}{text}" if self._is_terminal else f"{text}\n")
        self._stream.flush()
        self._written = True

    def end(self) -> None:
        """Remove the line from the terminal."""
        if self._written and self._is_terminal:
            self._stream.write(START_OVER)
            self._stream.flush()


def show(done: Transferred, source: str, destination: str, *, as_json: bool, dry_run: bool = False) -> None:
    """Print what was copied: a line for people, or JSON."""
    if as_json:
        print_json({"from": source, "to": destination, "dry_run": dry_run, "copied": done})
        return
    rows = sum(done.rows.values())
    if not rows:
        click.echo(f"{destination} has all of it already.")
        return
    parts = []
    if done.executions:
        parts.append(many(done.executions, "execution"))
    if done.rows.get("jobs"):
        parts.append(many(done.rows["jobs"], "job"))
    parts.append(f"{many(rows, 'row')} in all")
    parts.append(f"{many(done.blobs, 'large value')} ({size(done.blob_bytes)})")
    said = "would be copied" if dry_run else "copied"
    click.echo(f"{', '.join(parts)} {said} from {source} to {destination}.")
    if done.missing:
        click.echo(
            f"{many(done.missing, 'large value')} missing or damaged in {source}: what made them runs again when they "
            "are needed.",
            err=True,
        )
