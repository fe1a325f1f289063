"""Gangs on a real cluster: held while the body runs, used by its Ray tasks, given back however it ends. And bodies that
wait for Ray tasks of their own without a gang."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
from waiting import until

from rayflow.api import Scheduler
from rayflow.errors import BadOption, Cancelled

pytestmark = pytest.mark.ray

FLOW = """
    import os
    import time
    import ray
    from rayflow import get_gang, task

    @ray.remote
    def rank_of(rank, size):
        resources = ray.get_runtime_context().worker.core_worker.resource_ids()
        return rank, size, any(name.startswith(f"CPU_group_{rank}_") for name in resources)

    @ray.remote
    def here():
        return get_gang().placement_group.id.hex()

    @task(gang=[{"CPU": 1}] * 2)
    def ranks(n):
        gang = get_gang()
        placed = [rank_of.options(**gang.place(rank)).remote(rank, len(gang)) for rank in range(len(gang))]
        return ray.get(placed), ray.get(here.remote()) == gang.placement_group.id.hex(), n

    @task(gang=[{"CPU": 1}])
    def crashes(folder):
        tries = len(os.listdir(folder))
        open(f"{folder}/{tries}", "w").close()
        if not tries:
            os._exit(1)
        return len(get_gang())

    @task(gang=[{"CPU": 2}])
    def waits(mark):
        open(mark, "w").close()
        time.sleep(60)

    @task(gang=[{"CPU": 1}])
    def fails():
        raise ValueError("no")

    @task
    def small(folder, n):
        time.sleep(0.25)
        open(f"{folder}/{n}", "w").close()

    @ray.remote
    def child(n):
        return n + 1

    @task(num_cpus=2)
    def nested(n):
        return ray.get([child.options(num_cpus=2).remote(n + i) for i in range(2)])
"""


@pytest.fixture
def scheduler(project, ray_cluster) -> Iterator[Scheduler]:
    project.write("flow.py", FLOW)
    with Scheduler(store=str(project.path / ".rayflow"), address=ray_cluster) as made:
        yield made


def gangs(task: str) -> Counter[str]:
    """How many placement groups of a task there are, by state."""
    from ray.util import placement_group_table

    begins = f"rayflow:flow.{task}:"
    return Counter(each["state"] for each in placement_group_table().values() if each["name"].startswith(begins))


def test_each_rank_runs_in_its_bundle_and_gangs_take_turns_and_are_given_back(project, scheduler):
    flow = project.load("flow")
    found = scheduler.run([flow.ranks(n) for n in range(3)])
    placed = [(0, 2, True), (1, 2, True)]
    assert found == [(placed, True, n) for n in range(3)]
    until(lambda: gangs("ranks") == {"REMOVED": 3})
    ((requested,),) = project.sql("select distinct requested from jobs where task_name = 'flow.ranks'")
    assert requested == '{"gang": [{"CPU": 1}, {"CPU": 1}]}'


def test_a_gang_is_given_back_when_the_worker_dies_or_the_body_fails_and_the_next_attempt_has_one_of_its_own(
    project, scheduler
):
    flow = project.load("flow")
    tries = project.path / "tries"
    tries.mkdir()
    assert scheduler.run(flow.crashes(str(tries))) == 1
    with pytest.raises(ValueError, match="no"):
        scheduler.run(flow.fails())
    until(lambda: gangs("crashes") == {"REMOVED": 2} and gangs("fails") == {"REMOVED": 1})


def test_a_gang_is_given_back_when_the_run_is_cancelled(project, scheduler):
    flow = project.load("flow")
    mark = project.path / "begun"
    running, queued = scheduler.submit(flow.waits(str(mark))), scheduler.submit(flow.waits(f"{mark} too"))
    until(mark.exists)
    for each in (queued, running):
        each.cancel()
        with pytest.raises(Cancelled):
            each.result(timeout=30)
    until(lambda: gangs("waits") == {"REMOVED": 2})
    assert not (project.path / "begun too").exists()


def test_a_gang_is_given_back_when_the_driver_is_killed(project, ray_cluster):
    project.write("flow.py", FLOW.replace("def waits(", "def lingers("))
    project.write(
        "drive.py",
        f"""
        import flow
        from rayflow import Scheduler

        with Scheduler(address={ray_cluster!r}) as scheduler:
            scheduler.run(flow.lingers("begun"))
        """,
    )
    driver = subprocess.Popen(
        [sys.executable, "drive.py"], cwd=project.path, env=project.full_environment(), stderr=subprocess.DEVNULL
    )
    try:
        until((project.path / "begun").exists, 60)
        assert gangs("lingers") == {"CREATED": 1}
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    until(lambda: gangs("lingers") == {"REMOVED": 1})


@pytest.mark.parametrize("is_of_another_run", [False, True], ids=["of the same run", "of another run"])
def test_a_gang_begins_though_small_calls_keep_every_processor_busy_and_these_go_on(
    project, scheduler, ray_cluster, is_of_another_run
):
    flow = project.load("flow")
    folder = project.path / "ended"
    folder.mkdir()

    def small_ones() -> int:
        return len(list(folder.iterdir()))

    others = scheduler.submit([flow.small(str(folder), n) for n in range(2000)])
    until(lambda: small_ones() > 5, 60)
    with Scheduler(store=str(project.path / "other store"), address=ray_cluster) as another:
        found = (another if is_of_another_run else scheduler).submit(flow.ranks(7)).result(timeout=100)
    assert found[2] == 7
    before = small_ones()
    until(lambda: small_ones() > before + 10, 60)
    others.cancel()
    with pytest.raises(Cancelled):
        others.result(timeout=60)


def test_options_of_a_call_that_its_gang_has_no_room_for_fail_it(project, scheduler):
    with pytest.raises(BadOption, match="asks for CPU=2 of it, which has CPU=1"):
        scheduler.run(project.load("flow").ranks.options(num_cpus=2)(1))


def test_bodies_that_hold_all_processors_and_wait_for_ray_tasks_that_need_them_do_not_deadlock(project, scheduler):
    flow = project.load("flow")
    assert scheduler.run([flow.nested(n) for n in range(40)]) == [[n + 1, n + 2] for n in range(40)]


def test_ray_data_runs_in_a_gang_that_holds_all_processors_and_writes_partitioned_parquet(project, scheduler):
    pytest.importorskip("pandas")
    project.write(
        "tables.py",
        """
        from rayflow import Dir, File, get_gang, task

        @task
        def write(path, year, count):
            file = File(path)
            file.write("year,n\\n" + "".join(f"{year},{n}\\n" for n in range(count)))
            return file

        @task(gang=[{"CPU": 1}] * 2)
        def partitioned(files, path):
            import ray

            context = ray.data.DataContext.get_current()
            context.scheduling_strategy = context.scheduling_strategy_large_args = get_gang().strategy()
            context.enable_progress_bars = False
            table = ray.data.read_csv([file.path for file in files])
            table.map_batches(lambda batch: {**batch, "n": batch["n"] * 2}).write_parquet(
                path, partition_cols=["year"], mode="overwrite"
            )
            return Dir(path)
        """,
    )
    flow = project.load("tables")
    written = [flow.write(str(project.path / f"{year}.csv"), year, 10) for year in (2024, 2025)]
    made = scheduler.run(flow.partitioned(written, str(project.path / "table")))
    import pyarrow.parquet

    for year in (2024, 2025):
        part = pyarrow.parquet.read_table(project.path / "table" / f"year={year}", partitioning=None)
        assert sorted(part["n"].to_pylist()) == [n * 2 for n in range(10)]
    assert made.path == str(project.path / "table")
    project.load("tables")
    scheduler.run(flow.partitioned(written, str(project.path / "table")))
    assert project.counts("cached")["tables.partitioned"] == 1
