"""An execution in another store, on another cluster: started once, and followed until it ends.

In: its id, a deployment. Out: its row when it has ended. Never: starts a second one under the same id; stops it.

The row in the other store says how it ended. The job API tells whether something still works at it: a job that is gone
leaves no row. So the row is asked for first, and once more after the job's end.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rayflow import config as configuration
from rayflow.deployment_settings import DeploymentSettings
from rayflow.errors import (
    BadConfig,
    ClusterUnavailable,
    DeploymentFailed,
    RayflowError,
    StoreUnavailable,
    UserError,
    WorldError,
)
from rayflow.pasting import command
from rayflow.runtime.protocol.execution_row import project_name
from rayflow.runtime.protocol.git_commit import commit_of
from rayflow.store.history.answer_types import Record, own_error
from rayflow.store.history.history import History
from rayflow.submission.following import LOST_SECONDS
from rayflow.submission.frames import FrameReader, JobBegun, JobText
from rayflow.submission.job_api import PREFIX, JobApi, RayJob, headers_in
from rayflow.submission.job_requests import JobRequest, check_ray, start
from rayflow.submission.packages import project_package
from rayflow.submission.project_files import check_sizes, files_of
from rayflow.submission.shared_stores import check_shared, leave_job_beacon
from rayflow.values.digests import digest
from rayflow.values.filesystems.filesystems import base_directory, is_url

CALL = "call"
"""The first word of a job that carries out a call, in place of a command of the user's."""

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
PAUSE_GROWTH = 1.3
"""The times between two questions whether it has ended."""

MOST_LINES = 12
"""How many lines of a job's output stand in the error about it."""


def far_execution_id(execution_id: str, job_id: str) -> str:
    """The id of the execution that a call makes in another store.

    job_id: of the call; it is a digest of the execution and of the call's path in it. So the id is the same in each
    attempt, and after a resume.
    """
    number = int.from_bytes(digest("far execution", execution_id.encode(), job_id.encode())[:16])
    number = number & ~(0xF << 76) | 0x8 << 76  # a UUID whose content is the maker's own
    number = number & ~(0b11 << 62) | 0b10 << 62
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def place_of(path: str) -> str:
    """A path or URL of the settings; a relative path is relative to this process's project."""
    return path if is_url(path) else str(Path(base_directory(), os.path.expanduser(path)))


def token_of(settings: DeploymentSettings) -> str | None:
    """The token of a deployment's cluster; None where the settings name none. The user's own token is for the caller's
    cluster: it is not sent to that of others. Raises BadConfig when it is not where the settings say."""
    return _text_of("The token", settings.token_file, settings.token_env)


def headers_of(settings: DeploymentSettings) -> dict[str, str]:
    """The headers for the proxy before a deployment's dashboard; none where the settings name none. As with the token,
    those that the user has for the caller's cluster are sent only where the settings name them. Raises BadConfig."""
    text = _text_of("The headers", settings.headers_file, settings.headers_env)
    place = settings.headers_file or f"The variable {settings.headers_env}"
    return {} if text is None else headers_in(text, place)


def _text_of(what: str, file: str | None, variable: str | None) -> str | None:
    """A text that the settings name by a file or a variable; None where they name neither."""
    if file is not None:
        path = place_of(file)
        try:
            text = Path(path).read_text().strip()
        except OSError as error:
            raise BadConfig(f"{what} of the deployment cannot be read from {path}: {error.strerror}.") from None
        if not text:
            raise BadConfig(f"{what} of the deployment cannot be read from {path}: the file is empty.")
        return text
    if variable is not None:
        text = os.environ.get(variable, "").strip()
        if not text:
            raise BadConfig(
                f"{what} of the deployment should be in the variable {variable}, which is not set where the call runs."
            )
        return text
    return None


@dataclass(frozen=True, slots=True)
class NumberedRequest(JobRequest):
    """The request for one of the jobs of an execution. Ray never gives the id of a job again, not even of a lost one,
    so that each further job has a number behind its id. number: from 1."""

    number: int = 1

    @property
    def submission_id(self) -> str:
        """The id of the job."""
        return job_id_of(self.execution_id, self.number)


def job_id_of(execution_id: str, number: int) -> str:
    """The id of a job of an execution. number: from 1."""
    return f"{PREFIX}{execution_id}" if number == 1 else f"{PREFIX}{execution_id}-{number}"


@dataclass(slots=True)
class FarExecution:
    """One execution of a deployment.

    name: of the deployment. target: the task, as `file.py:task`. history: of the other store. execution_id: in it. say:
    gets a line about each step.
    """

    name: str
    settings: DeploymentSettings
    target: str
    history: History
    execution_id: str
    say: Callable[[str], None]
    _number: int = field(default=1, init=False)
    """Of the job that works at it."""
    _past_life: int = field(default=-1, init=False)
    """The latest life of the execution that had ended before this call went on with it."""

    def begin(self, package: Callable[[], bytes]) -> None:
        """Start it, unless it was started before. package: sends the call to the store, and gives its digest.

        Where its job has ended and it has not, as after a lost node, a new job goes on with it; likewise where the
        world has ended it, as a full disk or a lost worker does. Raises BadConfig, BadProject, VersionMismatch,
        StoreUnavailable, and ClusterUnavailable within seconds.
        """
        row = self._row()
        if row is not None and was_ended_by_the_world(row):
            self._past_life = row["life"]
        elif has_ended(row):
            self.say(f"execution {self.execution_id} has ended before")
            return
        try:
            api = self._api()
            job = self._latest_job(api)
        except ClusterUnavailable as error:
            raise ClusterUnavailable(
                f"The cluster of {self._where} does not take the call: {error} (Its address is in "
                f"[deployments.{self.name}].)"
            ) from None
        if job is not None and (not job.has_ended or self._has_now_ended(self._row())):
            self.say(f"execution {self.execution_id} was started before")
            return
        if job is not None:
            self._number += 1
        self._submit(api, package)
        again = " again" if job is not None else ""
        self.say(f"started execution {self.execution_id} in {self.history.url}{again}")

    def end(self) -> Record:
        """Wait for its end, and give its row. Raises DeploymentFailed unless it is done; ClusterUnavailable when the
        world has ended it, its job is gone, or store or cluster have not answered for a minute."""
        pause, heard = FIRST_PAUSE_SECONDS, time.monotonic()
        while True:
            try:
                row, problem = self._row(), None
                if not self._has_now_ended(row):
                    problem = self._problem()
                    row = row if problem is None else self._row()
                heard = time.monotonic()
            except (ClusterUnavailable, StoreUnavailable):
                if time.monotonic() - heard > LOST_SECONDS:
                    raise
            else:
                if row is not None and self._has_now_ended(row):
                    return self._done(row)
                if problem is not None:
                    raise problem
            time.sleep(pause)
            pause = min(pause * PAUSE_GROWTH, LONGEST_PAUSE_SECONDS)

    def _has_now_ended(self, row: Record | None) -> bool:
        """Whether this row says that the execution has ended, and not only one of its earlier lives."""
        return row is not None and has_ended(row) and row["life"] > self._past_life

    def _done(self, row: Record) -> Record:
        """The row of the ended execution. Raises DeploymentFailed unless it is done, and ClusterUnavailable where the
        world has ended it, so that another attempt goes on with it."""
        if row["status"] == "done":
            return row
        how = "was cancelled" if row["status"] == "cancelled" else "has failed"
        reason = f": {row['error']}" if row["error"] else ""
        more = command("log", self.execution_id, store=self.history.url)
        kind = ClusterUnavailable if was_ended_by_the_world(row) else DeploymentFailed
        raise kind(
            f"The execution {self.execution_id} {how} at {self._where}{reason}\nMore about it: {more}"
        )

    def _problem(self) -> RayflowError | None:
        """Why nothing works at the execution; None while its job does."""
        api = self._api()
        job = api.job(job_id_of(self.execution_id, self._number))
        if job is None:
            return ClusterUnavailable(
                f"The cluster of {self._where} at {api.address} does not know the job of execution "
                f"{self.execution_id} any longer: it was started anew, or the job was deleted there."
            )
        if not job.has_ended:
            return None
        text = f"The job of execution {self.execution_id} at {self._where} has ended before the execution:"
        lines = _last_lines(api, job, self.execution_id) or job.message
        error = DeploymentFailed if job.exit_code == DeploymentFailed.exit_code else ClusterUnavailable
        return error(f"{text}\n{lines}")

    def _api(self) -> JobApi:
        where = f"set token_file or token_env of [deployments.{self.name}]"
        return JobApi(self.settings.address, token_of(self.settings), headers_of(self.settings), token_place=where)

    def _latest_job(self, api: JobApi) -> RayJob | None:
        """The last job that was started for it, whose number is noted; None when there was none."""
        latest = job = api.job(job_id_of(self.execution_id, 1))
        while job is not None:
            latest = job
            job = api.job(job_id_of(self.execution_id, self._number + 1))
            self._number += job is not None
        return latest

    @property
    def _where(self) -> str:
        return f"the deployment {self.name!r}"

    def _row(self) -> Record | None:
        return self.history.find_execution(self.execution_id)

    def _submit(self, api: JobApi, package: Callable[[], bytes]) -> None:
        """Send the call and the project, and start the job."""
        project = place_of(self.settings.project)
        if not os.path.isdir(project):
            raise BadConfig(
                f"The project of {self._where}, {project}, is not on this machine. A call may run on any node: keep it "
                "in this project, which is sent along, or on a disk that all nodes share."
            )
        config = configuration.load(project)
        if os.path.realpath(config.project_dir) != os.path.realpath(project):
            raise BadConfig(
                f"The project of {self._where}, {project}, is a part of {config.project_dir}. Name that, or make it "
                "one of its own by an empty rayflow.toml in it."
            )
        check_shared(self.history.url, project)
        note = check_ray(api.ray_version())
        files = files_of(project, config.environment.get("excludes") or ())
        for each in (*check_sizes(files, project), *([note] if note else [])):
            self.say(f"warning: {each}")
        file, _, task = self.target.rpartition(":")
        request = NumberedRequest(
            execution_id=self.execution_id,
            words=(CALL, file, task, package().hex()),
            directory=".",
            store=self.history.url,
            beacon=leave_job_beacon(self.history.url, self.execution_id),
            typed=("in-job", CALL, file, task),
            commit=commit_of(project),
            project=project_name(project),
            number=self._number,
        )
        start(api, request, project_package(files), None, self.say)


def has_ended(row: Record | None) -> bool:
    """Whether this is the row of an execution that has ended."""
    return row is not None and row["finished_at"] is not None


def was_ended_by_the_world(row: Record) -> bool:
    """Whether a fault of the world has ended this execution, such as a lost worker, so that running again may help."""
    return row["status"] == "failed" and issubclass(own_error(row) or UserError, WorldError)


def _last_lines(api: JobApi, job: RayJob, execution_id: str) -> str:
    """The end of what a job has printed; nothing when that cannot be read."""
    reader = FrameReader(execution_id)
    try:
        words: list[Any] = [*reader.read(api.log(job)), *reader.end()]
    except ClusterUnavailable:
        return ""
    begun = next((place for place, word in enumerate(words) if isinstance(word, JobBegun)), -1)
    return "\n".join([word.text for word in words[begun + 1 :] if isinstance(word, JobText)][-MOST_LINES:])
