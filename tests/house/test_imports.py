"""Who imports what: the contracts of pyproject.toml hold, and cover everything; `import rayflow` is quick."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from importlinter import cli as import_linter
from projects import REPOSITORY

PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
CONTRACTS: list[dict[str, Any]] = PYPROJECT["tool"]["importlinter"]["contracts"]
LAYERS = next(contract for contract in CONTRACTS if contract["type"] == "layers")
FILES_THAT_ARE_ROOMS = {"api", "config", "errors", "records", "run_settings", "version", "__main__"}

HEAVY = {"ray", "pyarrow", "duckdb", "numpy", "pandas", "fsspec", "s3fs", "gcsfs", "click", "rich", "asyncio"}


def test_the_import_contracts_hold(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.syspath_prepend(str(REPOSITORY))
    code = import_linter.lint_imports(config_filename=str(REPOSITORY / "pyproject.toml"), no_cache=True)
    assert code == 0, capsys.readouterr().out


def test_the_layers_are_exhaustive_and_name_every_room() -> None:
    assert LAYERS["exhaustive"] is True
    named = {room.strip() for layer in LAYERS["layers"] for room in layer.split("|")}
    there = {path.stem for path in (REPOSITORY / "rayflow").glob("*.py")} - {"__init__"}
    there |= {path.parent.name for path in (REPOSITORY / "rayflow").glob("*/__init__.py")}
    assert named == there


def test_every_outside_library_has_an_outlet() -> None:
    """A library that is depended on is forbidden everywhere but in the files that its contract names."""
    forbidden = {
        name
        for contract in CONTRACTS
        if contract["type"] == "forbidden" and contract["source_modules"] == ["rayflow"]
        for name in contract["forbidden_modules"]
    }
    needed = {re.split(r"[\[<>=~; ]", line)[0] for line in PYPROJECT["project"]["dependencies"]}
    assert {"grpc" if name == "grpcio" else name.replace("-", "_") for name in needed} <= forbidden


def test_no_file_imports_one_that_imports_it_not_even_for_annotations() -> None:
    [acyclic] = [contract for contract in CONTRACTS if contract["type"] == "acyclic_siblings"]
    assert "ignore_imports" not in acyclic


def test_every_room_has_a_folder_of_tests() -> None:
    rooms = {path.parent.name for path in (REPOSITORY / "rayflow").glob("*/__init__.py")}
    for room in sorted(rooms - {"testing"}):  # the simulated world is tested by the simulations that use it
        assert list((REPOSITORY / "tests" / room).glob("test_*.py")), f"tests/{room} has no tests"


def loaded_by(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after running the code."""
    ask = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    ended = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True, timeout=60)
    return set(ended.stdout.splitlines()[-1].split())


@pytest.mark.slow
def test_importing_rayflow_loads_nothing_heavy() -> None:
    assert loaded_by("import rayflow").isdisjoint(HEAVY)


@pytest.mark.slow
def test_defining_and_calling_a_task_loads_nothing_heavy() -> None:
    code = "from rayflow import cond, task\n@task\ndef f(x): return x\nprint(cond(f(1) > 0, f(2), f(3)))"
    assert loaded_by(code).isdisjoint(HEAVY)


@pytest.mark.slow
def test_importing_the_command_loads_no_engine() -> None:
    assert loaded_by("import rayflow.__main__").isdisjoint(HEAVY)
    assert loaded_by("import rayflow.cli.main").isdisjoint(HEAVY - {"click"})


UNSAID = {
    "rayflow/__init__.py",  # says to a user how to begin
}
"""Files whose docstring does not say all of it. One may be taken out, none added."""


def test_every_file_of_the_package_begins_with_what_it_is_for() -> None:
    """A docstring that says what comes in, what goes out and what the file never does."""
    lacking = []
    for path in sorted((REPOSITORY / "rayflow").rglob("*.py")):
        text = path.read_text()
        said = ast.get_docstring(ast.parse(text)) or ""
        assert said, f"{path} has no docstring"
        is_tiny = path.name == "__init__.py" and len(text.splitlines()) < 10
        missing = [word for word in ("In:", "Out:", "Never:") if not is_tiny and word not in said.split()]
        if missing and (name := str(path.relative_to(REPOSITORY))) not in UNSAID:
            lacking.append(f"{name}: {' '.join(missing)}")
    assert not lacking, "\n".join(lacking)


def test_the_packaged_files_are_those_of_the_package() -> None:
    assert PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["rayflow"]
    assert Path(REPOSITORY, PYPROJECT["project"]["license-files"][0]).read_text().lstrip().startswith("Apache License")
