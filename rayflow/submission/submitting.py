"""From a command to a job: everything is checked here before anything is sent.

In: a configuration, the command that the job has to carry out. Out: a job on the cluster, or one clear error. Never:
follows the job.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rayflow.config import Config
from rayflow.errors import BadConfig
from rayflow.runtime.protocol.execution_row import project_name
from rayflow.runtime.protocol.git_commit import commit_of
from rayflow.runtime.protocol.requests import check_uuid, new_execution_id
from rayflow.submission.job_api import JobApi, RayJob
from rayflow.submission.job_requests import JobRequest, check_ray, start
from rayflow.submission.local_files import check_sent
from rayflow.submission.packages import own_package, project_package
from rayflow.submission.project_files import check_sizes, files_of
from rayflow.submission.shared_stores import check_shared, leave_job_beacon, remove_job_beacon

_SENT_ALONG = ("RAYFLOW_CACHE", "RAYFLOW_LOG_LEVEL", "RAYFLOW_SETUP", "RAYFLOW_FULL_TRACEBACKS")
"""The variables of the user's that count on the cluster, too. Store, address and context are sent in other ways."""

_CONTEXT_FILE = "RAYFLOW_CONTEXT_FILE"


@dataclass(frozen=True, slots=True)
class SubmittedCommand:
    """A command for a job.

    words: of the command, without store, address and execution. directory: where it was typed, relative to the project.
    execution_id: as the user has given it; None for a new one. default_store: of commands without `--store` where it
    was typed. input_file: name and text of a file with arguments. typed: the command as the user has typed it. files:
    the paths of the local files that its arguments name.
    """

    words: tuple[str, ...]
    directory: str
    execution_id: str | None = None
    default_store: str | None = None
    input_file: tuple[str, str] | None = None
    typed: tuple[str, ...] = field(default=())
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SubmittedJob:
    """A job that was started. is_new: whether it was started now, and not by an equal request before."""

    execution_id: str
    job: RayJob
    is_new: bool


def submit(
    api: JobApi,
    config: Config,
    command: SubmittedCommand,
    *,
    ships_rayflow: bool,
    say: Callable[[str], None],
    warn: Callable[[str], None],
) -> SubmittedJob:
    """Start a job that carries out the command.

    ships_rayflow: whether to send rayflow along. say: gets a line about what is being sent. warn: gets each warning.
    Raises BadConfig, BadArguments, BadProject, FileMissing, VersionMismatch, StoreUnavailable and ClusterUnavailable,
    in most cases before anything is sent.
    """
    if command.execution_id is not None:
        check_uuid(command.execution_id)
    check_shared(config.store, config.project_dir)
    if "working_dir" in config.environment:
        raise BadConfig(
            "[environment] has a working_dir, but a submitted run works in the copy of the project that is sent: leave "
            "it out."
        )
    environment = _environment(os.environ, config.project_dir)
    files = files_of(config.project_dir, config.environment.get("excludes") or ())
    for warning in check_sizes(files, config.project_dir):
        warn(warning)
    files_elsewhere = check_sent(command.files, files, config.project_dir)
    note = check_ray(api.ray_version())
    if note is not None:
        warn(note)
    execution_id = command.execution_id or new_execution_id()
    request = JobRequest(
        execution_id=execution_id,
        words=command.words,
        directory=command.directory,
        store=config.store,
        beacon=leave_job_beacon(config.store, execution_id),
        default_store=command.default_store,
        input_file=command.input_file,
        environment=environment,
        typed=command.typed,
        files=files_elsewhere,
        commit=commit_of(config.project_dir),
        project=project_name(config.project_dir),
    )
    own = own_package() if ships_rayflow else None

    def unsent() -> None:
        if command.execution_id is None:  # else an equal request, made before, may wait for its turn with this beacon
            remove_job_beacon(config.store, request.beacon)

    job, is_new = start(api, request, project_package(files), own, say, unsent)
    return SubmittedJob(execution_id, job, is_new)


def _environment(variables: Mapping[str, str], project_dir: str) -> dict[str, str]:
    """The variables that are sent along. Raises BadConfig for a file with a context that is not in the project."""
    found = {name: variables[name] for name in _SENT_ALONG if variables.get(name)}
    path = variables.get(_CONTEXT_FILE)
    if path:
        whole = os.path.realpath(os.path.join(project_dir, os.path.expanduser(path)))
        within = os.path.relpath(whole, os.path.realpath(project_dir))
        if within.split(os.sep)[0] == "..":
            raise BadConfig(f"{_CONTEXT_FILE} is {path}, which is not in the project, and so is not sent.")
        found[_CONTEXT_FILE] = within
    return found


def directory_in(project_dir: str, directory: str) -> str:
    """A directory relative to the project; the project itself for one outside."""
    within = os.path.relpath(os.path.realpath(directory), os.path.realpath(project_dir))
    return "." if within.split(os.sep)[0] == ".." else Path(within).as_posix()
