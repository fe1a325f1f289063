"""Modules that bodies import, as a body would find them when it runs.

In: a module's name, the project's border. Out: the module, imported now if it is the project's. Never: imports a
library.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import sys
from types import ModuleType

from rayflow.lang.code.source_files import Project


class CannotImport(Exception):
    """A module that a body imports cannot be imported. The text gives the reason as a clause.

    is_nowhere: whether there is no such module. If there is one, its own code has raised an error.
    """

    def __init__(self, reason: str, *, is_nowhere: bool) -> None:
        super().__init__(reason)
        self.is_nowhere = is_nowhere


def loaded(name: str, project: Project) -> ModuleType | None:
    """The module of this name; None for a library's module that is not loaded.

    A module of the project is loaded now, as the body would load it when it runs. Else a task's identity would depend
    on whether other code has imported the module.

    Raises CannotImport.
    """
    module = sys.modules.get(name)
    if module is not None or not _is_importable_here(name, project):
        return module
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None:
            script = getattr(sys.modules.get("__main__"), "__file__", None)
            if spec.origin and script and os.path.realpath(spec.origin) == os.path.realpath(script):
                return sys.modules["__main__"]  # loaded already, under the name of a script
            places = [spec.origin] if spec.has_location and spec.origin else spec.submodule_search_locations or []
            inside = (os.path.join(place, "x") if os.path.isdir(place) else place for place in places)
            return importlib.import_module(name) if any(project.owns_file(place) for place in inside) else None
    except (Exception, SystemExit) as error:  # the user's own module may raise anything when it is imported
        reason = f"which does not import ({type(error).__name__}: {error})"
        is_nowhere = isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}.")
        raise CannotImport(reason, is_nowhere=is_nowhere) from error
    raise CannotImport("which cannot be found", is_nowhere=True)


def is_of_project(name: str, project: Project) -> bool:
    """Whether a module is, or would be, one of the project's. Nothing is imported."""
    top = name.partition(".")[0]
    if not top:  # relative to a package
        return True
    module = sys.modules.get(name) or sys.modules.get(top)
    if module is not None:
        return project.owns_module(module)
    return importlib.machinery.PathFinder.find_spec(top) is not None and _is_importable_here(name, project)


def _is_importable_here(name: str, project: Project) -> bool:
    """Whether a module that is not loaded would come from the project."""
    top = name.partition(".")[0]
    known = sys.modules.get(top)
    if known is not None:
        return project.owns_module(known)
    if top in sys.stdlib_module_names:
        return False
    spec = importlib.machinery.PathFinder.find_spec(top)
    if spec is None:
        return True
    places = [spec.origin] if spec.origin else [os.path.join(p, "x") for p in spec.submodule_search_locations or ()]
    return any(project.owns_file(place) for place in places)
