"""Where a service listens, and how it is asked.

In: what was given, the environment, the note of a service of this machine. Out: `ServiceAddress`. Never: sends
anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from rayflow import config as configuration
from rayflow.client.service_places import place_of
from rayflow.client.wire import AGAIN, REQUEST_ID, ApiCall
from rayflow.errors import BadArguments, ServiceUnavailable

ANSWER_SECONDS = 30.0
"""How long the service may take to answer a question."""

PAUSES_SECONDS = (0.25, 0.5, 1.0)
"""The pauses before a request that got no answer, or that the service could not answer, is sent again."""

UNAVAILABLE = 503
"""The status of an answer that says that the service cannot answer now."""

TOKEN = "RAYFLOW_TOKEN"
SERVICE = "RAYFLOW_SERVICE"


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """Where a service listens, and the token that it asks for. Raises BadArguments for what is no address."""

    url: str
    token: str

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadArguments(f"{self.url!r} is not the address of a service: write http://HOST:PORT.")

    @property
    def is_https(self) -> bool:
        """Whether it is asked over TLS."""
        return urlsplit(self.url).scheme == "https"

    @property
    def host(self) -> str:
        """The host, by name or address."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int | None:
        """The port; None for that of the scheme."""
        return urlsplit(self.url).port

    @property
    def prefix(self) -> str:
        """What stands before each path, where a proxy serves it below one."""
        return urlsplit(self.url).path.rstrip("/")

    def headers(self, call: ApiCall, is_again: bool) -> dict[str, str]:
        """The headers of a call. is_again: it was sent before, and no answer came."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": call.content_type}
        if call.method == "POST":
            headers |= {REQUEST_ID: call.request_id, AGAIN: "1" if is_again else "0"}
        return headers

    def patience(self, call: ApiCall) -> float:
        """Seconds that the answer to a call may take."""
        return ANSWER_SECONDS + call.patience

    def pauses(self) -> Iterator[float]:
        """The pauses before the further tries of a call that gets no answer."""
        return iter(PAUSES_SECONDS)

    def unavailable(self, error: BaseException) -> ServiceUnavailable:
        """The error for people when no answer has come."""
        return ServiceUnavailable(
            f"No service answers at {self.url} ({error or type(error).__name__}). Is `rayflow serve` running?"
        )


def address_of(url: str | None, token: str | None, store: str | os.PathLike[str] | None = None) -> ServiceAddress:
    """The service that is meant: the given one; else that of RAYFLOW_SERVICE; else that of the project's store.

    Raises ServiceUnavailable when none is known.
    """
    url = url or os.environ.get(SERVICE)
    token = token or os.environ.get(TOKEN)
    if url is not None:
        return ServiceAddress(url.rstrip("/"), token or "")
    config = configuration.load(store=store)
    place = place_of(config.store)
    if place is None:
        raise ServiceUnavailable(
            f"No service of this user is known for the store {config.store}. Start one with `rayflow serve FILE`, or "
            f"name one: {SERVICE}=http://HOST:PORT and {TOKEN}."
        )
    return ServiceAddress(place.url, token or place.token)
