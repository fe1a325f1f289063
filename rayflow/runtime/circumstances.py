"""Who runs something, where, and at which state of the project.

In: this process, a project's directory. Out: a commit, a user, the row that an execution begins with. Never: fails;
what cannot be found out is None.
"""

from __future__ import annotations

import getpass
import os
import platform
import socket
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from rayflow.lang.expressions import TaskCall, Term, render
from rayflow.records import ExecutionRow
from rayflow.runtime.outbox import now
from rayflow.version import VERSION


def project_start() -> str:
    """Where to look for the project: the directory of the script that runs, else the current one."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if file and os.path.exists(file) and not _is_our_command(file):
        return str(Path(file).resolve().parent)
    return os.getcwd()


def _is_our_command(file: str) -> bool:
    path = Path(file)
    if path.name in ("rayflow", "pytest", "__main__.py"):
        return True
    return "site-packages" in path.parts or path.parent.resolve() == Path(sys.prefix, "bin").resolve()


def opening_row(execution_id: str, symbolic: Term, project_dir: str) -> ExecutionRow:
    """The row of an execution that begins: who runs what, where. Without the packed term and the options."""
    return ExecutionRow(
        execution_id=execution_id,
        life=0,
        root=None,
        root_blob=None,
        options="{}",
        task_table=None,
        project_dir=project_dir,
        task_name=symbolic._task if type(symbolic) is TaskCall else None,
        arguments=render(symbolic),
        status="running",
        started_at=now(),
        finished_at=None,
        value_hash=None,
        error=None,
        jobs=None,
        computed=None,
        cached=None,
        shared=None,
        failed=None,
        command=" ".join(sys.argv)[:2000],
        user=user(),
        host=socket.gethostname(),
        project=Path(project_dir).name,
        git_commit=git_commit(project_dir),
        rayflow_version=VERSION,
        python_version=platform.python_version(),
        ray_version=None,
        pid=os.getpid(),
    )


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
