"""The version is said once."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution

import pytest
from projects import REPOSITORY, Project

from rayflow.version import VERSION

PLACE = REPOSITORY / "rayflow" / "version.py"


def test_the_package_takes_its_version_from_the_code() -> None:
    pyproject = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    assert "version" not in pyproject["project"]
    assert pyproject["project"]["dynamic"] == ["version"]
    assert REPOSITORY / pyproject["tool"]["hatch"]["version"]["path"] == PLACE


def test_no_other_file_says_the_version() -> None:
    literal = re.compile(rf"""["']{re.escape(VERSION)}["']""")
    places = [path for path in (REPOSITORY / "rayflow").rglob("*.py") if literal.search(path.read_text())]
    assert places == [PLACE]


def test_the_installed_metadata_has_the_version_of_the_code() -> None:
    try:
        installed = distribution("rayflow-evaluator")
    except PackageNotFoundError:
        pytest.skip("rayflow is not installed here, but runs from the checkout")
    assert installed.version == VERSION


@pytest.mark.slow
def test_the_command_and_the_records_say_the_version(project: Project) -> None:
    shown = subprocess.run([sys.executable, "-m", "rayflow", "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout == f"rayflow {VERSION}\n"
    project.write("flow.py", "from rayflow import task\n\n@task\ndef main():\n    return 1\n")
    assert project.rayflow("run", "--inline", "flow.py").returncode == 0
    assert project.sql("select rayflow_version from executions") == [(VERSION,)]
