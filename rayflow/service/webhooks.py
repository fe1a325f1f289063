"""Webhooks: requests of others that are signed with a secret, and become events.

In: a webhook's settings, the raw body and the headers of a request, the time. Out: what the event is to be; or
Unsigned, which does not say what is wrong to who has sent it. Never: emits.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from typing import Any, NamedTuple

from rayflow.errors import BadArguments
from rayflow.service.api_table import json_in
from rayflow.values.digests import digest
from rayflow.values.secrets import Secret
from rayflow.webhook_settings import WebhookSettings

MOST_WEBHOOK_BYTES = 25 * 1024 * 1024
"""The largest body of a webhook: what GitHub sends at most."""

_MOST_SIGNATURES = 10
"""So many signatures of one header are looked at: a sender has several while its secret is changed."""


class Unsigned(Exception):
    """The request is not signed with the secret. The text is for the log of the service."""


class ReceivedEvent(NamedTuple):
    """The event that a webhook becomes. id: the same for each delivery of the same thing."""

    name: str
    id: str
    key: str | None
    data: Any


def received(how: WebhookSettings, content: bytes, headers: Mapping[str, str], now_seconds: float) -> ReceivedEvent:
    """The event in a request. headers: by name in lower case. Raises Unsigned, SecretUnavailable, BadArguments for a
    body that is not JSON, or that lacks its id or key."""
    signed = _check_signature(how, content, headers, now_seconds)
    data = json_in(content)
    id = _at(how.id, "id", data, headers) if how.id is not None else digest("webhook", signed).hex()
    key = _at(how.key, "key", data, headers) if how.key is not None else None
    return ReceivedEvent(how.event, f"webhook:{how.name}:{id}", key, data)


def _check_signature(how: WebhookSettings, content: bytes, headers: Mapping[str, str], now_seconds: float) -> bytes:
    """What was signed. Raises Unsigned."""
    given = headers.get(how.header.lower())
    if given is None:
        raise Unsigned(f"the header {how.header} is missing")
    secret = Secret(how.secret).get().encode()
    if not secret:
        raise Unsigned("the secret is empty")
    if how.signature == "stripe":
        return _check_timed(how, secret, content, given, now_seconds)
    if not given.startswith(how.prefix):
        raise Unsigned(f"the header {how.header} does not begin with {how.prefix}")
    if not _is_signature(how, secret, content, given.removeprefix(how.prefix)):
        raise Unsigned("the signature is wrong")
    return content


def _check_timed(how: WebhookSettings, secret: bytes, content: bytes, given: str, now_seconds: float) -> bytes:
    parts = [part.strip().partition("=") for part in given.split(",")]
    moments = [value for name, _, value in parts if name == "t"]
    signatures = [value for name, _, value in parts if name == "v1"]
    if len(moments) != 1 or not (moments[0].isascii() and moments[0].isdigit() and len(moments[0]) <= 12):
        raise Unsigned(f"the header {how.header} has no time")
    signed = moments[0].encode() + b"." + content
    if not any(_is_signature(how, secret, signed, each) for each in signatures[:_MOST_SIGNATURES]):
        raise Unsigned("the signature is wrong")
    age = now_seconds - int(moments[0])
    if abs(age) > how.tolerance:
        raise Unsigned(f"the signature is {age:.0f} seconds old, and {how.tolerance:g} are allowed")
    return signed


def _is_signature(how: WebhookSettings, secret: bytes, signed: bytes, given: str) -> bool:
    made = hmac.digest(secret, signed, "sha256")
    expected = made.hex() if how.encoding == "hex" else base64.b64encode(made).decode()
    if how.encoding == "hex":
        given = given.lower()
    return hmac.compare_digest(expected.encode(), given.strip().encode())


def _at(where: str, what: str, data: Any, headers: Mapping[str, str]) -> str:
    """The text at a place of a request. Raises BadArguments."""
    source, _, path = where.partition(":")
    found = headers.get(path.lower()) if source == "header" else _item(data, path)
    if isinstance(found, bool) or not isinstance(found, str | int) or found == "":
        raise BadArguments(f"The webhook lacks the {what} of its event: {where} is no text and no whole number.")
    return str(found)


def _item(data: Any, path: str) -> Any:
    for name in path.split("."):
        if isinstance(data, Mapping):
            data = data.get(name)
        elif isinstance(data, list) and name.isascii() and name.isdigit() and int(name) < len(data):
            data = data[int(name)]
        else:
            return None
    return data
