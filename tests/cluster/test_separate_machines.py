"""Three nodes and a laptop that share no disk: submitted runs, and nodes and heads that go away and come back.

Each machine has a network, a disk and a name of its own. The laptop reaches nothing of the cluster but the dashboard
and the object store. Only the ledger, in which each body notes that it runs, lies where all of them, and the test, see
it. The scenes share one cluster; the last one kills its head.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from machines import Machine, linked_machines
from ray_on_machines import S3_PORT, start_ray, start_s3
from waiting import until as until_so

pytestmark = [pytest.mark.ray, pytest.mark.netns, pytest.mark.timeout(600)]

HEAD, TWO, THREE, LAPTOP = (f"10.77.41.{number}" for number in (1, 2, 3, 4))
DASHBOARD, NEW_DASHBOARD = "8265", "8270"

STEPS = """
    import os
    import socket
    import time
    from pathlib import Path
    from flows.helper import shouted
    from rayflow import File, script, task

    two, three = {"resources": {"two": 0.1}}, {"resources": {"three": 0.1}}

    def note(folder, *words):
        with open(f"{folder}/ledger", "a") as file:
            file.write(" ".join([*map(str, words), socket.gethostname()]) + "\\n")

    def until(*paths):
        while not all(map(os.path.exists, paths)):
            time.sleep(0.05)

    @task
    def where(n):
        print("this is", socket.gethostname())
        return shouted(socket.gethostname())

    @task
    def read(file: File):
        return socket.gethostname(), file.read()

    @task
    def scattered(bucket: str, data: File):
        words = script(
            "hostname; printf 'b\\na\\n' > out", outputs=[File(f"{bucket}/words").stage("out"), File("-")], **two
        )
        lines = script(
            "hostname; sort in > out", inputs=words[0].stage("in"),
            outputs=[File(f"{bucket}/lines").stage("out"), File("-")], **three,
        )
        places = [where.options(**two)(1), where.options(**three)(2), words[1], lines[1]]
        return [*places, read.options(**two)(lines[0]), read.options(**three)(data)]

    @task
    def waits(folder: str):
        note(folder, "waits")
        until(f"{folder}/never")

    @task(num_cpus=0.1)
    def quick(n, folder):
        note(folder, f"quick-{n}")
        return n

    @task(resources={"worker": 1}, num_cpus=0.1)
    def late(n, folder):
        "On machine three it ends when the test says so."
        note(folder, f"late-{n}")
        if socket.gethostname() == "machine-three":
            until(f"{folder}/go")
            note(folder, f"late-{n}-ends")
        return socket.gethostname()

    @task(resources={"worker": 1})
    def paired(n, folder, before):
        "Ends when the other one runs, too, on the other worker."
        note(folder, f"paired-{n}")
        Path(folder, f"paired-{n}").touch()
        until(f"{folder}/paired-0", f"{folder}/paired-1")
        return socket.gethostname()

    @task
    def straying(folder: str):
        lates = [late(n, folder) for n in range(2)]
        return [[quick(n, folder) for n in range(3)], lates, [paired(n, folder, lates) for n in range(2)]]

    @task(resources={"head": 0.1}, num_cpus=0.1)
    def gate(folder):
        until(f"{folder}/drained")

    @task(num_cpus=0.1, scheduling_strategy="SPREAD")
    def spread(n, folder, before):
        note(folder, f"spread-{n}")
        return socket.gethostname()

    @task
    def drained(folder: str):
        lates, opened = [late(n, folder) for n in range(2)], gate(folder)
        spreads = [spread(n, folder, opened) for n in range(8)]
        return [spreads, lates, [paired(n, folder, [spreads, lates]) for n in range(2)]]

    @task(num_cpus=0.1)
    def last(folder, before):
        note(folder, "last")
        until(f"{folder}/go")
        return "last"

    @task
    def resumed(folder: str):
        quicks = [quick(n, folder) for n in range(3)]
        return [quicks, last(folder, quicks)]
"""


until = partial(until_so, seconds=150)
"""A busy machine takes its time to start the processes of all the machines."""


@dataclass
class Site:
    """The machines, with Ray on three of them and the project on the laptop."""

    head: Machine
    two: Machine
    three: Machine
    laptop: Machine
    logs: Path

    @property
    def project(self) -> Path:
        return self.laptop.disk / "project"

    def put_project(self, machine: Machine) -> None:
        files = {
            "rayflow.toml": 'store = "s3://bucket/results"', "flows/steps.py": STEPS, ".gitignore": "ignored.txt",
            "flows/helper.py": "def shouted(text): return text.upper()", "sent.txt": "of the project",
            "ignored.txt": "", "../own.txt": "",
        }  # fmt: skip
        for name, text in files.items():
            file = machine.seen(self.project / name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text).lstrip("\n"))

    def rayflow(self, *words: str, code: int = 0, machine: Machine | None = None) -> tuple[str, str]:
        """Carry out a command, by default on the laptop; what it has written to stdout and stderr."""
        command = [sys.executable, "-m", "rayflow", *words]
        done = (machine or self.laptop).run(*command, cwd=self.project, timeout=200)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done.stdout, done.stderr

    def submit(self, task: str, *words: str, code: int = 0) -> tuple[str, str]:
        return self.rayflow("submit", "flows/steps.py", task, *words, "--address", self.dashboard, code=code)

    def attach(self, execution: str, log: Path) -> subprocess.Popen[bytes]:
        """Follow an execution on the laptop, with what it prints in a file."""
        words = ["-m", "rayflow", "attach", execution, "--address", self.dashboard]
        return self.laptop.start(sys.executable, *words, log=log)

    @property
    def dashboard(self) -> str:
        return f"http://{HEAD}:{DASHBOARD}"

    def rows(self, query: str) -> list[Mapping[str, object]]:
        found: list[Mapping[str, object]] = json.loads(self.rayflow("sql", query, "--json")[0])
        return found

    def start_worker(self, machine: Machine, port: int = 6379) -> None:
        label = machine.name.removeprefix("machine-")
        log = self.logs / f"{label}-{time.monotonic_ns()}.log"
        start_ray(machine, f"--address={HEAD}:{port}", log=log, worker=1, **{label: 1})

    def kill_ray(self, machine: Machine) -> None:
        """End at once all that runs on a machine, but not the object store."""

        def left() -> set[int]:
            return set(machine.processes()) - {machine.init.pid, *machine.processes(b"moto.server")}

        def all_ended() -> bool:
            for pid in (those := left()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not those

        until(all_ended)
        for name in ("ray", "../dev/shm"):
            machine.run("sh", "-c", f"rm -rf {name}/*")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    logs = tmp_path_factory.mktemp("logs")
    with linked_machines(HEAD, TWO, THREE, LAPTOP) as (head, two, three, laptop):
        made = Site(head, two, three, laptop, logs)
        start_s3(head, two, three, laptop, log=logs / "s3.log")
        start_head(head, logs)
        for worker in (two, three):
            made.start_worker(worker)
        laptop.reach_only(int(DASHBOARD), int(NEW_DASHBOARD), S3_PORT)
        made.put_project(laptop)
        yield made


def start_head(head: Machine, logs: Path, port: int = 6379, dashboard: str = DASHBOARD) -> None:
    web = ("--include-dashboard=true", f"--dashboard-host={HEAD}", f"--dashboard-port={dashboard}")
    start_ray(head, "--head", f"--port={port}", *web, log=logs / f"head-{port}.log", head=1)


@dataclass
class Ledger:
    """What bodies have noted, in a folder that all machines share."""

    folder: Path

    def __str__(self) -> str:
        return str(self.folder)

    def lines(self) -> list[str]:
        file = self.folder / "ledger"
        return file.read_text().splitlines() if file.exists() else []

    def counts(self, kind: str) -> Counter[str]:
        """How often each body of a kind has begun."""
        return Counter(line.split()[0] for line in self.lines() if re.match(rf"{kind}(-\d+)? ", line))

    def go(self) -> None:
        (self.folder / "go").touch()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path)


# --- no shared disk ---------------------------------------------------------------------------------------------------


def test_a_submitted_project_its_scripts_staged_files_logs_and_results_need_no_shared_disk(site: Site) -> None:
    out, err = site.submit("scattered", "--bucket", "s3://bucket/files", "--data", "sent.txt", "--json")
    answer = [
        "MACHINE-TWO", "MACHINE-THREE", "machine-two\n", "machine-three\n", ["machine-two", "a\nb\n"],
        ["machine-three", "of the project"],
    ]  # fmt: skip
    assert json.loads(out) == answer
    assert "this is machine-two" in err and "7 jobs, 7 computed" in err and "warning" not in err
    assert "altered" not in err, "each node has a copy of its own of the project"
    told, _ = site.rayflow("log", "-")
    assert told.count("flows.steps.") == 7 and re.search(r"started .* by \w+ on machine-one", told)
    assert re.search(r"tags .*\bproject=project\b", told)
    assert {row["text"] for row in site.rows("select text from logs where text like 'this%'")} == {
        "this is machine-two\n", "this is machine-three\n"
    }  # fmt: skip
    again, err = site.rayflow("attach", "-", "--address", site.dashboard)
    assert json.loads(again) == answer and "this is machine-three" in err


def test_a_store_that_only_the_laptop_has_is_refused_before_anything_runs(site: Site) -> None:
    disk = site.laptop.disk
    for store, code, said in [
        (f"{disk}/results", 2, "on machine-one, a machine of the cluster, it does not exist"),
        (f"{site.project}/.rayflow", 1, "in the project on this machine, where no cluster reaches it"),
    ]:
        _, err = site.submit("where", "--n", "1", "--store", store, code=code)
        assert said in err and 'Name one that both reach, `store = "s3://bucket/results"`' in err
        assert "joining" not in err and "jobs" not in err


def test_a_file_that_only_the_laptop_has_is_one_clear_error_that_names_staging_before_anything_runs(site: Site) -> None:
    for path, said in {
        f"{site.laptop.disk}/own.txt": "own.txt, and on machine-one, a machine of the cluster, there is not",
        "ignored.txt": "ignored.txt is not sent with the project",
    }.items():
        _, err = site.submit("read", "--file", path, code=1)
        assert said in err and "s3://bucket/..." in err and "stage it: file.stage(" in err
        assert "joining" not in err and "Traceback" not in err


def test_a_submitted_run_is_seen_cancelled_and_attached_to_from_the_laptop(site: Site, ledger: Ledger) -> None:
    execution = site.submit("waits", "--folder", str(ledger), "--detach")[0].strip()
    until(ledger.lines)
    assert until(lambda: execution[:18] in site.rayflow("log", "--running")[0])
    site.rayflow("cancel", execution, "--reason", "enough")
    _, err = site.rayflow("attach", execution, "--address", site.dashboard, code=130)
    assert "machine-four: enough" in err
    assert site.rows("select status from executions order by started_at desc limit 1") == [{"status": "cancelled"}]


def test_the_doctor_says_that_there_is_no_shared_disk_where_the_store_is_local_and_is_happy_with_s3(site: Site) -> None:
    site.put_project(site.head)

    def failures(store: str, code: int) -> list[str]:
        words = ["doctor", "--address", f"{HEAD}:6379", "--store", store, "--json"]
        told = json.loads(site.rayflow(*words, machine=site.head, code=code)[0])
        assert len(told["nodes"]) == 3
        return [each["text"] for each in told["findings"] if each["level"] == "failure"]

    (failure,) = failures(f"{site.head.disk}/store", 1)
    assert "10.77.41.2 (machine-two)" in failure and "10.77.41.3 (machine-three)" in failure
    assert "machine-one" not in failure and "is not on a shared disk" in failure
    assert failures("s3://bucket/results", 0) == []


# --- nodes that go away and come back ---------------------------------------------------------------------------------


def test_a_node_whose_cable_is_out_for_a_while_is_used_again_and_its_late_result_changes_nothing(
    site: Site, ledger: Ledger, tmp_path: Path
) -> None:
    execution = site.submit("straying", "--folder", str(ledger), "--detach")[0].strip()
    told = tmp_path / "told"
    following = site.attach(execution, told)
    until(lambda: len(ledger.counts("late")) == 2)
    astray = until(lambda: re.search(r"^(late-\d) machine-three$", "\n".join(ledger.lines()), re.MULTILINE))[1]
    # Its process notes where it runs; nobody else could see that.
    until(lambda: re.search(r"steps\.late for .* on machine-three", site.rayflow("log", execution)[0]))
    site.three.unplug()
    cut = time.monotonic()
    ledger.go()  # it ends while the cable is out
    until(lambda: f"{astray}-ends machine-three" in ledger.lines())
    until(lambda: f"{astray} machine-two" in ledger.lines())
    took = time.monotonic() - cut
    site.three.plug_in()
    assert following.wait(200) == 0, told.read_text()
    text = told.read_text()
    assert took < 30, (took, text)  # 20, on a machine that is not busy
    assert f"The node {THREE} (machine-three) does not answer: 1 call waits for it (flows.steps.late)." in text
    answer = text.splitlines()[-1]
    assert "[0, 1, 2], ['machine-two', 'machine-two']" in answer
    assert "'machine-three'" in answer, "it is used again"
    other = "late-0" if astray == "late-1" else "late-1"
    assert ledger.counts("quick") == Counter(["quick-0", "quick-1", "quick-2"])
    assert ledger.counts("late") == Counter([other, astray, astray])
    rows = site.rows(f"select attempts, status from jobs where execution_id = '{execution}' and attempts > 1")
    assert rows == [{"attempts": 2, "status": "done"}]


def test_a_drained_node_gets_no_more_calls_loses_nothing_when_it_leaves_and_is_used_again_when_it_is_back(
    site: Site, ledger: Ledger, tmp_path: Path
) -> None:
    """It leaves by the end of its raylet, and comes back under the same address, while the execution goes on."""
    words = ["--folder", str(ledger), "--option", "max_worker_losses=0", "--detach"]
    execution = site.submit("drained", *words)[0].strip()
    told = tmp_path / "told"
    following = site.attach(execution, told)
    until(lambda: len(ledger.counts("late")) == 2)
    drain(site.head, THREE)
    until(lambda: f"The node {THREE} (machine-three) is being drained" in told.read_text())
    (ledger.folder / "drained").touch()
    until(lambda: len(ledger.counts("spread")) == 8)
    assert not [line for line in ledger.lines() if line.startswith("spread") and "three" in line]
    site.kill_ray(site.three)
    until(lambda: len([line for line in ledger.lines() if line.startswith("late") and "two" in line]) == 2)
    site.start_worker(site.three)
    assert following.wait(200) == 0, told.read_text()
    answer = told.read_text().splitlines()[-1]
    assert "['machine-two', 'machine-two']" in answer and answer.count("machine-three") == 1, answer
    assert ledger.counts("spread") == Counter([f"spread-{n}" for n in range(8)])
    assert ledger.counts("late").total() == 3 and ledger.counts("paired").total() == 2


def drain(head: Machine, address: str) -> None:
    """Announce that a node will be taken away."""
    ray = (sys.executable, "-m", "ray.scripts.scripts")
    code = f"""if True:
        import ray
        ray.init("{HEAD}:6379", logging_level="ERROR")
        there = [node for node in ray.nodes() if node["NodeManagerAddress"] == "{address}" and node["Alive"]]
        print(there[0]["NodeID"])
    """
    node = head.run(sys.executable, "-c", code).stdout.strip()
    done = head.run(
        *ray, "drain-node", f"--address={HEAD}:6379", f"--node-id={node}", "--reason=DRAIN_NODE_REASON_PREEMPTION",
        "--reason-message=spot", "--deadline-remaining-seconds=120",
    )  # fmt: skip
    assert done.returncode == 0, (node, done.stderr)


# --- a head that dies -------------------------------------------------------------------------------------------------


def test_an_execution_whose_head_dies_is_told_to_be_lost_and_goes_on_on_another_cluster(
    site: Site, ledger: Ledger, tmp_path: Path
) -> None:
    execution = site.submit("resumed", "--folder", str(ledger), "--detach")[0].strip()
    told = tmp_path / "told"
    following = site.attach(execution, told)
    until(lambda: ledger.counts("last"))
    done = f"select 1 from jobs where execution_id = '{execution}' and status = 'done' and task_name like '%quick'"
    until(lambda: len(site.rows(done)) == 3)
    for machine in (site.head, site.two, site.three):
        site.kill_ray(machine)
    ledger.go()
    start_head(site.head, site.logs, 6390, NEW_DASHBOARD)
    site.put_project(site.head)
    until(lambda: "lost" in site.rayflow("log", execution)[0])
    out, err = site.rayflow("resume", execution, "--address", f"{HEAD}:6390", "--json", machine=site.head)
    assert json.loads(out) == [[0, 1, 2], "last"], err
    assert ledger.counts("quick") == Counter(["quick-0", "quick-1", "quick-2"])
    assert ledger.counts("last") == Counter(["last", "last"])
    assert following.wait(200) == 2
    text = told.read_text()
    assert "the cluster cannot be reached, trying again" in text
    assert "Traceback" not in text and "control service" not in text
    last = text.splitlines()[-1]
    assert last.startswith(f"error: No dashboard of a Ray cluster can be reached at {site.dashboard}")
    assert f"rayflow resume {execution[:18]}" in last
