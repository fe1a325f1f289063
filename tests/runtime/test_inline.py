"""Attempts that run in this process."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from projects import Project

from rayflow import Scheduler
from rayflow.evaluator.commands import RunTask
from rayflow.evaluator.messages import Cost
from rayflow.lang.parameters.signatures import Parameters
from rayflow.lang.task_table import TaskEntry
from rayflow.runtime.clock import CLOCK
from rayflow.runtime.inline import InlineCarrier
from rayflow.runtime.loop import Loop
from rayflow.runtime.protocol.attempts import Reply

ENTRY = TaskEntry(name="lab.f", hash=b"f" * 20, parameters=Parameters((), (), frozenset()))
MET = TaskEntry(name="lab.met", hash=b"m" * 20, parameters=Parameters((), (), frozenset()))


def test_tasks_that_a_body_has_met_are_known_to_the_next_call() -> None:
    learnt: list[TaskEntry] = []
    reply = Reply(1, 1, b"", None, Cost(0, 0.0, 0.0), (MET,))
    worker = SimpleNamespace(run=lambda *call: reply, learn=learnt.extend, kept={}, sync=dict)
    posted: list[object] = []
    carrier = InlineCarrier(SimpleNamespace(post=posted.append, clock=CLOCK), worker)
    carrier.run([RunTask(1, 1, "e1", b"j", ENTRY, {}, {})])
    assert carrier.work(1.0) and learnt == [MET] and posted[0].entries == (MET,)


def test_a_call_ends_when_its_own_body_does_and_not_with_the_others_of_its_turn() -> None:
    moments = iter(range(10, 100))
    reply = Reply(1, 1, b"", None, Cost(0, 0.0, 0.0))
    worker = SimpleNamespace(run=lambda *call: reply, learn=len, kept={}, sync=dict)
    posted: list[object] = []
    clock = SimpleNamespace(now=lambda: next(moments))
    carrier = InlineCarrier(SimpleNamespace(post=posted.append, clock=clock), worker)
    carrier.run([RunTask(job, 1, "e1", b"j", ENTRY, {}, {}) for job in (1, 2, 3)])
    worker.sync = lambda: next(moments) and {}
    assert carrier.work(1.0) and [message.at for message in posted] == [10, 11, 12]


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
