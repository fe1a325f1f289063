"""Local Rays that stay up between runs, at most one for each project: `rayflow up` and `rayflow down`.

In: a project's directory. Out: the address and the token of the Ray that `up` has started for it. Never: stops a Ray
that it has not started; shows a token to anybody but this user.

Each Ray has a folder below one that only this user can read. A note there says what runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rayflow.errors import ClusterUnavailable
from rayflow.runtime.on_ray.connection import ray_settings
from rayflow.values.digests import short_digest
from rayflow.values.process.waits import waiting

STARTUP_SECONDS = 60.0
"""How long Ray may take to come up."""

STOP_SECONDS = 20.0
"""How long Ray may take to stop by itself."""

_START = (
    "import ray.scripts.scripts as scripts; "
    "scripts.get_ray_client_dependency_error = lambda: 'not wanted'; "
    "scripts.main()"
)
"""Ray's own command line, made to believe that this machine cannot serve the Ray client. It would serve it at a port
that is the same for every Ray, and rayflow does not use it."""


@dataclass(frozen=True, slots=True)
class LocalRay:
    """A Ray that `up` has started. project: the directory whose runs join it. token: None where it asks for none."""

    project: str
    address: str
    pid: int
    token: str | None


def _place() -> Path:
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(base) / f"rayflow-{os.getuid()}"


def _folder(project: str) -> Path:
    # Short: the paths of Ray's sockets have a limit.
    return _place() / short_digest("project", os.path.realpath(project).encode()).hex()[:12]


def _note(project: str) -> Path:
    return _folder(project) / "up.json"


def _is_ours(place: Path) -> bool:
    """Whether only this user can have written into a folder: anybody can make one where temporary files are."""
    try:
        found = place.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022


def all_running() -> list[LocalRay]:
    """Every Ray that `up` has started for this user on this machine and that still runs."""
    if not _is_ours(_place()):
        return []
    return [found for note in sorted(_place().glob("*/up.json")) if (found := _read(note)) is not None]


def running(project: str) -> LocalRay | None:
    """The Ray that `up` has started for a project; None when it does not run."""
    return _read(_note(project)) if _is_ours(_place()) else None


def running_at(address: str) -> LocalRay | None:
    """The Ray at an address that `up` has started, for any project; None if there is none."""
    host, _, port = address.rpartition(":")
    address = f"127.0.0.1:{port}" if host == "localhost" else address
    return next((each for each in all_running() if each.address == address), None)


def _read(note: Path) -> LocalRay | None:
    try:
        known = LocalRay(**json.loads(note.read_text()))
    except (OSError, ValueError, TypeError):  # none, damaged, or of another version
        return None
    return known if _is_alive(known.pid) else None


def _is_alive(pid: object) -> bool:
    if not isinstance(pid, int):
        return False
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes() if Path("/proc").exists() else b"ray"
        os.kill(pid, 0)
    except (OSError, ProcessLookupError):
        return False
    return b"ray" in command


def up(project: str, num_cpus: int | None = None) -> LocalRay:
    """Start a local Ray that stays, for the runs of a project. Returns the one that runs already, if there is one.

    Raises ClusterUnavailable when it does not come up.
    """
    place = _place()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_ours(place):
        raise ClusterUnavailable(f"{place} belongs to somebody else, or others may write there: remove it.")
    place.chmod(0o700)
    folder = _folder(project)
    folder.mkdir(mode=0o700, exist_ok=True)
    with _alone(folder):
        return running(project) or _started(project, folder, num_cpus)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """While this lasts, no other process starts a Ray in this folder."""
    import fcntl  # Windows has none

    with (folder / "up.lock").open("wb") as lock:
        with waiting("another `rayflow up` of this project"):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _started(project: str, folder: Path, num_cpus: int | None) -> LocalRay:
    port = _free_port()
    token = ray_settings.own_token()
    log = folder / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(folder, port, num_cpus), stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env=ray_settings.applied(os.environ, ray_settings.for_own(token)), start_new_session=True, cwd=folder,
        )  # fmt: skip
    try:
        _await_start(process, log)
        started = LocalRay(os.path.realpath(project), f"127.0.0.1:{port}", process.pid, token)
        _write_privately(_note(project), json.dumps(asdict(started)))
    except BaseException:  # also Ctrl-C: without a note it would never be stopped
        _end(process)
        raise
    return started


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a Ray that is starting, with the processes that it has started."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _await_start(process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + STARTUP_SECONDS
    with waiting(f"Ray to start; what it says is in {log}"):
        while time.monotonic() < end:
            if process.poll() is not None:
                raise ClusterUnavailable(f"Ray did not start; its last words are in {log}.")
            if b"Ray runtime started" in log.read_bytes():
                return
            time.sleep(0.1)
    raise ClusterUnavailable(f"Ray did not come up within {STARTUP_SECONDS:g} s; its last words are in {log}.")


def _command(folder: Path, port: int, num_cpus: int | None) -> list[str]:
    command = [
        sys.executable, "-c", _START, "start", "--head", "--block", f"--port={port}", "--node-ip-address=127.0.0.1",
        "--dashboard-agent-listen-port=0", "--include-dashboard=false", "--disable-usage-stats",
        f"--temp-dir={folder / 'ray'}",
    ]  # fmt: skip
    return command if num_cpus is None else [*command, f"--num-cpus={num_cpus}"]


def _write_privately(note: Path, text: str) -> None:
    """Write a file that only this user can read, whole or not at all."""
    beside = note.with_suffix(".new")
    beside.unlink(missing_ok=True)
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    beside.replace(note)


def down(known: LocalRay) -> None:
    """Stop a Ray that `up` has started."""
    _note(known.project).unlink(missing_ok=True)
    os.kill(known.pid, signal.SIGTERM)
    end = time.monotonic() + STOP_SECONDS
    with waiting(f"the Ray of {known.project} to stop"):
        while _is_alive(known.pid) and time.monotonic() < end:
            time.sleep(0.1)
    if _is_alive(known.pid):
        os.killpg(known.pid, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
