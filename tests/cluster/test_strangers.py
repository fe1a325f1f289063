"""Somebody else: in the network, or on this machine without the token. Neither gets into a Ray that we start."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from machines import Machine, linked_machines

pytestmark = [pytest.mark.ray, pytest.mark.netns]

HERE, THERE = "10.77.33.1", "10.77.33.2"

FLOW = """
import os
import time
from rayflow import task

@task
def wait(mark: str):
    open(mark, "w").close()
    while not os.path.exists(mark + ".go"):
        time.sleep(0.05)
    return sorted(name for name in os.environ if name.startswith("RAY_grpc_client_keepalive"))
"""

CONNECTS = """
import socket, sys
for port in sys.argv[2:]:
    try:
        socket.create_connection((sys.argv[1], int(port)), timeout=5).close()
        print(port, "open")
    except OSError as error:
        print(port, type(error).__name__)
"""

RUNS_CODE = """
import os, sys
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
import ray
ray.init(address=sys.argv[1], logging_level="ERROR")
print("ran", ray.get(ray.remote(lambda: 7).options(num_cpus=0).remote(), timeout=60))
"""

ASKS = """
import http.client, json, sys
import grpc
METHODS = [
    "NodeInfoGcsService/CheckAlive", "InternalKVGcsService/InternalKVPut", "NodeManagerService/RequestWorkerLease",
    "ObjectManagerService/Push", "CoreWorkerService/PushTask", "ReporterService/CpuProfiling",
]
for port in sys.argv[1:]:
    said = {}
    with grpc.insecure_channel("127.0.0.1:" + port) as channel:
        for method in METHODS:
            try:
                channel.unary_unary("/ray.rpc." + method)(b"", timeout=5)
                said[method] = "OK"
            except grpc.RpcError as error:
                said[method] = error.code().name
    for path in ("/", "/api/version", "/api/jobs/", "/metrics", "/nodes"):
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            said[path] = answer.status, answer.read().decode(errors="replace")[:40]
        except (OSError, http.client.HTTPException) as error:
            said[path] = type(error).__name__
    print(json.dumps([port, said]))
"""


@dataclass
class Standing:
    """A machine with two Rays of ours: that of `rayflow up`, and the private one of a run that waits."""

    machine: Machine
    other: Machine
    project: Path
    mark: Path
    run: subprocess.Popen[bytes]
    log: Path

    def python(self, machine: Machine, code: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run code on a machine as somebody who has set nothing, with another home directory."""
        home = f"{machine.disk}/stranger"
        command = [*_bare(), f"HOME={home}", "RAY_NUM_REDIS_GET_RETRIES=1",
                   *[f"{name}={text}" for name, text in environment.items()]]  # fmt: skip
        return machine.run(*command, sys.executable, "-c", code, *words)

    def ports(self) -> set[str]:
        """Every TCP port of the machine that accepts connections."""
        listed = self.machine.run("ss", "-ltnH").stdout.splitlines()
        return {line.split()[3].rpartition(":")[2] for line in listed}

    def clusters(self) -> set[str]:
        """The addresses of the Rays there, from what their processes were told."""
        found = set()
        for pid in self.machine.processes():
            with contextlib.suppress(OSError):  # it has ended
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                found |= {word.partition("=")[2] for word in words if word.startswith("--gcs-address=")}
        return found


def _bare() -> list[str]:
    """The beginning of a command for which nobody has set anything about tokens."""
    return ["env", "-u", "RAY_AUTH_MODE", "-u", "RAY_AUTH_TOKEN", "-u", "RAY_AUTH_TOKEN_PATH"]


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    """Both Rays, with a worker in each."""
    logs = tmp_path_factory.mktemp("logs")
    with linked_machines(HERE, THERE) as (machine, other):
        user = [*_bare(), f"HOME={machine.disk}", f"XDG_RUNTIME_DIR={machine.disk}", f"RAY_TMPDIR={machine.disk}/tmp",
                sys.executable, "-m", "rayflow"]  # fmt: skip
        project = machine.disk / "a"
        for folder in (project, machine.disk / "b"):
            machine.seen(folder).mkdir()
            machine.seen(folder / "rayflow.toml").write_text("num_cpus = 1")
            machine.seen(folder / "flow.py").write_text(FLOW)
        marks = [machine.disk / name for name in ("up", "private")]
        place = machine.disk / "b"
        waits = [*user, "run", "flow.py", "wait", "--json", "--mark"]
        log = logs / "private.log"
        run = machine.start("sh", "-c", 'cd "$0" && exec "$@"', str(place), *waits, str(marks[1]), log=log)
        started = machine.run(*user, "up", cwd=project)
        assert started.returncode == 0, started.stderr
        machine.seen(f"{marks[0]}.go").touch()
        joined = machine.run(*waits, str(marks[0]), cwd=project)
        assert joined.returncode == 0, joined.stderr
        assert "joining the Ray of `rayflow up`" in joined.stderr
        assert len(json.loads(joined.stdout)) == 2, "a worker lacks the settings that let a partition be seen early"
        end = time.monotonic() + 60
        while not machine.seen(marks[1]).exists():
            assert run.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        yield Standing(machine, other, project, marks[1], run, log)


def test_no_port_can_be_reached_from_another_machine(standing: Standing) -> None:
    ports = standing.ports()
    assert len(standing.clusters()) == 2, "both Rays have to run for this to tell anything"
    assert {address.rpartition(":")[2] for address in standing.clusters()} < ports
    assert "10001" not in ports, "nobody has asked for the Ray client"
    tried = standing.python(standing.other, CONNECTS, HERE, *sorted(ports)).stdout.split("\n")
    assert set(filter(None, tried)) == {f"{port} ConnectionRefusedError" for port in ports}
    near = standing.python(standing.machine, CONNECTS, "127.0.0.1", *sorted(ports)).stdout.split("\n")
    assert set(filter(None, near)) >= {f"{address.rpartition(':')[2]} open" for address in standing.clusters()}


def test_without_the_token_nobody_on_the_same_machine_runs_code_or_is_answered(standing: Standing) -> None:
    note = next(standing.machine.seen(standing.machine.disk).glob("rayflow-*/*/up.json"))
    known = json.loads(note.read_text())
    assert known["address"] in standing.clusters()
    right = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": known["token"]}
    for address in standing.clusters():
        tries = [{}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "rayflow-" + "0" * 64}]
        if address != known["address"]:
            tries.append(right)  # each Ray has another
        for environment in tries:
            done = standing.python(standing.machine, RUNS_CODE, address, **environment)
            assert done.returncode != 0 and "ran" not in done.stdout, done.stderr
    done = standing.python(standing.machine, RUNS_CODE, known["address"], **right)
    assert done.stdout == "ran 7\n", done.stderr
    asked = standing.python(standing.machine, ASKS, *sorted(standing.ports()))
    told = dict(json.loads(line) for line in asked.stdout.splitlines())
    assert told.keys() == standing.ports(), asked.stderr
    for port, said in told.items():
        for name, answer in said.items():
            if isinstance(answer, str):
                assert answer != "OK", (port, name)
            else:
                # Ray's metrics are numbers for a Prometheus that has no token.
                counts = answer[1].startswith(("# HELP", "# TYPE"))
                assert counts or answer[0] in (401, 403, 404), (port, name, answer)
    refused = {name for said in told.values() for name, answer in said.items() if answer == "UNAUTHENTICATED"}
    assert {name.partition("/")[0] for name in refused} == {
        "NodeInfoGcsService", "InternalKVGcsService", "NodeManagerService", "ObjectManagerService", "CoreWorkerService",
        "ReporterService",
    }, "each service has to be there, and to refuse"  # fmt: skip


def test_the_token_stands_in_no_place_that_another_user_can_read(standing: Standing) -> None:
    places = standing.machine.seen(standing.machine.disk)
    note = next(places.glob("rayflow-*/*/up.json"))
    token = json.loads(note.read_text())["token"].encode()
    assert note.stat().st_mode & 0o777 == 0o600 and note.parent.stat().st_mode & 0o777 == 0o700
    for pid in standing.machine.processes():
        with contextlib.suppress(OSError):
            assert token not in Path(f"/proc/{pid}/cmdline").read_bytes()
    for folder, _, names in os.walk(places / "tmp"):
        for name in names:
            file = Path(folder, name)
            if file.is_file() and file.stat().st_size < 5_000_000:
                assert b"rayflow-" + token[8:] not in file.read_bytes(), file
    assert not (places / ".ray").exists(), "the user's own token file is none of our business"
    assert not (places / "stranger/.ray").exists()


def test_the_run_that_waited_ends_well(standing: Standing) -> None:
    standing.machine.seen(f"{standing.mark}.go").touch()
    assert standing.run.wait(60) == 0, standing.log.read_text()
