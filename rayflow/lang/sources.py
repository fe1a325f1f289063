"""Code identity: what a task's hash is made of.

In: a live function. Out: `CodeIdentity`: one digest over the function and all that it reaches by name inside the user's
project (functions, classes, module constants, captured and default values), with the list of what was reached. Never:
runs the function.

What counts is the normalised syntax of each definition, so comments, docstrings and formatting change nothing.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from functools import lru_cache
from types import FunctionType
from typing import Any

from rayflow.lang.code_identity import CodeIdentity, Definition, IsTask
from rayflow.lang.modules import is_installed, project_of
from rayflow.lang.origins import Project
from rayflow.lang.reach import Reach
from rayflow.values.class_codes import set_class_code
from rayflow.values.digests import Digest, digest
from rayflow.values.functions import set_function_identity

__all__ = ["CodeIdentity", "Definition", "IsTask", "code_identity", "function_identity"]


def code_identity(
    function: Callable[..., Any], *, project_dir: str | None, track_helpers: bool = True, is_task: IsTask
) -> CodeIdentity:
    """The code identity of a function, with what its names mean at this moment.

    project_dir: the directory of the user's project; None takes all code that is not installed for the user's own.
    track_helpers: False leaves out what it reaches by name; captured and default values still count.
    is_task: tells tasks from other objects.
    """
    reach = Reach(_project(project_dir), track_helpers, is_task)
    return reach.identity(function)


_busy = threading.local()


def function_identity(function: FunctionType, *, is_task: IsTask | None = None) -> Digest:
    """The identity of a plain function as a value (passed as an argument, say): its code and its helpers', 20 bytes.

    A function that is met again inside a value that it has captured counts there by its name.
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


def _name_of_task(value: object) -> str | None:
    """The full name of a Task, told by its class's name: the class lives above this module."""
    of = type(value)
    if of.__name__ == "Task" and of.__module__ == "rayflow.lang.tasks":
        return str(value.fullname)  # type: ignore[attr-defined]  # known by name only
    return None


@lru_cache(maxsize=256)
def _project(folder: str | None) -> Project:
    return Project(folder)


def class_code(of: type) -> Digest:
    """The digest of a class's code, and of what it reaches, 20 bytes."""
    file = getattr(sys.modules.get(of.__module__), "__file__", None)
    folder = None
    if file is not None and not is_installed(os.path.abspath(file)):
        folder = project_of(os.path.dirname(os.path.abspath(file)))
    return code_identity(of, project_dir=folder, is_task=_name_of_task).digest


set_function_identity(function_identity)
set_class_code(class_code)
