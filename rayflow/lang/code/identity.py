"""Code identity: the part of a task's hash that comes from its code.

In: a live function. Out: `CodeIdentity`: one digest over the function and everything that it uses inside the user's
project (functions, classes, module constants, captured and default values), and the list of these. Never: runs the
function.

The digest is taken over the normal form of the syntax, so comments, docstrings and formatting do not change it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from functools import lru_cache
from types import FunctionType
from typing import Any

from rayflow.installation import is_installed
from rayflow.lang.code.code_graph import CodeGraph, CodeIdentity, IsTask
from rayflow.lang.code.source_files import Project
from rayflow.lang.modules import project_of
from rayflow.values.digests import Digest, digest
from rayflow.values.process.code_reader import CodeReader, set_code_reader


def code_identity(
    function: Callable[..., Any], *, project_dir: str | None, track_helpers: bool = True, is_task: IsTask
) -> CodeIdentity:
    """The code identity of a function, with the objects that its global names are bound to now.

    project_dir: the directory of the user's project. With None, all code that is not installed is the user's.
    track_helpers: if False, code that it uses by name is left out; captured and default values stay in.
    is_task: says which objects are tasks, and their names.
    """
    return CodeGraph(_project(project_dir), track_helpers, is_task).identity(function)


_busy = threading.local()


def function_identity(function: FunctionType, *, is_task: IsTask | None = None) -> Digest:
    """The identity of a plain function as a value, such as an argument: 20 bytes from its code and its helpers.

    If a captured value of the function contains the function itself, its name is used there.
    """
    busy: set[int] = _busy.__dict__.setdefault("functions", set())
    if id(function) in busy:
        return digest("function within itself", function.__qualname__.encode())
    busy.add(id(function))
    try:
        path = function.__code__.co_filename
        folder = None
        if os.path.exists(path) and not is_installed(os.path.abspath(path)):
            folder = project_of(os.path.dirname(os.path.abspath(path)))
        return code_identity(function, project_dir=folder, is_task=is_task or _name_of_task).digest
    finally:
        busy.discard(id(function))


def _name_of_task(value: Any) -> str | None:
    """The full name of a Task, which it recognizes by its class's name: that class is in a module above this one."""
    of = type(value)
    if of.__name__ == "Task" and of.__module__ == "rayflow.lang.tasks":
        return str(value.fullname)
    return None


@lru_cache(maxsize=256)
def _project(folder: str | None) -> Project:
    return Project(folder)


def class_code(of: type) -> Digest:
    """The digest of a class's code and of all code that it uses, 20 bytes."""
    file = getattr(sys.modules.get(of.__module__), "__file__", None)
    folder = None
    if file is not None and not is_installed(os.path.abspath(file)):
        folder = project_of(os.path.dirname(os.path.abspath(file)))
    return code_identity(of, project_dir=folder, is_task=_name_of_task).digest


set_code_reader(CodeReader(function_identity, class_code))
