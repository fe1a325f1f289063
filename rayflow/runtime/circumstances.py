"""Who runs something, and at which state of the project.

In: a project's directory. Out: a commit, a user. Never: fails; what cannot be found out is None.
"""

from __future__ import annotations

import getpass
import subprocess
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=8)
def git_commit(project_dir: str) -> str | None:
    """The project's commit, with + behind it when the tree is dirty; None where there is no git."""
    if not Path(project_dir, ".git").exists():
        return None
    try:
        commit = _git(project_dir, "rev-parse", "--short=12", "HEAD")
        dirty = _git(project_dir, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}+" if dirty else commit


def _git(project_dir: str, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", project_dir, *arguments], capture_output=True, text=True, check=True, timeout=2
    ).stdout.strip()


def user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return None
