"""A job whose argument failed never ran, and is told apart from one that failed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from evaluations import Flow
from projects import Project

from rayflow import Scheduler
from rayflow.api import history
from rayflow.errors import NotFound
from rayflow.testing import Rehearsal

FLOW = """
from rayflow import catch, catch_all, task

@task
def bad(x=1):
    raise ValueError(f"no {x}")

@task
def take(x, y=0):
    return x

@task
def take_default(x=bad(7)):
    return x

@task
def direct():
    return take(bad())

@task
def in_a_list():
    return take([1, bad()])

@task
def in_a_chain():
    return take(take(take(bad())))

@task
def by_default():
    return take_default()

@task
def by_option():
    return take.options(retries=bad())(1)

@task
def by_operation():
    return take(bad() + 1)

@task
def caught():
    return catch(take(bad()), ValueError, recover)

@task
def recover(error):
    return 0

@task
def all_caught():
    return catch_all([take(bad(1)), take(bad(2))], ValueError, recover_all)

@task
def recover_all(found):
    return 0

@task
def shared():
    return [take(bad()), take(bad())]

@task
async def awaited():
    return await take(bad())
"""

CASES = {
    "direct": {"take": 1},
    "in_a_list": {"take": 1},
    "in_a_chain": {"take": 3},
    "by_default": {"take_default": 1},
    "by_option": {"take": 1},
    "by_operation": {"take": 1},
    "caught": {"take": 1},
    "all_caught": {"take": 2},
    "shared": {"take": 2},
    "awaited": {"take": 1},
}


@pytest.mark.parametrize("name", CASES)
def test_a_job_whose_argument_failed_is_not_run(project: Project, name: str) -> None:
    flow = Flow(project)
    module = flow.write(FLOW)
    try:
        flow.run(getattr(module, name)())
    except ValueError:
        assert not name.endswith("caught")
    expected = {f"flow.{task}": count for task, count in CASES[name].items()}
    rows = project.sql("select task_name, how, attempts, error from jobs where status = 'not_run'")
    counts = {task: sum(row[0] == task for row in rows) for task, *_ in rows}
    assert counts == expected
    assert all((how, attempts) == (None, 0) and error.startswith("ValueError: no") for _, how, attempts, error in rows)
    # Whoever raised, and whoever stands above without a catch, has failed.
    failed = {row[0] for row in project.sql("select distinct task_name from jobs where status = 'failed'")}
    assert failed == {"flow.bad"} | (set() if name.endswith("caught") else {f"flow.{name}"})
    # The counts say the same as the rows: of the execution, of the summary, in the view of failures.
    [(not_run, all_failed)] = project.sql("select not_run, failed from executions")
    summary = flow.watching.summaries[-1]
    assert not_run == summary.counts["not_run"] == sum(expected.values())
    assert all_failed == summary.counts["failed"] == len(project.sql("from jobs where status = 'failed'"))
    assert {task: row["not_run"] for task, row in summary.by_task.items() if row["not_run"]} == expected
    assert not project.sql("from failures where task_name like '%take%'")


def test_what_an_execution_left_when_it_stopped_is_cancelled_and_not_not_run(project: Project) -> None:
    flow = Flow(project)
    module = flow.write(
        FLOW + "\n@task\ndef stopping():\n    return [bad(), take(1), take(take(2)), take(bad())]\n"
    )
    with pytest.raises(ValueError):
        flow.run(module.stopping(), fail_fast=True)
    rows = dict(project.sql("select status, count(*) from jobs where task_name = 'flow.take' group by all"))
    assert rows.keys() <= {"cancelled", "not_run", "done"} and rows["cancelled"] >= 1
    unlike = project.sql(
        "from jobs where (status = 'cancelled') <> (coalesce(error, '') like 'rayflow.errors.Cancelled:%')"
        " and status <> 'done'"
    )
    assert not unlike


def test_a_record_of_an_older_version_still_reads(project: Project) -> None:
    """It calls such a job failed, and its executions have no count of them."""
    from rayflow.records import ExecutionRow, JobRow
    from rayflow.store.open import open_store

    flow = Flow(project)
    module = flow.write(FLOW)
    with pytest.raises(ValueError):
        flow.run(module.direct())
    store = open_store(str(project.path / ".rayflow"))
    history = store.history()
    row = history.execution_row("-")
    job = next(row for row in history.jobs() if row["status"] == "not_run")
    assert row.not_run == 1
    older = JobRow(
        b"x" * 16, "old", None, "flow.take", None, None, None, None, "failed", 0, 1, None, 2, None, None, None, None,
        None, job["error"], None, None,
    )  # fmt: skip
    store.append([row._replace(execution_id="old", not_run=None, failed=3), older])
    store.commit()
    history = store.history()
    assert history.execution("old")["not_run"] is None and history.execution("old")["failed"] == 3
    assert history.why((b"x" * 16).hex()).job["status"] == "failed"
    assert isinstance(history.execution_row("old"), ExecutionRow)
    store.close()


@pytest.mark.slow
def test_the_command_line_tells_them_apart(project: Project) -> None:
    project.write("flow.py", FLOW)
    done = project.rayflow("run", "--inline", "flow.py", "in_a_chain")
    assert done.returncode == 1
    assert "2 failed, 3 not run" in done.stderr
    rows: list[dict[str, Any]] = json.loads(project.rayflow("log", "-", "--status", "not_run", "--json").stdout)
    assert [(row["task_name"], row["status"]) for row in rows] == [("flow.take", "not_run")] * 3
    failed: list[dict[str, Any]] = json.loads(project.rayflow("log", "-", "--failed", "--json").stdout)
    assert sorted(row["task_name"] for row in failed) == ["flow.bad", "flow.in_a_chain"]
    tree = project.rayflow("log", "-").stdout
    assert tree.count("not run ") == 3 and "2 failed, 3 not run" in tree
    assert "not_run" not in tree + project.rayflow("log", rows[0]["job_id"]).stdout
    graph = project.rayflow("viz", "-", "--format", "dot").stdout
    assert "not run" in graph and "not_run" not in graph
    assert "2 failed, 3 not run" in project.rayflow("log").stdout
    assert ":::not_run" in project.rayflow("viz", "-", "--format", "mermaid").stdout
    refused = project.rayflow("log", "--status", "not_run")
    assert refused.returncode != 0 and "its jobs have; add --jobs" in refused.stderr
    with pytest.raises(NotFound, match="it never ran, because an argument had failed"):
        history(store=str(project.path / ".rayflow")).arguments(rows[0]["job_id"])
    with pytest.raises(NotFound, match="has no result: it never ran, because an argument had failed"):
        history(store=str(project.path / ".rayflow")).value(rows[0]["job_id"])
    again = project.rayflow("run", "--rerun", rows[0]["job_id"], "--inline")
    assert again.returncode != 0 and "it never ran, because an argument had failed" in again.stderr


def test_a_rehearsal_tells_them_apart(project: Project) -> None:
    module = Flow(project).write(FLOW)
    rehearsal = Rehearsal()
    with pytest.raises(ValueError):
        rehearsal.run(module.direct())
    rehearsal.assert_failed("direct", "bad")
    rehearsal.assert_not_run("take")
    assert rehearsal.not_run == {"take": 1}
    with pytest.raises(AssertionError, match="not_run in the last run: take 1, expected 0"):
        rehearsal.assert_not_run()
    assert next(job for job in rehearsal.jobs("take")).status == "not_run"


def test_it_is_counted_below_a_subrun_too(project: Project) -> None:
    flow = Flow(project)
    module = flow.write(FLOW + "\nfrom rayflow import subrun\n\n@task\ndef below():\n    return subrun(direct())\n")
    store = str(project.path / ".rayflow")
    with Scheduler(store=store, inline=True, reporter=flow.watching) as scheduler, pytest.raises(ValueError):
        scheduler.run(module.below())
    assert flow.watching.summaries[-1].counts["not_run"] == 1
    assert project.sql("select task_name from jobs where status = 'not_run'") == [("flow.take",)]
