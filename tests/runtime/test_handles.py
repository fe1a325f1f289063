"""Handles: a database that tasks change, one state after the other."""

from __future__ import annotations

import sqlite3

import pytest
from evaluations import Flow
from projects import Project

from rayflow import Handle, Scheduler
from rayflow.errors import BadArguments
from rayflow.values.handles import lineage_of

CODE = """
    import sqlite3
    from pathlib import Path
    from rayflow import Handle, JobInfo, task

    HERE = Path(__file__).parent

    class Database(Handle):
        def __init__(self, name, file="test.db"):
            self.connection = sqlite3.connect(HERE / file)

        def change(self, statement):
            with self.connection:
                self.connection.execute(statement)

        def all(self):
            return [row[0] for row in self.connection.execute("select x from t order by x")]

    @task
    def create(db):
        db.change("drop table if exists t")
        db.change("create table t (x)")
        return db

    @task
    def insert(db, x):
        db.change(f"insert into t values ({x})")
        return db

    @task
    def double(db):
        db.change("insert into t select x * 2 from t")
        return {"database": db, "rows": len(db.all())}

    @task
    def read(db):
        return db.all()

    @task
    def main():
        db = create(Database("test"))
        db = insert(insert(db, 1), 10)
        return read(double(db)["database"])

    @task
    def left(db):
        return db

    @task
    def right(db):
        return db

    @task(config_args=["threads"])
    def tuned(db, threads, job: JobInfo = JobInfo()):
        assert job.job_id
        return db

    @task
    def in_forks():
        db = create(Database("test"))
        return [left(db.fork("left")), right(db.fork("right"))]

    @task
    def on_one_state():
        db = create(Database("test"))
        return [left(db), right(db)]
"""


@pytest.fixture
def flow(project: Project) -> Flow:
    made = Flow(project)
    made.write(CODE)
    return made


def test_the_states_that_tasks_return_are_cached(flow: Flow) -> None:
    assert flow.call("main") == [1, 2, 10, 20]
    assert flow.call("main") == [1, 2, 10, 20]
    assert not flow.computed()


def test_a_task_that_runs_again_on_an_earlier_state_has_all_later_ones_made_again(flow: Flow) -> None:
    flow.call("main")
    flow.edit('change("create table', 'change("create table if not exists')
    assert flow.call("main") == [1, 2, 10, 20]
    assert flow.computed() == {"create": 1, "insert": 2, "double": 1, "read": 1}
    flow.edit("select x * 2 from", "select x * 3 from")
    # The database itself is not turned back: what the task did before is still there.
    assert flow.call("main") == [1, 2, 3, 6, 10, 20, 30, 60]
    assert flow.computed() == {"double": 1, "read": 1}


def test_a_state_that_was_rolled_back_is_made_again_when_it_is_wanted_again(flow: Flow) -> None:
    flow.call("main")
    flow.edit('change("create table', 'change("create table if not exists')
    flow.call("main")
    flow.write(CODE)
    assert flow.call("main") == [1, 2, 10, 20]
    assert flow.computed() == {"create": 1, "insert": 2, "double": 1}
    assert flow.call("main") == [1, 2, 10, 20]
    assert not flow.computed()


def test_an_earlier_state_alone_is_still_current(flow: Flow) -> None:
    flow.call("main")
    flow.run(flow.module.create(flow.module.Database("test")))
    assert not flow.computed()


def test_branches_with_forks_of_their_own_leave_each_other_alone(flow: Flow) -> None:
    flow.call("in_forks")
    flow.edit("def right(db):\n    return db", "def right(db):\n    return [db][0]")
    flow.call("in_forks")
    assert flow.computed() == {"right": 1}
    flow.call("in_forks")
    assert not flow.computed()


def test_of_two_tasks_on_one_state_the_later_outdates_what_the_earlier_has_made(flow: Flow) -> None:
    flow.call("on_one_state")
    flow.call("on_one_state")
    assert flow.computed() == {"left": 1}


def test_what_does_not_count_for_a_call_does_not_count_for_the_state_that_it_makes(flow: Flow) -> None:
    tuned, handle = flow.module.tuned, flow.module.Database("test")
    made = [lineage_of(flow.run(tuned(handle, threads), cache=False)) for threads in (1, 2)]
    assert made[0] == made[1] != lineage_of(handle)


def test_a_handle_with_other_arguments_is_another_handle(flow: Flow) -> None:
    made = flow.module.Database
    one, same, other = made("test"), made("test"), made("test", "other.db")
    assert lineage_of(one) == lineage_of(same) != lineage_of(other)
    assert lineage_of(one.fork("a")) == lineage_of(same.fork("a")) != lineage_of(one.fork("b"))
    assert one.fork("a").connection is one.connection
    flow.run(flow.module.create(one))
    flow.run(flow.module.create(other))
    assert flow.computed() == {"create": 1}


def test_what_a_failed_task_was_given_stays_as_it_was(flow: Flow) -> None:
    flow.call("main")
    flow.edit("insert into t select", "insert into nowhere select")
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        flow.call("main")
    flow.write(CODE)
    flow.call("main")
    assert not flow.computed()


def test_a_handle_has_a_name() -> None:
    with pytest.raises(BadArguments, match="the first argument of a handle is its name, not 3"):
        Handle(3)  # type: ignore[arg-type]


def test_states_can_be_asked_for(flow: Flow) -> None:
    flow.call("main")
    rows = flow.project.sql("select task_name, preview from handles order by recorded_at")
    assert [name for name, _ in rows] == ["flow.create", "flow.insert", "flow.insert", "flow.double"]
    assert rows[0][1] == "Database('test')"
    assert rows[1][1].startswith("Database('test') at ")


@pytest.mark.ray
def test_states_are_checked_on_ray(flow: Flow, ray_cluster: str) -> None:
    def run() -> object:
        with Scheduler(store=str(flow.project.path / ".rayflow"), address=ray_cluster) as scheduler:
            return scheduler.run(flow.module.main())

    assert run() == [1, 2, 10, 20]
    flow.edit('change("create table', 'change("create table if not exists')
    assert run() == [1, 2, 10, 20]
    assert flow.computed() == {"create": 1, "insert": 2, "double": 1, "read": 1}
