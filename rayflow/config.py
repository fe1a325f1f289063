"""The configuration: the front door reads it once, and passes it on as frozen data.

In: `[tool.rayflow]` of pyproject.toml or rayflow.toml, environment variables `RAYFLOW_*`, flags; a later one wins. Out:
`Config`. Never: used by a room below runtime.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from rayflow import pasting
from rayflow.deployment_settings import capacities_of, check_deployments, limit_of
from rayflow.errors import BadConfig, BadOption
from rayflow.lang.modules import project_of
from rayflow.lang.options.option_values import check_context
from rayflow.lang.options.options import OPTIONS, check_options, merge_context
from rayflow.lang.options.runtime_environments import check_for_all
from rayflow.values.filesystems.filesystems import is_url
from rayflow.values.filesystems.mapping_files import object_in
from rayflow.values.filesystems.url_checks import check_place
from rayflow.webhook_settings import check_webhooks


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that can be configured.

    project_dir: the project; relative paths are relative to it.
    store: URL of the store; `.rayflow` in the project by default.
    address: the Ray cluster to join; None starts a local one (or joins the one that `rayflow up` has
    started for this project).
    inline: run everything in this process, without Ray.
    cache: False: results of other executions are not used; equal calls of one execution still share.
    num_cpus: processors of a local Ray; all by default.
    limits: capacities of named limits.
    queues: how many runs of a queue a service lets run at a time; any number of those that are not named.
    options: task options for every call.
    profiles: task options by name, for calls with the option profile.
    context: values that get_context reads, over those of context_file.
    context_file: a JSON, TOML or YAML file with values for get_context.
    setup: `module:function` or `file.py:function`, called once in the driver before its first run. It may prepare this
        process (logging, credentials, handlers of values), and may return a dict, which is context below all other.
    environment: Ray's runtime environment for all workers; the task option runtime_env is for one task.
    deployments: projects on other clusters whose tasks may be called, by name (see deployment_settings).
    webhooks: events that others may send to a service, by name (see webhook_settings).
    files: how a plain File is identified: "stat" (size and modification time, or version) or "content".
    logs: whether the prints of tasks are shown while they run; they are recorded in any case.
    log_level: how much a run prints: "quiet" (its errors), "normal", or "verbose" (each job that ends, too).
    metrics: whether the scheduler gives Ray its metrics, for Prometheus.
    """

    project_dir: str
    store: str
    address: str | None = None
    inline: bool = False
    cache: bool = True
    num_cpus: int | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    queues: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    context_file: str | None = None
    setup: str | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    deployments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    webhooks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    files: str = "stat"
    logs: bool = True
    log_level: str = "normal"
    metrics: bool = False

    @property
    def capacities(self) -> dict[str, float]:
        """The capacities of all limits: the named ones, and those of calls of deployments."""
        return {**self.limits, **capacities_of(self.deployments)}


_TYPES: Mapping[str, tuple[type, ...]] = {
    "store": (str,),
    "address": (str,),
    "inline": (bool,),
    "cache": (bool,),
    "num_cpus": (int,),
    "limits": (dict,),
    "queues": (dict,),
    "options": (dict,),
    "profiles": (dict,),
    "context": (dict,),
    "context_file": (str,),
    "setup": (str,),
    "environment": (dict,),
    "deployments": (dict,),
    "webhooks": (dict,),
    "files": (str,),
    "logs": (bool,),
    "log_level": (str,),
    "metrics": (bool,),
}
"""The settings that a file may contain, and their types."""


LOG_LEVELS = ("quiet", "normal", "verbose")
"""How much a run prints, from the least."""

MEANT = {
    "backend": "store", "database": "store", "db": "store", "db_uri": "store", "cache_dir": "store", "workdir": "store",
    "work_dir": "store", "result_dir": "store", "storage": "store", "cluster": "address", "ray_address": "address",
    "head": "address", "cpus": "num_cpus", "cores": "num_cpus", "workers": "num_cpus", "max_workers": "num_cpus",
    "n_jobs": "num_cpus", "jobs": "num_cpus", "executor": "profiles", "executors": "profiles",
    "pools": "limits", "env": "environment", "local": "inline",
    "defaults": "options", "task_options": "options", "setup_scheduler": "setup", "verbose": "log_level",
    "params": "context", "prometheus": "metrics", "federated": "deployments", "deployment": "deployments",
}  # fmt: skip
"""The setting that is meant by a name of another tool, or by a guess."""

OLD_NAMES = {"runtime_env": "environment"}
"""Names that settings had in earlier versions. Files that have them are still read; two names of one setting in one
file are an error."""

MOST_SLOTS = 1_000_000
"""The most slots that a queue can have."""

MOST_PROCESSORS = 10_000
"""The largest num_cpus: more processors than any machine has."""


def load(start: str | os.PathLike[str] | None = None, **flags: Any) -> Config:
    """The configuration of the project that `start` (a directory; the current one by default) belongs to.

    flags: settings from the command line or the caller; None is ignored. Raises BadConfig, which names the file or
    variable, and BadOption for an unknown task option.
    """
    return load_with_sources(start, **flags)[0]


def load_with_sources(start: str | os.PathLike[str] | None = None, **flags: Any) -> tuple[Config, dict[str, str]]:
    """The configuration, and for each setting that is not the default its source: a file, a variable, a flag."""
    project_dir = project_of(str(Path(start or os.getcwd()).resolve()))
    levels = [(str(path), _checked(table, str(path))) for path, table in _tables(Path(project_dir))]
    for name, value in _from_environment(os.environ).items():
        levels.append((f"RAYFLOW_{name.upper()}", _checked({name: value}, f"RAYFLOW_{name.upper()}")))
    given = {name: _plain(value) for name, value in flags.items() if value is not None}
    levels.append(("flag", _checked(given, "what was given here")))
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, table in levels:
        values.update(table)
        sources.update(dict.fromkeys(table, source))
    if values.get("address") is None and os.environ.get("RAY_ADDRESS"):
        values["address"] = os.environ["RAY_ADDRESS"]
        sources["address"] = "RAY_ADDRESS"
    if "context_file" in values:
        values["context_file"] = os.path.join(project_dir, os.path.expanduser(values["context_file"]))
        read = object_in(values["context_file"], f"{sources['context_file']}: context_file", BadConfig)
        check_context(read, where=values["context_file"])
        values["context"] = merge_context(read, values.get("context", {}))
    if "environment" in values:
        values["environment"] = _with_places(values["environment"], project_dir)
    store = values.pop("store", ".rayflow")
    config = Config(project_dir=project_dir, store=_absolute(store, project_dir))
    known = {item.name for item in fields(Config)}
    unknown = values.keys() - known
    if unknown:
        raise BadConfig(f"Unknown setting {', '.join(sorted(unknown))}; there are {', '.join(sorted(_TYPES))}.")
    return replace(config, **values), sources


def store_by_default(directory: str) -> str | None:
    """The store that a command uses in this directory if it names none; None if that is not known.

    A long answer asks this for many commands, so the last answer is reused while files and variables stay the same.
    """
    try:
        project = project_of(str(Path(directory).resolve()))
        now = (project, *map(_stamp, (Path(project, name) for name in _FILES)), *_variables())
        if directory not in _read or _read[directory][0] != now:
            if len(_read) > 100:
                _read.clear()
            _read[directory] = now, load(directory).store
    except (BadConfig, BadOption, OSError):
        return None
    return _read[directory][1]


_read: dict[str, tuple[tuple[Any, ...], str]] = {}
"""The store of each directory, with the state of the files and variables that were read for it."""


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        state = path.stat()
    except OSError:
        return ()
    return state.st_mtime_ns, state.st_ctime_ns, state.st_size, state.st_ino


def _variables() -> list[tuple[str, str]]:
    """The environment variables that a configuration may depend on."""
    return sorted(each for each in os.environ.items() if each[0].startswith(("RAYFLOW_", "RAY_")) or each[0] == "HOME")


pasting.ask_for_default(store_by_default)


def _plain(value: Any) -> Any:
    """A value in the form that a file has: a path becomes text, a mapping becomes a dict."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return dict(value) if isinstance(value, Mapping) else value


def check_address(address: str) -> None:
    """Raise BadConfig unless this can be the address of a Ray cluster."""
    host, _, port = address.rpartition(":")
    is_place = bool(host) and port.isdigit() and 0 < int(port) < 65536
    is_dashboard = address.startswith(("http://", "https://"))
    if address not in ("auto", "local") and (is_dashboard or not is_place):
        what = f"{address!r} is not the address of a Ray cluster"
        also = f" With a dashboard alone, use `rayflow submit --address {address}`." if is_dashboard else ""
        raise BadConfig(f"{what}: write host:port, such as 10.0.0.5:6379, or auto.{also}")


_FILES = ("pyproject.toml", "rayflow.toml")


def _tables(project: Path) -> list[tuple[Path, Mapping[str, Any]]]:
    found: list[tuple[Path, Mapping[str, Any]]] = []
    for name in _FILES:
        path = project / name
        if not os.path.lexists(path):
            continue
        parsed = object_in(str(path), "", BadConfig)
        if name == "pyproject.toml":
            for part in ("tool", "rayflow"):
                parsed = parsed.get(part, {})
                if not isinstance(parsed, dict):
                    raise BadConfig(f"{path}: {part} has to be a table: write [tool.rayflow] above the settings.")
        found.append((path, parsed))
    return found


def _checked(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for name, value in given.items():
        now = OLD_NAMES.get(name, name)
        if now in table:
            raise BadConfig(f"{where}: {name} and {now} are one setting under two names: write {now} alone.")
        table[now] = value
    for name, value in table.items():
        if name not in _TYPES:
            import difflib

            near = [MEANT[name.lower()]] if name.lower() in MEANT else difflib.get_close_matches(name, _TYPES, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" There are {', '.join(_TYPES)}."
            if name in OPTIONS:
                hint = f" It is a task option: write it in the table options, as options = {{ {name} = ... }}."
            raise BadConfig(f"{where}: there is no setting {name!r}.{hint}")
        if not isinstance(value, _TYPES[name]) or (isinstance(value, bool) and bool not in _TYPES[name]):
            wanted = " or ".join(kind.__name__ for kind in _TYPES[name])
            raise BadConfig(f"{where}: {name} has to be a {wanted}, not {value!r}.")
    if not 1 <= table.get("num_cpus", 1) <= MOST_PROCESSORS:
        raise BadConfig(f"{where}: num_cpus has to be from 1 to {MOST_PROCESSORS:,}, not {table['num_cpus']}.")
    if table.get("files", "stat") not in ("stat", "content"):
        raise BadConfig(f'{where}: files has to be "stat" or "content", not {table["files"]!r}.')
    if table.get("log_level", "normal") not in LOG_LEVELS:
        raise BadConfig(f"{where}: log_level has to be {' or '.join(LOG_LEVELS)}, not {table['log_level']!r}.")
    if "store" in table and table["store"] != ":memory:":
        check_place(table["store"], f"{where}: the store", BadConfig)
    if "setup" in table and not all(table["setup"].partition(":")[::2]):
        raise BadConfig(f"{where}: setup is {table['setup']!r}: write module:function or file.py:function.")
    _check_limits(table.get("limits", {}), where)
    _check_queues(table.get("queues", {}), where)
    check_deployments(table.get("deployments", {}), where)
    check_webhooks(table.get("webhooks", {}), where)
    check_for_all(table.get("environment", {}), where=f"{where}: environment")
    checked = table
    if "options" in table:
        checked["options"] = check_options(table["options"], where=f"{where}: options", at_call=True, many=True)
    check_context(table.get("context", {}), where=f"{where}: context")
    if "profiles" in table:
        checked["profiles"] = {name: _profile(name, given, where) for name, given in table["profiles"].items()}
    return checked


def _profile(name: str, given: Any, where: str) -> dict[str, Any]:
    place = f"{where}: profiles.{name}"
    if not name:
        raise BadConfig(f"{where}: a profile has an empty name.")
    if not isinstance(given, dict):
        raise BadConfig(f"{place} has to be a table of task options, not {given!r}.")
    checked = check_options(given, where=place, at_call=True, many=True)
    if "profile" in checked:
        raise BadConfig(f"{place}: a profile cannot be made of another one.")
    return checked


def _check_limits(limits: Mapping[str, Any], where: str) -> None:
    for name, capacity in limits.items():
        if not isinstance(name, str) or not name:
            raise BadConfig(f"{where}: the name of a limit has to be a text, and not empty, but is {name!r}.")
        if name.startswith(limit_of("")):
            raise BadConfig(f"{where}: the limit {name!r} is that of a deployment: write max_calls into [{name}].")
        if isinstance(capacity, bool) or not isinstance(capacity, int | float) or not capacity > 0:
            raise BadConfig(f"{where}: the limit {name!r} has to be a number above 0, not {capacity!r}.")


def _check_queues(queues: Mapping[str, Any], where: str) -> None:
    for name, slots in queues.items():
        if not isinstance(name, str) or not name:
            raise BadConfig(f"{where}: the name of a queue has to be a text, and not empty, but is {name!r}.")
        if isinstance(slots, bool) or not isinstance(slots, int) or not 0 <= slots <= MOST_SLOTS:
            raise BadConfig(
                f"{where}: the queue {name!r} has a whole number of slots, from 0 to {MOST_SLOTS:,}, not {slots!r}."
            )


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in ("store", "address", "inline", "cache", "num_cpus", "log_level", "context_file", "setup", "metrics"):
        text = environment.get(f"RAYFLOW_{name.upper()}")
        if not text:
            continue
        if bool in _TYPES[name]:
            if text.lower() not in ("0", "1", "true", "false", "yes", "no"):
                raise BadConfig(f"RAYFLOW_{name.upper()}={text}: write 1 or 0.")
            values[name] = text.lower() in ("1", "true", "yes")
        elif int in _TYPES[name]:
            try:
                values[name] = int(text)
            except ValueError:
                raise BadConfig(f"RAYFLOW_{name.upper()}={text}: write a whole number.") from None
        else:
            values[name] = text
    return values


def _with_places(environment: Mapping[str, Any], project_dir: str) -> dict[str, Any]:
    """An environment whose local files and directories are relative to the project, not to where a run is started."""
    placed = dict(environment)
    directory = placed.get("working_dir")
    if isinstance(directory, str) and not is_url(directory):
        placed["working_dir"] = str(Path(project_dir, os.path.expanduser(directory)))
    if isinstance(placed.get("py_modules"), list | tuple):
        placed["py_modules"] = [
            str(Path(project_dir, os.path.expanduser(each))) if isinstance(each, str) and not is_url(each) else each
            for each in placed["py_modules"]
        ]
    for key in ("pip", "uv"):
        if isinstance(placed.get(key), str):
            placed[key] = str(Path(project_dir, os.path.expanduser(placed[key])))
    if isinstance(placed.get("conda"), str) and placed["conda"].endswith((".yaml", ".yml")):
        placed["conda"] = str(Path(project_dir, os.path.expanduser(placed["conda"])))
    return placed


def _absolute(store: str, project_dir: str) -> str:
    """A store given as a relative path is relative to the project."""
    if store == ":memory:" or is_url(store):
        return store
    return str(Path(project_dir, os.path.expanduser(store)))
