"""The scheduler actor that `run` keeps for the next `run` of its process: when it serves, and when it must not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

import pytest
from projects import Project
from waiting import until

from rayflow.api import Scheduler, run
from rayflow.runtime.on_ray.connection import kept_actors
from rayflow.store.open import open_store

pytestmark = pytest.mark.ray

FLOW = """
    import os, time
    from rayflow import task

    @task
    def add(a, b):
        return a + b

    @task
    def main(n):
        return [add(n, each) for each in range(3)]

    @task
    def fail(n):
        raise ValueError(n)

    @task(num_cpus=0.1, limits={"slot": 1})
    def limited(n):
        begun = time.time()
        time.sleep(0.3)
        return begun, time.time()

    @task(num_cpus=0.1)
    def meet(folder, mine, other):
        open(f"{folder}/{mine}", "w").close()
        end = time.monotonic() + 30
        while not os.path.exists(f"{folder}/{other}") and time.monotonic() < end:
            time.sleep(0.02)
        return os.path.exists(f"{folder}/{other}")

    @task(num_cpus=0.1)
    def slow(folder):
        open(f"{folder}/began", "w").close()
        time.sleep(600)
"""


@pytest.fixture
def flow(project: Project, ray_cluster: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tasks above, and no actor at rest."""
    monkeypatch.setenv("RAYFLOW_ADDRESS", ray_cluster)
    project.write("flow.py", FLOW)
    end_resting()
    return project.load("flow")


def end_resting() -> None:
    import ray

    while (kept := kept_actors.take()) is not None:
        ray.kill(kept.actor)


def resting() -> list[int]:
    """The process ids of the actors at rest."""
    import ray

    return [ray.get(each.actor.process_id.remote(), timeout=30) for each in list(kept_actors.resting())]


def is_gone(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_the_next_run_has_the_same_scheduler_and_begins_at_once(flow: ModuleType, project: Project) -> None:
    assert run(flow.main(0)) == [0, 1, 2]
    (pid,) = resting()
    seconds = []
    for n in range(1, 6):
        begun = time.monotonic()
        assert run(flow.main(n)) == [n, n + 1, n + 2]
        seconds.append(time.monotonic() - begun)
        assert resting() == [pid]
    assert min(seconds) < 0.25, "an actor takes more to start"
    assert project.sql("select status, jobs from executions") == [("done", 4)] * 6
    assert project.sql("select count(*) from jobs") == [(24,)]


def test_the_next_run_has_today_s_code_and_today_s_tasks(flow: ModuleType, project: Project) -> None:
    assert run(flow.main(0)) == [0, 1, 2]
    before = resting()
    project.edit("flow.py", "return a + b", "return a * b")
    edited = project.load("flow")
    assert run(edited.main(2)) == [0, 2, 4]
    project.write("other.py", "from rayflow import task\n\n@task\ndef new(n):\n    return -n\n")
    other = project.load("other")
    assert run(other.new(3), tags={"which": "new"}) == -3
    assert resting() == before


def test_the_next_run_knows_nothing_of_a_store_that_was_removed(flow: ModuleType, project: Project) -> None:
    assert run(flow.main(0)) == [0, 1, 2]
    before = resting()
    shutil.rmtree(project.path / ".rayflow")
    assert run(flow.main(0)) == [0, 1, 2]
    assert resting() == before
    assert project.counts("computed") == {"flow.main": 1, "flow.add": 3}
    assert project.sql("select count(*) from executions") == [(1,)]
    # All that the rows name is there, though the actor had written the same rows before.
    assert not open_store(project.path / ".rayflow", read_only=True).dangling()


def test_the_next_run_may_have_another_store(flow: ModuleType, project: Project, tmp_path: Path) -> None:
    assert run(flow.main(0)) == [0, 1, 2]
    before = resting()
    assert run(flow.main(0), store=tmp_path / "elsewhere") == [0, 1, 2]
    assert resting() == before
    with Scheduler(store=tmp_path / "elsewhere", read_only=True) as scheduler:
        assert [row["jobs"] for row in scheduler.log()] == [4]
    assert project.sql("select count(*) from executions") == [(1,)]


def test_the_next_run_has_the_limits_of_its_configuration(flow: ModuleType, project: Project) -> None:
    def overlap() -> bool:
        (begun, ended), (begun_2, ended_2) = run([flow.limited(1), flow.limited(2)], cache=False)
        return begun < ended_2 and begun_2 < ended

    project.write("rayflow.toml", "[limits]\nslot = 1\n")
    assert not overlap()
    before = resting()
    project.write("rayflow.toml", "[limits]\nslot = 2\n")
    assert overlap()
    assert resting() == before


def test_a_run_after_one_that_failed_works(flow: ModuleType, project: Project) -> None:
    with pytest.raises(ValueError):
        run(flow.fail(1))
    assert run(flow.main(0)) == [0, 1, 2]
    assert len(resting()) == 1


def test_a_run_after_one_that_was_interrupted_works_and_nothing_of_that_one_runs_on(
    flow: ModuleType, project: Project
) -> None:
    is_over = threading.Event()

    def interrupt() -> None:
        while not (project.path / "began").exists():
            if is_over.wait(0.05):
                return
        # Only the run: a signal that comes after it would end all tests.
        if not is_over.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run(flow.slow(str(project.path)))
    finally:
        is_over.set()
        thread.join()
    assert run(flow.main(0)) == [0, 1, 2]
    assert [row[0] for row in project.sql("select status from executions order by execution_id")] == [
        "cancelled", "done",
    ]  # fmt: skip


def test_a_scheduler_that_died_at_rest_is_replaced(flow: ModuleType) -> None:
    assert run(flow.main(0)) == [0, 1, 2]
    (pid,) = resting()
    os.kill(pid, signal.SIGKILL)
    assert run(flow.main(1)) == [1, 2, 3]
    (other,) = resting()
    assert other != pid


def test_two_threads_run_at_the_same_time_each_with_its_own(flow: ModuleType, tmp_path: Path) -> None:
    assert run(flow.main(0)) == [0, 1, 2]
    found: dict[str, bool] = {}

    def meets(mine: str, other: str) -> None:
        found[mine] = run(flow.meet(str(tmp_path), mine, other), store=tmp_path / f"store {mine}")

    threads = [threading.Thread(target=meets, args=names) for names in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {"a": True, "b": True}
    assert len(set(resting())) == 2


def test_an_explicit_scheduler_neither_takes_nor_leaves_one(flow: ModuleType) -> None:
    assert run(flow.main(0)) == [0, 1, 2]
    before = resting()
    with Scheduler() as scheduler:
        assert scheduler.run(flow.main(1)) == [1, 2, 3]
        assert resting() == before
    assert resting() == before


IN_A_SCRIPT = """
    import os, sys, time
    import rayflow.errors
    from rayflow import run, task

    @task
    def add(a, b):
        return a + b

    def actor():
        import ray
        from rayflow.runtime.on_ray.connection import kept_actors
        (kept,) = kept_actors.resting()
        return ray.get(kept.actor.process_id.remote())

    if __name__ == "__main__":
        assert run(add(1, int(sys.argv[1]))) == 1 + int(sys.argv[1])
        print(actor(), flush=True)
"""


@pytest.mark.parametrize("how", ["ends", "is killed"])
def test_nothing_stays_on_a_shared_cluster_when_the_process(how: str, project: Project, ray_cluster: str) -> None:
    more = "" if how == "ends" else "        time.sleep(600)\n"
    project.write("script.py", IN_A_SCRIPT + more)
    process = subprocess.Popen(
        [sys.executable, "script.py", "2"], cwd=project.path, stdout=subprocess.PIPE, text=True,
        env=project.full_environment({"RAYFLOW_ADDRESS": ray_cluster}),
    )  # fmt: skip
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    if how == "is killed":
        assert not is_gone(pid)
        process.kill()
    process.wait(60)
    until(lambda: is_gone(pid), what="the actor stays behind")


def test_a_user_may_shut_ray_down_between_two_runs(project: Project, ray_cluster: str) -> None:
    project.write(
        "script.py",
        IN_A_SCRIPT
        + """
        import ray
        first = actor()
        for number in (3, 4):
            ray.shutdown()
            assert run(add(number, 1)) == number + 1
        assert actor() != first
        print("done")
    """,
    )
    ended = project.python("script.py", "2", RAYFLOW_ADDRESS=ray_cluster)
    assert ended.stdout.endswith("done\n"), ended.stderr


def test_a_forked_process_leaves_its_parent_s_scheduler_alone(project: Project, ray_cluster: str) -> None:
    project.write(
        "script.py",
        IN_A_SCRIPT
        + """
        first = actor()
        child = os.fork()
        if child == 0:
            assert run(add(5, 1), inline=True) == 6
            try:
                run(add(6, 1))
            except rayflow.errors.ClusterUnavailable as error:
                os._exit(0 if "was forked" in str(error) else 7)
            os._exit(8)  # as multiprocessing does: Ray's own end hangs in a forked process
        assert os.waitpid(child, 0)[1] == 0
        assert run(add(6, 1)) == 7
        assert actor() == first
        print("done")
    """,
    )
    ended = project.python("script.py", "2", RAYFLOW_ADDRESS=ray_cluster)
    assert ended.stdout.endswith("done\n"), ended.stderr
