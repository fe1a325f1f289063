"""The user's modules: where the project is, how a file becomes a module, which tasks there are.

In: a path or a dotted name. Out: a loaded module, the project's directory, tasks by name. Never: runs a task.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from rayflow.errors import BadModule, NoSuchTask
from rayflow.values.digests import short_digest, to_hex

MARKS = ("pyproject.toml", "rayflow.toml", ".git", ".rayflow")
"""What marks the directory of a project, looked for upward from the file that is run."""


@lru_cache(maxsize=1024)
def project_of(directory: str) -> str:
    """The project's directory: the nearest one, upward, with one of MARKS; else the directory itself."""
    start = Path(directory).resolve()
    for candidate in (start, *start.parents):
        if any((candidate / mark).exists() for mark in MARKS):
            return str(candidate)
    return str(start)


def is_installed(file: str) -> bool:
    """Whether a file belongs to an installed package or to Python itself, and so not to a user's project."""
    parts = Path(file).parts
    return "site-packages" in parts or "dist-packages" in parts or _is_stdlib(file)


@lru_cache(maxsize=4096)
def _is_stdlib(file: str) -> bool:
    import sysconfig

    return any(
        file.startswith(place + os.sep)
        for key in ("stdlib", "platstdlib")
        if (place := sysconfig.get_path(key)) is not None
    )


def namespace_of(module_name: str, file: str | None) -> str:
    """What stands before the names of a module's tasks: the module's path in its project."""
    if not file or not os.path.exists(file) or is_installed(os.path.abspath(file)):
        return module_name
    path = Path(file).resolve()
    relative = path.relative_to(project_of(str(path.parent))).with_suffix("")
    parts = [part for part in relative.parts if part != "src"]
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    return ".".join(parts)


def load(target: str) -> ModuleType:
    """The module of a file (`flows/etl.py`) or of a dotted name (`flows.etl`).

    Raises BadModule when it cannot be found or does not import; the message shows the user's own frames.
    """
    if target.endswith(".py") or os.sep in target or os.path.isfile(target):
        return load_file(target)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.util.find_spec(target)
    except (ImportError, ValueError, AttributeError):
        found = None
    if found is None:
        hint = f" There is a file {target}.py here: did you mean that?" if os.path.exists(f"{target}.py") else ""
        raise BadModule(f"No module named {target!r} can be found from {os.getcwd()}.{hint}")
    with _importing(target):
        return importlib.import_module(target)


def module_name_of(path: str | os.PathLike[str]) -> tuple[str, str]:
    """The import name of a file, and the directory that has to be on sys.path for it.

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


def load_file(path: str | os.PathLike[str]) -> ModuleType:
    """The module of a Python file, imported under the name that other files of the project import it by."""
    file = Path(path)
    if not file.exists():
        near = difflib.get_close_matches(file.name, [p.name for p in file.parent.glob("*.py")], n=1)
        hint = f" Did you mean {file.parent / near[0]}?" if near else ""
        raise BadModule(f"There is no file {path}.{hint}")
    if file.is_dir():
        raise BadModule(f"{path} is a directory; name the file with the tasks, such as {file / 'flow.py'}.")
    file = file.resolve()
    name, directory = module_name_of(file)
    project = project_of(str(file.parent))
    for place in (project, directory):
        if place not in sys.path:
            sys.path.insert(0, place)
    known = sys.modules.get(name)
    if known is not None and os.path.realpath(getattr(known, "__file__", None) or "") == str(file):
        return known
    if known is not None:
        # Another module has this name already (a workflow in a file called json.py): keep both.
        name = f"{name}_{to_hex(short_digest('file', str(file).encode()))[:8]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise BadModule(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _importing(str(path)):
            spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


class _importing:
    """Turns an exception of a module's own code into BadModule with the user's frames."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        from rayflow.errors import RayflowError

        if error is None or isinstance(error, RayflowError) or not isinstance(error, Exception):
            return
        frames = [
            frame
            for frame in traceback.extract_tb(trace)
            if "importlib" not in frame.filename and not frame.filename.endswith(os.path.join("lang", "modules.py"))
        ]
        shown = "".join(traceback.format_list(frames)) + "".join(traceback.format_exception_only(error))
        raise BadModule(f"{self._what} does not import:\n{shown.rstrip()}") from None


def pick(tasks: Iterable[Any], name: str | None, *, where: str) -> Any:
    """The task of this full or short name; without a name, `main` or the only one.

    Raises NoSuchTask with the nearest names, or when a short name fits several.
    """
    by_name = {task.fullname: task for task in tasks}
    if not by_name:
        raise NoSuchTask(f"{where} defines no tasks. Put @task before a function (from rayflow import task).")
    if name is None:
        mains = [task for full, task in by_name.items() if full.rpartition(".")[2] == "main"]
        if len(mains) == 1:
            return mains[0]
        if len(by_name) == 1:
            return next(iter(by_name.values()))
        raise NoSuchTask(f"{where} has several tasks and none is called main: name one of {_listed(by_name)}.")
    wanted = name.replace("-", "_")
    if name in by_name:
        return by_name[name]
    fitting = [task for full, task in by_name.items() if full.rpartition(".")[2] in (name, wanted)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise NoSuchTask(f"{where} has several tasks {name!r}: name one of {_listed(t.fullname for t in fitting)}.")
    shorts = {full.rpartition(".")[2]: full for full in by_name}
    near = difflib.get_close_matches(wanted, [*shorts, *by_name], n=3)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"It has {_listed(shorts)}."
    raise NoSuchTask(f"{where} has no task {name!r}. {hint}")


def _listed(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:12]) + (f" and {len(listed) - 12} more" if len(listed) > 12 else "")
