"""A node tells early why a runtime environment does not come."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytest

from rayflow.runtime.on_ray.environment_trouble import failures_in, installer_lines, lacking_here

PIP = (
    'Failed to create runtime env {"_ray_commit": "b7f4", "env_vars": {"A": "1"}, '
    '"pip": {"packages": ["no-such==9"], "pip_check": false}}.'
)
OUTPUT = """Traceback (most recent call last):
  File "agent.py", line 561, in _create_runtime_env_with_retry
    await check_output_cmd(
ray._private.runtime_env.utils.SubprocessCalledProcessError: Run cmd[7] failed with the following details.
Command '['python', '-m', 'pip']' returned non-zero exit status 1.
Last 50 lines of stdout:
    Looking in indexes: https://host/simple
    WARNING: Location '/opt' is ignored: it is neither a file nor a directory.
    ERROR: Could not find a version that satisfies the requirement no-such==9 (from versions: none)
    ERROR: No matching distribution found for no-such==9
"""


def entry(at: float, text: str, level: str = "ERROR") -> str:
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(at))},157\t{level} runtime_env_agent.py:569 -- {text}\n"


NOW = 1_790_000_000.0
LOG = (
    entry(NOW - 100, PIP) + OUTPUT
    + entry(NOW, PIP.replace("no-such", "another")) + OUTPUT
    + entry(NOW + 1, 'Creating runtime env: {"pip": {"packages": ["no-such==9"]}} with timeout 600 seconds.', "INFO")
    + entry(NOW + 2, "Failed to create runtime env {not JSON}.")
    + entry(NOW + 20, PIP) + OUTPUT
)  # fmt: skip


@pytest.mark.parametrize(("since", "count"), [(NOW - 200, 2), (NOW, 1), (NOW + 20, 1), (NOW + 22, 0)])
def test_the_failures_of_one_environment_since_a_moment_are_found_in_the_agents_log(since: float, count: int) -> None:
    found = failures_in(LOG, {"pip": ["no-such==9"], "env_vars": {"B": "2"}}, since)
    assert len(found) == count
    for text in found:
        assert text.endswith("ERROR: No matching distribution found for no-such==9")
        assert "WARNING" not in text and "Looking" not in text
    assert failures_in(LOG, {"pip": ["other"]}, since) == () and failures_in("", {"pip": ["no-such==9"]}, since) == ()


def test_without_an_installers_output_the_error_itself_is_told() -> None:
    error = "Traceback (most recent call last):\n  File 'a'\nValueError: Could not find Conda executable at conda.\n"
    assert installer_lines(error) == "ValueError: Could not find Conda executable at conda."
    assert installer_lines("") == ""


@pytest.mark.parametrize(
    ("environment", "tools", "says"),
    [
        ({"image_uri": "a:1"}, [], "needs podman"), ({"image_uri": "a:1"}, ["podman"], None),
        ({"container": {"image": "a"}}, ["conda"], "needs podman"), ({"conda": "a"}, ["podman"], "conda is not"),
        ({"conda": "a"}, ["conda"], None), ({"pip": ["a"]}, [], None), ({"py_executable": sys.executable}, [], None),
    ],
)  # fmt: skip
def test_a_tool_that_a_node_lacks_is_told(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, Any], tools: list[str], says: str | None
) -> None:
    monkeypatch.delenv("RAY_CONDA_HOME", raising=False)
    monkeypatch.delenv("CONDA_EXE", raising=False)
    found = lacking_here(environment, lambda name: name if name in tools else None)
    assert found == says if says is None else found is not None and says in found


@pytest.mark.slow
def test_a_python_that_does_not_start_is_told_with_what_it_says() -> None:
    assert "No such file" in str(lacking_here({"py_executable": "/no/python"}))
    assert "ends with 1: it says nothing" in str(lacking_here({"py_executable": "false"}))
    broken = {"py_executable": f"{sys.executable} -S -E", "env_vars": {"A": "1"}}
    assert "No module named 'ray'" in str(lacking_here(broken))
