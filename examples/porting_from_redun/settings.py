"""The settings of a redun.ini as a rayflow.toml.

In: the text of a redun.ini. Out: the text of a rayflow.toml, and notes about what has no place there. Never: a file.
"""

import configparser
import json
from typing import Any

from differences import OF_EXECUTORS

SECTIONS = {
    "backend": "leave it out: records and values are in .rayflow/ (or where store = \"...\" says)",
    "repos": "leave it out: rayflow push, pull and export take the place of another store",
    "tags": "write rayflow run --tag NAME=VALUE",
    "tag_rules": "leave it out",
}
"""Sections without a counterpart, and what to do."""

OF_SCHEDULER = {
    "setup_scheduler": "leave it out: what it does belongs to the module of the workflow",
    "federated_configs": "leave it out",
    "job_status_interval": "leave it out",
    "ignore_warnings": "leave it out",
    "context_file": "write the file's content as [context], or rayflow run --context NAME=VALUE",
}
"""Settings of the scheduler without a counterpart, and what to do."""


def ported(text: str) -> tuple[str, list[tuple[int, str]]]:
    """The rayflow.toml, and notes: line of the redun.ini, and what to do."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # names as they are written
    parser.read_string(text)
    tables: dict[str, dict[str, Any]] = {}
    notes: list[tuple[int, str]] = []
    for section in parser.sections():
        kind, _, name = section.partition(".")
        if kind == "limits":
            tables["limits"] = {key: _number(value) for key, value in parser[section].items()}
        elif kind == "executors":
            profile = tables.setdefault(f"profiles.{name}", {})
            for key, value in parser[section].items():
                told = _of_executor(profile, key, value)
                if told:
                    notes.append((_line(text, section, key), f"{key}: {told}"))
        elif kind == "scheduler":
            for key, value in parser[section].items():
                if key == "context":
                    tables |= _context(json.loads(value))
                else:
                    notes.append((_line(text, section, key), f"{key}: {OF_SCHEDULER.get(key, 'leave it out')}"))
        else:
            notes.append((_line(text, section), f"[{section}]: {SECTIONS.get(kind, 'rayflow has no such section')}"))
    for name in ("default", "process"):  # redun has these by itself, and workflows and contexts name them
        tables.setdefault(f"profiles.{name}", {})
    return "\n".join(_written(tables)), sorted(notes)


def _of_executor(profile: dict[str, Any], key: str, value: str) -> str:
    """Take a setting of an executor into its profile; gives what is to be done about it, if anything."""
    new, advice = OF_EXECUTORS.get(key, ("", ""))
    if key == "memory":
        profile["memory"] = f"{value}GiB"
    elif key == "image":
        profile["runtime_env"] = {"image_uri": value}
    elif new:
        profile[new] = _number(value)
    elif not advice and key != "type":
        advice = "leave it out: a profile says what a call needs of a node, and Ray finds one"
    return advice


def _context(given: dict[str, Any], path: str = "context") -> dict[str, dict[str, Any]]:
    """A table for each dict in the context."""
    own = {key: value for key, value in given.items() if not isinstance(value, dict)}
    tables = {path: own} if own or not given else {}
    for key, value in given.items():
        if isinstance(value, dict):
            tables |= _context(value, f"{path}.{json.dumps(key)}")
    return tables


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _written(tables: dict[str, dict[str, Any]]) -> list[str]:
    lines: list[str] = []
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{_key(key)} = {_value(value)}" for key, value in table.items()), ""]
    return lines


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else json.dumps(name)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)


def _line(text: str, section: str, key: str = "") -> int:
    """The line where a section begins, or where a key of it stands."""
    is_inside = False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip().startswith("["):
            is_inside = line.strip() == f"[{section}]"
            if is_inside and not key:
                return number
        elif is_inside and key and line.replace(":", "=").partition("=")[0].strip() == key:
            return number
    return 1
