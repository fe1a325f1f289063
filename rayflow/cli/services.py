"""The service that a verb asks, and the options that name it.

In: what `--service` and `--store` gave. Out: a client. Never: starts a service.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import click

from rayflow.cli.stores import config_of
from rayflow.errors import BadArguments

if TYPE_CHECKING:
    from rayflow.client.client import Client

service_option = click.option(
    "--service", metavar="URL", help="The service, http://HOST:PORT; that of the project's store by default."
)


def client_of(service: str | None, store: str | None) -> Client:
    """The client of the service that is meant. Raises ServiceUnavailable when none is known."""
    from rayflow.client.addresses import address_of
    from rayflow.client.client import Client

    return Client(address_of(service, None, config_of(store).store))


def moment_of(text: str | None) -> datetime.datetime | None:
    """A moment as people write it: ISO 8601 with a zone. Raises BadArguments."""
    if text is None:
        return None
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise BadArguments(f"--at: {text!r} is no moment: write 2026-05-01T09:00+02:00, or ...Z for UTC.") from None
    if found.tzinfo is None:
        raise BadArguments(f"--at: {text!r} has no time zone: write {text}Z for UTC, or {text}+02:00.")
    return found


def local_moment(us: int | None) -> str:
    """A time in microseconds, as the clock on this machine's wall shows it; empty for None."""
    if us is None:
        return ""
    return datetime.datetime.fromtimestamp(us / 1_000_000).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def sentence_of(run: dict[str, Any]) -> str:
    """What a run waits for, or how it ended."""
    return str(run.get("explanation") or run.get("error") or "")
