"""The statements that assign a constant of a module, also when the module imports it from another one of the project.

In: a module's name and a name in it. Out: `Assignments`. Never: imports a module, runs a statement.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rayflow.lang.code.source_files import Project, source_file

_MOST_STEPS = 50
"""Modules may import a name from each other in a circle."""


@dataclass(frozen=True, slots=True)
class Assignments:
    """The statements that assign a constant.

    module, path: the module where they stand, and its file, if it has one. is_outside: whether it is a library's.
    values: the expression that each statement assigns; empty where none is found. line: of the first statement.
    """

    module: str
    path: str | None
    values: tuple[ast.expr, ...] = ()
    line: int = 0
    is_outside: bool = False


def assignments_of(value: Any, module: str, name: str, project: Project) -> Assignments:
    """The statements that bound a value to a name in a module; they may stand in a module that it imports from."""
    for _ in range(_MOST_STEPS):
        loaded = sys.modules.get(module)
        path: str | None = getattr(loaded, "__file__", None)
        if loaded is not None and not project.owns_module(loaded):
            return Assignments(module, None, is_outside=True)
        if loaded is None or path is None:
            return Assignments(module, None)
        bindings = _bindings(path)
        statements = bindings.get(name, [])
        sources = [_source_of(each, name, loaded) for each in (*statements, *bindings.get("*", []))]
        source = next((each for each in sources if each is not None and _held(*each) is value), None)
        if source is None:
            values = [each.value for each in statements if not isinstance(each, ast.ImportFrom)]
            line = statements[0].lineno if statements else 0
            return Assignments(module, path, tuple(each for each in values if each is not None), line)
        module, name = source
    return Assignments(module, None)


def _bindings(path: str) -> dict[str, list[Any]]:
    """The statements of a file, outside functions and classes, that bind each name; `*` for what binds unknown ones."""
    file = source_file(path)
    if file is None:
        return {}
    known: dict[str, list[Any]] = file.memo.setdefault("bindings", {})
    if not known:
        for statement in _statements(file.tree.body):
            for name in _bound(statement):
                known.setdefault(name, []).append(statement)
    return known


def _statements(body: list[ast.stmt]) -> Iterator[Any]:
    """Statements in the order of the text, also those inside `if`, `try`, `with` and loops."""
    stack = [iter(body)]
    while stack:
        statement = next(stack[-1], None)
        if statement is None:
            stack.pop()
        elif isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.ImportFrom)):
            yield statement
        elif not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            blocks = [getattr(statement, name, []) for name in ("body", "orelse", "finalbody")]
            blocks[1:1] = [handler.body for handler in getattr(statement, "handlers", [])]
            stack.extend(iter(block) for block in reversed(blocks))


def _bound(statement: Any) -> list[str]:
    if isinstance(statement, ast.ImportFrom):
        return [alias.asname or alias.name for alias in statement.names]
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]  # `K["a"] = f` counts, too
    return [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]


def _source_of(statement: Any, name: str, module: Any) -> tuple[str, str] | None:
    """The module that a statement imports a name from, and what it is called there; None for other statements."""
    if not isinstance(statement, ast.ImportFrom):
        return None
    there = next((alias.name for alias in statement.names if (alias.asname or alias.name) == name), name)
    source = statement.module or ""
    if not statement.level:
        return source, there
    package = getattr(module, "__package__", None) or module.__name__.rpartition(".")[0]
    try:
        return importlib.util.resolve_name("." * statement.level + source, package), there
    except ImportError:
        return None


def _held(module: str, name: str) -> Any:
    return getattr(sys.modules.get(module), "__dict__", {}).get(name)
