"""The opening row of an execution: user, machine, command and commit.

In: this process, a project's directory. Out: the row. Never: fails; a column that cannot be found out is None.
"""

from __future__ import annotations

import getpass
import os
import platform
import socket
import sys
from pathlib import Path

from rayflow.errors import BadConfig
from rayflow.evaluator.hashes import MEANING
from rayflow.installation import is_installed
from rayflow.lang.modules import JOB_COPIES
from rayflow.lang.options.runtime_environments import shown_words
from rayflow.lang.terms.expressions import TaskCall, Term, render
from rayflow.records import ExecutionRow
from rayflow.runtime.protocol.git_commit import commit_of
from rayflow.values.filesystems.filesystems import is_url
from rayflow.version import VERSION


def project_start() -> str:
    """The directory in which the search for the project begins: of the running script, else the current directory."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if file and os.path.exists(file) and not _is_our_command(file):
        return str(Path(file).resolve().parent)
    return os.getcwd()


def _is_our_command(file: str) -> bool:
    path = Path(file)
    if path.name in ("rayflow", "pytest", "__main__.py"):
        return True
    return is_installed(os.path.abspath(file)) or path.parent.resolve() == Path(sys.prefix, "bin").resolve()


def is_in_job_copy(path: str) -> bool:
    """Whether a path lies in the copy of a project that Ray makes for a job, and throws away after it."""
    return "/".join(JOB_COPIES) in path.replace(os.sep, "/")


def check_store_stays(url: str) -> None:
    """Raise BadConfig for a store that Ray would throw away with its job."""
    if not is_url(url) and is_in_job_copy(os.path.realpath(url)):
        raise BadConfig(
            f"The store would be {url}, in the copy of the project that Ray has made for this job and throws away when "
            "that ends. Name a store that stays and that all nodes reach: RAYFLOW_STORE=s3://bucket/results, or store "
            "in rayflow.toml."
        )


_names: dict[str, str] = {}
"""The name of each project that is a copy, in a directory with a name of Ray's."""


def tell_name(project_dir: str, name: str) -> None:
    """Use this name for a copy of a project."""
    _names[project_dir] = name


def project_name(project_dir: str) -> str:
    """The name of a project: that of its directory, where the user has it."""
    return _names.get(project_dir) or Path(project_dir).name


def opening_row(execution_id: str, symbolic: Term, project_dir: str, at: int) -> ExecutionRow:
    """The row of an execution that begins, without the packed term and the options.

    at: the time on the driver's clock.
    """
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
        started_at=at,
        finished_at=None,
        value_hash=None,
        error=None,
        jobs=None,
        computed=None,
        cached=None,
        shared=None,
        failed=None,
        command=" ".join(shown_words(sys.argv))[:2000],
        user=user(),
        host=socket.gethostname(),
        project=project_name(project_dir),
        git_commit=commit_of(project_dir),
        rayflow_version=VERSION,
        python_version=platform.python_version(),
        ray_version=None,
        pid=os.getpid(),
        meaning=MEANING.decode(),
    )


def user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return None
