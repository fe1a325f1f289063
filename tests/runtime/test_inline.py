"""Attempts that run in this process."""

from __future__ import annotations

from types import SimpleNamespace

from rayflow.evaluator.commands import RunTask
from rayflow.evaluator.events import Cost
from rayflow.lang.entries import TaskEntry
from rayflow.lang.signatures import Parameters
from rayflow.runtime.calls import Reply
from rayflow.runtime.inline import InlineCarrier

ENTRY = TaskEntry(name="lab.f", hash=b"f" * 20, parameters=Parameters((), (), frozenset()))
MET = TaskEntry(name="lab.met", hash=b"m" * 20, parameters=Parameters((), (), frozenset()))


def test_tasks_that_a_body_has_met_are_known_to_the_next_call() -> None:
    learnt: list[TaskEntry] = []
    reply = Reply(1, 1, b"", None, Cost(0, 0.0, 0.0), (MET,))
    worker = SimpleNamespace(run=lambda call, bodies: reply, learn=learnt.extend, kept={})
    posted: list[object] = []
    carrier = InlineCarrier(SimpleNamespace(post=posted.append), worker)
    carrier.run([RunTask(1, 1, "e1", b"j", ENTRY, {}, {})])
    assert carrier.work(1.0) and learnt == [MET] and posted[0].entries == (MET,)
