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

from rayflow.errors import BadModule, NoSuchTask, RayflowError
from rayflow.values.main_module import dotted_name_of, second_name_of

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
    parts = list(relative.parts)
    if parts[0] == "src" and len(parts) > 1:
        parts.pop(0)
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    return ".".join(parts)


def load(target: str) -> ModuleType:
    """The module of a file (`flows/etl.py`) or of a dotted name (`flows.etl`).

    Raises BadModule when it cannot be found or does not import; the message shows the user's own frames.
    """
    if target.endswith(".py") or os.sep in target or target.startswith(".") or os.path.isfile(target):
        return load_file(target)
    _extend_path(os.getcwd())
    with _importing(target):
        found = _spec_of(target)
    own = _file_here(target)
    if own is not None and (found is None or os.path.realpath(found.origin or "") != os.path.realpath(own)):
        return load_file(own)  # Python has another module of this name: the file here is the one that is meant
    if found is None:
        hint = ""
        near = difflib.get_close_matches(target, [file.stem for file in Path.cwd().glob("*.py")], n=1)
        if near:
            hint = f" Did you mean {near[0]}?"
        raise BadModule(f"No module named {target!r} can be found from {os.getcwd()}.{hint}")
    with _importing(target):
        return importlib.import_module(target)


def _spec_of(name: str) -> Any:
    """How Python would import a module; None when it knows none of this name. Imports the packages that it is in."""
    try:
        return importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            return None  # the module itself or a package that it should be in, not what one of these imports
        raise
    except ValueError:
        return None  # a module without a spec, such as a `__main__`


def _file_here(target: str) -> str | None:
    path = os.path.join(*target.split(".")) if target.strip(".") else ""
    return next((file for file in (f"{path}.py", os.path.join(path, "__init__.py")) if os.path.isfile(file)), None)


def _extend_path(directory: str) -> None:
    """Let modules be imported from a directory, before others, as Python does for the directory of a script.

    A directory that holds a module with the name of a standard one, or of ray, comes last: else that file would be
    imported in its place by everybody.
    """
    if directory in sys.path:
        return
    try:
        names = {entry.partition(".")[0] for entry in os.listdir(directory) if _may_be_module(directory, entry)}
    except OSError:
        names = set()
    if names & _NEEDED_MODULES:
        sys.path.append(directory)
    else:
        sys.path.insert(0, directory)


_NEEDED_MODULES = sys.stdlib_module_names | {"ray", "rayflow"}


def _may_be_module(directory: str, entry: str) -> bool:
    return entry.endswith(".py") or os.path.exists(os.path.join(directory, entry, "__init__.py"))


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
    name, directory = dotted_name_of(file)
    project = project_of(str(file.parent))
    for place in (project, directory):
        _extend_path(place)
    known = sys.modules.get(name)
    if known is not None and _is_from(getattr(known, "__file__", None), file):
        return known
    if known is None:
        with _importing(str(path)):
            found = _spec_of(name)
            if found is not None and _is_from(found.origin, file):
                return importlib.import_module(name)
    # Python knows another module of this name (a workflow in a file called json.py): keep both.
    name = second_name_of(name, file)
    known = sys.modules.get(name)
    if known is not None:
        return known
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


def _is_from(origin: str | None, file: Path) -> bool:
    return origin is not None and os.path.realpath(origin) == str(file)


class _importing:
    """Turns an exception of a module's own code into BadModule with the user's frames."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        # Python takes a .pyc for current when its source has the same size and the same second: of a file that is run,
        # edited and run again at once, the old code would run. So none is written of a project's modules.
        self._wrote = sys.dont_write_bytecode
        sys.dont_write_bytecode = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        sys.dont_write_bytecode = self._wrote
        if isinstance(error, SystemExit):
            raise BadModule(
                f"{self._what} ends the program when it is imported (sys.exit). Put what is meant for a script under "
                'if __name__ == "__main__":'
            ) from None
        if error is None or isinstance(error, RayflowError) or not isinstance(error, Exception):
            return
        frames = [frame for frame in traceback.extract_tb(trace) if not _is_machinery(frame.filename)]
        shown = "".join(traceback.format_list(frames)) + "".join(traceback.format_exception_only(error))
        raise BadModule(f"{self._what} does not import:\n{shown.rstrip()}") from None


_OURS = str(Path(__file__).resolve().parents[1]) + os.sep
"""Frames in here are none of the user's."""


def _is_machinery(file: str) -> bool:
    return file.startswith(("<frozen importlib", _OURS)) or file in (importlib.__file__, importlib.util.__file__)


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
