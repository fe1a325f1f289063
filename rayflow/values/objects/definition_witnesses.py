"""Witnesses of the classes and functions of the project that recorded values name.

A recorded value cannot be read once the class or function that it names is gone. When the code of a class changes, its
instances may do something else.

In: classes and functions, while values that name them are encoded; later, their paths. Out: a witness for each, and one
for the code of a class; whether the definition still exists, and whether its code is the same. Never: decides when a
change of code matters; imports a module only to see whether a definition exists, since that may be slow.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rayflow.installation import is_installed
from rayflow.values.objects.handlers import importable
from rayflow.values.process.class_codes import code_of
from rayflow.values.process.main_module import MAIN, module_named, name_of
from rayflow.values.witnesses import OF_CODE, OF_DEFINITION, Witness


def definition_witness(definition: type | types.FunctionType) -> Witness | None:
    """The witness of a class or function of a module of the project; None for all others.

    An installed definition comes and goes with its package. A definition inside a function travels with the values that
    name it, and so does a function of a script.
    """
    module = definition.__module__
    if module is None:  # made by exec
        return None
    if module == "builtins" or module.partition(".")[0] == "rayflow":
        return None
    if module == MAIN:
        if not isinstance(definition, type):
            return None
    else:
        file = getattr(sys.modules.get(module), "__file__", None)
        if file is None or is_installed(file):
            return None
    path = f"{name_of(module)}:{definition.__qualname__}"
    return (OF_DEFINITION, (path,)) if importable(path) is definition else None


def code_witness(definition: Witness) -> Witness | None:
    """The witness of the code that a class has now, from the witness of the class.

    None for a function, whose code is in its hash anyway, and for a class that does not exist.
    """
    ((path,),) = definition[1:]
    found = importable(path)
    code = code_of(found) if isinstance(found, type) else None
    return (OF_CODE, (path, code)) if code is not None else None


def have_same_code(payloads: Sequence[tuple[Any, ...]], store: Any) -> list[bool]:
    """Whether each class still has the code that was recorded. The validator of OF_CODE."""
    return [_has_same_code(path, code) for path, code in payloads]


def _has_same_code(path: str, code: bytes) -> bool:
    module = path.partition(":")[0]
    if module_named(module) is None:
        try:
            importlib.import_module(module)
        except (Exception, SystemExit):  # a task that needs the module reports its error
            return False
    found = importable(path)
    return isinstance(found, type) and code_of(found) == code


def are_defined(payloads: Sequence[tuple[Any, ...]], store: Any) -> list[bool]:
    """Whether each class or function still exists. The validator of OF_DEFINITION."""
    return [_is_defined(path) for (path,) in payloads]


def _is_defined(path: str) -> bool:
    """Whether a module has this definition; when the module is not imported yet, whether its text names it."""
    name, _, qualname = path.partition(":")
    found: Any = module_named(name)
    if found is None:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            return False
        return spec is not None and _names(spec.origin, qualname.rpartition(".")[2])
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found is not None


def _names(file: str | None, word: str) -> bool:
    """Whether a source file has this word; True when the file cannot be read."""
    if file is None or not file.endswith(".py"):
        return True
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return True
    return re.search(rf"\b{word}\b|import \*", text) is not None
