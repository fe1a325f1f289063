"""The distributions whose versions count for a task's identity: its option `hash_distributions`.

In: the option, and the files of the task's code. Out: versions by normalised name. Never: imports a distribution.

The versions are those of the process that defines the task, or those that the option states. A worker that has other
ones does not run the task.
"""

from __future__ import annotations

import ast
import functools
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rayflow.errors import BadOption
from rayflow.lang.code.code_graph import Definition
from rayflow.values.digests import digest
from rayflow.values.process.distributions import installed, normalised

PYTHON = "python"
"""The name by which Python itself is counted: by its first two numbers, such as 3.12."""

DISTRIBUTION = "distribution"
"""The kind of a definition that is a distribution."""


def counted_versions(option: Any, files: Iterable[str], where: str) -> dict[str, str]:
    """The versions that count for a task with this option `hash_distributions`, by name, sorted.

    files: those with the task's code; they matter for True, which counts all distributions that they import. Raises
    BadOption for a name that is not installed.
    """
    if option is None or option is False:
        return {}
    if isinstance(option, Mapping):
        return {normalised(name): version for name, version in sorted(option.items())}
    names = _imported_by(files) if option is True else [normalised(name) for name in option]
    here = {**installed(), PYTHON: python_version()}
    missing = [name for name in names if name not in here]
    if missing:
        raise BadOption(
            f"{where}: option 'hash_distributions' names {missing[0]!r}, which is not installed here. State the "
            f"version that the workers have: hash_distributions={{{missing[0]!r}: '1.0'}}."
        )
    return {name: here[name] for name in sorted(set(names))}


def definitions_of(counted: Mapping[str, str]) -> tuple[Definition, ...]:
    """The distributions that count, as the records know what a task's identity is made of."""
    return tuple([
        Definition(name, DISTRIBUTION, digest(DISTRIBUTION, name.encode(), version.encode()), None, None,
                   f"{name} {version}")
        for name, version in counted.items()
    ])  # fmt: skip


def differing(counted: Mapping[str, str] | None) -> list[str]:
    """How the distributions of this process differ from those that count, one text each."""
    if not counted:
        return []
    here = {**installed(), PYTHON: python_version()}
    return [
        f"{name} {version} ({here.get(name, 'not installed')} here)"
        for name, version in counted.items()
        if here.get(name) != version
    ]


def python_version() -> str:
    """The version of Python, as it enters the hash of a task that counts it."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def _imported_by(files: Iterable[str]) -> list[str]:
    """The distributions that these files import, anywhere in them."""
    modules: set[str] = set()
    for path in sorted(set(files)):
        state = os.stat(path)
        modules |= _modules_in(path, state.st_mtime_ns, state.st_size)
    homes = _homes() if modules else {}
    return sorted({normalised(name) for module in modules for name in homes.get(module, ())})


@functools.lru_cache(maxsize=1000)
def _modules_in(path: str, modified: int, size: int) -> frozenset[str]:
    """The top modules that a file imports, without Python's own. modified, size: of the file, which may change."""
    with open(path, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(each.name.partition(".")[0] for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return frozenset(found - sys.stdlib_module_names - {__name__.partition(".")[0]})


@functools.cache
def _homes() -> Mapping[str, list[str]]:
    """The distributions of each top module. (Python reads files of all distributions for this: a third of a second.)"""
    from importlib.metadata import packages_distributions  # slow to import, and few tasks count all that they import

    return packages_distributions()
