"""Reads files of names and values: JSON, TOML, and YAML if its library is installed.

In: a path or a text. Out: a dict, or an error that names the file, the line, and what to do. Never: runs what it reads.
"""

from __future__ import annotations

import json
import os
import stat
from typing import Any

from rayflow.errors import UserError
from rayflow.values.encoding.whole_numbers import number_of

_FORMS = {".toml": "TOML", ".yaml": "YAML", ".yml": "YAML"}


def object_in(path: str, where: str, error: type[UserError]) -> dict[str, Any]:
    """The names and values in a file, which is JSON unless its extension says TOML or YAML. Raises `error`.

    where: the setting that names the file, for the beginning of a message; empty if there is none.
    """
    name = f"{where}: {path}" if where else f"The file {path}"
    return parsed(_text_in(path, name, error), _FORMS.get(os.path.splitext(path)[1].lower(), "JSON"), name, error)


def _text_in(path: str, name: str, error: type[UserError]) -> str:
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
            raise error(f"{name} is {kind}: rename it, or put a file with the values in its place.")
        with open(path, "rb") as file:
            raw = file.read()
    except OSError as refusal:
        raise error(f"{name} cannot be read: {refusal.strerror}.") from None
    except ValueError as refusal:  # a zero byte in the path
        raise error(f"{name!r} cannot be read: {refusal}.") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as refusal:
        line = raw.count(b"\n", 0, refusal.start) + 1
        raise error(f"{name} is not UTF-8 (line {line}): save it as UTF-8.") from None


def parsed(text: str, form: str, name: str, error: type[UserError]) -> dict[str, Any]:
    """The names and values in a text. form: JSON, TOML or YAML. name: the source of the text. Raises `error`."""
    try:
        if form == "YAML":
            value = _yaml(text, name, error)
        else:
            value = json.loads(text, parse_int=number_of) if form == "JSON" else _toml(text)
    except RecursionError:
        raise error(f"{name} is nested too deep.") from None
    except ValueError as refusal:
        raise error(f"{name} is not valid {form}: {refusal}.") from None
    if not isinstance(value, dict):
        holds = "no JSON object: write the names and values in braces" if form == "JSON" else "no names with values"
        raise error(f"{name} holds {holds}.")
    return value


def _toml(text: str) -> Any:
    import tomllib

    return tomllib.loads(text)


def _yaml(text: str, name: str, error: type[UserError]) -> Any:
    try:
        import yaml  # type: ignore[import-untyped]  # its types are a package of their own
    except ImportError:
        raise error(f"{name}: to read YAML, install pyyaml; JSON and TOML are read without it.") from None
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as refusal:
        raise ValueError(str(refusal)) from None
    return {} if value is None else value
