"""Classes and functions of the project that recorded values name: without them such a value cannot be read any more,
and with a class's code changes what its instances do.

In: classes and functions, while values that name them are encoded; later, their paths. Out: a witness for each, and one
for the code of a class; whether it is there, or the code as it was. Never: says when the code counts. Only to compare
code is a module imported: one may be slow to import, and whether a class is there can be told without.
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

from rayflow.values.class_codes import code_of, is_installed_file
from rayflow.values.handlers import importable
from rayflow.values.main_module import MAIN, module_named, name_of
from rayflow.values.witnesses import OF_CODE, OF_DEFINITION, Witness, register_validator


def definition_witness(definition: type | types.FunctionType) -> Witness | None:
    """The witness of a class or function that stands in a module of the project; None for all others.

    What is installed comes and goes with its package. What stands in a function travels with its values, and so does a
    function of a script.
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
        if file is None or is_installed_file(file):
            return None
    path = f"{name_of(module)}:{definition.__qualname__}"
    return (OF_DEFINITION, (path,)) if importable(path) is definition else None


def code_witness(definition: Witness) -> Witness | None:
    """The witness of the code that a class has now, from that of the class; None for a function, whose code is part of
    what it is as a value, and for a class that is not there."""
    ((path,),) = definition[1:]
    found = importable(path)
    code = code_of(found) if isinstance(found, type) else None
    return (OF_CODE, (path, code)) if code is not None else None


def _have_their_code(payloads: Sequence[tuple[Any, ...]], store: Any) -> list[bool]:
    return [_has_its_code(path, code) for path, code in payloads]


def _has_its_code(path: str, code: bytes) -> bool:
    module = path.partition(":")[0]
    if module_named(module) is None:
        try:
            importlib.import_module(module)
        except (Exception, SystemExit):  # the user's own module may raise anything; whoever needs it will hear why
            return False
    found = importable(path)
    return isinstance(found, type) and code_of(found) == code


def _are_there(payloads: Sequence[tuple[Any, ...]], store: Any) -> list[bool]:
    return [_is_there(path) for (path,) in payloads]


def _is_there(path: str) -> bool:
    """Whether it is in its module; of a module that is not imported yet, whether its text names it."""
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
    """Whether a source file names this; what cannot be told is taken for yes."""
    if file is None or not file.endswith(".py"):
        return True
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return True
    return re.search(rf"\b{word}\b|import \*", text) is not None


register_validator(OF_DEFINITION, _are_there, on_worker=True)
register_validator(OF_CODE, _have_their_code, on_worker=True)
