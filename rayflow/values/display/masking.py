"""Masks the secrets that this process knows in texts that people see.

In: the text of a secret, once it was read. Out: other texts, in which a reference replaces the secret. Never: reads a
secret; stores one anywhere but in the memory of the process.
"""

from __future__ import annotations

import json
import threading
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from rayflow.values.forks import at_fork

SHORTEST = 4
"""Secrets of fewer characters are not masked: any text may contain them by chance."""

_SHORTEST_LINE = 8
"""In a secret of several lines (a key file), each line of at least this many characters is masked by itself, too."""

_SHORTEST_CODED = 8
"""The fewest characters of a secret in Base64 that are masked."""

_masks: Mapping[str, str] = {}
"""Secret text -> its replacement, longest text first. New masks make a new mapping, so that other threads can go on
iterating over the old one."""

_learning = threading.RLock()

_watchers: list[Callable[[], None]] = []

Mask = tuple[str, str]
"""A secret text, and its replacement."""


def mask(text: str, reference: str) -> None:
    """Mask this text in this process from now on. The reference is shown instead."""
    if len(text) < SHORTEST or text in _masks:
        return
    forms = _forms(text)
    lines = text.splitlines()
    if len(lines) > 1:
        forms.update(form for line in lines if len(line) >= _SHORTEST_LINE for form in (line, repr(line)[1:-1]))
    learn((form, f"<{reference}>") for form in forms)


def _forms(text: str) -> set[str]:
    """The forms in which programs write a text: plain, quoted for Python or JSON, in a URL, as hex, in Base64."""
    data = text.encode("utf-8", "surrogatepass")
    url = {quote(data), quote(data, safe=""), quote_plus(data)}
    return {text, repr(text)[1:-1], repr(data)[2:-1], json.dumps(text)[1:-1], data.hex(), *url, *_in_base64(data)}


def _in_base64(data: bytes) -> set[str]:
    """The parts of Base64 texts that encode only these bytes, at any position, as in `user:password`."""
    found = set()
    for encode in (b64encode, urlsafe_b64encode):
        for before in range(3):
            # A character encodes six bits. Characters that also encode bits of a neighbour byte are left out.
            coded = encode(bytes(before) + data).decode()
            inside = coded[(8 * before + 5) // 6 : 8 * (before + len(data)) // 6]
            if len(inside) >= _SHORTEST_CODED:
                found.add(inside)
    return found


def learn(masks: Iterable[Mask]) -> None:
    """Mask these from now on. They come from another process."""
    global _masks
    offered = list(masks)
    if not offered:
        return
    with _learning:
        new = {text: shown for text, shown in offered if text not in _masks}
        if not new:
            return
        _masks = dict(sorted({**_masks, **new}.items(), key=lambda item: -len(item[0])))
    for call in _watchers:
        call()


def known(besides: Iterable[Mask] = ()) -> tuple[Mask, ...]:
    """All masks of this process, for another process of the same execution. They travel in memory, and are not stored.

    besides: the masks that the other process has already.
    """
    if not _masks:
        return ()
    there = dict(besides)
    return tuple([each for each in _masks.items() if each[0] not in there])


def are_known() -> bool:
    """Whether there is any mask in this process."""
    return bool(_masks)


def watch(call: Callable[[], None]) -> None:
    """Call this function whenever there are new masks."""
    _watchers.append(call)


def masked(text: str) -> str:
    """The text, with a reference in place of each known secret."""
    return _replaced(text, _masks)


def _replaced(text: str, masks: Mapping[str, str]) -> str:
    for secret, shown in masks.items():
        if secret in text:
            text = text.replace(secret, shown)
    return text


def masked_bytes(data: bytes) -> bytes:
    """The bytes, with all secrets in them masked."""
    for secret, shown in _masks.items():
        if (coded := _coded(secret)) in data:
            data = data.replace(coded, _coded(shown))
    return data


def masked_parts(value: Any) -> Any:
    """Nested plain containers, with the secrets in all their texts masked. Other objects stay unchanged."""
    of = type(value)
    if of is str:
        return masked(value)
    if of is bytes:
        return masked_bytes(value)
    if of in (list, tuple, set, frozenset):
        return of(masked_parts(each) for each in value)
    if of is dict:
        return {masked_parts(key): masked_parts(each) for key, each in value.items()}
    return value


def secrets_in(data: bytes) -> list[str]:
    """The replacements of the secrets that these bytes contain, each once."""
    return list(dict.fromkeys([shown for secret, shown in _masks.items() if _coded(secret) in data]))


def _coded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


class MaskingStream:
    """Masks a text that comes in pieces. It holds back the possible beginning of a secret until the rest comes.

    masks: use these masks; by default, the masks that the process has when a piece comes.
    """

    __slots__ = ("_held", "_own")

    def __init__(self, masks: Mapping[str, str] | None = None) -> None:
        self._own = masks
        self._held = ""

    def _masks(self) -> Mapping[str, str]:
        return _masks if self._own is None else self._own

    def feed(self, text: str) -> str:
        """Add a piece; returns the masked text that can be shown now."""
        masks = self._masks()
        if not masks:
            return text
        text = self._held + text
        there = [secret for secret in masks if secret in text]
        parts: list[str] = []
        start, hold = 0, _begins(masks, text, 0)
        while there:
            # The first secret in the text; of several at one place, the longest.
            place, _, secret = min((text.find(each, start) % (len(text) + 1), -len(each), each) for each in there)
            if place >= hold:
                break
            parts += text[start:place], masks[secret]
            start = place + len(secret)
            hold = _begins(masks, text, start)
        self._held = text[hold:]
        return "".join([*parts, text[start:hold]])

    def finish(self) -> str:
        """End the text; returns the rest that was held back."""
        held, self._held = self._held, ""
        return _replaced(held, self._masks())


def _begins(masks: Iterable[str], text: str, start: int) -> int:
    """The position of the part at the end that may be the beginning of a secret; the text's length if there is none."""
    first = len(text)
    for secret in masks:
        place = text.find(secret[0], max(start, len(text) - len(secret) + 1))
        while 0 <= place < first:
            if secret.startswith(text[place:]):
                first = place
            place = text.find(secret[0], place + 1)
    return first


def _forked() -> None:
    """Make a new lock in a forked child: a thread of the parent may hold the old one, and does not run in the child."""
    global _learning
    _learning = threading.RLock()


at_fork(in_child=_forked)
