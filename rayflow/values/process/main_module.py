"""The running script: Python names it `__main__`, and recorded values name it by its file.

In: the `__main__` of this process; on a worker, a `MainScript` of the driver. Out: the name of this module in recorded
values, and the module or class for such a name. Never: imports the script a second time.

`python flow.py` and `rayflow run flow.py` are one program: in both, a value of its class Planet is recorded as one of
`flow:Planet`, and is read as an instance of the running script's class. Workers do not import a script, because it may
do more than define things: its classes are sent to them, and built when one is first needed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from rayflow.errors import NotSerializable
from rayflow.installation import is_installed
from rayflow.values.digests import short_digest, to_hex
from rayflow.values.process.recorded_names import name_today, recorded_name

MAIN = "__main__"


@dataclass(frozen=True, slots=True)
class MainScript:
    """A driver's `__main__`, in the form that is sent to workers.

    name: its name in recorded values. classes: the classes at its top level, as bytes of a dict by name. codes: the
    code of these classes and of the classes inside them, by qualified name. failed: name -> why a class cannot be sent.
    """

    name: str
    classes: bytes
    codes: Mapping[str, bytes]
    failed: Mapping[str, str]


Script = MainScript
"""Its name in older pickles."""


class _MainStandIn:
    """Replaces the driver's `__main__` in a worker. Its attributes are the classes of the driver's `__main__`."""

    def __init__(self, script: MainScript, build: Callable[[MainScript], Mapping[str, type]]) -> None:
        self._script = script
        self._build = build

    def __getattr__(self, name: str) -> Any:
        if "_classes" not in self.__dict__:
            self._classes = self._build(self._script)
        found = self._classes.get(name)
        if found is None:
            script = self._script
            if name in script.failed:
                raise NotSerializable(
                    f"{name} of the script {script.name} is not known to workers: {script.failed[name]}. Put it into a "
                    "module of its own, which workers import."
                )
            raise AttributeError(name)
        return found


_drivers: list[tuple[MainScript, _MainStandIn]] = []
"""On a worker, the script of its driver; at most one."""

_own: dict[str | None, str] = {}


def use_driver_script(script: MainScript | None, build: Callable[[MainScript], Mapping[str, type]]) -> None:
    """Use the `__main__` of the driver that this worker works for. build: builds its classes, by name."""
    if script is None:
        _drivers.clear()
    elif not _drivers or _drivers[0][0] is not script:
        _drivers[:] = [(script, _MainStandIn(script, build))]


def main_name() -> str:
    """The name of the module `__main__` in recorded values: the name by which `rayflow run` would import its file.

    It stays `__main__` when this is not a file of the user's (a notebook, a shell).
    """
    if _drivers:
        return _drivers[0][0].name
    file: str | None = getattr(sys.modules.get(MAIN), "__file__", None)
    name = _own.get(file)
    if name is None:
        name = _own[file] = _name_of_script(file)
    return name


def _name_of_script(file: str | None) -> str:
    if file is None or not file.endswith(".py") or is_installed(file) or not os.path.isfile(file):
        return MAIN
    return import_name_of(file)


def name_of(module: str) -> str:
    """The name of a module in recorded values."""
    return main_name() if module == MAIN else recorded_name(module)


def module_named(name: str) -> ModuleType | _MainStandIn | None:
    """The module with this name in recorded values: the running script or an imported one; None if there is none."""
    if name == main_name():
        return _drivers[0][1] if _drivers else sys.modules.get(MAIN)
    return sys.modules.get(name_today(name))


def is_interactive() -> bool:
    """Whether the user types definitions while the process runs, in a notebook or a shell."""
    return hasattr(sys, "ps1") or getattr(sys.modules.get(MAIN), "__file__", None) is None


def own_classes() -> dict[str, type]:
    """The classes at the top level of this process's `__main__`, by name."""
    space = vars(sys.modules[MAIN]) if MAIN in sys.modules else {}
    return {
        name: value
        for name, value in list(space.items())
        if isinstance(value, type) and value.__module__ == MAIN and value.__qualname__ == name
    }


# --- the names of files -----------------------------------------------------------------------------------------------


def dotted_name_of(path: str | os.PathLike[str]) -> tuple[str, str]:
    """The dotted name of a file, and the directory that has to be on sys.path to import it.

    In packages (folders with `__init__.py`), the name begins with the topmost package; otherwise it is the file's stem.
    """
    file = Path(path).resolve()
    parts = [file.stem]
    directory = file.parent
    while (directory / "__init__.py").exists():
        parts.insert(0, directory.name)
        directory = directory.parent
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts) or file.stem, str(directory)


def second_name_of(name: str, file: str | os.PathLike[str]) -> str:
    """The import name of a file whose dotted name belongs to another module, such as a workflow json.py."""
    return f"{name}_{to_hex(short_digest('file', str(Path(file).resolve()).encode()))[:8]}"


def import_name_of(file: str) -> str:
    """The name under which a script's file is imported."""
    name, _ = dotted_name_of(file)
    known = sys.modules.get(name)
    is_other = known is not None and os.path.realpath(getattr(known, "__file__", None) or "") != os.path.realpath(file)
    return second_name_of(name, file) if is_other or is_needed(name) else name


def is_needed(name: str) -> bool:
    """Whether a module of this name belongs to Python, or to a library that rayflow needs.

    A file of a project with such a name is imported by its second name in every process, whether or not the process has
    imported the other module.
    """
    return name.partition(".")[0] in NEEDED_MODULES


NEEDED_MODULES = sys.stdlib_module_names | {
    # the modules that rayflow imports
    "rayflow", "ray", "blake3", "click", "cloudpickle", "cronsim", "duckdb", "fsspec", "gcsfs", "grpc", "numpy",
    "pandas", "pathspec", "polars", "pyarrow", "pydantic", "rich", "s3fs", "starlette", "uvicorn", "yaml",
    # the modules that these import
    "aiobotocore", "aiohttp", "aiosignal", "anyio", "attr", "attrs", "botocore", "certifi", "charset_normalizer",
    "colorful", "dateutil", "filelock", "frozenlist", "google", "h11", "idna", "jsonschema", "markdown_it",
    "msgpack", "multidict", "opencensus", "opentelemetry", "packaging", "prometheus_client", "psutil", "pydantic_core",
    "pygments", "pytz", "referencing", "requests", "rpds", "setproctitle", "six", "smart_open",
    "typing_extensions", "urllib3", "virtualenv", "yarl",
}  # fmt: skip
"""Modules that a file of a project must not hide: the standard ones, and libraries that rayflow needs."""
