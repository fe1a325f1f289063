"""The user's modules: where the project is, how a file becomes a module, which tasks there are.

In: a path or a dotted name. Out: a loaded module, the project's directory, tasks by name. Never: runs a task.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import sys
import threading
from collections.abc import Collection, Iterable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from rayflow.errors import BadModule, NoSuchTask, RayflowError
from rayflow.installation import PACKAGE, is_installed
from rayflow.values.display.tracebacks import hidden_by_default
from rayflow.values.failures import failure_from_exception, render
from rayflow.values.process.main_module import NEEDED_MODULES, dotted_name_of, is_needed, second_name_of

MARKS = ("pyproject.toml", "rayflow.toml", ".git", ".rayflow")
"""The names that mark the directory of a project. rayflow looks for them upward from the file that runs."""

JOB_COPIES = ("runtime_resources", "working_dir_files")
"""The folders in which Ray keeps its copies of projects, each in a folder of its own."""


@lru_cache(maxsize=1024)
def project_of(directory: str) -> str:
    """The project's directory: the nearest one, upward, with one of MARKS; else the directory itself.

    The copy that Ray makes of a project for a job is one, too: its marks may have been left out.
    """
    start = Path(directory).resolve()
    for candidate in (start, *start.parents):
        if any((candidate / mark).exists() for mark in MARKS) or candidate.parts[-3:-1] == JOB_COPIES:
            return str(candidate)
    return str(start)


def namespace_of(module_name: str, file: str | None) -> str:
    """The first part of the names of a module's tasks: the module's path in its project."""
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
        _refuse_task_behind(target)
        return load_file(target)
    _refuse_task_behind(target)
    if os.path.isdir(target) and _file_here(target) is None:
        raise BadModule(_is_directory(target))
    _extend_path(os.getcwd())
    with _importing(target):
        found = _spec_of(target)
    own = _file_here(target)
    if own is not None and (found is None or os.path.realpath(found.origin or "") != os.path.realpath(own)):
        return load_file(own)  # Python has another module of this name, but the user means the file here
    if found is None:
        module, _, task = target.rpartition(".")
        near = difflib.get_close_matches(target, [file.stem for file in Path.cwd().glob("*.py")], n=1)
        file = _file_here(module) if module else None
        hint = f" For the task {task} of {file}, write: {file} {task}" if file is not None else ""
        hint = hint or (f" Did you mean {near[0]}?" if near else "")
        raise BadModule(f"No module named {target!r} can be found from {os.getcwd()}.{hint}")
    with _importing(target):
        return importlib.import_module(target)


def load_from(directory: str, name: str) -> ModuleType:
    """The module of a dotted name, looked for in a directory, in its `src`, and then where Python does. Raises
    BadModule."""
    inner = os.path.join(*name.split("."))
    for start in ("", "src"):
        for end in (f"{inner}.py", os.path.join(inner, "__init__.py")):
            file = os.path.join(directory, start, end)
            if os.path.isfile(file):
                return load_file(file)
    return load(name)


def _spec_of(name: str) -> Any:
    """The spec by which Python would import a module; None if there is no such module. Imports its packages."""
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
    """Add a directory to the front of `sys.path`, as Python does for the directory of a script.

    A directory that has a module with the name of a standard one, or of a library that rayflow and Ray import, is added
    to the end. Else every import of that name would find the directory's file.
    """
    if directory not in sys.path:
        sys.path[:] = importable_from(directory)


def importable_from(directory: str) -> list[str]:
    """`sys.path` with a directory at its front, or at its end where the directory would hide a module in
    NEEDED_MODULES."""
    others = [place for place in sys.path if place and place != directory]
    return [*others, directory] if hides_needed(directory) else [directory, *others]


def hides_needed(directory: str) -> bool:
    """Whether a directory has a module with a name in NEEDED_MODULES."""
    try:
        names = {entry.partition(".")[0] for entry in os.listdir(directory) if _may_be_module(directory, entry)}
    except OSError:
        return False
    return not names.isdisjoint(NEEDED_MODULES)


def hiding_file() -> str | None:
    """The file of a project that was imported in place of a library that rayflow needs; None when there is none.

    `sys.path` may hold the project's directory before we do anything: PYTHONPATH, or a script that Python has started.
    """
    for name in sorted(NEEDED_MODULES - {"rayflow"}):
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)
        if file and not is_installed(os.path.abspath(file)) and not file.startswith(PACKAGE):
            return str(file)
    return None


def _may_be_module(directory: str, entry: str) -> bool:
    return entry.endswith(".py") or os.path.exists(os.path.join(directory, entry, "__init__.py"))


def load_file(path: str | os.PathLike[str]) -> ModuleType:
    """The module of a Python file, imported under the name that other files of the project import it by."""
    file = Path(path)
    try:
        is_there = file.exists()
    except OSError as error:
        raise BadModule(f"{path} cannot be looked at: {error.strerror}.") from None
    if not is_there:
        here = sorted(p.name for p in file.parent.glob("*.py"))
        near = [f"{stem}.py" for stem in difflib.get_close_matches(file.stem, [name[:-3] for name in here], n=1)]
        hint = f" Did you mean {file.parent / near[0]}?" if near else f" There is {_listed(here)}." if here else ""
        raise BadModule(f"There is no file {path}.{hint}")
    if file.is_dir():
        raise BadModule(_is_directory(str(path)))
    file = file.resolve()
    name, directory = dotted_name_of(file)
    project = project_of(str(file.parent))
    for place in (project, directory):
        _extend_path(place)
    known = sys.modules.get(name)
    if known is not None and _is_from(getattr(known, "__file__", None), file):
        return known
    if known is None and not is_needed(name):
        with _importing(str(path)):
            found = _spec_of(name)
            if found is not None and _is_from(found.origin, file):
                return importlib.import_module(name)
    # Python has another module of this name (a workflow in a file called json.py): keep both.
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


def _refuse_task_behind(target: str) -> None:
    """Raise BadModule for `flow.py:main` and `flow.py::main`, as other tools write a task of a file."""
    file, colon, task = target.partition(":")
    if colon and not os.path.exists(target):
        task = task.strip(":") or "main"
        raise BadModule(f"{target} names no file. For the task {task} of {file}, write: {file} {task}")


def _is_directory(path: str) -> str:
    files = sorted(file.name for file in Path(path).glob("*.py"))
    such = f"it has {_listed(files)}" if files else "it has no Python file"
    return f"{path} is a directory; name the file with the tasks: {such}."


def _is_from(origin: str | None, file: Path) -> bool:
    return origin is not None and os.path.realpath(origin) == str(file)


_importers = threading.local()


def is_importing() -> bool:
    """Whether this thread is importing a module that was named to `load`."""
    return getattr(_importers, "depth", 0) > 0


class _importing:
    """Turns an exception of a module's own code into BadModule with the user's frames."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        # Python takes a .pyc for current when its source has the same size and the same second: of a file that is run,
        # edited and run again at once, the old code would run. So none is written of a project's modules.
        _importers.depth = getattr(_importers, "depth", 0) + 1
        self._wrote = sys.dont_write_bytecode
        sys.dont_write_bytecode = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        _importers.depth -= 1
        sys.dont_write_bytecode = self._wrote
        if error is None or isinstance(error, RayflowError) or type(error) is KeyboardInterrupt:
            return
        raise not_imported(self._what, error) from None


def not_imported(what: str, error: BaseException) -> BadModule:
    """The error for a module whose own code raised an error when it was imported. what: the module."""
    shown = shown_to_users(error)
    if isinstance(error, SystemExit):
        return BadModule(
            f"{what} ends the program when it is imported (sys.exit). Put what is meant for a script under "
            f'if __name__ == "__main__":\n{shown}'
        )
    return BadModule(f"{what} does not import:\n{shown}")


def shown_to_users(error: BaseException) -> str:
    """The text of an error with the user's frames only, without those of rayflow and of Python's imports."""
    return render(failure_from_exception(error, hide=_is_machinery))


def _is_machinery(file: str) -> bool:
    return hidden_by_default(file) or file in (importlib.__file__, importlib.util.__file__)


def pick(tasks: Iterable[Any], name: str | None, *, where: str, own: Iterable[Any] = ()) -> Any:
    """The task of this full or short name; without a name, `main` or the only one.

    own: the tasks that the module itself defines. Those that it imports are looked at when none of `own` fits. Raises
    NoSuchTask with the nearest names, or when a short name fits several.
    """
    by_name = {task.fullname: task for task in tasks}
    if not by_name:
        raise NoSuchTask(f"{where} defines no tasks. Put @task before a function (from rayflow import task).")
    own_names = {task.fullname for task in own}
    if name is None:
        default = default_task(by_name.values(), own_names)
        if default is not None:
            return default
        listed = own_names or by_name
        mains = [full for full in listed if full.rpartition(".")[2] == "main"]
        has = "several tasks called main" if mains else "several tasks and none is called main"
        raise NoSuchTask(f"{where} has {has}: name one of {_listed(mains or listed)}.")
    wanted = name.replace("-", "_")
    if name in by_name:
        return by_name[name]
    fitting = [task for full, task in by_name.items() if full.rpartition(".")[2] in (name, wanted)]
    fitting = [task for task in fitting if task.fullname in own_names] or fitting
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise NoSuchTask(f"{where} has several tasks {name!r}: name one of {_listed(t.fullname for t in fitting)}.")
    shorts = {full.rpartition(".")[2]: full for full in by_name}
    near = difflib.get_close_matches(wanted, [*shorts, *by_name], n=3)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"It has {_listed(shorts)}."
    raise NoSuchTask(f"{where} has no task {name!r}. {hint}")


def default_task(tasks: Iterable[Any], own_names: Collection[str]) -> Any:
    """The task to run if the user names none: the task called main, or the only one; None if that is not clear.

    If names are given, only the tasks with these names count."""
    counted = [task for task in tasks if not own_names or task.fullname in own_names]
    mains = [task for task in counted if task.fullname.rpartition(".")[2] == "main"]
    if len(mains) == 1:
        return mains[0]
    return counted[0] if len(counted) == 1 else None


def _listed(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:12]) + (f" and {len(listed) - 12} more" if len(listed) > 12 else "")
