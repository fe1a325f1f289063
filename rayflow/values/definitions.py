"""Classes and functions of the project that recorded values name: without them such a value cannot be read any more.

In: classes and functions, while values that name them are encoded; later, their paths. Out: a witness for each; whether
it is there. Never: imports a module: one may be slow to import, and the answer be had without.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rayflow.values.functions import is_installed_file
from rayflow.values.handlers import importable
from rayflow.values.witnesses import OF_DEFINITION, Witness, register_validator


def definition_witness(definition: type | types.FunctionType) -> Witness | None:
    """The witness of a class or function that stands in a module of the project; None for all others.

    What is installed comes and goes with its package. What stands in `__main__` or in a function travels with its
    values.
    """
    module = definition.__module__
    if module is None:  # made by exec
        return None
    if module in ("builtins", "__main__") or module.partition(".")[0] == "rayflow":
        return None
    file = getattr(sys.modules.get(module), "__file__", None)
    path = f"{module}:{definition.__qualname__}"
    if file is None or is_installed_file(file) or importable(path) is not definition:
        return None
    return (OF_DEFINITION, (path,))


def _are_there(payloads: Sequence[tuple[Any, ...]], store: Any) -> list[bool]:
    return [_is_there(path) for (path,) in payloads]


def _is_there(path: str) -> bool:
    """Whether it is in its module; of a module that is not imported yet, whether its text names it."""
    name, _, qualname = path.partition(":")
    found: Any = sys.modules.get(name)
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
