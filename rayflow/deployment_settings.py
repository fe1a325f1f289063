"""The settings of deployments: which tasks of other projects may be called on other clusters.

In: the tables `[deployments.NAME]` of a configuration. Out: checked `DeploymentSettings`, or one clear error. Never:
reads a file, asks a cluster.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from rayflow.errors import BadConfig

MAX_CALLS = 10
"""How many calls of a deployment wait at a time, unless its settings say otherwise. Each has a job there, with
processes of its own on the head, and holds a process of a worker here."""


@dataclass(frozen=True, slots=True)
class DeploymentSettings:
    """A project of others, on a cluster of others, whose tasks may be called.

    address: of the cluster's dashboard, http://HEAD:8265. store: where its executions are recorded; both clusters reach
    it. project: the directory with its code, which is sent to the cluster. entries: the tasks that may be called, by
    the name that callers use: `file.py:task`, the file relative to the project. token_file: a file with the cluster's
    token; token_env: the variable that has it. Without both, none is sent. headers_file, headers_env: likewise for the
    headers that a proxy before the dashboard asks for, a JSON object of texts by name. version: a part of the key of
    each call. max_calls: how many calls of the deployment wait for their executions at a time.
    Relative paths are relative to the project of the caller.
    """

    address: str
    store: str
    project: str
    entries: Mapping[str, str] = field(default_factory=dict)
    token_file: str | None = None
    token_env: str | None = None
    headers_file: str | None = None
    headers_env: str | None = None
    version: str | int | None = None
    max_calls: int = MAX_CALLS


_NAME = re.compile(r"[A-Za-z0-9_-]+")
_REQUIRED = ("address", "store", "project", "entries")
_KNOWN = tuple(each.name for each in fields(DeploymentSettings))
_MEANT = {
    "cluster": "address", "url": "address", "dashboard": "address", "token": "token_env", "token_path": "token_file",
    "headers": "headers_env", "limit": "max_calls", "max_running": "max_calls", "max_jobs": "max_calls",
    "code": "project", "path": "project", "directory": "project", "working_dir": "project", "package": "project",
    "entrypoints": "entries", "entry_points": "entries", "tasks": "entries", "backend": "store",
}  # fmt: skip


def check_deployments(tables: Mapping[str, Any], where: str) -> None:
    """Raise BadConfig unless these are tables of deployments, by name. where: the file, for the error."""
    for name, table in tables.items():
        place = f"{where}: deployments.{name}"
        if not _NAME.fullmatch(name):
            raise BadConfig(f"{where}: {name!r} cannot name a deployment: use letters, digits, _ and -.")
        if not isinstance(table, Mapping):
            raise BadConfig(f"{place} has to be a table with {', '.join(_REQUIRED)}, not {table!r}.")
        _check(table, place)


def _check(table: Mapping[str, Any], place: str) -> None:
    for key, value in table.items():
        if key not in _KNOWN:
            near = [_MEANT[key]] if key in _MEANT else difflib.get_close_matches(key, _KNOWN, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" There are {', '.join(_KNOWN)}."
            raise BadConfig(f"{place}: there is no setting {key!r}.{hint}")
        if key == "entries":
            _check_entries(value, place)
        elif key == "version":
            if isinstance(value, bool) or not isinstance(value, str | int):
                raise BadConfig(f"{place}: version has to be a text or a whole number, not {value!r}.")
        elif key == "max_calls":
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise BadConfig(f"{place}: max_calls has to be a whole number above 0, not {value!r}.")
        elif not isinstance(value, str) or not value.strip():
            raise BadConfig(f"{place}: {key} has to be a text, and not empty, but is {value!r}.")
    lacking = [key for key in _REQUIRED if key not in table]
    if lacking:
        raise BadConfig(f"{place} lacks {', '.join(lacking)}.")
    if table["store"] == ":memory:":
        raise BadConfig(f"{place}: the store :memory: ends with its process: name one that both clusters reach.")
    for what in ("token", "headers"):
        if f"{what}_file" in table and f"{what}_env" in table:
            raise BadConfig(f"{place}: {what}_file and {what}_env both name the {what}: leave one out.")


def _check_entries(entries: Any, place: str) -> None:
    if not isinstance(entries, Mapping) or not entries:
        raise BadConfig(f'{place}: entries has to be a table of tasks by name: {{ align = "flow.py:align" }}.')
    for name, target in entries.items():
        file, colon, task = target.rpartition(":") if isinstance(target, str) else ("", "", "")
        if not (name and file and colon and task):
            raise BadConfig(f"{place}: the entry {name!r} is {target!r}: write file.py:task.")


CONTEXT_PATH = "rayflow.deployments"
"""The path of the deployments in the context of each run.

A call reads its deployment's settings there when it is evaluated. So a recorded call does not keep an old address, and
the nodes need no configuration file.
"""


def context_of(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The context that a run gets from its configuration's deployments."""
    outer, inner = CONTEXT_PATH.split(".")
    return {outer: {inner: {name: dict(table) for name, table in tables.items()}}} if tables else {}


def limit_of(name: str) -> str:
    """The limit that the calls of a deployment hold while they wait."""
    return f"deployments.{name}"


def capacities_of(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The capacities of the limits of these deployments."""
    return {limit_of(name): table.get("max_calls", MAX_CALLS) for name, table in tables.items()}


def deployment_called(name: str, tables: Mapping[str, Mapping[str, Any]], where: str) -> DeploymentSettings:
    """The settings of one deployment. tables: all of them, checked. where: the project, for the error.

    Raises BadConfig, with those that there are, when there is none of this name.
    """
    table = tables.get(name)
    if table is None:
        raise BadConfig(f"There is no deployment {name!r} in the configuration of {where}. {_offered(name, tables)}")
    return DeploymentSettings(**table)


def entry_called(name: str, deployment: str, settings: DeploymentSettings) -> str:
    """What an entry stands for. Raises BadConfig, with those that there are, when there is none of this name."""
    target = settings.entries.get(name)
    if target is None:
        raise BadConfig(f"The deployment {deployment!r} has no entry {name!r}. {_offered(name, settings.entries)}")
    return target


def _offered(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"Did you mean {near[0]!r}? There are: {', '.join(known)}."
    return f"There are: {', '.join(known)}." if known else "Add [deployments.NAME] to its rayflow.toml."
