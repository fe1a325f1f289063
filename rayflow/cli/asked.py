"""What people ask for on the command line: tags, contexts, files with arguments; times and values to filter by.

In: texts. Out: values, and filters of a history. Never: asks a store.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rayflow.store.filters import Tagged, Taken

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_HASH = re.compile(r"[0-9a-f]{8,40}")


# --- tags -------------------------------------------------------------------------------------------------------------


def tag_of(text: str) -> tuple[str, Any]:
    """A tag as it is set: `key=value`, the value as JSON where it is JSON, else as text; `key` alone is set to true."""
    key, equals, value = text.partition("=")
    if not key.strip():
        raise click.UsageError(f"{text!r} is no tag: write key=value.")
    return key.strip(), _json_or_text(value) if equals else True


def tags_of(texts: tuple[str, ...]) -> dict[str, Any]:
    """Several tags, each key once. Raises UsageError for one that is given twice."""
    found: dict[str, Any] = {}
    for text in texts:
        key, value = tag_of(text)
        if key in found:
            raise click.UsageError(f"The tag {key} was given twice.")
        found[key] = value
    return found


def written(value: Any) -> str:
    """A tag's value as it is kept."""
    return json.dumps(value)


def tag_text(kept: str) -> str:
    """A tag's kept value for people: text without its quotes."""
    value = _json_or_text(kept)
    return value if isinstance(value, str) else kept


def tagged(text: str) -> Tagged:
    """A tag that is asked for: `key`, or `key=value`; 3 fits the number and the text."""
    from rayflow.store.filters import Tagged

    key, equals, value = text.partition("=")
    if not key.strip():
        raise click.UsageError(f"{text!r} is no tag: write key or key=value.")
    values = {written(_json_or_text(value)), written(value)} if equals else ()
    return Tagged(key.strip(), tuple(sorted(values)))


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


# --- contexts and files -----------------------------------------------------------------------------------------------


def context_of(texts: tuple[str, ...]) -> dict[str, Any]:
    """A context: `name=value` (dots in the name nest, the value as JSON where it is JSON), a JSON object, or `@file`.

    A later one is laid over those before. Raises UsageError and BadArguments.
    """
    from rayflow.lang.options import merge_context

    found: dict[str, Any] = {}
    for text in texts:
        found = merge_context(found, _context(text))
    return found


def _context(text: str) -> dict[str, Any]:
    if text.startswith("@"):
        return object_in(text[1:])
    if text.lstrip().startswith("{"):
        value = _json_or_text(text)
        if not isinstance(value, dict):
            raise click.UsageError(f"--context {text}: this is no JSON object.")
        return value
    name, equals, value = text.partition("=")
    names = [part.strip() for part in name.split(".")]
    if not equals or not all(names):
        raise click.UsageError(f"--context {text}: write name=value (dots nest), a JSON object, or @file.")
    nested = _json_or_text(value)
    for part in reversed(names):
        nested = {part: nested}
    return dict(nested)


def object_in(path: str) -> dict[str, Any]:
    """The JSON object in a file (`-`: on stdin), or all of a TOML file. Raises BadArguments."""
    import sys
    from pathlib import Path

    from rayflow.errors import BadArguments

    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadArguments(f"The file {path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    try:
        if path.endswith(".toml"):
            import tomllib

            return tomllib.loads(text)
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadArguments(f"The file {path} is no {'TOML' if path.endswith('.toml') else 'JSON'}: {error}.") from None
    if not isinstance(value, dict):
        raise BadArguments(f"The file {path} holds no JSON object: write the names and values in braces.")
    return value


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
            f"{text!r} is no time: write how long ago (2h, 30min, 7d), a date (2026-11-21) or '2026-11-21 14:30'."
        ) from None


# --- values -----------------------------------------------------------------------------------------------------------


def argument_of(text: str) -> Taken:
    """An argument that is asked for: `name=value`."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip().isidentifier():
        raise click.UsageError(f"{text!r} is no argument: write name=value.")
    return value_of(name.strip(), value)


def value_of(name: str, text: str) -> Taken:
    """A value that is asked for: as a Python literal, as text, or by the beginning of its id in the records."""
    from rayflow.store.filters import Taken
    from rayflow.values.digests import digest
    from rayflow.values.identity import identity

    hashes = []
    for value in _meant(text):
        found = identity(value)
        hashes.append(found[1:] if found[:1] == b"\xff" else digest("scalar", found))
    begins = text.lower() if _HASH.fullmatch(text.lower()) else None
    return Taken(name, tuple(hashes), begins, tuple(f"{name}={value!r}" for value in _meant(text)))


def _meant(text: str) -> list[Any]:
    """Everything that somebody may mean by a text: 3 is also 3.0 and "3"."""
    import ast

    meant: list[Any] = [text]
    try:
        literal = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        literal = {"true": True, "false": False, "null": None}.get(text, text)
    if not isinstance(literal, str) or literal != text:
        meant.append(literal)
    if type(literal) is int:
        meant.append(float(literal))
    return meant
