"""In which order a task's parameters stand.

In: the source that was recorded with the task. Out: their names. Never: raises, or runs it.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Mapping
from typing import Any


def parameters_in(source: str) -> list[str]:
    """The names of the parameters of the function that this source defines; none where it cannot be told."""
    try:
        defined = ast.parse(textwrap.dedent(source)).body[:1]
    except (SyntaxError, ValueError, RecursionError):  # the piece of a line that a lambda stands in, say
        return []
    if not defined or not isinstance(defined[0], ast.FunctionDef | ast.AsyncFunctionDef):
        return []
    given = defined[0].args
    several = [*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg]
    return [each.arg for each in several if each is not None]


def in_order(named: Mapping[str, Any], parameters: list[str]) -> tuple[Any, ...]:
    """What has these names, in the order of the parameters; the rest after it, as it was."""
    first = [named[name] for name in parameters if name in named]
    return (*first, *(each for name, each in named.items() if name not in parameters))
