"""Streams: what a body tells while it runs, item by item.

In: a stream's name, plain data. Out: the data as JSON, to the body that writes. Never: waits for a reader; keeps
anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rayflow.errors import BadArguments
from rayflow.values.display import masking
from rayflow.values.display.tracebacks import front_door
from rayflow.values.encoding.previews import preview
from rayflow.values.native import SCALARS

MOST_ITEM_BYTES = 65536
"""The largest item, as JSON in UTF-8."""

MOST_NAME_CHARACTERS = 200
"""The longest name of a stream."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream of the run whose body uses it. `stream(name)` makes it."""

    name: str

    @front_door
    def write(self, value: Any) -> None:
        """Add an item to the stream: plain data, as in JSON, of 64 KiB at most.

        Readers see it a moment later, while the body goes on. Items of one body keep their order. Outside of a body,
        and in a process that a body has started, nobody reads what is written. Raises BadArguments for other data.
        """
        _write(self.name, _item_text(self.name, value))


@front_door
def stream(name: str) -> Stream:
    """A stream of the run, for the body that runs:

        @effect
        def ask_model(question):
            for token in model.answer(question):
                stream("tokens").write(token)

    `client.get(run_id).stream("tokens")` reads it, and `rayflow runs stream RUN tokens`. The items are rows of the
    table stream_items, also in a plain `rayflow run`. Raises BadArguments for what is no name.
    """
    if not isinstance(name, str) or not 0 < len(name) <= MOST_NAME_CHARACTERS or not name.isprintable():
        raise BadArguments(
            f"stream({preview(name)}): the name of a stream is a text of 1 to {MOST_NAME_CHARACTERS} printable "
            "characters."
        )
    return Stream(name)


def _nowhere(stream: str, text: str) -> None:
    """No body runs in this process, and none has."""


_write: Callable[[str, str], None] = _nowhere


def write_items_by(write: Callable[[str, str], None]) -> None:
    """Let this function take what bodies of this process write: the stream's name, and the item as JSON."""
    global _write
    _write = write


def _item_text(stream: str, value: Any) -> str:
    """A value as JSON. Raises BadArguments."""
    try:
        if masking.are_known():
            value = masking.masked_parts(value)
        if type(value) not in SCALARS:
            _check_keys(value)
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise BadArguments(
            f"stream({stream!r}).write({preview(value)}): an item is plain data: None, a bool, a number, a text, or a "
            f"list or a dict of these ({error})."
        ) from None
    if size > MOST_ITEM_BYTES:
        raise BadArguments(
            f"stream({stream!r}).write(...): the item has {size:,} bytes as JSON, and {MOST_ITEM_BYTES:,} are the "
            "most. Write it in parts, or write the path of a file."
        )
    return text


def _check_keys(value: Any) -> None:
    """Raise TypeError for a key that JSON would change."""
    if isinstance(value, dict):
        for key, each in value.items():
            if not isinstance(key, str):
                raise TypeError(f"the key {key!r} is no text")
            _check_keys(each)
    elif isinstance(value, list | tuple):
        for each in value:
            _check_keys(each)
