"""The commit of the project, as git tells it.

In: the project's directory. Out: the commit, or None. Never: keeps a run waiting for git while there is something else
to do, or for longer than two seconds.
"""

from __future__ import annotations

import os
import subprocess
import threading

GIT_SECONDS = 2.0
"""How long git may take, for example in a large project on a network."""


class _Question(threading.Thread):
    """Asks git, in a thread. commit: the answer, when the thread has ended."""

    def __init__(self, project_dir: str) -> None:
        super().__init__(name="rayflow-git", daemon=True)
        self._project_dir = project_dir
        self.commit: str | None = None

    def run(self) -> None:
        command = ["git", "-C", self._project_dir, "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
        try:
            told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=GIT_SECONDS)
        except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
            return
        self.commit = _commit_in(told.stdout)


_lock = threading.Lock()
_asked: dict[str, _Question | None] = {}
"""The question about each project; None for one without git."""

_told: dict[str, str | None] = {}
"""The commit of each project that is a copy."""


def ask(project_dir: str) -> None:
    """Begin to ask git, unless that was done; `commit_of` waits for the answer."""
    with _lock:
        if project_dir not in _asked:
            _asked[project_dir] = None
            if os.path.exists(os.path.join(project_dir, ".git")):
                _asked[project_dir] = question = _Question(project_dir)
                question.start()


def commit_of(project_dir: str) -> str | None:
    """The project's commit, with a + at its end when the tree is dirty; None without git."""
    if project_dir in _told:
        return _told[project_dir]
    ask(project_dir)
    question = _asked[project_dir]
    if question is None:
        return None
    question.join()
    return question.commit


def tell(project_dir: str, commit: str | None) -> None:
    """Use this commit for a copy of a project, which has no repository."""
    _told[project_dir] = commit


def forget() -> None:
    """Ask anew."""
    _asked.clear()
    _told.clear()


def _commit_in(status: str) -> str | None:
    """The commit that a status in git's second format for programs names; None before the first commit."""
    commit = None
    is_dirty = False
    for line in status.splitlines():
        if line.startswith("# branch.oid "):
            commit = line.removeprefix("# branch.oid ")[:12]
        elif not line.startswith("#"):
            is_dirty = True
    if commit is None or commit.startswith("("):
        return None
    return f"{commit}+" if is_dirty else commit
