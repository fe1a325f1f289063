"""Type checkers find nothing to say about the examples and about what README.md and the pages show of Python."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mypy import api
from projects import REPOSITORY

EXAMPLES = sorted(path for path in (REPOSITORY / "examples").iterdir() if path.is_dir())
DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "rayflow" / "docs").glob("*.md"))]
SHOWN = [
    block for path in DOCUMENTS for block in re.findall(r"```python( fragment)?\n(.*?)```", path.read_text(), re.DOTALL)
]
"""Each block of Python that the documents show; whether it is a part of a program, and its text."""

AROUND = """
import json
import os
from urllib.request import urlopen

import rayflow
from rayflow import ContentFile, Dir, File, Task, gather, run, script, subrun, task
from rayflow.testing import Rehearsal

reads: File
reference: list[File]
download: Task[[str], str]
parse: Task[[str], int]
tiny: Task[[int], int]

def current_version(name: str) -> int:
    return 1
"""
"""What the parts of programs leave out."""


def errors_in(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What mypy says of the modules in a folder."""
    monkeypatch.chdir(folder)
    said, trouble, _ = api.run(["--config-file=", "--ignore-missing-imports", f"--cache-dir={cache}", "."])
    assert not trouble
    return [line for line in said.splitlines() if "error:" in line]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What mypy knows of the libraries, for one after the other."""
    return tmp_path_factory.mktemp("mypy")


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_mypy_takes_an_example(example: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert errors_in(example, cache, monkeypatch) == []


@pytest.mark.slow
def test_mypy_takes_what_the_documents_show(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(SHOWN) >= 5
    for number, (is_fragment, text) in enumerate(SHOWN):
        main = "" if "def main(" in text else "\n@task\ndef main() -> int:\n    return 1\n"
        around = f"{AROUND}{main}\n" if is_fragment else ""
        (tmp_path / f"shown_{number}.py").write_text(f"{around}{text}")
    assert errors_in(tmp_path, cache, monkeypatch) == []
