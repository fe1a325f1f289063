"""env.sh, sourced: what a shell has after it, and what it says where something is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import cluster_files
import pytest

pytestmark = pytest.mark.slow

ENV = cluster_files.CLUSTER / "env.sh"
SHELLS = [shell for shell in ("sh", "bash") if shutil.which(shell)]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home directory with a token as Ray writes it: everybody can read it."""
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("00" * 32)
    token.chmod(0o644)
    return tmp_path


def sourced(shell: str, home: Path, **environment: str) -> tuple[int, dict[str, str], str]:
    """The exit code of sourcing it, what the environment then is, and what it says."""
    done = subprocess.run(
        [shell, "-c", f". '{ENV}' && env -0"],
        env={"PATH": os.environ["PATH"], "HOME": str(home), **environment},
        capture_output=True,
        text=True,
    )
    found = dict(line.partition("=")[::2] for line in done.stdout.split("\0") if line)
    return done.returncode, found, done.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_gets_the_settings_and_the_token_becomes_private(shell: str, home: Path) -> None:
    code, found, said = sourced(shell, home, PYTHONDONTWRITEBYTECODE="1")
    assert (code, said) == (0, "")
    token = home / ".ray" / "auth_token"
    settings = cluster_files.settings_of_env() | {"RAY_AUTH_TOKEN_PATH": str(token)}
    assert {name: value for name, value in found.items() if name.startswith("RAY")} == settings
    assert token.stat().st_mode & 0o777 == 0o600
    assert "PYTHONDONTWRITEBYTECODE" not in found


@pytest.mark.parametrize("shell", SHELLS)
def test_without_a_token_nothing_goes_on_and_it_says_how_to_make_one(shell: str, tmp_path: Path) -> None:
    code, found, said = sourced(shell, tmp_path)
    assert (code, found) == (1, {})
    assert f"there is no token in {tmp_path}/.ray/auth_token" in said and "ray get-auth-token --generate" in said


def test_a_token_in_the_environment_needs_no_file(tmp_path: Path) -> None:
    code, found, _ = sourced("sh", tmp_path, RAY_AUTH_TOKEN="00" * 32)
    assert (code, found["RAY_AUTH_TOKEN"], found["RAY_AUTH_MODE"]) == (0, "00" * 32, "token")
    assert "RAY_AUTH_TOKEN_PATH" not in found


def test_the_place_of_the_token_can_be_chosen(home: Path) -> None:
    other = home / "token"
    other.write_text("11" * 32)
    code, found, _ = sourced("sh", home, RAY_AUTH_TOKEN_PATH=str(other))
    assert (code, found["RAY_AUTH_TOKEN_PATH"], other.stat().st_mode & 0o777) == (0, str(other), 0o600)


def test_only_a_node_with_a_place_for_it_keeps_the_state_of_the_head(home: Path) -> None:
    _, found, _ = sourced("sh", home, RAY_gcs_storage_path="/var/lib/rayflow/gcs")
    assert (found["RAY_gcs_storage"], found["RAY_gcs_storage_path"]) == ("rocksdb", "/var/lib/rayflow/gcs")
    assert "RAY_gcs_storage" not in sourced("sh", home)[1]


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("name", ["env.sh", "slurm.sbatch"])
def test_the_shell_code_has_no_known_mistake(name: str) -> None:
    dialect = "sh" if name == "env.sh" else "bash"
    words = ["shellcheck", f"--shell={dialect}", "--external-sources", f"--source-path={cluster_files.CLUSTER}"]
    checked = subprocess.run([*words, str(cluster_files.CLUSTER / name)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
