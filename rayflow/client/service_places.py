"""Where the service of a store listens, and its token: a note of the user's, for the clients of this machine.

In: the URL of a store. Out: the note; None where no service of this user keeps the store. Never: writes to the
store: people who may read results may not run code.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from rayflow.values.digests import digest


@dataclass(frozen=True, slots=True)
class ServicePlace:
    """A service that listens. url: of its API. token: what its clients have to show. store: URL of its store. pid: of
    its process."""

    url: str
    token: str
    store: str
    pid: int


def _note(store: str) -> Path:
    base = os.environ.get("RAYFLOW_HOME") or os.path.join(os.path.expanduser("~"), ".rayflow")
    return Path(base, "services", f"{digest('service', store.encode()).hex()}.json")


def place_of(store: str) -> ServicePlace | None:
    """Where the service of a store listens, as this user has started it on this machine; None if there is none."""
    try:
        found = json.loads(_note(store).read_text())
        return ServicePlace(**found)
    except (OSError, ValueError, TypeError):
        return None


def write_place(place: ServicePlace) -> None:
    """Note that a service listens. Only its user can read the note."""
    note = _note(place.store)
    note.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = note.with_suffix(f".{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(place), file)
    os.replace(beside, note)


def remove_place(place: ServicePlace) -> None:
    """The service does not listen any more. A note of a later one stays."""
    if place_of(place.store) == place:
        with contextlib.suppress(FileNotFoundError):
            _note(place.store).unlink()
