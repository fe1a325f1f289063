"""What bodies of every kind write to streams is recorded, and only that."""

from __future__ import annotations

import json
from typing import Any

import pytest
from evaluations import Flow
from projects import Project

from rayflow.runtime.protocol.attempts import WorkerContext
from rayflow.runtime.protocol.stream_items import WrittenItems
from rayflow.runtime.worker.worker import Worker
from rayflow.store.open import open_store

FLOW = '''
import os
import threading

from rayflow import Secret, effect, gather, map_, stream, subrun, task

S = stream("s")
TRIED = []


@task
def writes(*values):
    for value in values:
        S.write(value)
    return len(values)


@task
def each(n: int) -> int:
    S.write(n)
    return n


@task
def many(count: int):
    return map_(each, list(range(count)))


@task
def fails(n: int):
    S.write(n)
    raise LookupError(n)


@effect(retries=2, retry_delay=0)
def tries():
    S.write(len(TRIED))
    TRIED.append(1)
    if len(TRIED) < 3:
        raise OSError("not yet")


@task
async def steps():
    S.write("a")
    n = await gather(each(1))
    S.write("b")
    await gather(each(2))
    S.write("c")
    return n


@task
def in_threads():
    threads = [threading.Thread(target=lambda: [stream("threads").write(n) for n in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@task
def forks():
    S.write("before")
    child = os.fork()
    if not child:
        S.write("in the child")
        os._exit(0)
    os.waitpid(child, 0)
    S.write("after")


@task
def inside():
    return subrun(writes(1, 2))


@task
def refused():
    S.write(object())


@task
def hides(secret: Secret):
    S.write(f"token {secret.get()}")
'''


@pytest.fixture
def flow(project: Project) -> Flow:
    made = Flow(project)
    made.write(FLOW)
    return made


def items(flow: Flow, stream: str = "s") -> list[tuple[Any, ...]]:
    """Number, task, attempt, number in the attempt and value of the items of the latest execution."""
    rows = flow.project.sql(
        f"""SELECT number, task_name, attempt, item, value FROM stream_items
        WHERE stream = '{stream}' AND execution_id = (SELECT max(execution_id) FROM executions) ORDER BY number"""
    )
    return [(number, task.removeprefix("flow."), attempt, item, json.loads(text)) for number, task, attempt, item, text
            in rows]  # fmt: skip


def values(flow: Flow, stream: str = "s") -> list[Any]:
    return [row[-1] for row in items(flow, stream)]


def test_a_plain_run_records_what_bodies_write_and_shows_it_nowhere(flow: Flow) -> None:
    assert flow.call("writes", "ä", {"n": [1]}) == 2
    assert items(flow) == [(1, "writes", 1, 1, "ä"), (2, "writes", 1, 2, {"n": [1]})]
    assert flow.watching.lines == flow.watching.warnings == []
    assert flow.project.sql("SELECT * FROM logs") == []
    [(job,)] = flow.project.sql("SELECT job_id FROM jobs WHERE task_name = 'flow.writes'")
    assert flow.project.sql("SELECT DISTINCT job_id FROM stream_items") == [(job,)]


def test_a_cached_call_writes_nothing(flow: Flow) -> None:
    flow.call("writes", 1)
    assert values(flow) == [1]
    flow.call("writes", 1)
    assert values(flow) == []


def test_members_of_a_wide_call_are_told_apart(flow: Flow) -> None:
    assert flow.call("many", 60) == list(range(60))
    assert sorted(values(flow)) == list(range(60))
    jobs = flow.project.sql("SELECT count(DISTINCT job_id), max(item), max(attempt) FROM stream_items")
    assert jobs == [(60, 1, 1)]


def test_what_a_failed_call_has_written_stays(flow: Flow) -> None:
    with pytest.raises(LookupError):
        flow.call("fails", 1)
    assert values(flow) == [1]


def test_each_attempt_of_an_effect_is_told_from_the_others(flow: Flow) -> None:
    flow.call("tries")
    assert items(flow) == [(1, "tries", 1, 1, 0), (2, "tries", 2, 1, 1), (3, "tries", 3, 1, 2)]


def test_a_body_that_awaits_writes_each_item_once(flow: Flow) -> None:
    assert flow.call("steps") == 1
    assert values(flow) == ["a", 1, "b", 2, "c"]
    assert [row[2:4] for row in items(flow) if row[1] == "steps"] == [(1, 1), (1, 2), (1, 3)]


def test_threads_of_a_body_write_for_it(flow: Flow) -> None:
    flow.call("in_threads")
    found = items(flow, "threads")
    assert [row[:4] for row in found] == [(n, "in_threads", 1, n) for n in range(1, 201)]
    assert sorted(row[-1] for row in found) == sorted([*range(50)] * 4)


def test_a_forked_process_writes_nothing(flow: Flow) -> None:
    flow.call("forks")
    assert values(flow) == ["before", "after"]


def test_bodies_of_a_subrun_write_to_the_execution_around_it(flow: Flow) -> None:
    assert flow.call("inside") == 2
    rows = flow.project.sql("SELECT execution_id, value FROM stream_items ORDER BY number")
    [(execution,)] = flow.project.sql("SELECT execution_id FROM executions WHERE task_name = 'flow.inside'")
    assert rows == [(execution, "1"), (execution, "2")]


def test_items_of_a_subrun_name_the_execution_around_it() -> None:
    taken: list[WrittenItems] = []
    worker = Worker(WorkerContext(None, (), ":memory:", {}), open_store(":memory:"))
    worker.take_items = taken.append
    nested = worker.for_nested_calls("around")
    assert nested.take_items is not None
    nested.take_items(WrittenItems(b"j", "flow.f", 1, "b", False, "s", 1, ("1",), (0,)))
    assert [each.execution_id for each in taken] == ["around"]


def test_other_data_fails_the_call_where_it_is_written(flow: Flow) -> None:
    from rayflow.errors import BadArguments

    with pytest.raises(BadArguments, match="an item is plain data"):
        flow.call("refused")


def test_a_secret_that_a_body_writes_is_masked(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    from rayflow import Secret

    monkeypatch.setenv("STREAM_TOKEN", "correct-horse-battery")
    assert flow.module is not None
    flow.run(flow.module.hides(Secret("env:STREAM_TOKEN")))
    assert values(flow) == ["token <Secret('env:STREAM_TOKEN')>"]
