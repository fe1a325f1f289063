"""Whether a job will find the files of the submitting machine that its arguments name.

In: a call, the files of the project that are sent. Out: the paths that only a shared disk can bring; one clear error
for a file that nothing brings. Never: opens a file.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from typing import Any

from rayflow.errors import FileMissing
from rayflow.lang.terms.expressions import TaskCall
from rayflow.submission.project_files import GIT, RAY, ProjectFile
from rayflow.values.encoding.nested import iter_leaves
from rayflow.values.encoding.previews import few
from rayflow.values.files.files import Dir, File
from rayflow.values.filesystems.filesystems import local_path

_ADVICE = (
    "keep it in a folder that all machines share, or at a URL such as s3://bucket/...; where a program needs a local "
    'one, stage it: file.stage("name").'
)


def local_files_of(call: Any) -> tuple[str, ...]:
    """The paths of the files and directories among the arguments of a call that are on this machine."""
    if not isinstance(call, TaskCall):
        return ()
    leaves = iter_leaves([call._args, call._kwargs])
    paths = dict.fromkeys(leaf.path for leaf in leaves if isinstance(leaf, File | Dir))
    return tuple(path for path in paths if (local := local_path(path)) is not None and os.path.exists(local))


def check_sent(paths: Iterable[str], files: Sequence[ProjectFile], project_dir: str) -> tuple[str, ...]:
    """Those of the paths that are not in the project, so that only a shared disk brings them to a cluster.

    Raises FileMissing for a path in the project that is not among the files which are sent.
    """
    elsewhere = []
    root = os.path.realpath(project_dir)
    for path in paths:
        local = local_path(path)
        within = os.path.relpath(os.path.realpath(local or ""), root)
        is_relative = local is not None and not path.startswith(("/", "~", "file://"))
        if not is_relative or within.split(os.sep)[0] == "..":
            elsewhere.append(path)
        elif within != "." and (left_out := _left_out(root, within, files)):
            raise FileMissing(
                f"{path} is not sent with the project, because {GIT} or {RAY} leaves it out: bring it back by the line "
                f"!{left_out} in {RAY}. Or {_ADVICE}"
            )
    return tuple(elsewhere)


def _left_out(root: str, within: str, files: Sequence[ProjectFile]) -> str | None:
    """The outermost part of a path in a project that is not sent, as a pattern; None where the path is sent."""
    part = ""
    for name in within.split(os.sep):
        part = f"{part}/{name}" if part else name
        if not any(f"{file.name}/".startswith(f"{part}/") for file in files):
            return f"{part}/" if os.path.isdir(os.path.join(root, part)) else part
    return None


def check_there(paths: Iterable[str]) -> None:
    """In a job: raise FileMissing for files of the submitting machine that this one does not have."""
    missing = [path for path in paths if not os.path.exists(local_path(path) or path)]
    if missing:
        raise FileMissing(
            f"On the machine that has submitted there is {few(missing)}, and on {socket.gethostname()}, a machine of "
            "the cluster, there is not. A file of the project is sent along: name it by its path in the project. Or "
            f"{_ADVICE}"
        )
