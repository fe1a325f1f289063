"""Finds out on a node why a runtime environment does not come.

In: an environment, and for how long it has been wanted. Out: `Trouble`, with the last lines of the installer. Never:
makes an environment, gives one up.

Ray makes an environment three times before it reports that it cannot, which may take minutes; and it never reports that
Python does not start in one. Both can be seen on the node much earlier: in the log of Ray's agent, and by a try.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

START_SECONDS = 20.0
"""How long a try to start Python may take."""

LAST_LINES = 6
"""How many of the last lines of an installer are told."""

MOST_LOG_BYTES = 2_000_000
"""How much of the end of a log is read."""

_NOISE = ("WARNING:", "Looking in ")
"""The beginnings of lines of pip that do not tell what is wrong."""

_FAILED = "Failed to create runtime env "
"""Private to Ray: its agent writes this, the environment as JSON, and the error, each time that an attempt fails."""

_STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\t", re.MULTILINE)
"""The beginning of an entry of that log: a local time."""


class Trouble(NamedTuple):
    """What a node knows about an environment that does not come.

    failures: the installer's last lines of each attempt that has failed there. lacking: why it can never come on this
    node; None where that is not known.
    """

    failures: tuple[str, ...] = ()
    lacking: str | None = None


def trouble_here(environment: Mapping[str, Any], seconds: float) -> Trouble:
    """The trouble with an environment on this machine, which has been wanted for so many seconds."""
    from ray._private import worker  # private: the place of the session's logs is told nowhere else

    node = worker._global_node
    logs = Path(node.get_logs_dir_path()) if node is not None else None
    found = failures_in(_end_of(logs / "runtime_env_agent.log"), environment, time.time() - seconds) if logs else ()
    return Trouble(found, lacking_here(environment))


def lacking_here(environment: Mapping[str, Any], which: Callable[[str], str | None] = shutil.which) -> str | None:
    """Why an environment can never come on this machine: a tool is missing, or Python does not start."""
    for image in ("image_uri", "container"):
        if environment.get(image) and which("podman") is None:
            return f"{image} needs podman, which is not installed"
    if environment.get("conda") and _conda(which) is None:
        return "conda is not installed (or set RAY_CONDA_HOME for Ray)"
    executable = environment.get("py_executable")
    return _start_error(executable, environment.get("env_vars") or {}) if executable else None


def _conda(which: Callable[[str], str | None]) -> str | None:
    """The conda that Ray would use."""
    home, given = os.environ.get("RAY_CONDA_HOME"), os.environ.get("CONDA_EXE")
    return which(os.path.join(home, "bin", "conda") if home else given or "conda")


def _start_error(executable: str, variables: Mapping[str, str]) -> str | None:
    """The reason why Ray's workers do not start with this command for Python; None if they do, or if that takes
    long."""
    try:
        # By bash, as Ray does it: the command may have words of its own.
        ended = subprocess.run(
            ["bash", "-c", f"exec {executable} -c 'import ray'"],
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=START_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    except OSError as error:
        return f"bash does not start: {error}"
    if ended.returncode == 0:
        return None
    lines = ended.stderr.decode(errors="replace").strip().splitlines()
    return f"`{executable} -c 'import ray'` ends with {ended.returncode}: {lines[-1] if lines else 'it says nothing'}"


def failures_in(log: str, environment: Mapping[str, Any], since: float) -> tuple[str, ...]:
    """The last lines of each attempt to make this environment that has failed since a moment (seconds since the
    epoch)."""
    wanted = _as_ray_says(environment)
    found: list[str] = []
    starts = [match.start() for match in _STAMP.finditer(log)]
    for start, end in pairwise([*starts, len(log)]):
        entry = log[start:end]
        first, _, rest = entry.partition("\n")
        _, is_failure, text = first.partition(_FAILED)
        if not is_failure or _moment(first) < since - 1:
            continue
        try:
            made = json.loads(text.strip().removesuffix("."))
        except ValueError:  # another version of Ray writes it in another way
            continue
        if all(made.get(key) == value for key, value in wanted.items()):
            found.append(installer_lines(rest))
    return tuple(found)


def installer_lines(error: str) -> str:
    """The end of an error of Ray's agent: the last lines of the installer's output, else the last line of all that is
    not a frame of a traceback."""
    _, is_output, output = error.rpartition("lines of stdout:\n")
    lines = [line.strip() for line in (output if is_output else error).splitlines() if line.strip()]
    if is_output:
        telling = [line for line in lines if not line.startswith(_NOISE)] or lines
        return "\n".join(telling[-LAST_LINES:])[-2000:]
    outside = [line.strip() for line in error.splitlines() if line.strip() and not line.startswith((" ", "\t"))]
    return (outside or lines or [""])[-1][:500]


def _as_ray_says(environment: Mapping[str, Any]) -> dict[str, Any]:
    """What counts of an environment, in the form in which Ray's agent writes it. Ray adds variables of the job."""
    from ray.runtime_env import RuntimeEnv

    made = json.loads(RuntimeEnv(**environment).serialize())
    return {key: value for key, value in made.items() if not key.startswith("_") and key not in ("env_vars", "config")}


def _moment(entry: str) -> float:
    text = entry.partition("\t")[0].partition(",")[0]
    return time.mktime(time.strptime(text, "%Y-%m-%d %H:%M:%S"))


def _end_of(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - MOST_LOG_BYTES))
            return file.read().decode(errors="replace")
    except FileNotFoundError:  # the agent has not begun, or writes elsewhere
        return ""
