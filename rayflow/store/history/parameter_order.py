"""The order of a task's parameters.

In: the source that was recorded with the task. Out: the names of its parameters. Never: raises, or runs the source.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Mapping
from typing import Any


def parameters_in(source: str) -> list[str]:
    """The names of the parameters of the function that this source defines; empty when it cannot be parsed."""
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
    """The things with these names, in the order of the parameters; all others behind them, in their own order."""
    first = [named[name] for name in parameters if name in named]
    return (*first, *(each for name, each in named.items() if name not in parameters))
