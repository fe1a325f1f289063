"""Two machines: a head and a worker that share no disk, no memory and no name; runs from both, and files on S3.

The last two tests cut the cable between them, and kill the head's control service.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from machines import Machine, linked_machines
from ray_on_machines import start_ray, start_s3
from waiting import until

pytestmark = [pytest.mark.ray, pytest.mark.netns]

HEAD, WORKER = "10.77.31.1", "10.77.31.2"

HELPER = """
    def doubled(x):
        return 2 * x
"""

FLOW = """
    import socket
    import numpy
    from rayflow import File, script, task
    from flows.helper import doubled

    here = {"resources": {"here": 0.1}}
    there = {"resources": {"there": 0.1}}

    @task
    def address(n):
        import ray
        return ray.util.get_node_ip_address()

    @task
    def array(n):
        return numpy.ones(n)

    @task
    def total(a):
        print("summing")
        return doubled(float(a.sum()))

    @task
    def write(path, text):
        File(path).write(text)
        return File(path)

    @task
    def read(file: File, n=1):
        return socket.gethostname(), file.read()

    @task
    def passed_on(file: File):
        return file.path

    def sorted_lines(source, target, **options):
        return script(
            "hostname; sort in > out", inputs=source.stage("in"), outputs=[File(target).stage("out"), File("-")],
            **options,
        )

    @task
    def main(bucket: str):
        words = write.options(**there)(f"{bucket}/words.txt", "b\\na\\n")
        lines = sorted_lines(words, f"{bucket}/sorted.txt", **here)
        again = script(
            "tr a-z A-Z < in > out; hostname", inputs=lines[0].stage("in"),
            outputs=[File(f"{bucket}/upper.txt").stage("out"), File("-")], **there,
        )
        return [lines[1], again[1], read.options(**here)(again[0]), read.options(**there)(again[0], 2)]
"""

SCENES = """
    import json
    import os
    import sys
    from rayflow import File, Scheduler
    from flows import flow
    from flows.flow import here, there

    address, shared = sys.argv[1:]
    disk = os.path.dirname(os.getcwd())

    def told(store, **calls):
        found = {}
        with Scheduler(address=address, store=store) as scheduler:
            for name, call in calls.items():
                try:
                    found[name] = ["value", scheduler.run(call)]
                except Exception as error:
                    found[name] = [type(error).__name__, error.exit_code, str(error)]
            if store.startswith("s3"):
                found["logs"] = scheduler.sql("select text from logs where text like 'rayflow:%'").fetchall()
        return found

    seen = told(
        shared, addresses=[flow.address.options(**here)(1), flow.address.options(**there)(2)],
        moved=flow.total.options(**here)(flow.array.options(**there)(500_000)),
    )
    seen |= told(f"{disk}/store", own_store=flow.address.options(**there)(3))
    own, notes = File(f"{disk}/own.txt"), File("notes.txt")
    for file in (own, notes):
        file.write("b\\na\\n")
    seen |= told(
        "s3://bucket/other",
        absolute=flow.read.options(**there)(own),
        relative=flow.read.options(**there)(notes),
        staged=flow.sorted_lines(own, f"{disk}/sorted.txt", **there),
        written_there=flow.read.options(**here)(flow.write.options(**there)(f"{disk}/made.txt", "x")),
        written_there_relative=flow.write.options(**there)("made.txt", "x"),
        by_way_of_s3=flow.sorted_lines(own.copy_to("s3://bucket/own.txt"), "s3://bucket/own-sorted.txt", **there),
        passed_on=flow.passed_on.options(**there)(own),
        passed_on_relative=flow.passed_on.options(**there)(notes),
    )
    print(json.dumps(seen, default=str))
"""


@dataclass
class Cluster:
    """A Ray cluster of two machines, each with a copy of one project on its own disk, or without."""

    head: Machine
    worker: Machine

    address = f"{HEAD}:6379"

    def put_project(self, machine: Machine, **files: str) -> Path:
        """Write the project to a machine's disk; its directory there."""
        place = machine.disk / "project"
        texts = {"rayflow.toml": "", "flows/__init__.py": "", "flows/flow.py": FLOW, "flows/helper.py": HELPER, **files}
        for name, text in texts.items():
            file = machine.seen(place / name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text).lstrip("\n"))
        return place


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Both machines, Ray on them, and a server that speaks S3 on the head."""
    logs = tmp_path_factory.mktemp("logs")
    with linked_machines(HEAD, WORKER) as (head, worker):
        start_s3(head, worker, log=logs / "s3.log")
        dashboard = ("--include-dashboard=true", f"--dashboard-host={HEAD}")
        start_ray(head, "--head", "--port=6379", *dashboard, log=logs / "here.log", here=1)
        start_ray(worker, f"--address={HEAD}:6379", log=logs / "there.log", there=1)
        yield Cluster(head, worker)


@pytest.fixture(scope="module")
def scenes(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process on the head has seen; the worker's machine has no project."""
    place = cluster.put_project(cluster.head, **{"script.py": SCENES})
    store = tmp_path_factory.mktemp("shared") / "store"
    done = cluster.head.run(sys.executable, "script.py", cluster.address, str(store), cwd=place)
    assert done.returncode == 0, done.stderr[-4000:]
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_a_project_and_its_values_travel_between_two_machines(scenes: dict[str, Any]) -> None:
    assert scenes["addresses"] == ["value", [HEAD, WORKER]]
    assert scenes["moved"] == ["value", 1_000_000.0]


def test_a_store_that_only_one_machine_has_is_one_clear_error(scenes: dict[str, Any]) -> None:
    assert scenes["own_store"][:2] == ["StoreUnavailable", 2]
    assert "a store that all of them reach" in scenes["own_store"][2]


@pytest.mark.parametrize(
    ("scene", "file", "machine"),
    [("absolute", "own.txt", "machine-two"), ("staged", "own.txt", "machine-two"),
     ("written_there", "made.txt", "machine-one")],
)  # fmt: skip
def test_a_file_that_a_machine_cannot_see_is_one_clear_error_that_names_staging(
    scenes: dict[str, Any], scene: str, file: str, machine: str
) -> None:
    assert scenes[scene][:2] == ["FileMissing", 1]
    assert f"{file} is not on {machine}, though it was there when it was passed to this call" in scenes[scene][2]
    assert "s3://bucket/..." in scenes[scene][2] and "stage it: file.stage(" in scenes[scene][2]


@pytest.mark.parametrize("scene", ["relative", "written_there_relative"])
def test_a_path_of_a_project_that_a_machine_does_not_have_is_one_clear_error_that_names_staging(
    scenes: dict[str, Any], scene: str
) -> None:
    assert scenes[scene][:2] == ["FileMissing", 1]
    assert "is relative to the project, and machine-two does not have its directory" in scenes[scene][2]
    assert "s3://bucket/..." in scenes[scene][2] and "stage it: file.stage(" in scenes[scene][2]


def test_a_file_that_was_copied_to_s3_can_be_staged_on_any_machine(scenes: dict[str, Any]) -> None:
    assert scenes["by_way_of_s3"] == ["value", ["s3://bucket/own-sorted.txt", "machine-two\n"]]


def test_a_call_that_only_passes_on_a_file_that_its_machine_cannot_see_is_told_so(scenes: dict[str, Any]) -> None:
    assert scenes["passed_on"][1].endswith("/own.txt")
    assert scenes["passed_on_relative"] == ["value", "notes.txt"]
    ((log,),) = scenes["logs"]
    assert "own.txt, which flows.flow.passed_on was given, is not on machine-two." in log
    assert "altered" not in log


def test_files_on_s3_serve_both_machines_and_what_one_has_computed_the_other_has(cluster: Cluster) -> None:
    def rayflow(machine: Machine, *words: str) -> str:
        place = cluster.put_project(machine, **{"rayflow.toml": 'store = "s3://bucket/results"'})
        done = machine.run(sys.executable, "-m", "rayflow", *words, "--json", cwd=place)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run = ["run", "flows/flow.py", "main", "--bucket", "s3://bucket/files"]
    first = rayflow(cluster.head, *run, "--address", cluster.address)
    # What the worker's machine has written and staged out, the head's has staged in and read, and the other way round.
    assert json.loads(first) == ["machine-one\n", "machine-two\n", ["machine-one", "A\nB\n"], ["machine-two", "A\nB\n"]]
    # The other machine has neither a Ray nor an address: it can only answer from what is kept.
    assert rayflow(cluster.worker, *run) == first
    asked = rayflow(cluster.worker, "sql", "select how, count(*) n from jobs group by all order by all")
    assert json.loads(asked) == [{"how": "cached", "n": 6}, {"how": "computed", "n": 6}]
    uses = json.loads(rayflow(cluster.worker, "log", "s3://bucket/files/sorted.txt"))
    assert {(use["role"], use["task_name"]) for use in uses} == {("made", "rayflow.script"), ("read", "rayflow.script")}
    for machine in (cluster.head, cluster.worker):
        kept = list(machine.seen(machine.disk).glob("cache/mirrors/*/*/**/*"))
        assert kept, f"{machine.name} keeps no copy of the records"


def test_a_run_that_is_submitted_by_a_machine_with_the_dashboard_alone_works_on_both(cluster: Cluster) -> None:
    """The project is on the submitting machine, and in the copies that Ray makes of it for the job."""
    place = cluster.put_project(cluster.worker, **{"rayflow.toml": 'store = "s3://bucket/submitted"'})
    words = ["-m", "rayflow", "submit", "flows/flow.py", "main", "--bucket", "s3://bucket/sent", "--json"]
    done = cluster.worker.run(sys.executable, *words, "--address", f"http://{HEAD}:8265", cwd=place, timeout=240)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        "machine-one\n", "machine-two\n", ["machine-one", "A\nB\n"], ["machine-two", "A\nB\n"]
    ]  # fmt: skip
    assert "6 jobs, 6 computed" in done.stderr


# --- a cluster that is lost, in part and as a whole -------------------------------------------------------------------

STUCK = """
    import socket
    import time
    from pathlib import Path
    from rayflow import task

    @task(bundle=False)
    def host(n, marks):
        where = socket.gethostname()
        Path(marks, where).touch()
        time.sleep(3 if where == "machine-one" else 600)
        return where

    @task
    def stuck(marks):
        Path(marks, "stuck").touch()
        time.sleep(600)

    @task
    def main(marks: str):
        return [host(1, marks), host(2, marks)]
"""


@pytest.fixture(scope="module")
def stuck(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project on a disk that both machines share; its store lies there, too."""
    folder = tmp_path_factory.mktemp("stuck")
    (folder / "flow.py").write_text(textwrap.dedent(STUCK).lstrip("\n"))
    (folder / "rayflow.toml").touch()
    return folder


def begun(cluster: Cluster, project: Path, task: str) -> tuple[subprocess.Popen[bytes], Path]:
    """A run on the head, and the file that it writes to."""
    told = project / f"{task}.told"
    words = ["-m", "rayflow", "run", str(project / "flow.py"), task, "--marks", str(project)]
    return cluster.head.start(sys.executable, *words, "--address", cluster.address, log=told), told


def test_calls_on_a_machine_that_falls_silent_run_elsewhere_and_that_is_told_before(
    cluster: Cluster, stuck: Path
) -> None:
    """Ray's own settings are left as they are: it would notice after seven minutes."""
    run, told = begun(cluster, stuck, "main")
    until((stuck / "machine-two").exists)
    time.sleep(4)  # until its process has noted where it runs: nobody else could see that
    cluster.head.unplug()
    cut = time.monotonic()
    until(lambda: b"does not answer" in told.read_bytes(), 30)
    heard = time.monotonic() - cut
    code = run.wait(90)
    took, text = time.monotonic() - cut, told.read_text()
    assert code == 0, text
    assert f"The node {WORKER} (machine-two) does not answer: 1 call waits for it (flow.host)." in text
    assert "['machine-one', 'machine-one']" in text
    assert 8 < heard < 30 and took < 60, (heard, took)


def test_a_cluster_whose_control_service_is_killed_is_lost_within_seconds_with_one_clear_error(
    cluster: Cluster, stuck: Path
) -> None:
    run, told = begun(cluster, stuck, "stuck")
    until((stuck / "stuck").exists)
    for process in cluster.head.processes(b"gcs_server"):
        os.kill(process, signal.SIGKILL)
    killed = time.monotonic()
    code = run.wait(60)
    took = time.monotonic() - killed
    *before, last = told.read_text().splitlines()
    assert (code, took < 40) == (2, True), (took, before, last)
    assert last.startswith(f"error: The Ray cluster at {cluster.address} is lost: its control service (GCS) has not")
    assert "What was finished is kept." in last and "go on with: rayflow resume " in last
    of_start = "results are kept in", "joining the Ray cluster", "starting the scheduler"
    ours = (*of_start, "warning: The node", "waiting: The node")
    assert all(line.startswith(ours) or " running" in line or " queued" in line for line in before), before
