"""Many plain calls of one task that stand together, on a real cluster: what happens to one of them is its own.

The bodies write a mark each time that they run, into a file that is no part of the records: that is what really ran.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from processes import started_here
from projects import Project
from waiting import until

from rayflow import File, catch_all, map_, no_prov, starmap, subrun
from rayflow.api import Scheduler
from rayflow.errors import Cancelled, TaskTimeout, WorkerLost
from rayflow.runtime.protocol.reports import Progress, Silent

pytestmark = pytest.mark.ray

FLOW = """
    import os
    import signal
    import time

    import numpy
    from rayflow import File, task

    @task
    def other(n):
        return n + 1

    @task
    def each(n, odd=1000):
        kind = n - odd
        if kind == 1:
            print("one line of", n)
        elif kind == 2:
            raise ValueError(f"not {n}")
        elif kind == 3:
            with File(f"made.{n}").open("w") as file:
                file.write("text")
            return File(f"made.{n}")
        elif kind == 4:
            return numpy.arange(300_000)
        elif kind == 5:
            return [n, "x"]
        elif kind == 6:
            return other(n)
        elif kind == 7:
            return None
        elif kind == 8:
            return [other(n + each) for each in range(20)]
        elif kind == 9:
            return "x" * 100_000
        elif kind == 10:
            raise SystemExit(3)
        elif kind == 11:
            raise KeyboardInterrupt
        return n * 2

    def note(marks, n):
        with open(marks, "a") as file:
            file.write(f"{n}\\n")

    @task
    def deadly(n, marks, once):
        note(marks, n)
        if n in (700, 1300) and (not once or not os.path.exists(f"{marks}.{n}")):
            open(f"{marks}.{n}", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return n

    @task
    def noted(n, marks, seconds=0.0):
        note(marks, n)
        time.sleep(seconds)
        return n

    @task(retries=2, retry_delay=0.01)
    def flaky(n, marks):
        if n % 1000 == 7:
            note(marks, n)
            if len(open(marks).read().split()) < 6:
                raise OSError("not yet")
        return n

    @task(timeout=0.5)
    def hasty(n):
        if n == 30:
            time.sleep(30)
        return n

    @task(memory="10MB", num_cpus=0.5)
    def sized(n):
        return n

    @task
    def nothing():
        return 5

    @task(cache=False)
    def fresh():
        return 6

    @task
    def bound(a, b=2, *, c=3):
        return f"{a} {b} {c}"

    @task
    async def waits(n):
        return await other(n) + 1

    @task
    async def awaits_nothing(n):
        return n + 1

    @task
    def second(n):
        return other(n)

    @task
    def many(first, count):
        return [other(first + n) for n in range(count)]

    @task(cache_scope="none")
    def uncached(n):
        return n

    @task
    def failed(values):
        return [place for place, value in enumerate(values) if isinstance(value, Exception)]

    @task
    def add(a, b):
        return a + b
"""


@pytest.fixture(scope="module")
def shared_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("vectors")
    (folder / "rayflow.toml").write_text("")
    project = Project(folder)
    project.write("flow.py", FLOW)
    here, path = os.getcwd(), list(sys.path)
    os.chdir(folder)
    yield project
    os.chdir(here)
    project.forget()
    sys.path[:] = path


@pytest.fixture(scope="module")
def flow(shared_project: Project) -> Any:
    return shared_project.load("flow")


class Watching(Silent):
    """A reporter that remembers how far each execution was."""

    def __init__(self) -> None:
        self.seen: list[Progress] = []

    def progress(self, progress: Progress) -> None:
        self.seen.append(progress)


@pytest.fixture(scope="module")
def watching() -> Watching:
    return Watching()


@pytest.fixture(scope="module")
def scheduler(shared_project: Project, ray_cluster: str, watching: Watching) -> Iterator[Scheduler]:
    store = str(shared_project.path / ".rayflow")
    with Scheduler(store=store, address=ray_cluster, reporter=watching) as made:
        yield made


def latest(project: Project) -> str:
    return project.sql("select execution_id from executions order by execution_id desc limit 1")[0][0]


def ends(project: Project, execution_id: str | None = None) -> dict[tuple[str, str], int]:
    """How many jobs of each task ended how. Their rows are whole: one for each job, and all that belongs to it."""
    job = f"j.execution_id = '{execution_id or latest(project)}'"
    ((counted, jobs, different, is_open),) = project.sql(f"""
        select any_value(e.jobs), count(*), count(distinct job_id), count(*) filter (j.status = 'open')
        from jobs j join executions e using (execution_id) where {job}
    """)
    assert (jobs, different, is_open) == (counted, counted, 0)
    assert project.sql(f"""
        select count(*) from jobs j left join calls using (call_hash) left join "values" using (value_hash)
        where {job} and j.status = 'done' and ("values".value_hash is null or calls.eval_hash <> j.eval_hash)
    """) == [(0,)]
    assert project.sql(f"""
        select j.task_name, count(*) from jobs j
        where {job} and j.how = 'computed' and j.status = 'done' and j.parent_job_id is not null and not exists (
            select * from reductions r where r.eval_hash = j.eval_hash and r.execution_id = j.execution_id)
        and j.task_name not in ('flow.uncached', 'flow.fresh') group by all
    """) == []
    rows = project.sql(f"""
        select j.task_name, case when j.status = 'done' then j.how else j.status end, count(*) from jobs j
        where {job} and j.task_name not like '<%' group by all
    """)
    return {(task.removeprefix("flow."), how): count for task, how, count in rows}


def runs(marks: Path) -> Counter[int]:
    """How often each body has run."""
    return Counter(map(int, marks.read_text().split())) if marks.exists() else Counter()


def lost(project: Project) -> list[tuple[str, int]]:
    """The lost attempts of the latest execution: how each ended, and how many attempts its job has had."""
    return project.sql(f"""
        select a.ended, j.attempts from attempts a join jobs j using (job_id)
        where j.execution_id = '{latest(project)}' order by a.attempt, a.job_id
    """)


# --- what is special in the middle ------------------------------------------------------------------------------------


def test_what_is_special_in_the_middle_of_plain_calls_has_its_own_value_rows_and_log(shared_project, scheduler, flow):
    odd = 500
    places = [n for n in range(1000) if n - odd not in (2, 10, 11)]

    def expected(n: int) -> Any:
        special = {5: [505, "x"], 6: 507, 7: None, 8: [n + each + 1 for each in range(20)], 9: "x" * 100_000}
        return special.get(n - odd, n * 2)

    for how in ("computed", "cached"):
        values = dict(zip(places, scheduler.run([flow.each(n, odd) for n in places]), strict=True))
        made, array = values.pop(odd + 3), values.pop(odd + 4)
        assert isinstance(made, File) and made.read() == "text"
        assert numpy.array_equal(array, numpy.arange(300_000))
        assert values == {n: expected(n) for n in values}
        assert ends(shared_project) == {("each", how): 997, ("other", how): 21}
    lines = shared_project.sql("select text, count(*) from logs group by all")
    assert lines == [("one line of 501\n", 1)]
    makers = shared_project.sql("select distinct role, task_name from calls_of_file('made.503') order by all")
    assert makers == [("made", "flow.each"), ("passed on", "<expression>")]


def test_a_member_that_raises_fails_alone_and_is_tried_again_next_time(shared_project, scheduler, flow):
    for how in ("computed", "cached"):
        with pytest.raises(ValueError, match="not 2502"):
            scheduler.run([flow.each(n, 2500) for n in range(2000, 3000) if n - 2500 not in (3, 4, 10, 11)])
        # 2505, 2506, 2508: a list, a call, calls
        assert ends(shared_project) == {("each", how): 995, ("each", "failed"): 1, ("other", how): 21}
        failed = shared_project.sql(f"""
            select attempts, call, ended from jobs join attempts using (job_id)
            where execution_id = '{latest(shared_project)}' and task_name = 'flow.each' and status = 'failed'
        """)
        assert failed == [(1, "flow.each(n=2502, odd=2500)", "raised")]


def test_members_that_raise_what_would_end_a_process_fail_alone(shared_project, scheduler, flow):
    with pytest.raises(Exception, match=r"sys\.exit\(3\)"):
        scheduler.run([flow.each(n, 6000) for n in (*range(5900, 6000), *range(6010, 6400))])
    assert ends(shared_project) == {("each", "computed"): 488, ("each", "failed"): 2}
    assert lost(shared_project) == [("raised", 1)] * 2


def test_the_first_failure_stops_all_members_where_that_is_wanted(shared_project, scheduler, flow):
    calls = [flow.each(n, 300_002) for n in (*range(290_000, 300_001), 300_004, *range(300_014, 310_000))]
    with pytest.raises(ValueError, match="not 300004"):
        scheduler.run(calls, fail_fast=True)
    counted = ends(shared_project)
    assert counted["each", "failed"] == 1 and sum(counted.values()) >= len(calls)
    assert {how for _, how in counted} <= {"computed", "failed", "cancelled"}


# --- what is lost -----------------------------------------------------------------------------------------------------


def test_a_bundle_that_dies_counts_an_attempt_of_the_culprits_alone(shared_project, scheduler, flow, tmp_path):
    marks = tmp_path / "marks"
    assert scheduler.run([flow.deadly(n, str(marks), True) for n in range(2000)]) == list(range(2000))
    assert ends(shared_project) == {("deadly", "computed"): 2000}
    # Who dies in a bundle runs again alone. Only a body that kills a process of its own counts that.
    assert set(lost(shared_project)) <= {("lost", 2)} and len(lost(shared_project)) <= 2
    assert set(runs(marks)) == set(range(2000))


def test_bodies_that_always_kill_their_process_fail_and_all_others_answer_once(
    shared_project, scheduler, flow, tmp_path
):
    marks = tmp_path / "marks"
    task = flow.deadly.options(max_worker_losses=1)
    with pytest.raises(WorkerLost, match="lost 2 times"):
        scheduler.run([task(n, str(marks), False) for n in range(2000)])
    assert ends(shared_project) == {("deadly", "computed"): 1998, ("deadly", "failed"): 2}
    assert sorted(lost(shared_project)) == [("lost", 2)] * 4


def test_a_worker_process_that_is_killed_fails_no_member(shared_project, scheduler, flow, tmp_path):
    marks = tmp_path / "marks"
    submission = scheduler.submit([flow.noted(n, str(marks), 0.001) for n in range(3000)])
    until(lambda: sum(runs(marks).values()) > 500)
    for pid, name in workers():
        if "flow.noted" in name:
            os.kill(pid, signal.SIGKILL)
    assert submission.result(timeout=60) == list(range(3000))
    assert ends(shared_project) == {("noted", "computed"): 3000}
    assert len(lost(shared_project)) <= 2
    assert sum(runs(marks).values()) < 3000 + 2 * 100


def workers() -> list[tuple[int, str]]:
    """The worker processes of this test's Ray, and what each runs."""
    found = []
    for pid in started_here():
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            if line.startswith("ray::"):
                found.append((pid, line))
    return found


def schedulers() -> set[int]:
    return {pid for pid, name in workers() if "SchedulerActor" in name}


@pytest.fixture
def own_scheduler(shared_project: Project, ray_cluster: str, flow: Any) -> Iterator[tuple[Scheduler, int]]:
    """A scheduler, and the process of its actor."""
    others = schedulers()
    with Scheduler(store=str(shared_project.path / ".rayflow"), address=ray_cluster) as made:
        made.run(flow.other(-1), cache=False)
        (process,) = schedulers() - others
        yield made, process


def test_a_scheduler_that_is_killed_in_a_fan_out_goes_on_and_nothing_committed_runs_again(
    shared_project, own_scheduler, flow, tmp_path
):
    scheduler, process = own_scheduler
    marks = tmp_path / "marks"
    submission = scheduler.submit([flow.noted(n, str(marks), 0.0005) for n in range(20_000)])
    query = f"select count(*) from reductions where execution_id = '{submission.execution_id}'"
    until(lambda: shared_project.sql(query)[0][0] > 3000)
    os.kill(process, signal.SIGKILL)
    committed = {hash for (hash,) in shared_project.sql(query.replace("count(*)", "eval_hash"))}
    assert submission.result(timeout=90) == list(range(20_000))
    assert shared_project.sql("select life from executions order by execution_id desc limit 1") == [(1,)]
    counted = ends(shared_project)
    assert sum(counted.values()) == 20_000 and counted.keys() <= {("noted", "computed"), ("noted", "shared")}
    ran = runs(marks)
    assert set(ran) == set(range(20_000)) and max(ran.values()) <= 2
    twice = {n for n, count in ran.items() if count > 1}
    arguments = dict(
        shared_project.sql("""
            select r.eval_hash, any_value(v.preview) from reductions r join calls c using (eval_hash)
            join arguments a on a.call_hash = c.call_hash and a.name = 'n'
            join "values" v on v.value_hash = a.value_hash group by all
        """)
    )
    assert not twice & {int(arguments[hash]) for hash in committed}, "what was committed has run again"


# --- what is stopped --------------------------------------------------------------------------------------------------


def test_cancel_closes_members_that_wait_are_sent_and_run(shared_project, scheduler, flow, tmp_path):
    marks = tmp_path / "marks"
    submission = scheduler.submit([flow.noted(n, str(marks), 0.01) for n in range(20_000)])
    until(lambda: sum(runs(marks).values()) > 100)
    begun = time.monotonic()
    submission.cancel()
    with pytest.raises(Cancelled, match="resume"):
        submission.result(timeout=30)
    assert time.monotonic() - begun < 10
    counted = ends(shared_project, submission.execution_id)
    assert sum(counted.values()) == 20_000
    assert counted.keys() <= {("noted", "computed"), ("noted", "cancelled")} and counted["noted", "cancelled"] > 15_000
    until(lambda: not [name for _, name in workers() if "flow.noted" in name])
    before = sum(runs(marks).values())
    time.sleep(0.3)
    assert sum(runs(marks).values()) == before


def test_ctrl_c_in_a_fan_out_closes_all_members_and_the_run_can_go_on(project, ray_cluster):
    project.write(
        "flow.py",
        """
        import os, time
        from rayflow import task

        @task
        def step(n):
            open("begun", "a").close()
            if not os.path.exists("go"):
                time.sleep(0.01)
            return n

        @task
        def main():
            return [step(n) for n in range(5000)]
        """,
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "rayflow", "run", "flow.py", "main", "--json"], cwd=project.path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=project.full_environment({"RAYFLOW_ADDRESS": ray_cluster}),
    )  # fmt: skip
    until(lambda: (project.path / "begun").exists() or process.poll() is not None, 60)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and "rayflow resume" in err, err
    counted = ends(project)
    assert sum(counted.values()) == 5001 and counted["main", "cancelled"] == 1
    assert counted.keys() <= {("step", "computed"), ("step", "cancelled"), ("main", "cancelled")}
    (project.path / "go").touch()
    resumed = project.rayflow("resume", latest(project), RAYFLOW_ADDRESS=ray_cluster)
    assert resumed.returncode == 0 and "5,000 items" in resumed.stdout, resumed.stderr
    counted = ends(project)
    assert sum(counted.values()) == 5001 and {how for _, how in counted} <= {"computed", "shared"}


# --- while it runs ----------------------------------------------------------------------------------------------------


def test_progress_and_records_count_all_members_while_they_run(shared_project, scheduler, flow, watching, tmp_path):
    marks = tmp_path / "marks"
    submission = scheduler.submit([flow.noted(n, str(marks), 0.004) for n in range(2500)])
    until(lambda: sum(runs(marks).values()) > 1000)
    counted = f"select count(*) from jobs where task_name = 'flow.noted' and execution_id = '{submission.execution_id}'"
    until(lambda: shared_project.sql(counted) == [(2500,)], 20)  # those that ran, and those open for a second
    assert submission.result(timeout=60) == list(range(2500))
    rows = [each.by_task.get("flow.noted") for each in watching.seen if each.execution_id == submission.execution_id]
    counts = [row for row in rows if row]
    assert {row["open"] + row["computed"] for row in counts} == {2500}
    assert {row["running"] for row in counts} <= {0, 1, 2} and max(row["running"] for row in counts) > 0
    assert all(row["queued"] == row["open"] - row["running"] for row in counts)
    assert len({row["computed"] for row in counts}) > 2
    assert ends(shared_project) == {("noted", "computed"): 2500}


# --- options, and ways to call ----------------------------------------------------------------------------------------


def test_retries_are_of_the_member_that_failed(shared_project, scheduler, flow, tmp_path):
    marks = tmp_path / "marks"
    assert scheduler.run([flow.flaky(n, str(marks)) for n in range(3000)]) == list(range(3000))
    assert ends(shared_project) == {("flaky", "computed"): 3000}
    assert runs(marks).keys() == {7, 1007, 2007} and 6 <= sum(runs(marks).values()) <= 8
    assert {ended for ended, _ in lost(shared_project)} == {"raised"}


def test_a_timeout_ends_its_member_alone(shared_project, scheduler, flow):
    with pytest.raises(TaskTimeout):
        scheduler.run([flow.hasty(n) for n in range(100)])
    assert ends(shared_project) == {("hasty", "computed"): 99, ("hasty", "failed"): 1}
    assert lost(shared_project) == [("timeout", 1)]


def test_members_with_resources_record_them(shared_project, scheduler, flow):
    assert scheduler.run([flow.sized(n) for n in range(1000)]) == list(range(1000))
    assert ends(shared_project) == {("sized", "computed"): 1000}
    asked = shared_project.sql("select distinct requested from jobs where task_name = 'flow.sized'")
    assert asked == [(asked[0][0],)] and "memory" in asked[0][0]


def test_calls_without_arguments_are_one_call(shared_project, scheduler, flow):
    assert scheduler.run([flow.nothing() for _ in range(1000)]) == [5] * 1000
    assert ends(shared_project) == {("nothing", "computed"): 1, ("nothing", "shared"): 999}
    assert scheduler.run([flow.fresh() for _ in range(1000)]) == [6] * 1000
    assert ends(shared_project) == {("fresh", "computed"): 1, ("fresh", "shared"): 999}


def test_arguments_by_name_by_place_and_by_default_make_equal_calls(shared_project, scheduler, flow):
    calls = [flow.bound(n, 5) for n in range(300)] + [flow.bound(b=5, a=n, c=3) for n in range(300)]
    calls += [flow.bound(n) for n in range(300)] + [flow.bound(a=n, b=2) for n in range(300)]
    values = [f"{n} 5 3" for n in range(300)] * 2 + [f"{n} 2 3" for n in range(300)] * 2
    assert scheduler.run(calls) == values
    assert ends(shared_project) == {("bound", "computed"): 600, ("bound", "shared"): 600}
    bound = shared_project.sql("""
        select a.name, count(distinct a.value_hash), count(*) from arguments a join calls c using (call_hash)
        where c.task_name = 'flow.bound' group by all order by all
    """)
    assert bound == [("a", 300, 600), ("b", 2, 600), ("c", 1, 600)]


def test_map_and_starmap_over_many_items(shared_project, scheduler, flow):
    assert scheduler.run(map_(flow.other, range(20_000))) == list(range(1, 20_001))
    assert ends(shared_project)["other", "computed"] + ends(shared_project).get(("other", "cached"), 0) == 20_000
    assert scheduler.run(starmap(flow.add, [(n, n) for n in range(20_000)])) == list(range(0, 40_000, 2))
    assert ends(shared_project) == {("add", "computed"): 20_000}


def test_what_is_not_to_be_recorded_leaves_no_rows(shared_project, scheduler, flow):
    assert scheduler.run(no_prov([flow.add(n, -1) for n in range(2000)])) == list(range(-1, 1999))
    assert shared_project.sql(f"select count(*) from jobs where execution_id = '{latest(shared_project)}'") == [(1,)]


def test_fan_outs_in_subruns_are_recorded_below_them(shared_project, scheduler, flow):
    nested = [subrun(flow.many(50_000 + 1000 * n, 1000)) for n in range(4)]
    assert scheduler.run(nested) == [[50_001 + 1000 * n + each for each in range(1000)] for n in range(4)]
    counted = ends(shared_project)
    assert counted["other", "computed"] == 4000 and counted["many", "computed"] == 4


def test_async_bodies_in_a_fan_out(shared_project, scheduler, flow):
    assert scheduler.run([flow.awaits_nothing(n) for n in range(1000)]) == list(range(1, 1001))
    assert ends(shared_project) == {("awaits_nothing", "computed"): 1000}
    assert scheduler.run([flow.waits(70_000 + n) for n in range(300)]) == list(range(70_002, 70_302))
    assert ends(shared_project) == {("waits", "computed"): 300, ("other", "computed"): 300}


def test_a_fan_out_whose_calls_return_calls(shared_project, scheduler, flow):
    assert scheduler.run([flow.second(80_000 + n) for n in range(1000)]) == list(range(80_001, 81_001))
    assert ends(shared_project) == {("second", "computed"): 1000, ("other", "computed"): 1000}
    assert scheduler.run([flow.many(90_000 + 100 * n, 100) for n in range(30)]) == [
        [90_001 + 100 * n + each for each in range(100)] for n in range(30)
    ]
    assert ends(shared_project) == {("many", "computed"): 30, ("other", "computed"): 3000}


def test_a_failure_that_is_caught_among_plain_calls(shared_project, scheduler, flow):
    calls = [flow.each(n, 64_501) for n in range(64_000, 65_000) if n - 64_501 not in (3, 4, 10, 11)]
    assert scheduler.run(catch_all(calls, ValueError, flow.failed)) == [503]
    assert ends(shared_project) == {
        ("each", "computed"): 995, ("each", "failed"): 1, ("other", "computed"): 21, ("failed", "computed"): 1,
    }  # fmt: skip


def test_two_executions_at_once_share_what_is_recorded(shared_project, scheduler, flow, tmp_path):
    marks = tmp_path / "marks"
    first = scheduler.submit([flow.noted(n, str(marks), 0.0003) for n in range(2000)])
    second = scheduler.submit([flow.noted(n, str(marks), 0.0003) for n in reversed(range(2000))])
    assert first.result(timeout=60) == list(range(2000))
    assert second.result(timeout=60) == list(reversed(range(2000)))
    for each in (first, second):
        counted = ends(shared_project, each.execution_id)
        assert sum(counted.values()) == 2000 and counted.keys() <= {("noted", "computed"), ("noted", "cached")}
    assert max(runs(marks).values()) <= 2


def test_many_calls_that_are_never_cached(shared_project, scheduler, flow):
    assert scheduler.run([flow.uncached(n) for n in range(50_000)]) == list(range(50_000))
    assert ends(shared_project) == {("uncached", "computed"): 50_000}
    assert scheduler.run([flow.uncached(1) for n in range(1000)]) == [1] * 1000
    assert ends(shared_project) == {("uncached", "computed"): 1000}
