"""The script that runs: Python calls it `__main__`, and everybody else by the name of its file.

In: the process's `__main__`; on a worker, what the driver has told of its own. Out: the name by which recorded values
know that module, and what stands in it by that name. Never: imports a second copy of it.

`python flow.py` and `rayflow run flow.py` are one program: a value of its class Planet is one of `flow:Planet`, whoever
has made it, and is read as one of the running script's own class. Workers do not import a script (it may do more than
define): its classes travel, and are made where one is first asked for.
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
from rayflow.values.class_codes import is_installed_file
from rayflow.values.digests import short_digest, to_hex

MAIN = "__main__"


@dataclass(frozen=True, slots=True)
class Script:
    """A driver's `__main__`, as it travels.

    name: what values call it. classes: those at its top level, as bytes of a dict by name. codes: what their code is,
    and that of the classes inside them, by qualified name. failed: why others cannot travel, by name.
    """

    name: str
    classes: bytes
    codes: Mapping[str, bytes]
    failed: Mapping[str, str]


class _Standing:
    """Stands for the driver's `__main__` in a worker: its classes are attributes."""

    def __init__(self, script: Script, made: Callable[[Script], Mapping[str, type]]) -> None:
        self._script = script
        self._made = made

    def __getattr__(self, name: str) -> Any:
        if "_classes" not in self.__dict__:
            self._classes = self._made(self._script)
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


_told: list[tuple[Script, _Standing]] = []
_own: dict[str | None, str] = {}


def tell(script: Script | None, made: Callable[[Script], Mapping[str, type]]) -> None:
    """Let this process know the `__main__` of the driver that it works for. made: makes its classes, by name."""
    if script is None:
        _told.clear()
    elif not _told or _told[0][0] is not script:
        _told[:] = [(script, _Standing(script, made))]


def main_name() -> str:
    """What values call the module that Python calls `__main__`: as `rayflow run` would import its file; `__main__`
    itself where it is no file of the user's (a notebook, a shell)."""
    if _told:
        return _told[0][0].name
    file: str | None = getattr(sys.modules.get(MAIN), "__file__", None)
    name = _own.get(file)
    if name is None:
        name = _own[file] = _name_of_script(file)
    return name


def _name_of_script(file: str | None) -> str:
    if file is None or not file.endswith(".py") or is_installed_file(file) or not os.path.isfile(file):
        return MAIN
    return import_name_of(file)


def name_of(module: str) -> str:
    """What values call a module."""
    return main_name() if module == MAIN else module


def module_named(name: str) -> ModuleType | _Standing | None:
    """The module that values call so, if it is there: the running script, or one that was imported."""
    if name == main_name():
        return _told[0][1] if _told else sys.modules.get(MAIN)
    return sys.modules.get(name)


def is_interactive() -> bool:
    """Whether definitions change as it goes, because somebody types them: in a notebook or a shell."""
    return hasattr(sys, "ps1") or getattr(sys.modules.get(MAIN), "__file__", None) is None


def own_classes() -> dict[str, type]:
    """The classes that stand at the top level of this process's `__main__`."""
    space = vars(sys.modules[MAIN]) if MAIN in sys.modules else {}
    return {
        name: value
        for name, value in list(space.items())
        if isinstance(value, type) and value.__module__ == MAIN and value.__qualname__ == name
    }


# --- the names of files -----------------------------------------------------------------------------------------------


def dotted_name_of(path: str | os.PathLike[str]) -> tuple[str, str]:
    """The dotted name of a file, and the directory that has to be on sys.path for it.

    A file in packages (folders with `__init__.py`) has the dotted name from the topmost one; any other file its stem.
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
    """The import name of a file whose dotted name Python knows another module by (a workflow called json.py)."""
    return f"{name}_{to_hex(short_digest('file', str(Path(file).resolve()).encode()))[:8]}"


def import_name_of(file: str) -> str:
    """The name that a script's file is imported by."""
    name, _ = dotted_name_of(file)
    known = sys.modules.get(name)
    is_other = known is not None and os.path.realpath(getattr(known, "__file__", None) or "") != os.path.realpath(file)
    return second_name_of(name, file) if is_other else name
