"""What a job has to do, and its start: once for each execution, however often it is asked for.

In: the words of a command, a store, packages. Out: a job on the cluster. Never: waits for it; reads a command line.
"""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from platform import python_version
from typing import Any

from rayflow.errors import BadArguments, BadProject, VersionMismatch
from rayflow.runtime.wording import many, size
from rayflow.submission import bootstrap
from rayflow.submission.job_api import EXECUTION, PREFIX, STORE, JobApi, NoAnswer, RayJob
from rayflow.submission.packages import Package
from rayflow.values.digests import digest, to_hex
from rayflow.version import VERSION

DISTRIBUTION = "rayflow-evaluator"

MOST_CHARACTERS = 100_000
"""The longest command of a job: a system takes no longer word than 128 KiB."""

_ONLY_HERE = frozenset({"pathspec"})
"""What only the submitting machine needs."""

_DIGEST = "rayflow_request"


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What a job has to do.

    execution_id: of the execution that it makes. words: the command, `run FILE ...`, without the store. directory:
    where the user is, relative to the project. store: a URL or an absolute path. beacon: the path in it of a file that
    the submitting machine has written to a store that is a path, so that the job can tell that it sees the same folder.
    default_store: of commands without `--store` where the user is. input_file: name and text of a file with arguments.
    environment: variables of the user's that change how rayflow works. typed: the command as the user has typed it.
    files: paths of the submitting machine that the job has to find, too. project: the name of the project's directory.
    commit: the project's.
    """

    execution_id: str
    words: tuple[str, ...]
    directory: str
    store: str
    beacon: str | None = None
    default_store: str | None = None
    input_file: tuple[str, str] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    typed: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    project: str = ""
    commit: str | None = None

    @property
    def submission_id(self) -> str:
        """The id of the job."""
        return f"{PREFIX}{self.execution_id}"

    def digest(self, packages: Sequence[Package]) -> str:
        """A digest of all that decides what the job does."""
        parts = [
            *self.words, self.directory, self.store, repr(self.input_file), repr(sorted(self.environment.items())),
            *(package.uri for package in packages),
        ]  # fmt: skip
        return to_hex(digest("job request", *(part.encode("utf-8", "surrogateescape") for part in parts)))

    def entrypoint(self, *, is_shipped: bool) -> str:
        """The command of the job, for a shell. is_shipped: whether rayflow is sent along.

        Raises BadArguments when it is too long.
        """
        specification = {
            "execution": self.execution_id, "directory": self.directory, "store": self.store, "beacon": self.beacon,
            "default_store": self.default_store, "input_file": self.input_file,
            "environment": dict(self.environment), "typed": self.typed, "files": self.files, "project": self.project,
            "commit": self.commit,
            "rayflow": VERSION, "python": python_version(), "needs": _needs() if is_shipped else [],
            "is_shipped": is_shipped,
        }  # fmt: skip
        words = shlex.join([bootstrap.FILE, bootstrap.packed(specification), *self.words])
        # Without /proc (macOS), the Python of the PATH has to be Ray's.
        text = f'P=/proc/$PPID/exe; [ -e $P ] || P=python3; exec "$P" -I {words}'
        if len(text.encode("utf-8", "surrogateescape")) > MOST_CHARACTERS:
            raise BadArguments(
                f"The arguments have {size(len(text))}, and a job takes at most {size(MOST_CHARACTERS)}: put what is "
                "long into a file of the project, or at a URL."
            )
        return text


def _needs() -> list[str]:
    """What rayflow requires where it runs, as it is installed here."""
    try:
        required = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # it is not installed, but only in a folder
        return []
    return [each for each in required if ";" not in each and each.partition(">")[0] not in _ONLY_HERE]


def check_ray(version: str) -> str | None:
    """What to say about the Ray of a cluster; None for the same as here. Raises VersionMismatch for one that is too
    old."""
    oldest = _oldest_ray()
    if _numbers(version) < _numbers(oldest):
        raise VersionMismatch(
            f"The cluster runs Ray {version}, and rayflow needs {oldest} or newer: install 'ray[default]>={oldest}' on "
            "all of its nodes, and start it again."
        )
    try:
        here = metadata.version("ray")
    except metadata.PackageNotFoundError:
        return None
    if here == version:
        return None
    return (
        f"the cluster runs Ray {version}, and this machine has {here}. The job uses the cluster's; only a run that "
        "joins the cluster from here would need the same version."
    )


def _oldest_ray() -> str:
    try:
        found = [each for each in metadata.requires(DISTRIBUTION) or [] if each.startswith("ray[") and ">=" in each]
    except metadata.PackageNotFoundError:
        found = []
    return found[0].partition(">=")[2].partition(";")[0].strip() if found else "0"


def _numbers(version: str) -> tuple[int, ...]:
    digits = ["".join(sign for sign in part if sign.isdigit()) for part in version.split(".")[:2]]
    return tuple(int(part or 0) for part in digits)


def start(
    api: JobApi,
    request: JobRequest,
    project: Package,
    own: Package | None,
    say: Callable[[str], None],
    unsent: Callable[[], None] = lambda: None,
) -> tuple[RayJob, bool]:
    """Send what the cluster lacks, and start the job. Returns it, and whether it was started now.

    own: the package rayflow, to send it along. say: gets a line about each package. unsent: is called when a package
    cannot be sent, or the sending is interrupted, so that nothing was started. A request that was made before, for
    example by a command whose connection broke, starts nothing. Raises BadArguments when the execution's id belongs to
    another request.
    """
    packages = [project] if own is None else [project, own]
    entrypoint = request.entrypoint(is_shipped=own is not None)
    metadata_of_job = {
        EXECUTION: request.execution_id, STORE: request.store, _DIGEST: request.digest(packages),
    }  # fmt: skip
    try:
        for package, what in zip(packages, ("the project", "rayflow"), strict=False):
            _send(api, package, what, say)
    except BaseException:
        unsent()
        raise
    runtime_env: dict[str, Any] = {"working_dir": project.uri}
    if own is not None:
        runtime_env["py_modules"] = [own.uri]
    try:
        is_new = api.submit(request.submission_id, entrypoint, runtime_env, metadata_of_job)
    except NoAnswer as error:
        raise NoAnswer(
            f"{error} It is not known whether the job was started: the same command with --execution-id "
            f"{request.execution_id} starts it once, or finds it."
        ) from None
    job = api.job(request.submission_id)
    if job is None:
        raise BadArguments(f"The job {request.submission_id} was deleted while it was being started.")
    if job.metadata.get(_DIGEST) != metadata_of_job[_DIGEST]:
        raise BadArguments(
            f"The execution {request.execution_id} was submitted before, with other arguments or other code: give "
            "another --execution-id, or none."
        )
    return job, is_new


def _send(api: JobApi, package: Package, what: str, say: Callable[[str], None]) -> None:
    about = f"{what}: {many(len(package.files), 'file')}, {size(package.size)}"
    if api.has_package(package.uri):
        say(f"{about}; the cluster has this version already")
        return
    say(f"sending {about} ...")
    with tempfile.TemporaryDirectory(prefix="rayflow-") as folder:
        path = os.path.join(folder, "package.zip")
        package.write(path)
        if not api.send_package(package.uri, path):
            most = f"{api.address}, or a proxy before it, takes ({size(os.path.getsize(path))} were sent)"
            raise BadProject(package.too_large(most))
