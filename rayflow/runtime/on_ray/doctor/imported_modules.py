"""The modules of libraries that a project's tasks cannot be imported without.

In: the project's directory. Out: names of top modules. Never: imports or runs the project.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterable, Iterator

LEFT_OUT = frozenset({"venv", "node_modules", "site-packages", "__pycache__", "build", "dist"})
"""Directories that hold no code of the project's own; beside those whose names begin with a dot."""

MOST_FILES = 2_000
"""At most so many files are read."""


def modules_needed(project_dir: str) -> tuple[str, ...]:
    """The libraries that the project's files with tasks import when they are imported, and the project's files that
    those import. What a body imports, and what a file can do without (`try`), does not count."""
    files = dict(_files(project_dir))
    imports = {path: _imports_in(path, top) for path, top in files.items()}
    waiting = [path for path, names in imports.items() if any(_top(name) == "rayflow" for name in names)]
    own: dict[str, list[str]] = {}
    for path, name in files.items():
        own.setdefault(name, []).append(path)
    seen: set[str] = set(waiting)
    found: set[str] = set()
    while waiting:
        for name in imports[waiting.pop()]:
            top = _top(name)
            for path in own.get(top, ()):
                if path not in seen:
                    seen.add(path)
                    waiting.append(path)
            if top not in own and top not in sys.stdlib_module_names and top != "rayflow":
                found.add(top)
    return tuple(sorted(found))


def _files(project_dir: str) -> Iterator[tuple[str, str]]:
    """The Python files of a project, and for each the top module that it belongs to: by its name, or its folder's."""
    count = 0
    for directory, folders, names in os.walk(project_dir):
        own = [each for each in folders if each not in LEFT_OUT and each[:1] != "."]
        folders[:] = sorted(each for each in own if not os.path.exists(os.path.join(directory, each, "pyvenv.cfg")))
        for name in sorted(names):
            if name.endswith(".py") and count < MOST_FILES:
                count += 1
                path = os.path.join(directory, name)
                parts = os.path.relpath(path, project_dir).split(os.sep)
                within = parts[1:] if parts[0] in ("src", "lib") and len(parts) > 1 else parts
                yield path, within[0].removesuffix(".py")


def _imports_in(path: str, own: str) -> list[str]:
    """The modules that a file imports when it is imported, relative ones by its own top module."""
    try:
        with open(path, encoding="utf-8") as file:
            tree = ast.parse(file.read())
    except (SyntaxError, ValueError, OSError):  # a run says so, if it needs the file
        return []
    found: list[str] = []
    for node in _at_import(tree.body):
        if isinstance(node, ast.Import):
            found.extend(each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            found.append(own)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
    return found


def _at_import(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run when a file is imported, without those that may fail."""
    for node in body:
        if isinstance(node, ast.If):
            if "TYPE_CHECKING" not in ast.dump(node.test) and "__main__" not in ast.dump(node.test):
                yield from _at_import(node.body)
            yield from _at_import(node.orelse)
        elif isinstance(node, ast.With):
            yield from _at_import(node.body)
        else:
            yield node


def _top(name: str) -> str:
    return name.partition(".")[0]
