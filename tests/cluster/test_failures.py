"""What goes wrong on a cluster: killed workers, timeouts, cancelled runs, a scheduler that is killed, bad input."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from evaluations import shown
from waiting import until

import rayflow
from rayflow.api import Scheduler
from rayflow.errors import (
    BadConfig,
    BadModule,
    Cancelled,
    ClusterUnavailable,
    NotSerializable,
    StoreUnavailable,
    TaskTimeout,
    WorkerLost,
)

pytestmark = pytest.mark.ray


@pytest.fixture
def scheduler(project, ray_cluster) -> Iterator[Scheduler]:
    with Scheduler(store=str(project.path / ".rayflow"), address=ray_cluster) as made:
        yield made


# --- tasks ------------------------------------------------------------------------------------------------------------


def test_a_task_that_raises_fails_what_needs_it_and_nothing_else_and_is_tried_again_next_time(project, scheduler):
    flow = project.write(
        "flow.py",
        """
        from rayflow import task

        class Odd(Exception):
            def __init__(self, n, *, hint):
                super().__init__(f"{n} is odd ({hint})")

        def check(n):
            if n % 2:
                raise Odd(n, hint="use an even one")

        @task
        def half(n):
            check(n)
            return n // 2

        @task
        def total(*halves):
            return sum(halves)
        """,
    ) and project.load("flow")
    expression = [flow.total(flow.half(2), flow.half(3)), flow.total(flow.half(4), flow.half(6))]
    with pytest.raises(Exception, match="3 is odd") as caught:
        scheduler.run(expression)
    told = shown(caught.value)
    assert "flow.half(n=3)" in told
    assert "in check" in told
    assert os.path.dirname(rayflow.__file__) not in told
    done = project.sql("select count(*) from jobs where status = 'done' and task_name = 'flow.half'")
    assert done == [(3,)]
    assert project.sql("select count(*) from jobs where status = 'done' and task_name = 'flow.total'") == [(1,)]
    with pytest.raises(Exception, match="3 is odd"):
        scheduler.run(expression)
    assert project.counts("cached") == {"flow.half": 3, "flow.total": 1}


def test_retries_happen_as_often_as_asked_and_no_more(project, scheduler):
    flow = project.write(
        "flow.py",
        """
        from rayflow import task

        @task(retries=2, retry_delay=0.01)
        def flaky(path, good):
            with open(path, "a") as file:
                file.write("x")
            if len(open(path).read()) < good:
                raise OSError("not yet")
            return good
        """,
    ) and project.load("flow")
    assert scheduler.run(flow.flaky(str(project.path / "a"), 3)) == 3
    with pytest.raises(OSError, match="not yet"):
        scheduler.run(flow.flaky(str(project.path / "b"), 4))
    assert (project.path / "b").read_text() == "xxx"


def test_only_the_culprit_of_a_bundle_that_died_counts_an_attempt(project, scheduler):
    flow = project.write(
        "flow.py",
        """
        import os, signal
        from rayflow import task

        @task
        def step(n, mark):
            if n == 700 and not os.path.exists(mark):
                open(mark, "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
            return n
        """,
    ) and project.load("flow")
    mark = str(project.path / "mark")
    assert scheduler.run([flow.step(n, mark) for n in range(1500)]) == list(range(1500))
    assert project.sql("select count(*) from jobs where attempts > 1") in ([(0,)], [(1,)])


def test_a_task_that_always_kills_its_worker_fails_after_its_losses_and_the_others_end(project, scheduler):
    flow = project.write(
        "flow.py",
        """
        import os
        from rayflow import task

        @task(max_worker_losses=1)
        def bad(n):
            os._exit(3)

        @task
        def good(n):
            return n
        """,
    ) and project.load("flow")
    with pytest.raises(WorkerLost, match="lost 2 times") as caught:
        scheduler.run([flow.good(1), flow.bad(1), flow.good(2)])
    assert caught.value.exit_code == 2
    assert project.counts("computed")["flow.good"] == 2


def test_a_timeout_interrupts_python_and_ends_the_process_where_it_cannot(project, scheduler):
    flow = project.write(
        "flow.py",
        """
        import time
        from rayflow import task

        @task(timeout=0.3)
        def sleeps():
            time.sleep(60)

        @task(timeout=0.3)
        def stuck(n):
            return sum(range(n))

        @task(timeout=20)
        def quick():
            return 1
        """,
    ) and project.load("flow")
    assert scheduler.run(flow.quick()) == 1
    with pytest.raises(TaskTimeout, match=r"longer than its timeout of 0\.3 s"):
        scheduler.run(flow.sleeps())
    with pytest.raises(TaskTimeout, match="could not be interrupted"):
        scheduler.run(flow.stuck(10**13))
    ended = project.sql("select ended from attempts order by job_id")
    assert [row[0] for row in ended] == ["timeout", "timeout"]


def test_cancel_ends_what_runs_and_what_waits_and_the_next_run_goes_on(project, scheduler):
    flow = project.write(
        "flow.py",
        """
        import os, time
        from rayflow import task

        @task
        def done(n):
            return n

        @task
        def long(folder, n):
            open(f"{folder}/{n}", "w").close()
            end = time.time() + 120
            while time.time() < end and not os.path.exists(f"{folder}/go"):
                time.sleep(0.02)
            return n
        """,
    ) and project.load("flow")
    folder = project.path / "marks"
    folder.mkdir()
    expression = [flow.done(1), *[flow.long(str(folder), n) for n in range(12)]]
    submission = scheduler.submit(expression)
    until(lambda: len(list(folder.iterdir())) >= 2)
    begun = time.monotonic()
    submission.cancel()
    with pytest.raises(Cancelled, match="resume"):
        submission.result(timeout=30)
    assert time.monotonic() - begun < 10
    assert project.sql("select status from executions") == [("cancelled",)]
    assert project.sql("select count(*) from jobs where status = 'open'") == [(0,)]
    assert len(list(folder.iterdir())) < 12
    query = "select job_id, started_at, how from jobs where task_name = 'flow.done' and status = 'done'"
    before = project.sql(query)
    (folder / "go").touch()
    assert scheduler.resume(submission.execution_id) == [1, *range(12)]
    assert project.sql(query) == before or not before, "it has run, and its record stays"


def test_an_operation_that_loses_its_workers_fails_its_expression_only(project, scheduler):
    flow = project.write(
        "flow.py",
        """
        import os
        from rayflow import task

        class Killer(dict):
            def __getitem__(self, key):
                os._exit(1)

        @task
        def deadly():
            return Killer(rows="x" * 10000)

        @task
        def fine():
            return 1
        """,
    ) and project.load("flow")
    with pytest.raises(WorkerLost, match="operation"):
        scheduler.run([flow.deadly()["rows"], flow.fine()])
    assert scheduler.run(flow.fine()) == 1


# --- the scheduler ----------------------------------------------------------------------------------------------------

SLOW = """
    import time
    from rayflow import task

    @task
    def step(n):
        time.sleep(0.05)
        with open(__file__.replace("flow.py", "ran"), "a") as file:
            file.write(f"{n}\\n")
        return n

    @task
    def main(count):
        return [step(n) for n in range(count)]
"""


def actor_process(scheduler: Scheduler) -> int:
    import ray

    return ray.get(scheduler._driver._cluster.actor().process_id.remote())


def test_a_scheduler_that_is_killed_goes_on_and_the_driver_notices_nothing(project, scheduler):
    flow = project.write("flow.py", SLOW) and project.load("flow")
    ran = project.path / "ran"
    submission = scheduler.submit(flow.main(80), cache=False)
    until(lambda: ran.exists() and ran.read_text().count("\n") >= 20)
    os.kill(actor_process(scheduler), signal.SIGKILL)
    assert submission.result(timeout=60) == list(range(80))
    assert ran.read_text().count("\n") < 80 + 45, "what had been recorded was run again"
    assert project.sql("select life, status, jobs from executions") == [(1, "done", 81)]
    assert project.sql("select count(*) from jobs") == [(81,)]


def test_a_scheduler_that_is_killed_between_two_runs_is_there_for_the_next(project, scheduler):
    flow = project.write("flow.py", SLOW) and project.load("flow")
    assert scheduler.run(flow.step(1)) == 1
    os.kill(actor_process(scheduler), signal.SIGKILL)
    assert scheduler.run(flow.step(2)) == 2
    assert project.sql("select status from executions order by execution_id") == [("done",), ("done",)]


def test_a_mistake_of_ours_in_the_scheduler_is_told_and_the_next_run_works(project, scheduler):
    from rayflow.errors import Bug

    flow = project.write("flow.py", SLOW) and project.load("flow")
    assert scheduler.run(flow.step(1)) == 1
    submission = scheduler.submit(flow.main(100))
    import ray

    def break_it(self, *_):
        self._loop._incoming.append(object())

    actor = scheduler._driver._cluster.actor()
    ray.get(actor.__ray_call__.remote(break_it))
    with pytest.raises(Bug, match="error of its own"):
        submission.result(timeout=30)
    assert scheduler.run(flow.step(2)) == 2


# --- the store --------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of one megabyte."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"this machine does not allow mounts: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_ends_the_run_with_one_clear_error_and_what_waited_is_written_later(
    project, ray_cluster, small_disk
):
    flow = project.write(
        "flow.py",
        """
        import os, time
        from rayflow import task

        @task
        def number(n):
            time.sleep(n == 7)  # there are records to be committed meanwhile
            return n

        @task
        def large(n):
            return str(n) * 2_000_000

        @task
        def wait(path):
            while not os.path.exists(path):
                time.sleep(0.02)
            return number(7)
        """,
    ) and project.load("flow")
    with Scheduler(store=str(small_disk / "store"), address=ray_cluster) as scheduler:
        assert scheduler.run(flow.number(1)) == 1
        with pytest.raises(StoreUnavailable, match="disk is full") as caught:
            scheduler.run(flow.large(5))
        assert caught.value.exit_code == 2
        submission = scheduler.submit(flow.wait(str(project.path / "go")))
        filler = small_disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(b"x" * 4096)
                file.flush()
        (project.path / "go").touch()
        with pytest.raises(StoreUnavailable, match="disk is full"):
            submission.result(timeout=30)
        filler.unlink()
        assert scheduler.run(flow.number(2)) == 2
        counted = "select count(*) from jobs where task_name = 'flow.number' and status = 'done'"
        assert scheduler.sql(counted).fetchall()[0][0] >= 2


def test_a_store_that_cannot_be_opened_is_one_clear_error(project, ray_cluster, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadConfig):
        Scheduler(store=str(tmp_path / "file" / "store"), address=ray_cluster)


# --- bad input --------------------------------------------------------------------------------------------------------


def test_values_that_cannot_be_kept_are_named(project, scheduler):
    flow = project.write(
        "flow.py",
        """
        import threading
        from rayflow import task

        @task
        def lock():
            return {"deep": [1, threading.Lock()]}

        @task
        def same(x):
            return x
        """,
    ) and project.load("flow")
    with pytest.raises(NotSerializable, match="lock"):
        scheduler.run(flow.lock())
    import threading

    with pytest.raises(NotSerializable, match="lock"):
        scheduler.run(flow.same({"a": threading.Lock()}))


def test_a_module_that_does_not_import_on_the_worker_is_named(project, scheduler):
    project.write(
        "flow.py",
        """
        import os
        from rayflow import task

        if os.environ.get("RAY_JOB_ID"):
            import only_on_the_driver

        @task
        def one():
            return 1
        """,
    )
    flow = project.load("flow")
    with pytest.raises((BadModule, ModuleNotFoundError), match="only_on_the_driver"):
        scheduler.run(flow.one())


def test_code_that_was_changed_after_the_run_had_started_is_not_run_under_its_old_name(project, scheduler):
    project.write("flow.py", "from rayflow import task\n\n@task\ndef one():\n    return 1\n")
    flow = project.load("flow")
    project.edit("flow.py", "return 1", "return 2")
    with pytest.raises(BadModule, match="not the code that was submitted"):
        scheduler.run(flow.one())


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "No Ray cluster answers at 127.0.0.1:1"),
        ("no-such-host.invalid:6379", "No Ray cluster answers"),
        ("ray://127.0.0.1:10001", "not supported"),
    ],
)
def test_a_cluster_that_cannot_be_reached_is_one_clear_error_within_seconds(project, address, message):
    project.write(
        "flow.py",
        f"""
        import time
        from rayflow import Scheduler, task

        @task
        def one():
            return 1

        begun = time.monotonic()
        try:
            Scheduler(address={address!r}).run(one())
        except Exception as error:
            print(type(error).__name__, error.exit_code, time.monotonic() - begun < 15, str(error))
        """,
    )
    told = project.python("flow.py").stdout
    assert told.startswith(f"{ClusterUnavailable.__name__} 2 True")
    assert message in told


def test_a_port_where_something_else_listens_is_one_clear_error_within_seconds(project):
    project.write(
        "flow.py",
        """
        import socket
        from rayflow import Scheduler, task

        @task
        def one():
            return 1

        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            try:
                Scheduler(address=f"127.0.0.1:{silent.getsockname()[1]}").run(one())
            except Exception as error:
                print(type(error).__name__, error)
        """,
    )
    told = project.python("flow.py", timeout=30).stdout
    assert told.startswith("ClusterUnavailable No Ray cluster answers at 127.0.0.1"), told
    assert "nothing answers in time" in told


def test_a_process_that_is_connected_does_not_join_another_cluster(project, ray_cluster):
    flow = project.write("flow.py", SLOW) and project.load("flow")
    with (
        Scheduler(store=str(project.path / ".rayflow"), address="10.1.2.3:6379") as scheduler,
        pytest.raises(ClusterUnavailable, match="connected to the Ray cluster at"),
    ):
        scheduler.run(flow.step(1))
