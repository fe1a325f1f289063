"""The settings of webhooks: which events others may send, and how their requests are signed.

In: the tables `[webhooks.NAME]` of a configuration. Out: checked `WebhookSettings`, or one clear error. Never: reads a
secret.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from rayflow.errors import BadConfig

SIGNATURES = ("plain", "github", "stripe")
"""How a webhook is signed: always by HMAC-SHA256 with a secret. plain: of the body, in a header. github: the same, as
GitHub does it. stripe: of a time, a dot and the body; the header has the time as t=, and signatures as v1=."""

_HEADERS = {"plain": "X-Signature", "github": "X-Hub-Signature-256", "stripe": "Stripe-Signature"}
_PREFIXES = {"plain": "", "github": "sha256=", "stripe": ""}
_IDS = {"plain": None, "github": "header:X-GitHub-Delivery", "stripe": "body:id"}


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """A webhook. name: of it, in the path of the request.

    secret: where the secret is: `env:NAME` or `file:PATH`. signature: one of `SIGNATURES`. event: the name of the event
    that it becomes; by default the webhook's own. header: the one that has the signature. prefix: what stands before
    the signature in it. encoding: of the signature, "hex" or "base64". tolerance: how many seconds old a signature with
    a time may be. id: where the id of the event is: `header:NAME`, or `body:PATH` with the names of items, separated by
    dots; without it the id follows from what was signed. key: where the event's key is.
    """

    name: str
    secret: str
    signature: str = "plain"
    event: str = ""
    header: str = ""
    prefix: str = ""
    encoding: str = "hex"
    tolerance: float = 300.0
    id: str | None = None
    key: str | None = None


_KNOWN = tuple(each.name for each in fields(WebhookSettings) if each.name != "name")
_TEXTS = tuple(name for name in _KNOWN if name != "tolerance")


def webhooks_of(tables: Mapping[str, Any]) -> dict[str, WebhookSettings]:
    """The webhooks in checked tables, by name."""
    found = {}
    for name, table in tables.items():
        how = table.get("signature", "plain")
        by_default = {"event": name, "header": _HEADERS[how], "prefix": _PREFIXES[how], "id": _IDS[how]}
        found[name] = WebhookSettings(name=name, **{**by_default, **table})
    return found


def check_webhooks(tables: Mapping[str, Any], where: str) -> None:
    """Raise BadConfig unless these are tables of webhooks, by name. where: the file, for the error."""
    for name, table in tables.items():
        place = f"{where}: webhooks.{name}"
        if not name or "/" in name:
            raise BadConfig(f"{place}: a name of a webhook has to be a part of a path, without a slash.")
        if not isinstance(table, Mapping):
            raise BadConfig(f"{place} has to be a table of settings, not {table!r}.")
        _check(table, place)


def _check(table: Mapping[str, Any], place: str) -> None:
    for setting, value in table.items():
        if setting not in _KNOWN:
            near = difflib.get_close_matches(setting, _KNOWN, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(_KNOWN)}."
            raise BadConfig(f"{place}: there is no setting {setting!r}. {hint}")
        if setting in _TEXTS and (not isinstance(value, str) or (not value and setting != "prefix")):
            raise BadConfig(f"{place}: {setting} has to be a text, not {value!r}.")
    secret = table.get("secret")
    if secret is None:
        raise BadConfig(f'{place} lacks its secret: write secret = "env:NAME" or secret = "file:PATH".')
    kind, colon, where = secret.partition(":")
    if not (kind and colon and where):
        # The text may be the secret itself.
        raise BadConfig(f'{place}: secret says where the secret is: write "env:NAME" or "file:PATH", not itself.')
    _check_choice(table, "signature", SIGNATURES, place)
    _check_choice(table, "encoding", ("hex", "base64"), place)
    tolerance = table.get("tolerance", 300.0)
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 < tolerance <= 86_400:
        raise BadConfig(f"{place}: tolerance has to be a number of seconds, up to a day, not {tolerance!r}.")
    for setting in ("id", "key"):
        source, _, path = table.get(setting, "body:x").partition(":")
        if source not in ("header", "body") or not path:
            raise BadConfig(f"{place}: {setting} has to be header:NAME or body:PATH, not {table[setting]!r}.")


def _check_choice(table: Mapping[str, Any], setting: str, choices: tuple[str, ...], place: str) -> None:
    if table.get(setting, choices[0]) not in choices:
        raise BadConfig(f"{place}: {setting} has to be {' or '.join(choices)}, not {table[setting]!r}.")
