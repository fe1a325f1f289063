"""Attempts that run in this process."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from projects import Project

from rayflow import Scheduler
from rayflow.errors import Bug
from rayflow.evaluator.commands import RunTask, RunVector, Stop
from rayflow.evaluator.messages import Cost, ReturnedVector
from rayflow.lang.parameters.signatures import Parameters
from rayflow.lang.registry import use_task_source
from rayflow.lang.task_table import TaskEntry
from rayflow.lang.terms.codec import dumps
from rayflow.records import TagRow
from rayflow.runtime.clock import CLOCK
from rayflow.runtime.inline import InlineCarrier, LookingCarrier
from rayflow.runtime.loop import Loop
from rayflow.runtime.outbox import Outbox
from rayflow.runtime.protocol.attempts import Reply, WorkerContext
from rayflow.runtime.worker.worker import Worker
from rayflow.store.open import open_store
from rayflow.store.store import Store

ENTRY = TaskEntry(name="lab.f", hash=b"f" * 20, parameters=Parameters((), (), frozenset()))
MET = TaskEntry(name="lab.met", hash=b"m" * 20, parameters=Parameters((), (), frozenset()))


def test_tasks_that_a_body_has_met_are_known_to_the_next_call() -> None:
    learnt: list[TaskEntry] = []
    reply = Reply(1, 1, b"", None, Cost(0, 0.0, 0.0), (MET,))
    worker = SimpleNamespace(run=lambda *call: reply, learn=learnt.extend, kept={}, sync=dict, is_nested=False)
    posted: list[object] = []
    carrier = InlineCarrier(SimpleNamespace(post=posted.append, record=lambda row: None, clock=CLOCK), worker)
    carrier.run([RunTask(1, 1, "e1", b"j", ENTRY, {}, {})])
    assert carrier.work(1.0) and learnt == [MET] and posted[0].entries == (MET,)


def test_a_call_ends_when_its_own_body_does_and_not_with_the_others_of_its_turn() -> None:
    moments = iter(range(10, 100))
    reply = Reply(1, 1, b"", None, Cost(0, 0.0, 0.0))
    worker = SimpleNamespace(run=lambda *call: reply, learn=len, kept={}, sync=dict, is_nested=False)
    posted: list[object] = []
    clock = SimpleNamespace(now=lambda: next(moments))
    carrier = InlineCarrier(SimpleNamespace(post=posted.append, record=lambda row: None, clock=clock), worker)
    carrier.run([RunTask(job, 1, "e1", b"j", ENTRY, {}, {}) for job in (1, 2, 3)])
    worker.sync = lambda: next(moments) and {}
    assert carrier.work(1.0) and [message.at for message in posted] == [11, 13, 15], "each body begins and ends"


NESTING = """
    from rayflow import subrun, task

    @task
    def inc(x):
        return x + 1

    @task
    def main():
        return [inc(1), inc(subrun(inc(inc(2))))]
"""


def test_no_other_thread_can_commit_a_part_of_a_tick_also_not_of_a_nested_execution(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = project.write("flow.py", NESTING) and project.load("flow")
    turn, carry_out, run = Loop.turn, Outbox.carry_out, Worker.run
    stores: list[Store] = []
    seen: dict[str, list[int]] = {"tick": [], "body": []}

    def commits_of(store: Store) -> int:
        before = store.commits
        store.append([TagRow("job", "x", "k", "1", 1, False)])
        beside.submit(store.commit_beside).result()
        return store.commits - before

    def noted(loop: Loop, *given: Any) -> None:
        stores.append(loop.store)
        turn(loop, *given)

    def in_tick(outbox: Outbox, batch: Any, *rows: Any) -> None:
        seen["tick"].append(commits_of(stores[-1]))
        carry_out(outbox, batch, *rows)

    def in_body(worker: Worker, *given: Any, **named: Any) -> Any:
        seen["body"].append(commits_of(worker.store))
        return run(worker, *given, **named)

    monkeypatch.setattr(Loop, "turn", noted)
    monkeypatch.setattr(Outbox, "carry_out", in_tick)
    monkeypatch.setattr(Worker, "run", in_body)
    with ThreadPoolExecutor(1) as beside, Scheduler(inline=True) as scheduler:
        assert scheduler.run(flow.main()) == [2, 5]
    assert set(seen["tick"]) == {0} and len(seen["tick"]) > 5
    assert set(seen["body"]) == {1}


def test_rows_that_are_dropped_while_a_body_runs_are_told_by_the_result(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rayflow.store.live.live_files.LOCAL_SECONDS", 0.01)
    flow = project.write("flow.py", NESTING) and project.load("flow")
    run = Worker.run

    def dropped(worker: Worker, *given: Any, **named: Any) -> Any:
        worker.store.append([TagRow("job", "x", "k", 5, 1, False)])  # type: ignore[arg-type]
        end = time.monotonic() + 20
        while worker.store.pending():
            assert time.monotonic() < end, "nothing is recorded while a body runs"
            time.sleep(0.002)
        return run(worker, *given, **named)

    monkeypatch.setattr(Worker, "run", dropped)
    with Scheduler(inline=True) as scheduler:
        with pytest.raises(Bug, match=r"tags\.value"):
            scheduler.run(flow.inc(1))
        monkeypatch.undo()
        assert scheduler.run(flow.inc(2)) == 3


def test_ctrl_c_in_the_middle_of_a_tick_ends_the_wait(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write("flow.py", "from rayflow import task\n\n@task\ndef inc(x):\n    return x + 1\n")
    flow = project.load("flow")
    turn, run, turns, runs = Loop.turn, InlineCarrier.run, [], []

    def counted(loop: Loop, longest_seconds: float = 0.0) -> None:
        turns.append(loop)
        assert len(turns) < 100, "it waits for what will never answer"
        turn(loop, 0.0)

    def interrupted(carrier: InlineCarrier, attempts: list[RunTask]) -> None:
        runs.append(attempts)
        if len(runs) == 2:
            raise KeyboardInterrupt
        run(carrier, attempts)

    monkeypatch.setattr(Loop, "turn", counted)
    monkeypatch.setattr(InlineCarrier, "run", interrupted)
    with Scheduler(store=":memory:", inline=True) as scheduler:
        submitted = scheduler.submit(flow.inc(flow.inc(flow.inc(1))))
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                submitted.result()
        assert scheduler.run(flow.inc(flow.inc(flow.inc(1)))) == 4


FLOW = """
    import time

    from rayflow import task

    INTERRUPTED = []

    @task
    def inc(n):
        if n == 2 and INTERRUPTED:
            INTERRUPTED.pop()
            raise KeyboardInterrupt
        if n == 3:
            raise ValueError("three")
        if n == 100:
            time.sleep(0.3)
        return n + 1
"""


class Inline:
    """An inline carrier with a worker of its own, and what it has posted."""

    def __init__(self, project: Project) -> None:
        project.write("flow.py", FLOW)
        self.flow = project.load("flow")
        entry = self.entry = self.flow.inc.entry()
        context = WorkerContext(str(project.path), (), ":memory:", {entry.name: entry})
        self.posted: list[Any] = []
        worker = Worker(context, open_store(":memory:"))
        worker.find(entry.name, entry.hash)
        worker.check([])  # this process is the worker's now
        loop = SimpleNamespace(post=self.posted.append, record=lambda row: None, clock=CLOCK)
        self.carrier = InlineCarrier(loop, worker)

    def vector(self, count: int, **options: Any) -> RunVector:
        jobs = range(10, 10 + count)
        ids = [bytes([job]) * 16 for job in jobs]
        return RunVector("e1", self.entry, options, jobs, ids, ("n",), [(n,) for n in range(count)])

    def answered(self) -> dict[int, str]:
        """The kind of the answer that each job has got."""
        found: dict[int, str] = {}
        for each in self.posted:
            jobs = each.jobs if isinstance(each, ReturnedVector) else [each.job]
            assert found.keys().isdisjoint(jobs)
            found.update(dict.fromkeys(jobs, type(each).__name__))
        return found


@pytest.fixture
def inline(project: Project) -> Iterator[Inline]:
    before = use_task_source(None)
    yield Inline(project)
    use_task_source(before)


def test_a_vector_is_answered_by_columns_and_a_member_that_fails_by_a_message_of_its_own(inline: Inline) -> None:
    inline.carrier.run_vectors([inline.vector(6)])
    assert inline.carrier.running() == {"e1": {"flow.inc": 1}}
    assert inline.carrier.work(60.0) and not inline.carrier.busy()
    answered = dict.fromkeys(range(10, 16), "ReturnedVector") | {13: "Raised"}
    assert inline.answered() == answered
    (columns,) = [each for each in inline.posted if isinstance(each, ReturnedVector)]
    assert list(columns.terms) == [dumps(n + 1) for n in range(6) if n != 3] and columns.pid == os.getpid()


def test_members_that_no_time_is_left_for_run_in_a_later_turn(inline: Inline) -> None:
    inline.carrier.run_vectors([inline.vector(3)._replace(arguments=[(0,), (100,), (0,)])])
    assert inline.carrier.work(0.2) and inline.answered().keys() == {10, 11} and inline.carrier.busy()
    assert inline.carrier.work(0.2) and inline.answered().keys() == {10, 11, 12} and not inline.carrier.busy()


def test_a_stopped_member_does_not_run_and_the_others_do(inline: Inline) -> None:
    inline.carrier.run_vectors([inline.vector(6), inline.vector(2, timeout=60.0)._replace(jobs=range(20, 22))])
    inline.carrier.stop([Stop(12, 1), Stop(99, 1)])
    while inline.carrier.busy():
        inline.carrier.work(60.0)
    returned = dict.fromkeys((10, 11, 14, 15, 20, 21), "Returned")
    assert inline.answered() == {**returned, 12: "WorkerGone", 13: "Raised"}


def test_after_ctrl_c_in_a_member_those_before_it_are_answered_and_the_others_wait_on(inline: Inline) -> None:
    inline.flow.INTERRUPTED.append(True)
    inline.carrier.run_vectors([inline.vector(6)])
    with pytest.raises(KeyboardInterrupt):
        inline.carrier.work(60.0)
    assert inline.answered() == {10: "ReturnedVector", 11: "ReturnedVector"} and inline.carrier.busy()
    inline.carrier.work(60.0)
    assert inline.answered().keys() == set(range(10, 16))


def test_a_carrier_that_only_looks_sets_vectors_aside(inline: Inline) -> None:
    looking = LookingCarrier(SimpleNamespace(post=inline.posted.append, clock=CLOCK, record=len), None)
    assert not looking.needs_worker
    looking.run_vectors([inline.vector(2)])
    assert looking.needs_worker and looking.attempts == [inline.vector(2)] and not inline.posted
