"""`check` tells that a commit file is gone by the rows that name what was in it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from evaluations import Flow
from projects import Project

from rayflow.records import CallChildRow, CallRow, ExecutionRow, JobRow
from rayflow.store.exchange.garbage import collect
from rayflow.store.exchange.transfer import transfer
from rayflow.store.open import open_store

EXECUTION = "0190-1"

FLOW = """
from rayflow import catch, cond, no_prov, seq, subrun, task

@task
def leaf(i):
    return i

@task
def late(xs):
    return sum(xs)

@task
def fail(i):
    raise ValueError(i)

@task
def mend(error):
    return leaf(9)

@task(prov=False)
def quiet(n):
    return [leaf(i) for i in range(100, 100 + n)]

@task
def main(n):
    return [
        late([leaf(i) for i in range(n)]), catch(fail(1), ValueError, mend), cond(leaf(1), leaf(2), 3), quiet(2),
        subrun(late([leaf(i) for i in range(40, 40 + n)])), catch(subrun([leaf(50), fail(2)]), ValueError, mend),
        no_prov(subrun(late([leaf(60), leaf(61)]))), subrun(no_prov(late([leaf(70), leaf(71)]))),
    ]
"""


@pytest.fixture
def store(project: Project) -> Path:
    """A store with several executions, cached calls, shared ones, a failure that was caught and one that was not."""
    flow = Flow(project)
    flow.write(FLOW)
    flow.call("main", 3)
    flow.call("main", 3)
    flow.call("main", 4)
    with pytest.raises(ValueError):
        flow.call("fail", 3)
    return project.path / ".rayflow"


def test_a_store_that_is_whole_has_no_problem(store: Path) -> None:
    assert open_store(store).check() == open_store(store).dangling() == []


@pytest.mark.slow
def test_no_way_of_copying_merging_and_forgetting_makes_a_problem(store: Path, tmp_path: Path) -> None:
    history = open_store(store).history()
    executions = [row["execution_id"] for row in history.executions()]
    counts = dict(
        history.sql("select execution_id, count(distinct job_id) from jobs group by all").fetchall(),
    )
    said = dict(history.sql("select execution_id, recorded_jobs from executions").fetchall())
    assert said == counts and len(executions) == 4
    for number, chosen in enumerate((None, executions[:1], executions[1:3])):
        target = open_store(tmp_path / str(number))
        transfer(open_store(store), target, chosen)
        assert target.check() == target.dangling() == []
        target.compact()
        assert target.check() == target.dangling() == []
    opened = open_store(store)
    opened.forget(at=2**50, task_name="flow.leaf")
    opened.compact()
    collect(opened, older_than=datetime.now(UTC), grace_seconds=0)
    assert opened.dangling() == []
    transfer(open_store(tmp_path / "1"), opened)
    assert opened.dangling() == []


@pytest.mark.parametrize("said", [3, None])
def test_a_lost_commit_that_no_row_names_is_noticed_by_the_number_of_jobs(tmp_path: Path, said: int | None) -> None:
    store = open_store(tmp_path / "store")
    jobs = [number.to_bytes(16, "big") for number in range(3)]
    for job in jobs:
        store.append([_job(job, None, b"1" * 20), CallRow(b"1" * 20, *[b"t" * 20, "flow.f", *[b"t" * 20] * 4])])
        store.commit()
    store.append([_execution()._replace(status="running"), _execution()._replace(recorded_jobs=said)])
    store.commit()
    assert store.dangling() == []
    for name in sorted(os.listdir(tmp_path / "store" / "commits"))[:2]:
        (tmp_path / "store" / "commits" / name).unlink()
    problems = [problem.text for problem in open_store(tmp_path / "store").dangling()]
    # An older rayflow has not said how many there were.
    assert problems == ([f"jobs that an ended execution says it has recorded: 2, such as {EXECUTION}"] if said else [])


def test_a_commit_that_is_gone_is_noticed_by_what_names_its_rows(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    main, leaf, t = b"m" * 16, b"l" * 16, b"t" * 20
    parts = [
        [_execution()],
        [
            _job(leaf, main, b"2" * 20),
            CallRow(
                call_hash=b"2" * 20,
                task_hash=t,
                task_name="flow.leaf",
                args_hash=t,
                eval_hash=t,
                value_hash=t,
                task_set=t,
            ),
        ],
        [
            _job(main, None, b"1" * 20),
            CallRow(
                call_hash=b"1" * 20,
                task_hash=t,
                task_name="flow.main",
                args_hash=t,
                eval_hash=t,
                value_hash=t,
                task_set=t,
            ),
            CallChildRow(b"1" * 20, 0, b"2" * 20),
        ],
    ]
    for rows in parts:
        store.append(rows)
        store.commit()
    assert store.dangling() == []
    for name in sorted(os.listdir(tmp_path / "store" / "commits")):
        path = tmp_path / "store" / "commits" / name
        content = path.read_bytes()
        path.unlink()
        [problem] = open_store(tmp_path / "store").dangling()
        assert (problem.kind, problem.path) == ("missing", "commits") and ": 1, such as" in problem.text
        path.write_bytes(content)


def _execution() -> ExecutionRow:
    return ExecutionRow(
        execution_id=EXECUTION, life=0, root=b"root", root_blob=None, options="{}", task_table=None,
        project_dir=None, task_name="flow.main", arguments="main()", status="done", started_at=1, finished_at=2,
        value_hash=None, error=None, jobs=2, computed=2, cached=0, shared=0, failed=0, command=None, user=None,
        host=None, project=None, git_commit=None, rayflow_version="0", python_version="3.11", ray_version=None,
    )  # fmt: skip


def _job(job_id: bytes, parent: bytes | None, call: bytes) -> JobRow:
    return JobRow(
        job_id=job_id, execution_id=EXECUTION, parent_job_id=parent, task_name="flow.f", task_hash=b"t" * 20,
        eval_hash=call, call_hash=call, how="computed", status="done", attempts=1, queued_at=1, started_at=1,
        finished_at=2, wall_seconds=0.5, cpu_seconds=0.5, peak_memory_bytes=1, node="h", pid=7, error=None,
        traceback=None, story=None,
    )  # fmt: skip
