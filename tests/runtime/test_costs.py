"""What an attempt takes: processor time and memory, of the processes below it, too, and of no other attempt."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from evaluations import Flow
from projects import Project

from rayflow.evaluator.messages import Cost
from rayflow.runtime.on_ray import remote
from rayflow.runtime.protocol.attempts import Reply
from rayflow.runtime.worker import costs
from rayflow.runtime.worker.costs import Meter

FLOW = """
    import multiprocessing
    import os
    import signal
    import subprocess
    import sys
    import threading
    import time

    from rayflow import File, script, subrun, task

    BUSY = "import time\\nwhile time.process_time() < 0.3: pass"
    LARGE = "x = bytearray(150_000_000)"

    def busy(seconds=0.3):
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass

    def large():
        return bytearray(150_000_000) and None

    @task
    def nothing(x):
        return x

    @task
    def in_the_body(x):
        busy()
        large()

    @task
    def in_a_thread(x):
        thread = threading.Thread(target=busy)
        thread.start()
        thread.join()
        large()

    @task
    def in_a_child(x):
        subprocess.run([sys.executable, "-c", BUSY + "\\n" + LARGE], check=True)

    @task
    def in_a_grandchild(x):
        command = f'{sys.executable} -c "{BUSY}"; {sys.executable} -c "{LARGE}"; true'
        subprocess.run(["sh", "-c", command], check=True)

    @task
    def in_a_child_that_is_killed(x):
        command = BUSY + "\\n" + LARGE + "\\nprint(flush=True)\\ntime.sleep(60)"
        child = subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE)
        child.stdout.read(1)
        child.kill()
        child.wait()
        child.stdout.close()

    @task
    def in_a_child_that_still_runs(x):
        command = BUSY + "\\n" + LARGE + "\\ndel x\\nprint(flush=True)\\nimport sys; sys.stdin.read()"
        child = subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
        child.stdout.read(1)
        KEPT.append(child)

    KEPT = []

    @task
    def in_a_pool(x):
        with multiprocessing.get_context("fork").Pool(1) as pool:
            pool.apply(busy)
            pool.apply(large)
            pool.close()
            pool.join()

    @task(script=True)
    def in_a_script(x):
        return f'{sys.executable} -c "{BUSY}"; {sys.executable} -c "{LARGE}"'

    @task(script=True)
    def in_what_a_script_leaves(x):
        command = BUSY + "\\n" + LARGE + "\\nopen('told', 'w').close()\\ntime.sleep(60)"
        return f'{sys.executable} -c "{command}" & while ! test -e told; do sleep 0.05; done; rm told'

    @task
    def below(x):
        return subrun(in_a_child(x))
"""

WAYS = (
    "in_the_body", "in_a_thread", "in_a_child", "in_a_grandchild", "in_a_child_that_is_killed",
    "in_a_child_that_still_runs", "in_a_pool", "in_a_script", "in_what_a_script_leaves",
)  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_all_that_an_attempt_has_begun_counts_for_it_and_for_no_other(project: Project, way: str) -> None:
    project.write("flow.py", FLOW)
    program = f"import flow, rayflow; print(rayflow.run([flow.{way}(1), flow.nothing(2)], inline=True))"
    program += "; [each.communicate() for each in flow.KEPT]"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=project.path)
    found = {
        name.removeprefix("flow."): (seconds, peak)
        for name, seconds, peak in project.sql("select task_name, cpu_seconds, peak_memory_bytes from jobs")
    }
    seconds, peak = found[way]
    assert 0.27 <= seconds < 5
    assert 150_000_000 <= peak < 700_000_000
    seconds, peak = found["nothing"]
    assert seconds < 0.15
    if sys.platform == "linux":
        assert peak < 130_000_000, "the attempt before it has had the most of this process"


def test_a_subrun_has_what_its_calls_have(project: Project) -> None:
    flow = Flow(project)
    module = flow.write(FLOW)
    flow.run(module.below(1))
    rows = project.sql("select task_name, cpu_seconds, peak_memory_bytes from jobs")
    for name in ("rayflow.subrun", "flow.in_a_child"):
        ((seconds, peak),) = [row[1:] for row in rows if row[0] == name]
        assert seconds >= 0.27
        assert peak >= 150_000_000


def test_attempts_that_overlap_in_one_process_have_the_time_of_their_own_threads() -> None:
    others = threading.Event(), threading.Event()

    def other() -> None:
        meter = Meter()
        others[0].set()
        others[1].wait()
        costs.append(meter.cost())

    costs: list = []
    thread = threading.Thread(target=other)
    thread.start()
    others[0].wait()
    meter = Meter()
    held = bytearray(150_000_000)
    sum(range(10_000_000))
    mine = meter.cost()
    others[1].set()
    thread.join()
    assert costs[0].cpu_seconds < mine.cpu_seconds / 2
    assert costs[0].peak_memory_bytes >= len(held), "the process's memory is theirs together"
    Meter().cost()


def test_many_short_attempts_in_a_process_with_many_below_look_at_those_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moments = iter(range(1_000_000))
    monkeypatch.setattr(costs.time, "perf_counter", lambda: next(moments) / 1000)
    monkeypatch.setattr(costs, "_latest", None)
    looks: list[int] = []

    def alive() -> Iterator[costs.MeasuredProcess]:
        looks.append(next(moments))
        for _ in range(100):  # it takes a hundred times as long as an attempt
            next(moments)
        yield costs.MeasuredProcess(1, 5.0, 1, 1, 1)

    monkeypatch.setattr(costs, "_alive", alive)
    for _ in range(1_000):
        costs.Meter().cost()
    assert 2 <= len(looks) <= 6


STAGES = """
    from rayflow import File, script, task

    @task
    def wide(x):
        return bytes(30_000_000)

    @task
    def length(data):
        return len(data)

    @task
    def nothing(x):
        return x

    @task
    def main():
        copied = script(
            "cp in out", inputs=[File("large").stage("in")], outputs=File("copied").stage("out"), tempdir=True
        )
        return [length(wide(1)), nothing(2), copied]
"""


def test_the_time_of_reading_arguments_and_of_storing_results_is_told_where_there_is_some(project: Project) -> None:
    flow = Flow(project)
    module = flow.write(STAGES)
    (project.path / "large").write_bytes(bytes(30_000_000))
    flow.run(module.main())
    columns = "task_name, stage_in_seconds, stage_out_seconds, wall_seconds"
    rows = {name.rpartition(".")[2]: stages for name, *stages in project.sql(f"select {columns} from jobs")}
    assert rows["nothing"][:2] == [None, None]
    for name, has_read, has_stored in (("wide", False, True), ("length", True, False), ("script", True, True)):
        stage_in, stage_out, wall = rows[name]
        assert ((stage_in or 0) > 0.0001, (stage_out or 0) > 0.0001) == (has_read, has_stored), name
        assert (stage_in or 0) + (stage_out or 0) <= wall


def test_the_stages_of_a_cost_travel_where_there_are_some() -> None:
    reply = Reply(1, 1, b"", None, Cost(5, 0.5, 0.25, 7, "host", 3))
    for stages in ((None, None), (0.5, None), (None, 0.25)):
        whole = reply._replace(cost=Cost(*reply.cost[:6], *stages))
        fields = remote._fields(whole)
        assert len(fields[4]) == (4 if stages == (None, None) else 6)
        assert remote.BundleReply([fields], [], [], [], "host", 3).each() == [whole]
