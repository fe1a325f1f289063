"""Reads options of the command line: tags, contexts, files with arguments; times and values to filter by.

In: texts. Out: values, and filters of a history. Never: asks a store.
"""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from rayflow.errors import BadArguments, BadOption
from rayflow.values.encoding.identity import value_hash
from rayflow.values.encoding.whole_numbers import is_long, json_text, literal_of
from rayflow.values.filesystems.mapping_files import object_in, parsed

if TYPE_CHECKING:
    from rayflow.store.history.filters import Tagged, Taken

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_HASH = re.compile(r"[0-9a-f]{8,40}")


# --- tags -------------------------------------------------------------------------------------------------------------


def tag_of(text: str) -> tuple[str, Any]:
    """A tag as it is set: see `rayflow.lang.options.tags`. Raises UsageError for what is none."""
    from rayflow.lang.options import tags

    try:
        return tags.tag_of(text)
    except BadOption as error:
        raise click.UsageError(str(error)) from None


def tags_of(texts: tuple[str, ...]) -> list[tuple[str, Any]]:
    """Several tags; a key may have several values."""
    return [tag_of(text) for text in texts]


def written(value: Any) -> str:
    """A tag's value as it is recorded."""
    return json_text(value, str)


def tagged(text: str) -> Tagged:
    """A tag that is asked for: `key`, or `key=value`; 3 fits the number and the text."""
    from rayflow.store.history.filters import Tagged

    key, equals, value = text.partition("=")
    if not key.strip():
        raise click.UsageError(f"{text!r} is not a tag: write key or key=value.")
    values = {written(_json_or_text(value)), written(value)} if equals else ()
    return Tagged(key.strip(), tuple(sorted(values)))


def _json_or_text(text: str) -> Any:
    from rayflow.lang.options.tags import json_or_text

    return json_or_text(text)


# --- contexts and files -----------------------------------------------------------------------------------------------


def context_of(texts: tuple[str, ...], file: str | None = None) -> dict[str, Any]:
    """The context from texts: `name=value` (a value in JSON or plain), a JSON object, or `@file`. Dots nest names.

    A later text overrides the earlier ones, and all override the context of `file`. Raises UsageError and BadArguments.
    """
    from rayflow.lang.options.options import merge_context

    found = given_object(file) if file is not None else {}
    for text in texts:
        found = merge_context(found, _context(text))
    return found


def _context(text: str) -> dict[str, Any]:
    if text.startswith("@"):
        return given_object(text[1:])
    if text.lstrip().startswith("{"):
        value = _json_or_text(text)
        if not isinstance(value, dict):
            raise click.UsageError(f"--context {text}: this is not a JSON object.")
        return value
    name, equals, value = text.partition("=")
    names = [part.strip() for part in name.split(".")]
    if not equals or not all(names):
        raise click.UsageError(f"--context {text}: write name=value (dots nest), a JSON object, or @file.")
    nested = _json_or_text(value)
    for part in reversed(names):
        nested = {part: nested}
    return dict(nested)


def given_object(path: str) -> dict[str, Any]:
    """The names and values in a JSON, TOML or YAML file (`-`: JSON on stdin). Raises BadArguments."""
    if path != "-":
        return object_in(path, "", BadArguments)
    try:
        text = sys.stdin.read()
    except UnicodeDecodeError as error:
        raise BadArguments(f"stdin cannot be read: {error}.") from None
    return parsed(text, "JSON", "stdin", BadArguments)


# --- times ------------------------------------------------------------------------------------------------------------


def moment_of(text: str) -> datetime:
    """A time: so long ago (`2h`, `30min`, `7d`), a date, or a date and time (of this machine's clock, or with zone)."""
    ago = _AGO.fullmatch(text.strip().lower())
    if ago:
        return datetime.now(UTC) - timedelta(seconds=float(ago[1]) * _SECONDS[ago[2]])
    if text.strip().lower() == "today":
        return datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        return datetime.fromisoformat(text.strip()).astimezone(UTC)
    except ValueError:
        raise click.UsageError(
            f"{text!r} is not a time: write how long ago (2h, 30min, 7d), a date (2026-11-21) or '2026-11-21 14:30'."
        ) from None


# --- values -----------------------------------------------------------------------------------------------------------


def argument_of(text: str) -> Taken:
    """An argument that is asked for: `name=value`."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip().isidentifier():
        raise click.UsageError(f"{text!r} is not an argument: write name=value.")
    return value_of(name.strip(), value)


def value_of(name: str, text: str) -> Taken:
    """A value that is asked for: as a Python literal, as text, or by the beginning of its id in the records."""
    from rayflow.store.history.filters import Taken

    hashes, shown = [], []
    for value in _meant(text):
        if type(value) is not int or not is_long(value):  # of a long one the records show no digits
            shown.append(f"{name}={value!r}")
        hashes.append(value_hash(value))
    begins = text.lower() if _HASH.fullmatch(text.lower()) else None
    return Taken(name, tuple(hashes), begins, tuple(shown))


def _meant(text: str) -> list[Any]:
    """All values that a text may mean: 3 is also 3.0 and "3"."""
    meant: list[Any] = [text]
    try:
        literal = literal_of(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        literal = {"true": True, "false": False, "null": None}.get(text, text)
    if not isinstance(literal, str) or literal != text:
        meant.append(literal)
    if type(literal) is int and literal.bit_length() < 1024:
        meant.append(float(literal))
    return meant
