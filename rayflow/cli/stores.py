"""The store that a verb asks.

In: what `--store` gave. Out: an open store, or its history. Never: makes a store, but the one to copy to.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rayflow.config import Config
    from rayflow.store.base import Store
    from rayflow.store.history import History

store_option = click.option("--store", metavar="URL", help="Which store; .rayflow in the project by default.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def store_url(given: str | None) -> str | None:
    """A store as it was named on the command line: a relative path is relative to where the user is."""
    if given is None or "://" in given or given == ":memory:":
        return given
    return os.path.abspath(os.path.expanduser(given))


def config_of(store: str | None, start: str | None = None, **flags: Any) -> Config:
    """The configuration of the project that the user is in (or that `start` is in), with what the flags say."""
    from rayflow.config import load

    return load(start, store=store_url(store), **flags)


def open_for(store: str | None, *, read_only: bool = True) -> Store:
    """The store, which has to be there. Raises NotFound."""
    from rayflow.store.store import open_store
    from rayflow.values.filesystems import use_base

    config = config_of(store)
    use_base(config.project_dir)
    return open_store(config.store, create=False, read_only=read_only)


def existing_or_new(url: str, other: Store, *, dry_run: bool) -> Store | None:
    """The store to copy to, made when it is not there; None when it is not there and nothing is to be written.

    Raises BadArguments when it is the one to copy from.
    """
    from rayflow.errors import BadArguments, NotFound
    from rayflow.store.store import open_store

    try:
        opened = open_store(store_url(url) or url, create=not dry_run, read_only=dry_run)
    except NotFound:
        return None
    if opened.url == other.url:
        raise BadArguments(f"{url} is the store to copy from as well as the one to copy to: name another one.")
    return opened


def history_of(store: str | None) -> History:
    """The history of the store, which has to be there. Raises NotFound."""
    return open_for(store).history()


def print_json(value: Any) -> None:
    """A value in its JSON form, on one line of stdout."""
    from rayflow.cli.json_form import pieces

    for piece in pieces(value):
        click.echo(piece, nl=False)
    click.echo()
