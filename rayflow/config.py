"""Configuration: read once at the door, frozen, passed down as small values.

In: `[tool.rayflow]` of pyproject.toml or rayflow.toml, environment variables `RAYFLOW_*`, flags; a later one wins. Out:
`Config`. Never: read by a room below runtime.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from rayflow.errors import BadConfig
from rayflow.lang.modules import project_of
from rayflow.lang.options import check_context, check_options


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that can be configured.

    project_dir: the project; relative paths are relative to it.
    store: URL of the store; `.rayflow` in the project by default.
    address: the Ray cluster to join; None starts a local one (or joins the one of `rayflow up`).
    inline: run everything in this process, without Ray.
    cache: False lowers every call to sharing within one execution.
    num_cpus: processors of a local Ray; all by default.
    limits: capacities of named limits.
    options: task options for every call.
    profiles: task options by name, for calls with the option profile.
    context: values that get_context reads.
    runtime_env: Ray's runtime environment for all workers.
    files: how a plain File is known: "stat" (size and modification time, or version) or "content".
    logs: whether what tasks print is shown while they run; it is recorded in any case.
    """

    project_dir: str
    store: str
    address: str | None = None
    inline: bool = False
    cache: bool = True
    num_cpus: int | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    runtime_env: Mapping[str, Any] = field(default_factory=dict)
    files: str = "stat"
    logs: bool = True


_TYPES: Mapping[str, tuple[type, ...]] = {
    "store": (str,),
    "address": (str,),
    "inline": (bool,),
    "cache": (bool,),
    "num_cpus": (int,),
    "limits": (dict,),
    "options": (dict,),
    "profiles": (dict,),
    "context": (dict,),
    "runtime_env": (dict,),
    "files": (str,),
    "logs": (bool,),
}
"""What a file may set, and as what."""


def load(start: str | os.PathLike[str] | None = None, **flags: Any) -> Config:
    """The configuration of the project that `start` (a directory; the current one by default) belongs to.

    flags: values that were given; None means not given. Raises BadConfig, which names the file or variable, and
    BadOption for a task option that there is not.
    """
    return load_with_sources(start, **flags)[0]


def load_with_sources(start: str | os.PathLike[str] | None = None, **flags: Any) -> tuple[Config, dict[str, str]]:
    """The configuration, and where each setting that is not the default came from: a file, a variable, a flag."""
    project_dir = project_of(str(Path(start or os.getcwd()).resolve()))
    levels = [(str(path), _checked(table, str(path))) for path, table in _tables(Path(project_dir))]
    for name, value in _from_environment(os.environ).items():
        levels.append((f"RAYFLOW_{name.upper()}", {name: value}))
    given = {name: _plain(value) for name, value in flags.items() if value is not None}
    levels.append(("flag", _checked(given, "what was given here")))
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, table in levels:
        values.update(table)
        sources.update(dict.fromkeys(table, source))
    _check_limits(values.get("limits", {}), "limits")
    if values.get("files", "stat") not in ("stat", "content"):
        raise BadConfig(f'files has to be "stat" or "content", not {values["files"]!r}.')
    if values.get("address") is None and os.environ.get("RAY_ADDRESS"):
        values["address"] = os.environ["RAY_ADDRESS"]
        sources["address"] = "RAY_ADDRESS"
    store = values.pop("store", None) or ".rayflow"
    config = Config(project_dir=project_dir, store=_absolute(store, project_dir))
    known = {item.name for item in fields(Config)}
    unknown = values.keys() - known
    if unknown:
        raise BadConfig(f"Unknown setting {', '.join(sorted(unknown))}; there are {', '.join(sorted(_TYPES))}.")
    return replace(config, **values), sources


def _plain(value: Any) -> Any:
    """A path as text, any mapping as a dict: as a file would have them."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return dict(value) if isinstance(value, Mapping) else value


def check_address(address: str) -> None:
    """Raise BadConfig unless this can be the address of a Ray cluster."""
    host, _, port = address.rpartition(":")
    is_place = bool(host) and port.isdigit() and 0 < int(port) < 65536
    if address not in ("auto", "local") and not is_place:
        raise BadConfig(f"{address!r} is no address of a Ray cluster: write host:port, such as 10.0.0.5:6379, or auto.")


def _tables(project: Path) -> list[tuple[Path, Mapping[str, Any]]]:
    found: list[tuple[Path, Mapping[str, Any]]] = []
    for name in ("pyproject.toml", "rayflow.toml"):
        path = project / name
        if not path.exists():
            continue
        try:
            parsed = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadConfig(f"{path} is not valid TOML: {error}") from None
        table = parsed.get("tool", {}).get("rayflow", {}) if name == "pyproject.toml" else parsed
        found.append((path, table))
    return found


def _checked(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    for name, value in table.items():
        if name not in _TYPES:
            import difflib

            near = difflib.get_close_matches(name, _TYPES, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" There are {', '.join(_TYPES)}."
            raise BadConfig(f"{where}: there is no setting {name!r}.{hint}")
        if not isinstance(value, _TYPES[name]) or (isinstance(value, bool) and bool not in _TYPES[name]):
            wanted = " or ".join(kind.__name__ for kind in _TYPES[name])
            raise BadConfig(f"{where}: {name} has to be a {wanted}, not {value!r}.")
    _check_limits(table.get("limits", {}), where)
    checked = dict(table)
    if "options" in table:
        checked["options"] = check_options(table["options"], where=f"{where}: options", at_call=True, many=True)
    check_context(table.get("context", {}), where=f"{where}: context")
    if "profiles" in table:
        checked["profiles"] = {name: _profile(name, given, where) for name, given in table["profiles"].items()}
    return checked


def _profile(name: str, given: Any, where: str) -> dict[str, Any]:
    place = f"{where}: profiles.{name}"
    if not isinstance(given, dict):
        raise BadConfig(f"{place} has to be a table of task options, not {given!r}.")
    checked = check_options(given, where=place, at_call=True, many=True)
    if "profile" in checked:
        raise BadConfig(f"{place}: a profile cannot be made of another one.")
    return checked


def _check_limits(limits: Mapping[str, Any], where: str) -> None:
    for name, capacity in limits.items():
        if isinstance(capacity, bool) or not isinstance(capacity, int | float) or not capacity > 0:
            raise BadConfig(f"{where}: the limit {name!r} has to be a number above 0, not {capacity!r}.")


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in ("store", "address", "inline", "cache", "num_cpus"):
        text = environment.get(f"RAYFLOW_{name.upper()}")
        if not text:
            continue
        if bool in _TYPES[name]:
            if text.lower() not in ("0", "1", "true", "false", "yes", "no"):
                raise BadConfig(f"RAYFLOW_{name.upper()}={text}: write 1 or 0.")
            values[name] = text.lower() in ("1", "true", "yes")
        elif int in _TYPES[name]:
            if not text.isdigit():
                raise BadConfig(f"RAYFLOW_{name.upper()}={text}: write a whole number.")
            values[name] = int(text)
        else:
            values[name] = text
    return values


def _absolute(store: str, project_dir: str) -> str:
    """A store given as a relative path is relative to the project."""
    if "://" in store or store == ":memory:":
        return store
    return str(Path(project_dir, os.path.expanduser(store)))
