"""The store that a verb asks.

In: what `--store` gave. Out: an open store, or its history. Never: makes a store, but the one to copy to.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from rayflow.cli.output.output import write_json
from rayflow.errors import BadArguments, BadConfig, NotFound
from rayflow.values.filesystems.filesystems import is_url, use_base
from rayflow.values.filesystems.url_checks import check_place

if TYPE_CHECKING:
    from rayflow.config import Config
    from rayflow.store.history.history import History
    from rayflow.store.store import Store

store_option = click.option("--store", metavar="URL", help="Which store; .rayflow in the project by default.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def store_url(given: str | None) -> str | None:
    """A store as it was named on the command line: a relative path is relative to where the user is."""
    if given is None or given == ":memory:":
        return given
    check_place(given, "The store", BadConfig)
    return given if is_url(given) else os.path.abspath(os.path.expanduser(given))


def config_of(store: str | None, start: str | None = None, **flags: Any) -> Config:
    """The configuration of the project around the current directory (or `start`), with the values of the flags."""
    from rayflow.config import load

    return load(start, store=store_url(store), **flags)


def check_one_place(inline: bool, address: str | None) -> None:
    """Raise UsageError for a run that is to be in this process and on a cluster."""
    if inline and address is not None:
        raise click.UsageError("--inline runs everything in this process, --address on a cluster: leave one out.")


def open_for(store: str | None, *, read_only: bool = True) -> Store:
    """The store. Raises NotFound when there is none."""
    from rayflow.store.open import open_store

    config = config_of(store)
    use_base(config.project_dir)
    return open_store(config.store, create=False, read_only=read_only)


def existing_or_new(url: str, other: Store, *, dry_run: bool) -> Store | None:
    """The store to copy to. When there is none, it is made; for a dry run the answer is None instead.

    Raises BadArguments when it is the one to copy from.
    """
    from rayflow.store.open import open_store

    try:
        opened = open_store(store_url(url) or url, create=not dry_run, read_only=dry_run)
    except NotFound:
        return None
    if opened.url == other.url:
        raise BadArguments(f"{url} is the store to copy from as well as the one to copy to: name another one.")
    return opened


def history_of(store: str | None) -> History:
    """The history of the store. Raises NotFound when there is no store."""
    return open_for(store).history()


def print_json(value: Any) -> None:
    """A value in its JSON form, on one line of stdout."""
    write_json(sys.stdout, value)
