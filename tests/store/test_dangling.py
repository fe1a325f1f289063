"""`check` tells that a commit file is gone by the rows that name what was in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from evaluations import Flow
from projects import Project

from rayflow.records import CallChildRow, CallRow, ExecutionRow, JobRow
from rayflow.store.store import open_store

FLOW = """
from rayflow import catch, cond, seq, task

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
    return [late([leaf(i) for i in range(n)]), catch(fail(1), ValueError, mend), cond(leaf(1), leaf(2), 3), quiet(2)]
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
        flow.call("fail", 2)
    return project.path / ".rayflow"


def test_a_store_that_is_whole_has_no_problem(store: Path) -> None:
    assert open_store(store).check() == open_store(store).dangling() == []


def test_a_commit_that_is_gone_is_noticed_by_what_names_its_rows(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    main, leaf, t = b"m" * 16, b"l" * 16, b"t" * 20
    execution = ExecutionRow(
        "0190-1", 0, b"root", None, "{}", None, None, "flow.main", "main()", "done", 1, 2, None, None, 2, 2, 0, 0, 0,
        None, None, None, None, None, "0", "3.11", None,
    )  # fmt: skip
    parts = [
        [execution],
        [_job(leaf, main, b"2" * 20), CallRow(b"2" * 20, t, "flow.leaf", t, t, t, t)],
        [
            _job(main, None, b"1" * 20),
            CallRow(b"1" * 20, t, "flow.main", t, t, t, t),
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


def _job(job_id: bytes, parent: bytes | None, call: bytes) -> JobRow:
    return JobRow(
        job_id, "0190-1", parent, "flow.f", b"t" * 20, call, call, "computed", "done", 1, 1, 1, 2, 0.5, 0.5, 1, "h", 7,
        None, None, None,
    )  # fmt: skip
