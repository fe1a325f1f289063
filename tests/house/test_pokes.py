"""Tests use what users and other rooms can use: how often they reach for a private name may only become less."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from projects import REPOSITORY

EXPRESSIONS = {"_args", "_kwargs", "_name", "_task", "_options", "_call_options", "_shared", "_inner"}
"""Attributes of an expression: its public attributes are lazy calls, so it has no others."""

PUBLIC = {"_replace", "_asdict", "_fields", "_make", "_exit", "_repr_mimebundle_"}
"""Names of the standard library, and of IPython, that are public."""

MOST = {
    "benchmarks": 4, "cli": 3, "cluster": 12, "conformance": 5, "contracts": 0, "cluster_files": 0, "deployments": 0,
    "evaluator": 0, "examples": 0, "house": 0, "keeper": 0, "lang": 3, "runtime": 83, "service": 0,
    "client": 0, "compat": 0, "simulation": 0, "store": 36, "submission": 0, "support": 5, "testing": 1, "values": 37,
}  # fmt: skip
"""How often the tests of each folder do so. It may be lowered, never raised."""


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in EXPRESSIONS | PUBLIC


def _own_names(tree: ast.AST) -> set[str]:
    """The private names that a test's file defines itself."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
    return found


def pokes(path: Path) -> Iterator[str]:
    """The private names of others that a file imports, reads or replaces."""
    tree = ast.parse(path.read_text())
    own = _own_names(tree)
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id == "self"):
            names = [node.attr]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setattr":
            texts = [each.value for each in node.args[:2] if isinstance(each, ast.Constant)]
            names = [text.rpartition(".")[2] for text in texts if isinstance(text, str)]
        yield from (f"{path.name}:{node.lineno}: {name}" for name in names if _is_private(name) and name not in own)


@pytest.mark.parametrize("folder", sorted(MOST))
def test_tests_reach_for_private_names_no_more_often_than_before(folder: str) -> None:
    found = [poke for path in sorted((REPOSITORY / "tests" / folder).rglob("*.py")) for poke in pokes(path)]
    assert len(found) <= MOST[folder], "\n".join(found)


def test_every_folder_of_tests_is_looked_at() -> None:
    folders = {path.relative_to(REPOSITORY / "tests").parts[0] for path in (REPOSITORY / "tests").glob("*/**/*.py")}
    assert folders == {*MOST}
