"""Witnesses that are checked on workers: each question has its answer, also when workers are lost."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from rayflow.runtime.on_ray.actor.witness_checks import TRIES, WitnessChecks
from rayflow.runtime.on_ray.shipped_context import ShippedContext
from rayflow.runtime.protocol.attempts import WorkerContext

WITNESSES = [("value", (b"a", None)), ("value", (b"b", None))]


class Ref:
    """What Ray would give: it completes when it is told."""

    def __init__(self) -> None:
        self.done: Callable[[Any], None] | None = None

    def _on_completed(self, done: Callable[[Any], None]) -> None:
        self.done = done


class Function:
    def __init__(self) -> None:
        self.sent: list[Ref] = []

    def remote(self, *_: Any) -> Ref:
        self.sent.append(Ref())
        return self.sent[-1]


@pytest.fixture
def checks() -> WitnessChecks:
    made = WitnessChecks(lambda: None)
    made._function = Function()
    return made


AROUND = {"one": ShippedContext(WorkerContext(None, (), "memory://"), lambda data: "a reference")}


def complete(checks: WitnessChecks, answer: Any) -> None:
    checks._function.sent[-1].done(answer)
    assert checks.work()


def test_answers_are_handed_out_in_the_loops_own_time(checks: WitnessChecks) -> None:
    answers: list[Any] = []
    checks.send(AROUND, WITNESSES, answers.append)
    assert len(checks) == 1 and not checks.work()
    complete(checks, pickle.dumps([True, False]))
    assert answers == [{WITNESSES[0]: True, WITNESSES[1]: False}] and len(checks) == 0


def test_a_lost_check_is_sent_again_and_in_the_end_answered_with_nothing(checks: WitnessChecks) -> None:
    answers: list[Any] = []
    checks.send(AROUND, WITNESSES, answers.append)
    for _ in range(TRIES):
        assert answers == []
        complete(checks, OSError("the worker died"))
    assert answers == [{}] and len(checks._function.sent) == TRIES


def test_without_an_execution_nothing_can_be_checked(checks: WitnessChecks) -> None:
    answers: list[Any] = []
    checks.send({}, WITNESSES, answers.append)
    assert answers == [{}] and len(checks) == 0
