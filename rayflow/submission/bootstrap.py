"""Runs first in a job: finds the Python that runs Ray on this machine, and says what that lacks for rayflow.

In: the job's specification, and the words of the command. Out: it becomes `PYTHON -m rayflow in-job ...`, or ends with
exit code 2 and a line that says what to do. Never: imports anything but Python's own library: it is sent with each
project, and runs before it is known whether there is a rayflow.

The shell starts it with the program of the job's supervisor, a process of Ray's (`/proc/$PPID/exe`). That is the right
interpreter, but it does not know of its virtual environment, and PATH may name another Python or none.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import zlib

FILE = ".rayflow-job.py"
"""The name under which this file is sent."""

OLDEST_PYTHON = (3, 11)

EXIT_CODE = 2
"""Of a job whose cluster lacks something: the world's fault."""

FACTS = """
import json, os, re, sys
from importlib import metadata, util
hidden = {os.path.realpath(os.getcwd()), ""}
sys.path[:] = [each for each in sys.path if each and os.path.realpath(each) not in hidden]
def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
def file(name):
    found = util.find_spec(name)
    return found and found.origin
own, home = file("rayflow"), None
if own:
    with open(os.path.join(os.path.dirname(own), "version.py")) as stream:
        home = re.search('VERSION = "(.*)"', stream.read())
print(json.dumps({
    "executable": sys.executable,
    "python": ".".join(map(str, sys.version_info[:3])),
    "ray": version("ray"),
    "ray_file": file("ray"),
    "rayflow": home and home[1],
    "rayflow_file": own,
    "lacking": [each for each in sys.argv[1:] if version(re.match(r"[\\w.-]+", each)[0]) is None],
}))
"""
"""A program for an interpreter: prints what it is and has, as JSON. Its arguments are requirements, such as
`duckdb>=2.0`; those that are not installed are `lacking`."""


def packed(value: object) -> str:
    """A value in JSON as one word for a shell."""
    return base64.urlsafe_b64encode(zlib.compress(json.dumps(value).encode())).decode()


def unpacked(word: str) -> dict[str, object]:
    """The object that `packed` has made a word of."""
    found: dict[str, object] = json.loads(zlib.decompress(base64.urlsafe_b64decode(word)))
    return found


def frame(name: str, kind: str, value: object) -> str:
    """A line of a job's output that is for the one who follows it, not for people. name: the id of the execution."""
    return f"{mark(name)}{json.dumps({kind: value})}\n"


def mark(name: str) -> str:
    """The beginning of the lines that are for the one who follows a job."""
    return f"::rayflow {name}:: "


# --- which interpreter ------------------------------------------------------------------------------------------------


def candidates(process: int) -> list[str]:
    """Interpreters that may be the one of a process of Ray's, the likeliest first. process: its id."""
    found = [os.path.join(os.environ[name], "bin", "python") for name in _ENVIRONMENTS if os.environ.get(name)]
    for word in _read(f"/proc/{_parent_of(process)}/cmdline").split("\0"):
        if word.startswith("--python_worker_command="):  # the raylet starts workers by it
            found.append(word.partition("=")[2].split(" ")[0])
    directory = ray_of(process)
    while directory and directory != os.path.dirname(directory):
        directory = os.path.dirname(directory)
        found.extend(os.path.join(directory, "bin", name) for name in ("python", "python3"))
    found.extend([os.path.realpath(f"/proc/{process}/exe"), sys.executable])
    return [each for each in dict.fromkeys(found) if os.path.isabs(each) and os.access(each, os.X_OK)]


_ENVIRONMENTS = ("VIRTUAL_ENV", "CONDA_PREFIX")
"""Variables that name the environment of a process; Ray sets them for a `runtime_env` with pip or conda."""


def ray_of(process: int) -> str | None:
    """The directory of the package ray that a process has loaded; None where that cannot be found out."""
    for line in _read(f"/proc/{process}/maps").splitlines():
        path = line.partition("/")[2]
        if os.path.basename(path).startswith("_raylet."):
            return os.path.realpath(os.path.dirname("/" + path))
    return None


def interpreter_of(process: int, needs: list[str]) -> dict[str, object] | None:
    """What the interpreter of a process of Ray's is and has (see FACTS); None when none has the same Ray.

    needs: requirements to look for.
    """
    loaded = ray_of(process)
    for path in candidates(process):
        facts = facts_of(path, needs)
        origin = facts["ray_file"] if facts else None
        if facts and isinstance(origin, str) and loaded in (None, os.path.realpath(os.path.dirname(origin))):
            return {**facts, "executable": path}
    return None


def facts_of(path: str, needs: list[str]) -> dict[str, object] | None:
    """What an interpreter is and has; None for one that does not run."""
    try:
        told = subprocess.run([path, "-c", FACTS, *needs], capture_output=True, timeout=60)
        found: dict[str, object] = json.loads(told.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return found


def _parent_of(process: int) -> str:
    for line in _read(f"/proc/{process}/status").splitlines():
        if line.startswith("PPid:"):
            return line.split()[1]
    return ""


def _read(path: str) -> str:
    try:
        with open(path, errors="surrogateescape") as stream:
            return stream.read()
    except OSError:  # not on Linux, or the process has ended
        return ""


# --- what it lacks ----------------------------------------------------------------------------------------------------


def complaint(facts: dict[str, object], wanted: dict[str, object]) -> str | None:
    """What keeps a job from running with an interpreter, and what to do; None if nothing does.

    wanted: `rayflow`, the version; `is_shipped`, whether it is sent with the job.
    """
    where = f"The cluster's Python, {facts['executable']} on {os.uname().nodename},"
    if tuple(map(int, str(facts["python"]).split(".")))[:2] < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        return f"{where} is version {facts['python']}, and rayflow needs {oldest}: use an image with a newer Python."
    if facts["lacking"] and wanted["is_shipped"]:
        lacking = facts["lacking"]
        listed = " ".join(f"'{each}'" for each in lacking) if isinstance(lacking, list) else ""
        return f"{where} lacks what the rayflow that was sent needs: install it on all nodes, pip install {listed}"
    if facts["rayflow"] == wanted["rayflow"]:
        return None
    has = "has no rayflow"
    if facts["rayflow"]:
        has = f"has rayflow {facts['rayflow']}, but version {wanted['rayflow']} has submitted"
    return (
        f"{where} {has}: install rayflow-evaluator=={wanted['rayflow']} on all nodes, or submit with --ship-rayflow, "
        "which sends it along."
    )


def remark(facts: dict[str, object], wanted: dict[str, object]) -> str | None:
    """What differs from the machine that has submitted, but does not keep the job from running. wanted: `python`, the
    version there."""
    here, there = (".".join(str(each).split(".")[:2]) for each in (facts["python"], wanted["python"]))
    if here == there:
        return None
    return (
        f"the cluster runs Python {here}, and the submitting machine {there}. Results are shared, but functions and "
        f"classes that one has pickled may not load on the other: use Python {here} on both."
    )


def main(arguments: list[str]) -> None:
    """Become the command. arguments: the packed specification, and the words for rayflow."""
    specification = unpacked(arguments[0])
    needs = specification["needs"]
    facts = interpreter_of(os.getppid(), needs if isinstance(needs, list) else [])
    if facts is None:
        _say(f"error: No Python with this cluster's Ray can be found on {os.uname().nodename}.")
        sys.exit(EXIT_CODE)
    _say(frame(str(specification["execution"]), "begun", facts).rstrip("\n"))
    problem, note = complaint(facts, specification), remark(facts, specification)
    if problem:
        _say(f"error: {problem}")
        sys.exit(EXIT_CODE)
    if note:
        _say(f"warning: {note}")
    own = os.path.realpath(os.getcwd())
    paths = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    # Ray lets everything be imported from the project first, also a numpy.py of it. rayflow adds the project itself.
    os.environ["PYTHONPATH"] = os.pathsep.join(each for each in paths if os.path.realpath(each) != own)
    executable = str(facts["executable"])
    os.execv(executable, [executable, "-P", "-m", "rayflow", "in-job", *arguments])


def _say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1:])
