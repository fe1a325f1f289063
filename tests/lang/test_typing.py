"""Type checkers see what a call takes and what it gives: mypy, and pyright where it is installed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from projects import REPOSITORY

SAMPLE = REPOSITORY / "tests/lang/typed_calls.py"
LINES = SAMPLE.read_text().splitlines()
WRONG = {number for number, line in enumerate(LINES, 1) if line.endswith("# wrong")}
REVEALED = {number: line.split("# is: ")[1] for number, line in enumerate(LINES, 1) if " # is: " in line}
MODULES = re.compile(r"\b([a-z_]+\.)+(?=\w)")
"""What mypy prints before the name of a class, and pyright does not."""

PLACES = [Path(folder, name) for name in ("basedpyright", "pyright") for folder in os.get_exec_path()]
PYRIGHT = next((place for place in PLACES if place.exists()), None)


@pytest.mark.slow
def test_mypy_sees_calls_and_their_results() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "mypy", str(SAMPLE)], cwd=REPOSITORY, capture_output=True, text=True, timeout=200
    )
    said = re.findall(r"typed_calls\.py:(\d+): (error|note): (.*)", ended.stdout)
    assert {int(line) for line, kind, _ in said if kind == "error"} == WRONG, ended.stdout + ended.stderr
    revealed = {
        int(line): MODULES.sub("", text.split('"')[1]) for line, _, text in said if text.startswith("Revealed type")
    }
    assert revealed == REVEALED


@pytest.mark.skipif(PYRIGHT is None, reason="pyright is not installed")
def test_pyright_sees_the_same() -> None:
    command = [str(PYRIGHT), "--outputjson", "--pythonpath", sys.executable, str(SAMPLE)]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=200)
    said = json.loads(ended.stdout)["generalDiagnostics"]
    errors = {each["range"]["start"]["line"] + 1 for each in said if each["severity"] == "error"}
    assert errors == WRONG, ended.stdout
    revealed = {
        each["range"]["start"]["line"] + 1: each["message"].split('"')[-2]
        for each in said
        if each["severity"] == "information"
    }
    assert revealed == REVEALED


def test_the_package_says_that_it_is_typed() -> None:
    assert (REPOSITORY / "rayflow/py.typed").exists()
