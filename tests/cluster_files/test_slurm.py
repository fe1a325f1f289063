"""The batch script for Slurm, run by bash as Slurm would: its programs are stand-ins that note what they are asked.

A real Ray is started by the same options elsewhere; these tests are about the script's own decisions.
"""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cluster_files
import pytest
from cluster_files import check_ray_command, options_of

pytestmark = pytest.mark.slow

STAND_IN = """#!{python} -S
import json, os, signal, sys, time
name, words, notes = os.path.basename(sys.argv[0]), sys.argv[1:], {notes!r}

def note(**more):
    token = os.environ.get("RAY_AUTH_TOKEN_PATH", "")
    token = token if os.path.exists(token) else None
    row = dict(program=name, words=words, environment=dict(os.environ), token=token and open(token).read().strip(),
               mode=token and oct(os.stat(token).st_mode & 0o777), **more)
    with open(notes, "a") as stream:
        stream.write(json.dumps(row) + "\\n")

def until_ended(code):
    signal.signal(signal.SIGTERM, lambda *_: (note(has_ended=True), os._exit(code)))
    note()
    open(notes + "." + name, "a").close()
    while True:
        signal.pause()

if name == "scontrol":
    print("\\n".join(os.environ["SLURM_JOB_NODELIST"].split(",")))
elif name == "getent":
    print("127.0.1.1  STREAM\\n127.0.1.1  DGRAM")
elif name == "hostname":
    print("127.0.0.1 10.1.2.3 fd00::2 ")
elif name == "srun":
    note()
    rest = [word for at, word in enumerate(words) if not all(each.startswith("--") for each in words[: at + 1])]
    os.execvp(rest[0], rest)
elif name == "ray" and words[0] == "health-check":
    for _ in range(0 if os.environ.get("HEAD_FAILS") else 100):
        if os.path.exists(notes + ".ray"):
            break
        time.sleep(0.05)
    sys.exit(0 if os.path.exists(notes + ".ray") else 1)
elif name == "ray":
    if os.environ.get("HEAD_FAILS"):
        sys.exit(1)
    until_ended(0)
elif os.environ.get("RUN_WAITS"):
    until_ended(143)
else:
    note()
    nodes = min(2, len(os.environ["SLURM_JOB_NODELIST"].split(",")))
    for _ in range(200):  # a real run takes longer than any node to start
        if sum('"program": "ray"' in line for line in open(notes)) >= nodes:
            break
        time.sleep(0.05)
    sys.exit(int(os.environ.get("RUN_CODE", "0")))
"""


@dataclass
class Slurm:
    """A Slurm of one's own: where it copies scripts to, its programs, and the environment of a job."""

    folder: Path
    nodes: int = 2
    environment: dict[str, str] = field(default_factory=dict)

    job = str(10_000_000 + os.getpid())

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a job with these words behind the script."""
        programs = self.folder / "venv" / "bin"
        programs.mkdir(parents=True)
        text = STAND_IN.format(python=sys.executable, notes=str(self.folder / "notes"))
        for name in ("scontrol", "getent", "hostname", "srun", "ray", "rayflow", "tool"):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        (programs / "python").symlink_to(sys.executable)
        script = self.folder / "slurm_script"  # sbatch runs a copy
        script.write_text(cluster_files.FILES["slurm.sbatch"])
        (self.folder / "home").mkdir()
        own = {
            "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.folder / "home"), "VENV": str(programs.parent),
            "CLUSTER_ENV": str(cluster_files.CLUSTER / "env.sh"), "SLURM_JOB_ID": self.job,
            "SLURM_JOB_NODELIST": ",".join(f"node{number}" for number in range(self.nodes)),
            "SLURM_CPUS_ON_NODE": "8", "SLURM_CPUS_PER_TASK": "8", "SLURM_MEM_PER_NODE": "32000", **self.environment,
        }  # fmt: skip
        return subprocess.Popen(
            ["bash", str(script), *words], env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, *words: str) -> tuple[int, str]:
        """Run a job to its end: its exit code, and what it said on stderr."""
        job = self.start(*words)
        said = job.communicate(timeout=120)[1]
        return job.returncode, said

    def notes(self, program: str, *, has_ended: bool = False) -> list[dict[str, Any]]:
        """What a program was asked, each time."""
        file = self.folder / "notes"
        rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [row for row in rows if row["program"] == program and row.get("has_ended", False) == has_ended]

    def left(self) -> list[str]:
        """What the job has left behind."""
        scratch = Path(f"/tmp/rayflow-{self.job}")
        return [*os.listdir(self.folder / "home"), *([str(scratch)] if scratch.exists() else [])]


@pytest.fixture
def slurm(tmp_path: Path) -> Slurm:
    return Slurm(tmp_path)


def test_each_node_starts_ray_with_what_slurm_has_given_and_the_run_joins_it(slurm: Slurm) -> None:
    code, said = slurm.run("flow.py", "main", "--n", "3")
    assert (code, said) == (0, "")
    head, worker = sorted((row["words"] for row in slurm.notes("ray")), key=lambda words: "--head" not in words)
    port = 20000 + int(slurm.job) % 6000
    address = f"10.1.2.3:{port}"
    assert f"--node-ip-address=10.1.2.3 --port={port} --ray-client-server-port={port + 6000}" in " ".join(head)
    assert options_of(worker)["address"] == address, "another node cannot reach a loopback address"
    for words in (head, worker):
        check_ray_command(["ray", *words])
        options = options_of(words)
        assert "--block" in words and options["num-cpus"] == "8" and options["num-gpus"] == "0"
        given = 32000 * 1024 * 1024
        assert int(options["object-store-memory"]) == given * 3 // 10 and int(options["memory"]) == given * 6 // 10
        ports = {value for key, value in options.items() if key.endswith("-port") and key != "ray-client-server-port"}
        assert ports == {"0"}, "another job on the node may have any other"
        sockets = f"{options['temp-dir']}/session_2026-12-31_23-59-59_999999_9999999/sockets/plasma_store"
        assert len(sockets) <= 107 and slurm.job in sockets
    [run] = slurm.notes("rayflow")
    assert run["words"] == ["run", "flow.py", "main", "--n", "3"]
    assert run["environment"]["RAY_ADDRESS"] == address


def test_the_other_nodes_are_asked_by_one_step_with_all_their_processors(slurm: Slurm) -> None:
    slurm.nodes = 4
    assert slurm.run("flow.py")[0] == 0
    start, tidy = slurm.notes("srun")
    words = options_of([word for word in start["words"] if word.startswith("--")])
    assert (words["nodes"], words["ntasks"], words["ntasks-per-node"]) == ("3", "3", "1")
    assert (words["exclude"], words["cpus-per-task"]) == ("node0", "8")
    assert tidy["words"][-3:] == ["rm", "-rf", f"/tmp/rayflow-{slurm.job}"]


def test_one_node_needs_no_step(slurm: Slurm) -> None:
    slurm.nodes = 1
    assert slurm.run("flow.py")[0] == 0
    assert (len(slurm.notes("ray")), slurm.notes("srun")) == (1, [])


def test_the_token_is_the_jobs_own_and_nothing_is_left(slurm: Slurm) -> None:
    slurm.environment["RAY_AUTH_TOKEN"] = "of the user"
    assert slurm.run("flow.py")[0] == 0
    rows = [*slurm.notes("ray"), *slurm.notes("rayflow")]
    assert len({row["token"] for row in rows}) == 1 and re.fullmatch("[0-9a-f]{64}", rows[0]["token"])
    assert {row["mode"] for row in rows} == {"0o600"}
    for row in rows:
        assert row["environment"].items() >= cluster_files.settings_of_env().items()
        assert "RAY_AUTH_TOKEN" not in row["environment"]
        assert not row["environment"]["RAY_AUTH_TOKEN_PATH"].startswith("/tmp/rayflow"), "other nodes cannot read it"
    assert len(slurm.notes("ray", has_ended=True)) == 2
    assert slurm.left() == []


@pytest.mark.parametrize("code", [1, 2, 3])
def test_the_job_ends_with_the_exit_code_of_the_run(slurm: Slurm, code: int) -> None:
    slurm.environment["RUN_CODE"] = str(code)
    assert slurm.run("flow.py")[0] == code
    assert slurm.left() == []


def test_a_head_that_does_not_start_ends_the_job_with_a_word(slurm: Slurm) -> None:
    slurm.environment["HEAD_FAILS"] = "1"
    code, said = slurm.run("flow.py")
    assert code == 2 and "the head did not start" in said
    assert slurm.notes("rayflow") == [] and slurm.left() == []


def test_shortly_before_the_time_is_up_the_run_is_ended_and_waited_for(slurm: Slurm) -> None:
    slurm.environment["RUN_WAITS"] = "1"
    job = slurm.start("flow.py")
    end = time.monotonic() + 30
    while not Path(f"{slurm.folder / 'notes'}.rayflow").exists():
        assert job.poll() is None and time.monotonic() < end, job.communicate()
        time.sleep(0.02)
    job.send_signal(signal.SIGTERM)
    job.communicate(timeout=120)
    assert job.returncode == 143
    assert len(slurm.notes("rayflow", has_ended=True)) == 1
    assert slurm.left() == []


def test_a_command_of_ones_own_runs_behind_two_dashes(slurm: Slurm) -> None:
    assert slurm.run("--", "tool", "lab", "--port=8888")[0] == 0
    [row] = slurm.notes("tool")
    assert row["words"] == ["lab", "--port=8888"] and row["environment"]["RAY_ADDRESS"].startswith("10.1.2.3:")
    assert slurm.notes("rayflow") == []


@pytest.mark.parametrize(
    ("given", "megabytes"),
    [({"SLURM_MEM_PER_NODE": "0"}, None), ({"SLURM_MEM_PER_NODE": "", "SLURM_MEM_PER_CPU": "1000"}, 8000)],
)
def test_memory_is_asked_for_in_three_ways(slurm: Slurm, given: dict[str, str], megabytes: int | None) -> None:
    slurm.nodes = 1
    slurm.environment |= given
    assert slurm.run("flow.py")[0] == 0
    options = options_of(slurm.notes("ray")[0]["words"])
    expected = None if megabytes is None else str(megabytes * 1024 * 1024 * 6 // 10)
    assert options.get("memory") == expected


def test_the_script_can_be_run_and_its_directives_are_slurms() -> None:
    assert (cluster_files.CLUSTER / "slurm.sbatch").stat().st_mode & stat.S_IXUSR
    directives = dict(re.findall(r"^#SBATCH --([a-z-]+)=(\S+)$", cluster_files.FILES["slurm.sbatch"], re.MULTILINE))
    assert directives.keys() == {
        "job-name", "nodes", "ntasks-per-node", "cpus-per-task", "mem", "time", "output", "signal"
    }  # fmt: skip
    assert directives["signal"].startswith("B:TERM@"), "else the script does not get it, but the steps do"
    body = cluster_files.FILES["slurm.sbatch"].split("set -euo pipefail")
    assert "#SBATCH" not in body[1], "Slurm does not read directives behind the first command"
