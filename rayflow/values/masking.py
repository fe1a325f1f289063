"""Texts that nobody may read: the secrets that this process has resolved.

In: a secret's text, when it is resolved. Out: other texts with it masked. Never: resolves a secret, keeps one anywhere
but in this process's memory.
"""

from __future__ import annotations

SHORTEST = 4
"""Shorter secrets are not masked: they would stand by chance in any text. In characters."""

_SHORTEST_LINE = 8
"""Of a secret of several lines (a key file), each line of so many characters is masked by itself, too."""

_masks: dict[str, str] = {}
"""Text -> what stands in its place, the longest first."""


def mask(text: str, reference: str) -> None:
    """From now on, in this process, show the reference wherever this text would be shown."""
    lines = text.splitlines()
    texts = {text, repr(text)[1:-1]}
    if len(lines) > 1:
        texts.update(line for line in lines if len(line) >= _SHORTEST_LINE)
    new = {each: f"<{reference}>" for each in texts if len(each) >= SHORTEST}
    if new.keys() <= _masks.keys():
        return
    ordered = sorted({**_masks, **new}.items(), key=lambda item: -len(item[0]))
    _masks.clear()
    _masks.update(ordered)


def masked(text: str) -> str:
    """The text with every resolved secret in it replaced by its reference."""
    for secret, shown in _masks.items():
        if secret in text:
            text = text.replace(secret, shown)
    return text


def is_secret_in(data: bytes) -> bool:
    """Whether any resolved secret stands in these bytes."""
    return any(secret.encode("utf-8", "surrogatepass") in data for secret in _masks)
